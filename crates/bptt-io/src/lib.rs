//! Weights and arrays of others for [`bptt`]: safetensors and `.npz` with PyTorch's names, read also in Keras' and CS231n's
//! arrangement, and `.npy` arrays as the inputs, targets and states of a network.
//!
//! A file is read as [`Tensors`], which keep every bit; [`find`] lists the recurrent modules in it by the names of their
//! weights, and [`choose`] reads one of them as a [`Module`], which makes a [`bptt::Network`].
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod arrays;
pub mod batch;
mod choose;
mod conventions;
mod error;
mod export;
pub mod files;
mod inspect;
mod linear;
pub mod model;
mod module;
mod outline;
mod read;
mod spectra;
mod tensor;
mod tensors;

pub use choose::choose;
pub use conventions::Convention;
pub use error::Error;
pub use export::export;
pub use inspect::{Block, ModuleReport, Other, Report, inspect};
pub use linear::{embedding, head};
pub use module::Module;
pub use outline::{Outline, find};
pub use spectra::{sigma_max, spectral_radius};
pub use tensor::{Dtype, Tensor};
pub use tensors::Tensors;
