//! Ledgers for people and scripts: JSON, NumPy arrays, plain text tables and reports to look into.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod json;
pub mod npz;
pub mod report;
pub mod table;
