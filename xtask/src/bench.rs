//! `cargo xtask bench`: fetches and builds the baselines, then measures.
//!
//! A baseline that cannot be fetched or built is no failure: the table names it as not measured.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::shell::{done, virtual_environment};

/// The folder of the baselines, under the workspace's root.
const BASELINES: &str = "target/baselines";

/// What the driver measures without baselines.
const ALONE: [&str; 3] = ["builds", "costs", "scale"];

/// Makes the missing baselines, and runs the driver with `args`.
pub fn run(root: &Path, cargo: &Path, args: &[String]) -> ExitCode {
    if !args.iter().any(|arg| ALONE.contains(&arg.as_str())) {
        fetch_python(root);
        build_rust(root, cargo);
    }
    drive(root, cargo, args)
}

/// Runs the driver, built if need be.
pub fn drive(root: &Path, cargo: &Path, args: &[String]) -> ExitCode {
    let mut driver = Command::new(cargo);
    driver
        .args(["run", "--release", "--locked", "--package", "bptt-bench", "--"])
        .args(args)
        .current_dir(root);
    if done(&mut driver) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// PyTorch, JAX and NumPy, in a virtual environment.
fn fetch_python(root: &Path) {
    let wanted = root.join("bench/baselines/requirements.txt");
    if virtual_environment(&root.join(BASELINES).join("venv"), &wanted, "jax, numpy, torch").is_none() {
        eprintln!("xtask: the Python baselines cannot be fetched; missing ones are not measured");
    }
}

/// candle, burn and rust-lstm, each a program.
fn build_rust(root: &Path, cargo: &Path) {
    // In their own folder, whose settings compile for this processor.
    let folder = root.join("bench/rust-baselines");
    let target = root.join(BASELINES);
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--target-dir"]).arg(target).current_dir(folder);
    if !done(&mut build) {
        eprintln!("xtask: the Rust baselines cannot be built; missing ones are not measured");
    }
}
