//! `cargo xtask readers`: pandas, pyarrow and TensorBoard read what the command writes.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::shell::{built, done, virtual_environment};

/// The check and what it needs.
const FOLDER: &str = "crates/bptt-view/tests/python";

/// Fetches the readers, builds the command, and lets them read what it writes.
pub fn run(root: &Path, cargo: &Path) -> ExitCode {
    let folder = root.join(FOLDER);
    let wanted = folder.join("requirements.txt");
    let python = virtual_environment(&root.join("target/readers"), &wanted, "pandas, pyarrow, tensorboard");
    let (Some(python), Some(bptt)) = (python, built(root, cargo)) else { return ExitCode::FAILURE };
    let read = done(Command::new(python).arg(folder.join("readers.py")).arg(bptt));
    if read { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
