//! `cargo xtask python`: the Python package is built, typed and tested.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::shell::{done, virtual_environment};

/// The package.
const FOLDER: &str = "bindings/python";

/// Builds the package in a virtual environment with PyTorch, checks its types and runs its tests. PyTorch is large, so the
/// environment is kept in the user's cache.
pub fn run(root: &Path) -> ExitCode {
    let folder = root.join(FOLDER);
    let wanted = folder.join("tests/requirements.txt");
    let modules = "torch, equinox, flax, hypothesis, jax, maturin, matplotlib, mypy, pandas, polars, pytest, torchrecurrent, xarray";
    let Some(python) =
        virtual_environment(&cache().unwrap_or_else(|| root.join("target")).join("python"), &wanted, modules)
    else {
        return ExitCode::FAILURE;
    };
    let environment = python.parent().and_then(Path::parent).unwrap_or(root);
    let run = |words: &[&str]| {
        done(
            Command::new(&python)
                .args(["-m"])
                .args(words)
                .env("VIRTUAL_ENV", environment)
                .current_dir(&folder),
        )
    };
    let ok = run(&["maturin", "develop", "--locked", "--quiet"])
        && run(&["mypy"])
        && run(&["pytest", "--quiet", "tests"]);
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// This project's folder in the user's cache.
fn cache() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| Some(std::env::home_dir()?.join(".cache"))).map(|cache| cache.join("bptt"))
}
