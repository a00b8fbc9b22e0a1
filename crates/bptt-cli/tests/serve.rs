//! The page of a training, after its end.
#![cfg(all(unix, feature = "serve"))]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

/// A command with a page, and the address of that.
fn started(folder: &Path, args: &[&str]) -> (Ended, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_bptt"))
        .args(args)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Ended(command.unwrap());
    let (out, err) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    let mut said = BufReader::new(err.chain(out)).lines().map(Result::unwrap);
    let line = said.find(|line| line.contains("http://")).unwrap();
    // What it says later has a reader.
    std::thread::spawn(move || said.count());
    let address = line.split_once("http://").unwrap().1.split('/').next().unwrap().to_owned();
    (child, address)
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

    let (_child, address) = started(folder.path(), &["serve", "runs", "--port", "0"]);
    let address = address.as_str();

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

/// Number of open files, and resident kilobytes of a process.
fn held(process: u32) -> (usize, u64) {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, resident.trim().trim_end_matches(" kB").parse().unwrap())
}

/// A request of every kind: pages, runs, reports, the laboratory, ledgers of runs, and the events of a training.
fn request(i: usize, address: &str) -> String {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
    };
    match i % 10 {
        0 => get("/lab"),
        1 => get("/assets/plotly.js"),
        2 => get("/api/runs"),
        3 => get("/api/runs/curves?run=mine"),
        4 => get("/api/runs/verdict?run=mine"),
        5 => get("/api/live"),
        6 => post("/api/explore", r#"{"run":"mine","steps":20}"#),
        7 => get("/report/mine"),
        _ => post(
            "/api/lab",
            r#"{"example":"text","text":"a text to read","cell":"lstm","init":"uniform","hidden":8,"steps":12}"#,
        ),
    }
}

/// A client that reads its answer, or one that leaves: before its request is whole, before the answer, or within it.
fn visit(i: usize, address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = request(i, address);
    let events = i % 10 == 5;
    // The server may end a connection first.
    let _ = match (i / 10) % 4 {
        0 => stream.write_all(&request.as_bytes()[..request.len() / 2]),
        1 => stream.write_all(request.as_bytes()),
        _ if events => {
            stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut [0; 300]).map(drop))
        }
        2 => {
            stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut Vec::new()).map(drop))
        }
        _ => stream.write_all(request.as_bytes()).and_then(|()| {
            let left = (i / 40).is_multiple_of(2);
            if left {
                stream.read(&mut [0; 300]).map(drop)
            } else {
                stream.read_to_end(&mut Vec::new()).map(drop)
            }
        }),
    };
}

/// `BPTT_REQUESTS` requests, 10,000 if that is not set.
#[test]
#[ignore = "minutes"]
fn clients_that_leave_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mine = TRAIN.iter().take_while(|&&word| word != "--serve").copied();
    stdout(&bptt(folder.path(), &mine.chain(["--out", "runs/mine"]).collect::<Vec<_>>()));
    let train = [
        "train",
        "--task",
        "parity",
        "--steps",
        "1000000000",
        "--serve",
        "--port",
        "0",
        "--out",
        "runs/live",
    ];
    let (child, address) = started(folder.path(), &train);
    // Paused: nothing but the clients changes what the process holds.
    let body = r#"{"action":"pause"}"#;
    let mut stream = TcpStream::connect(&address).unwrap();
    let pause = format!(
        "POST /api/live/ask HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(pause.as_bytes()).unwrap();
    let mut answered = String::new();
    stream.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 20"), "{answered}");

    let requests = std::env::var("BPTT_REQUESTS").map_or(10_000, |given| given.parse().unwrap());
    let visits = |range: std::ops::Range<usize>| {
        let next = AtomicUsize::new(range.start);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mine = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < range.end);
                    while let Some(i) = mine() {
                        visit(i, &address);
                    }
                });
            }
        });
        // Longer than any limit of the server.
        std::thread::sleep(Duration::from_secs(35));
        held(child.0.id())
    };
    let first = visits(0..400);
    let last = visits(400..400 + requests);
    println!("open files and resident kB after 400 requests: {first:?}, after {requests} more: {last:?}");
    assert_eq!(last.0, first.0);
    assert!(last.1 < first.1 + first.1 / 4, "{first:?} {last:?}");
    assert!(get(&address, "/lab").contains("<html"));
}
