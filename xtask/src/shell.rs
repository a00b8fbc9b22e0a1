//! Commands that are said before they are run, and what several chores need made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says a command and runs it.
pub fn done(command: &mut Command) -> bool {
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

/// The Python of a virtual environment in `folder` that has the `modules` which `requirements` name; made if it is not there.
/// `None` if that fails.
pub fn virtual_environment(folder: &Path, requirements: &Path, modules: &str) -> Option<PathBuf> {
    let python = folder.join("bin/python");
    let there =
        Command::new(&python).args(["-c", &format!("import {modules}")]).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    let made = done(Command::new("python3").args(["-m", "venv"]).arg(folder))
        && done(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--requirement"])
                .arg(requirements),
        );
    made.then_some(python)
}

/// The command `bptt` as the tests have it, with Parquet, built; `None` if that fails.
pub fn built(root: &Path, cargo: &Path) -> Option<PathBuf> {
    command(root, cargo, &["--features", "parquet"], "debug")
}

/// The command `bptt` as users have it, built; `None` if that fails.
pub fn released(root: &Path, cargo: &Path) -> Option<PathBuf> {
    command(root, cargo, &["--release"], "release")
}

fn command(root: &Path, cargo: &Path, options: &[&str], folder: &str) -> Option<PathBuf> {
    let build = ["build", "--locked", "--package", "bptt-cli"];
    let done = done(Command::new(cargo).args(build).args(options).current_dir(root));
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let name = format!("bptt{}", std::env::consts::EXE_SUFFIX);
    done.then(|| root.join(target).join(folder).join(name))
}
