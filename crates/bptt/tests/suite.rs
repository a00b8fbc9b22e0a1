//! The tests of the library, in one program: each program compiles the scans and kernels for itself. `registers.rs` is another,
//! because it changes what a whole process computes with.

mod common;

mod article;
mod bf16;
mod bounds;
mod cs231n;
mod edges;
mod extremes;
mod f32_errors;
mod flossing;
mod ledger;
mod memory;
mod omega;
mod outside_cells;
mod paths;
mod precision;
mod properties;
mod pytorch;
mod remainder;
mod spectrum;
mod truncation;
