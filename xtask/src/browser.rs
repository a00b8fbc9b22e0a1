//! `cargo xtask browser`: the pages in a real browser, without a network.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::shell::built;

/// The tests' folder, with their package.json.
const TESTS: &str = "crates/bptt-view/tests/browser";

/// Where Debian's package puts the browser.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Installs what the tests need, builds the command whose pages they open, and runs them.
pub fn run(root: &Path, cargo: &Path) -> ExitCode {
    match chromium().and_then(|chromium| tests(root, cargo, &chromium)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("\nxtask: browser: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn tests(root: &Path, cargo: &Path, chromium: &OsString) -> Result<(), String> {
    let folder = root.join(TESTS);
    step(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder))?;
    let bptt = built(root, cargo).ok_or("bptt cannot be built")?;
    // One at a time: a page that shares the processors with others tells nothing of how fast it opens.
    let mut node = Command::new("node");
    node.args(["--test", "--test-concurrency=1", "."]).current_dir(&folder);
    step(node.env("BPTT", bptt).env("CHROMIUM", chromium))
}

/// The browser: the one in `CHROMIUM`, or Debian's, which is installed if it is missing and may be.
fn chromium() -> Result<OsString, String> {
    if let Some(path) = std::env::var_os("CHROMIUM") {
        return Ok(path);
    }
    if !Path::new(CHROMIUM).exists() {
        let install = "apt-get install -y --no-install-recommends chromium";
        // Whoever is not root is refused by apt-get itself.
        let installed = step(Command::new("apt-get").arg("update")).and_then(|()| {
            step(
                Command::new("apt-get")
                    .args(install.split(' ').skip(1))
                    .env("DEBIAN_FRONTEND", "noninteractive"),
            )
        });
        installed.map_err(|problem| {
            format!("{problem}. There is no {CHROMIUM}: as root, {install}; or name another in CHROMIUM")
        })?;
    }
    Ok(CHROMIUM.into())
}

/// Runs a command and says so.
fn step(command: &mut Command) -> Result<(), String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let call = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    eprintln!("== {call}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{call} failed ({status})")),
        Err(error) => Err(format!("{call} cannot be run: {error}")),
    }
}
