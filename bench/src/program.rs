//! A child process that answers the driver's requests, as `PROTOCOL.md` specifies.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// A running program.
pub struct Program {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    /// Limit on the time of one answer.
    timeout: Duration,
    /// Its first message.
    pub hello: Hello,
    /// Resident bytes before the first case.
    idle: u64,
}

/// The first message of a program.
pub struct Hello {
    /// The version of its library.
    pub version: String,
    forms: Value,
}

impl Hello {
    /// The implementations it has for jobs of this kind.
    pub fn forms(&self, kind: &str) -> Vec<String> {
        let forms = self.forms[kind].as_array().into_iter().flatten();
        forms.filter_map(|form| form.as_str().map(str::to_owned)).collect()
    }
}

impl Program {
    /// Starts `command` and reads its first message. Its stderr is discarded.
    pub fn start(command: &mut Command, timeout: Duration) -> Result<Self, Box<dyn Error>> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let requests = child.stdin.take().expect("its stdin is piped");
        let lines = BufReader::new(child.stdout.take().expect("its stdout is piped")).lines();
        let (sender, answers) = channel();
        // Ends with the program's stdout.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let hello = Hello { version: String::new(), forms: Value::Null };
        let mut program = Self { child, requests, answers, timeout, hello, idle: 0 };
        let first = program.answer()?;
        let version = first["version"].as_str().unwrap_or("?").to_owned();
        program.hello = Hello { version, forms: first["forms"].clone() };
        program.idle = program.memory("VmRSS")?;
        Ok(program)
    }

    /// Loads the case in `folder` and runs it once. Returns the check of the result, or the reason why it is refused.
    pub fn prepare(&mut self, folder: &Path, form: &str) -> Result<Value, Box<dyn Error>> {
        let answer = self.request(&json!({"op": "prepare", "folder": folder, "form": form}))?;
        if answer["ok"] == json!(true) {
            return Ok(answer["check"].clone());
        }
        Err(answer["why"].as_str().unwrap_or("refused without a reason").into())
    }

    /// Seconds of each of `repeats` runs.
    pub fn time(&mut self, repeats: usize) -> Result<Vec<f64>, Box<dyn Error>> {
        let answer = self.request(&json!({"op": "time", "repeats": repeats}))?;
        let seconds = answer["seconds"].as_array().into_iter().flatten();
        Ok(seconds.filter_map(Value::as_f64).collect())
    }

    /// Peak resident bytes beyond those at its start.
    pub fn extra_bytes(&self) -> Result<u64, Box<dyn Error>> {
        Ok(self.memory("VmHWM")?.saturating_sub(self.idle))
    }

    fn request(&mut self, request: &Value) -> Result<Value, Box<dyn Error>> {
        writeln!(self.requests, "{request}")?;
        self.requests.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value, Box<dyn Error>> {
        match self.answers.recv_timeout(self.timeout) {
            Ok(line) => Ok(serde_json::from_str(&line)?),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("no answer within {} s", self.timeout.as_secs()).into())
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!("exited with {}", self.child.wait()?).into()),
        }
    }

    /// A line of /proc/PID/status, bytes.
    fn memory(&self, key: &str) -> Result<u64, Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(key)).ok_or("no memory line in /proc")?;
        let kib: u64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
        Ok(kib << 10)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A program that waits for a request exits at once; one that hangs must not outlive the measurement.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
