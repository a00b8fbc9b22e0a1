//! Views of ledgers: JSON, tables, NumPy archives, figures, reports and TensorBoard events.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod columns;
pub mod entries;
pub mod figure;
pub mod glossary;
pub mod json;
pub mod npz;
pub mod report;
pub mod table;
pub mod tensorboard;
