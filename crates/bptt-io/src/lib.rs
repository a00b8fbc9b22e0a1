#![doc = include_str!("../README.md")]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod arrays;
pub mod batch;
mod choose;
mod conventions;
mod declared;
mod error;
mod export;
pub mod files;
mod folders;
mod formats;
mod head_chain;
mod inspect;
mod keras;
mod layout;
mod linear;
pub mod model;
mod module;
mod msgpack;
mod onnx;
mod outline;
mod pytorch;
mod read;
mod rearrange;
mod same_names;
mod stack;
mod tensor;
mod tensors;
mod tfjs;
mod unread;
mod weight_norm;

pub use choose::choose;
pub use conventions::Convention;
pub use error::Error;
pub use export::export;
pub use head_chain::{ChainLosses, HeadChain};
pub use inspect::{Block, ModuleReport, Other, Report, Unreadable, inspect};
pub use layout::Layout;
pub use linear::{NO_EMBEDDING, embedding, head};
pub use module::Module;
pub use outline::{Outline, find};
pub use tensor::{Dtype, Tensor};
pub use tensors::Tensors;
