//! `cargo xtask deny`: dependencies keep to the policy in `deny.toml`, by cargo-deny where it is installed.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::shell::done;

/// The workspaces and what is checked of each. The baselines of the benchmarks bring whole frameworks, several versions of
/// many packages among them, and are built by nobody but who measures.
const WORKSPACES: [(&str, &[&str]); 3] = [
    ("Cargo.toml", &["bans", "licenses", "sources"]),
    ("fuzz/Cargo.toml", &["bans", "licenses", "sources"]),
    ("bench/rust-baselines/Cargo.toml", &["licenses", "sources"]),
];

/// Checks every workspace; says that nothing was checked where cargo-deny is not installed.
pub fn run(root: &Path, cargo: &Path) -> ExitCode {
    let there = Command::new("cargo-deny").arg("--version").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!(
            "skipped: cargo-deny is not installed; cargo install cargo-deny --version 0.20.2 --locked --no-default-features"
        );
        return ExitCode::SUCCESS;
    }
    let kept = WORKSPACES.iter().all(|&(manifest, checks)| {
        // An exception that nothing needs any more is an error where the exceptions are for.
        let exceptions = if manifest == "Cargo.toml" { "--deny" } else { "--allow" };
        let lints = ["unmatched-skip", "unnecessary-skip"].map(|lint| [exceptions, lint]);
        done(
            Command::new(cargo)
                .args(["deny", "--manifest-path", manifest, "--locked", "check"])
                .args(lints.as_flattened())
                .args(checks)
                .current_dir(root),
        )
    });
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
