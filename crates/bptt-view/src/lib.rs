//! Ledgers for people and scripts: JSON, NumPy arrays and plain text tables.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod json;
pub mod npz;
pub mod table;
