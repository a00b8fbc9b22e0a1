//! The participants of a comparison: every implementation of every baseline, each in a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::case::Case;
use crate::program::Program;

/// The baselines written in Python.
const PYTHON: [&str; 3] = ["pytorch", "jax", "numpy"];

/// The baselines written in Rust.
const RUST: [&str; 3] = ["candle", "burn", "rust-lstm"];

/// Where the baselines are.
pub struct Baselines {
    /// The Python interpreter with their libraries.
    pub python: PathBuf,
    /// The folder of the Rust programs.
    pub rust: PathBuf,
    /// Limit on the time of one answer.
    pub timeout: Duration,
}

/// One implementation in a running program.
pub struct Participant {
    /// The library's name, and the implementation's.
    pub name: String,
    /// Whether it is this project.
    pub own: bool,
    /// The implementation's name in the protocol.
    pub form: String,
    /// Its process.
    pub program: Program,
}

/// Versions of the participants and reasons why others are missing, by name.
pub type Notes = BTreeMap<String, String>;

impl Baselines {
    /// Starts every implementation of the case's kind of job, this project first.
    pub fn start(&self, case: &Case, only: Option<&[String]>, notes: &mut Notes) -> Vec<Participant> {
        let wanted = |name: &&str| only.is_none_or(|only| only.iter().any(|wanted| wanted == name));
        let names = PYTHON.into_iter().chain(RUST).filter(wanted);
        std::iter::once("bptt")
            .chain(names)
            .flat_map(|name| self.implementations(name, case, notes))
            .collect()
    }

    fn implementations(&self, name: &str, case: &Case, notes: &mut Notes) -> Vec<Participant> {
        let start = || Program::start(&mut self.command(name, case.threads), self.timeout);
        let first = match start() {
            Ok(program) => program,
            Err(error) => {
                notes.insert(name.into(), format!("not measured: {error}"));
                return Vec::new();
            }
        };
        notes.insert(name.into(), first.hello.version.clone());
        let forms = first.hello.forms(case.kind.as_str());
        let mut first = Some(first);
        let start = |form: String| {
            let program = first.take().map_or_else(start, Ok).ok()?;
            let own = name == "bptt";
            let label = if own { name.to_owned() } else { format!("{name} {form}") };
            Some(Participant { name: label, own, form, program })
        };
        forms.into_iter().filter_map(start).collect()
    }

    fn command(&self, name: &str, threads: usize) -> Command {
        if name == "bptt" {
            return serve(&this_build(), threads);
        }
        let mut command = if RUST.contains(&name) {
            Command::new(self.rust.join(format!("baseline-{name}")))
        } else {
            let mut python = Command::new(&self.python);
            python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/baselines/").to_owned() + name + "_baseline.py");
            python.env("PYTHONDONTWRITEBYTECODE", "1");
            python
        };
        command.args(["--threads", &threads.to_string()]);
        command
    }
}

/// The file of this program.
pub fn this_build() -> PathBuf {
    std::env::current_exe().expect("a program has a file")
}

/// The command that starts a build of `bptt-bench` as a participant.
pub fn serve(build: &Path, threads: usize) -> Command {
    let mut command = Command::new(build);
    command.args(["serve", "--threads", &threads.to_string()]);
    command
}
