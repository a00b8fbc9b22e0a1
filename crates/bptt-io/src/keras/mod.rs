//! Keras' HDF5 files: their weights, and what their configuration says of each layer.

mod cudnn;
mod file;
mod settings;

pub(crate) use cudnn::rearrange;
pub(crate) use file::{is_hdf5, read, settings};
pub(crate) use settings::Settings;
