//! `bptt compare` continues after an interruption and ends with the same table.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use common::{bptt, refusal, stdout};

/// Four trainings, each of a fraction of a second.
const COMPARE: [&str; 18] = [
    "compare",
    "--task",
    "temporal_order",
    "--length",
    "12",
    "--remedy",
    "none,clip:0.1",
    "--seeds",
    "2",
    "--hidden",
    "12",
    "--batch",
    "8",
    "--steps",
    "1500",
    "--out",
    "out",
    "--quiet",
];

fn compare(folder: &Path, more: &[&str]) -> std::process::Output {
    bptt(folder, &[&COMPARE[..], more].concat())
}

/// The JSON without times.
fn without_times(json: &str) -> String {
    fn clean(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("seconds");
                map.values_mut().for_each(clean);
            }
            Value::Array(list) => list.iter_mut().for_each(clean),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(json).unwrap();
    clean(&mut value);
    value.to_string()
}

/// The text without the last column of the table.
fn without_last_column(text: &str) -> String {
    let cut = |line: &str| {
        let is_row = line.starts_with("  ");
        let line = line.trim_end();
        if is_row { line.rsplit_once(' ').unwrap().0.trim_end().to_owned() } else { line.to_owned() }
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// Number of results; incomplete files begin with a dot.
fn results(folder: &Path) -> usize {
    let names = fs::read_dir(folder.join("out/trainings")).into_iter().flatten();
    names.filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
}

/// Starts the comparison, sends it a signal after its first result, and returns its output.
fn begin_and_signal(folder: &Path, signal: &str) -> std::process::Output {
    let child = Command::new(env!("CARGO_BIN_EXE_bptt"))
        .args(COMPARE)
        .args(["--threads", "1"])
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while results(folder) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "the comparison was still running");
    child.wait_with_output().unwrap()
}

#[test]
#[cfg(unix)]
fn an_interrupted_comparison_continues_to_the_same_table() {
    let whole = tempfile::tempdir().unwrap();
    let table = stdout(&compare(whole.path(), &["--threads", "2"]));
    assert!(table.starts_with("temporal_order, L = 12, lag "), "{table}");
    let json = stdout(&compare(whole.path(), &["--json"]));
    assert_eq!(json, stdout(&compare(whole.path(), &["--json"])), "nothing is trained twice");

    for signal in ["KILL", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let ended = begin_and_signal(folder.path(), signal);
        let there = results(folder.path());
        assert!(!ended.status.success() && (1..4).contains(&there), "{signal}: {there} results");
        if signal == "INT" {
            let (code, message) = refusal(&ended);
            let expected = format!("stopped: {there} of 4 trainings are finished and kept in out");
            assert!(code == 130 && message.contains(&expected), "{message}");
        }
        let first = fs::read(folder.path().join("out/trainings/none-seed-1.json")).unwrap();
        let again = stdout(&compare(folder.path(), &[]));
        assert_eq!(without_last_column(&again), without_last_column(&table), "{signal}");
        let again = stdout(&compare(folder.path(), &["--json"]));
        assert_eq!(without_times(&again), without_times(&json), "{signal}");
        assert_eq!(fs::read(folder.path().join("out/trainings/none-seed-1.json")).unwrap(), first);
    }
}

#[test]
fn other_settings_and_unknown_remedies_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let quick = |more: &[&str]| {
        let arguments = ["compare", "--task", "parity", "--length", "3", "--out", "out", "--hidden", "4"];
        bptt(folder.path(), &[&arguments[..], more].concat())
    };
    let small = ["--remedy", "none,gru", "--seeds", "1", "--steps", "2"];
    let csv = stdout(&quick(&[&small[..], &["--csv"]].concat()));
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line.len() == 20), "{csv}");
    // 3 · H² for the GRU's three gates: 2 units cost less than the 4 of the RNN, 3 cost more.
    assert_eq!(
        (lines[1][..3].to_vec(), lines[2][..3].to_vec()),
        (vec!["none", "rnn", "4"], vec!["gru", "gru", "2"])
    );

    let (code, message) = refusal(&quick(&["--remedy", "none,gru", "--seeds", "1", "--steps", "3"]));
    let expected = "out contains a comparison whose steps is 2, not 3; use the same settings to continue it, or choose another \
                    --out";
    assert_eq!((code, message.as_str()), (1, expected));
    let (code, message) = refusal(&quick(&["--remedy", "none,hope", "--seeds", "1"]));
    assert!(
        code == 2 && message.contains("remedy: hope is not possible; expected one of none,"),
        "{message}"
    );
    let (code, message) = refusal(&quick(&["--remedy", "omega+lstm"]));
    assert!(code == 2 && message.contains("omega: 1 with cell lstm is not possible"), "{message}");
    assert_eq!(refusal(&quick(&["--remedy", "none", "--window", "3"])).0, 2);
    assert_eq!(refusal(&quick(&["--remedy", "none", "--trace-every", "3"])).0, 2);

    let result = folder.path().join("out/trainings/gru-seed-1.json");
    let whole = fs::read(&result).unwrap();
    fs::write(&result, &whole[..whole.len() / 2]).unwrap();
    let (code, message) = refusal(&quick(&small));
    assert!(code == 1 && message.contains("out/trainings/gru-seed-1.json cannot be used"), "{message}");
}

#[test]
fn remedies_are_listed_with_a_sentence_each() {
    let list = stdout(&bptt(Path::new("."), &["compare", "--list"]));
    assert!(list.lines().count() > 15 && list.contains("clip:norm=1"), "{list}");
    assert!(list.lines().skip(1).all(|line| line.ends_with('.')), "{list}");
}
