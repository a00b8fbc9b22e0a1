//! A program that does one job in its own way, started and asked as `PROTOCOL.md` says.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// A program that runs.
pub struct Peer {
    child: Child,
    ask: ChildStdin,
    answers: Receiver<String>,
    /// How long an answer may take.
    patience: Duration,
    /// What it said at its start.
    pub hello: Hello,
    /// Bytes it had in memory before it knew of a case.
    idle: u64,
}

/// What a peer says at its start.
pub struct Hello {
    /// The version of its library.
    pub version: String,
    forms: Value,
}

impl Hello {
    /// The forms in which it does jobs of this kind.
    pub fn forms(&self, kind: &str) -> Vec<String> {
        let forms = self.forms[kind].as_array().into_iter().flatten();
        forms.filter_map(|form| form.as_str().map(str::to_owned)).collect()
    }
}

impl Peer {
    /// Starts `command` and hears what it can do; an answer may take as long as `patience`. What it says on stderr is not
    /// for this table.
    pub fn start(command: &mut Command, patience: Duration) -> Result<Self, Box<dyn Error>> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let ask = child.stdin.take().expect("its stdin is piped");
        let lines = BufReader::new(child.stdout.take().expect("its stdout is piped")).lines();
        let (say, answers) = channel();
        // Ends with the program's stdout.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
        let hello = Hello { version: String::new(), forms: Value::Null };
        let mut peer = Self { child, ask, answers, patience, hello, idle: 0 };
        let said = peer.answer()?;
        let version = said["version"].as_str().unwrap_or("?").to_owned();
        peer.hello = Hello { version, forms: said["forms"].clone() };
        peer.idle = peer.memory("VmRSS")?;
        Ok(peer)
    }

    /// Makes it ready for the case in `folder`; the check of its result, or why it cannot do it.
    pub fn prepare(&mut self, folder: &Path, form: &str) -> Result<Value, Box<dyn Error>> {
        let answer = self.question(&json!({"op": "prepare", "folder": folder, "form": form}))?;
        if answer["ok"] == json!(true) {
            return Ok(answer["check"].clone());
        }
        Err(answer["why"].as_str().unwrap_or("it does not say why").into())
    }

    /// Seconds of each of `repeats` runs.
    pub fn time(&mut self, repeats: usize) -> Result<Vec<f64>, Box<dyn Error>> {
        let answer = self.question(&json!({"op": "time", "repeats": repeats}))?;
        let seconds = answer["seconds"].as_array().into_iter().flatten();
        Ok(seconds.filter_map(Value::as_f64).collect())
    }

    /// By how many bytes its memory grew at most since its start.
    pub fn extra_bytes(&self) -> Result<u64, Box<dyn Error>> {
        Ok(self.memory("VmHWM")?.saturating_sub(self.idle))
    }

    fn question(&mut self, ask: &Value) -> Result<Value, Box<dyn Error>> {
        writeln!(self.ask, "{ask}")?;
        self.ask.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value, Box<dyn Error>> {
        match self.answers.recv_timeout(self.patience) {
            Ok(line) => Ok(serde_json::from_str(&line)?),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("not done within {} s", self.patience.as_secs()).into())
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(format!("it ended with {}", self.child.wait()?).into())
            }
        }
    }

    /// A line of /proc/PID/status, bytes.
    fn memory(&self, key: &str) -> Result<u64, Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(key)).ok_or("the system tells no memory")?;
        let kib: u64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
        Ok(kib << 10)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A peer that waits for a question ends at once; one that hangs must not outlive the measurement.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
