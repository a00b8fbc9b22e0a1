//! `cargo xtask bench`: fetches and builds the peers, then measures.
//!
//! A peer that cannot be fetched or built is no failure: the table names it and says that it does not take part.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::shell::{done, virtual_environment};

/// Where the peers are made, under the workspace's root.
const PEERS: &str = "target/peers";

/// Makes the peers that are not there yet, and runs the driver with `args`.
pub fn run(root: &Path, cargo: &Path, args: &[String]) -> ExitCode {
    let against_peers = !args.iter().any(|arg| arg == "scale" || arg == "costs");
    if against_peers {
        fetch_python(root);
        build_rust(root, cargo);
    }
    let mut driver = Command::new(cargo);
    driver
        .args(["run", "--release", "--locked", "--package", "bptt-bench", "--"])
        .args(args)
        .current_dir(root);
    if done(&mut driver) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// PyTorch, JAX and NumPy, in a virtual environment.
fn fetch_python(root: &Path) {
    let wanted = root.join("bench/peers/requirements.txt");
    if virtual_environment(&root.join(PEERS).join("venv"), &wanted, "jax, numpy, torch").is_none() {
        eprintln!("xtask: the Python peers cannot be fetched; those that are not there do not take part");
    }
}

/// candle, burn and rust-lstm, each a program.
fn build_rust(root: &Path, cargo: &Path) {
    // From their own folder, whose settings let them use all of this processor's instructions.
    let folder = root.join("bench/rust-peers");
    let target = root.join(PEERS);
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--target-dir"]).arg(target).current_dir(folder);
    if !done(&mut build) {
        eprintln!("xtask: the Rust peers cannot be built; those that are not there do not take part");
    }
}
