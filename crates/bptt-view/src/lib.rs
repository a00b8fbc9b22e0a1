//! Ledgers for people and scripts: figures, tables, reports to look into, JSON, NumPy arrays, and TensorBoard's events.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod columns;
pub mod entries;
pub mod figure;
pub mod json;
pub mod npz;
pub mod report;
pub mod table;
pub mod tensorboard;
