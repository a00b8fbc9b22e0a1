//! ONNX graphs: their LSTM, GRU and RNN nodes as modules with PyTorch's names.

mod cell;
mod constants;
mod graph;
mod nodes;

pub(crate) use graph::is_model;
pub(crate) use nodes::read;
