//! `cargo xtask bench`: fetches and builds the peers, then measures.
//!
//! A peer that cannot be fetched or built is no failure: the table names it and says that it does not take part.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

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
    let environment = root.join(PEERS).join("venv");
    let python = environment.join("bin/python");
    let there = Command::new(&python).args(["-c", "import jax, numpy, torch"]).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return;
    }
    let wanted = root.join("bench/peers/requirements.txt");
    let made = done(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        && done(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(wanted));
    if !made {
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

/// Says a command and runs it.
fn done(command: &mut Command) -> bool {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    eprintln!("== {}", words.join(" "));
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("{error}");
            false
        }
    }
}
