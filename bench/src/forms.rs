//! Who takes part: every form of every peer, each a process of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::case::Case;
use crate::peer::Peer;

/// The peers written in Python.
const PYTHON: [&str; 3] = ["pytorch", "jax", "numpy"];

/// Those written in Rust.
const RUST: [&str; 3] = ["candle", "burn", "rust-lstm"];

/// Where the peers are.
pub struct Peers {
    /// The Python that has their libraries.
    pub python: PathBuf,
    /// The folder of the programs in Rust.
    pub rust: PathBuf,
    /// How long an answer may take.
    pub patience: Duration,
}

/// One way to do a job.
pub struct Form {
    /// Its name: the library's, and the form's.
    pub name: String,
    /// Whether it is this project.
    pub own: bool,
    /// The form as the peer calls it.
    pub called: String,
    /// The program, started.
    pub peer: Peer,
}

/// Versions of what takes part, and why others do not, by name.
pub type Notes = BTreeMap<String, String>;

impl Peers {
    /// Starts every form that does jobs of the case's kind, this project first, each in a process of its own.
    pub fn start(&self, case: &Case, only: Option<&[String]>, notes: &mut Notes) -> Vec<Form> {
        let wanted = |name: &&str| only.is_none_or(|only| only.iter().any(|wanted| wanted == name));
        let names = PYTHON.into_iter().chain(RUST).filter(wanted);
        std::iter::once("bptt").chain(names).flat_map(|name| self.forms(name, case, notes)).collect()
    }

    fn forms(&self, name: &str, case: &Case, notes: &mut Notes) -> Vec<Form> {
        let start = || Peer::start(&mut self.command(name, case.threads), self.patience);
        let first = match start() {
            Ok(peer) => peer,
            Err(error) => {
                notes.insert(name.into(), format!("does not take part: {error}"));
                return Vec::new();
            }
        };
        notes.insert(name.into(), first.hello.version.clone());
        let forms = first.hello.forms(case.kind.as_str());
        let mut first = Some(first);
        let start = |form: String| {
            let peer = first.take().map_or_else(start, Ok).ok()?;
            let own = name == "bptt";
            let label = if own { name.to_owned() } else { format!("{name} {form}") };
            Some(Form { name: label, own, called: form, peer })
        };
        forms.into_iter().filter_map(start).collect()
    }

    fn command(&self, name: &str, threads: usize) -> Command {
        let mut command = if name == "bptt" {
            let mut own = Command::new(std::env::current_exe().expect("a program has a file"));
            own.arg("serve");
            own
        } else if RUST.contains(&name) {
            Command::new(self.rust.join(format!("peer-{name}")))
        } else {
            let mut python = Command::new(&self.python);
            python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/").to_owned() + name + "_peer.py");
            python.env("PYTHONDONTWRITEBYTECODE", "1");
            python
        };
        command.args(["--threads", &threads.to_string()]);
        command
    }
}
