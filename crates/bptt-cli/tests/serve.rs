//! The page of a training, after its end.
#![cfg(all(unix, feature = "serve"))]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use common::{bptt, refusal, stdout};

const TRAIN: [&str; 16] = [
    "train",
    "--generate",
    "cue_sentences",
    "--sentences",
    "300",
    "--level",
    "word",
    "--hidden",
    "8",
    "--steps",
    "6",
    "--trace-every",
    "0",
    "--serve",
    "--port",
    "0",
];

/// Ended with the test, also by a panic.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// The body of what the server answers to a path; the answer must be a success.
fn get(address: &str, path: &str) -> String {
    let answer = answer(address, path);
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {}", &answer[..answer.len().min(400)]);
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn answer(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_page_stays_after_the_training_until_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bptt"));
    let child = command
        .args(TRAIN)
        .args(["--stay", "--quiet", "--out", "runs/a b"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Ended(child.unwrap());
    let mut said = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = said.find(|line| line.contains("stays")).unwrap();
    assert!(line.starts_with("the training has ended (finished)"), "{line}");
    let address = line.split_once("http://").unwrap().1.split('/').next().unwrap();

    let json = |path: &str| -> Value { serde_json::from_str(&get(address, path)).unwrap() };
    let status = json("/api/live/status");
    assert_eq!((&status["status"], &status["ending"]), (&"ended".into(), &"finished".into()));
    let list = json("/api/runs");
    let run = &list["runs"][0];
    assert_eq!((&run["name"], &run["updates"], &run["complete"]), (&"a b".into(), &6.into(), &true.into()));
    assert_eq!(run["state"], "ended");
    assert!(run["held_out"].is_number() && run["date"].is_number(), "{run}");
    let report = get(address, "/report/a%20b");
    assert!(report.contains("<title>Ledger of the network of a b</title>"));

    // The list has the verdict that the command prints.
    let diagnosis = stdout(&bptt(folder.path(), &["diagnose", "runs/a b"]));
    let verdict = json("/api/runs/verdict?run=a%20b")["sentence"].as_str().unwrap().to_lowercase();
    assert_eq!(verdict, format!("{}.", diagnosis.lines().next().unwrap().to_lowercase()));

    let interrupted = Command::new("kill").args(["-INT", &child.0.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    assert!(child.0.wait().unwrap().success());
    assert_eq!(said.last().unwrap(), "Ctrl-C: the page has ended");
}

#[test]
fn scripts_go_on_when_the_training_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let output = bptt(folder.path(), &[&TRAIN[..], &["--out", "run"]].concat());
    assert!(stdout(&output).contains("wrote run"));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("stays"));
    let (code, message) = refusal(&bptt(folder.path(), &["train", "--task", "parity", "--stay"]));
    assert!(code == 2 && message.contains("--serve"), "{message}");
}

/// The settings of a run name its text: nothing is read that is not the text which the run learned.
#[test]
fn a_planted_run_makes_the_server_read_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = path("text.txt");
    std::fs::write(&text, "the quick brown fox jumps over the lazy dog\n".repeat(60)).unwrap();
    let train =
        ["train", "--text", "text.txt", "--hidden", "8", "--steps", "5", "--no-report", "--out", "runs/mine"];
    stdout(&bptt(folder.path(), &train));
    std::fs::create_dir(path("runs/planted")).unwrap();
    for file in ["config.toml", "vocabulary.json", "metrics.jsonl", "model.safetensors"] {
        std::fs::copy(path("runs/mine").join(file), path("runs/planted").join(file)).unwrap();
    }
    let config = std::fs::read_to_string(path("runs/planted/config.toml")).unwrap();
    std::fs::write(path("runs/planted/config.toml"), config.replace("text.txt", "/etc/passwd")).unwrap();

    let serve = Command::new(env!("CARGO_BIN_EXE_bptt"))
        .args(["serve", "runs", "--port", "0"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Ended(serve.unwrap());
    let (out, err) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    let mut said = BufReader::new(err.chain(out)).lines().map(Result::unwrap);
    let line = said.find(|line| line.contains("http://")).unwrap();
    let address = line.split_once("http://").unwrap().1.split('/').next().unwrap();

    assert!(get(address, "/report/mine").contains("<title>"));
    let refused = |path: &str, why: &str| {
        let answer = answer(address, path);
        assert!(!answer.starts_with("HTTP/1.1 200") && answer.contains(why), "{path}: {answer}");
    };
    for path in ["/report/planted", "/api/runs/verdict?run=planted"] {
        refused(path, "the run has no checksum of it");
    }
    // What has taken the place of its text is not read either; a FIFO would never end.
    std::fs::write(&text, "another text, with other words\n".repeat(60)).unwrap();
    let answered = answer(address, "/report/mine");
    assert!(!answered.starts_with("HTTP/1.1 200"), "{answered}");
    std::fs::remove_file(&text).unwrap();
    assert!(Command::new("mkfifo").arg(&text).status().unwrap().success());
    refused("/report/mine", "it is no regular file");
    std::fs::remove_file(&text).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &text).unwrap();
    refused("/report/mine", "it is no regular file");
}
