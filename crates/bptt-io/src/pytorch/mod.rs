//! PyTorch's files: `.pt`, `.pth`, `.ckpt`, `.bin`, and TorchScript archives. Nothing in them is run.

mod archive;
mod pickle;
mod values;

pub(crate) use archive::{LEGACY, is_archive, read, read_legacy};
