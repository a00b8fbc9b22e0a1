//! Runs, comparisons, flags and names of the first version still work. `fixtures/first-version` was written by that version:
//!
//! ```text
//! bptt --threads 1 train --generate pantry --sentences 40 --level word --hidden 2 --steps 4 --batch 2 --window 12
//!     --trace-every 4 --evaluate-every 2 --no-report --out text
//! bptt --threads 1 train --task pantry --length 20 --hidden 2 --steps 2 --batch 2 --trace-every 0 --no-report --out task
//! bptt --threads 1 compare --task parity --length 4 --remedy none --seeds 1 --steps 2 --hidden 2 --batch 2 --out comparison
//! bptt trace text --text "No food was left" --json > text/ledger.json
//! ```

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use common::{bptt, refusal, stdout};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/first-version")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Asserts that two values are equal, numbers up to rounding: the last digits depend on the processor.
fn assert_same(what: &str, found: &Value, expected: &Value) {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            // Shares of one sequence are kept in f32.
            let digits = if what.contains("share") { 1e-7 } else { 1e-11 };
            let tolerance = digits * expected.abs().max(1e-3);
            assert!((found - expected).abs() <= tolerance, "{what}: {found} is not {expected}");
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{what}");
            found.iter().zip(expected).for_each(|(found, expected)| assert_same(what, found, expected));
        }
        _ => assert_eq!(found, expected, "{what}"),
    }
}

#[test]
fn a_run_of_the_first_version_opens_with_the_same_ledger() {
    let trace = ["trace", "text", "--text", "No food was left", "--json"];
    let ledger = json(&bptt(&fixtures(), &trace));
    let first: Value =
        serde_json::from_slice(&fs::read(fixtures().join("text/ledger.json")).unwrap()).unwrap();
    assert_eq!((&first["schema"], &ledger["schema"]), (&"bptt.ledger/1".into(), &"bptt.ledger/2".into()));
    let entries = |of: &Value| of["entries"].as_array().unwrap().clone();
    assert_eq!(entries(&ledger).len(), entries(&first).len());
    for (found, expected) in entries(&ledger).iter().zip(entries(&first)) {
        for (key, value) in expected.as_object().unwrap() {
            assert_same(&format!("{} {key}", expected["parameter"]), &found[key], value);
        }
    }
    for key in ["steps", "symbols", "horizon", "decay_per_step"] {
        assert_same(key, &ledger[key], &first[key]);
    }
    assert_same("gradient_span", &ledger["gradient_span"], &first["uncut"]);

    stdout(&bptt(&fixtures(), &["sample", "text", "--length", "3"]));
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures(), folder.path());
    assert_eq!(stdout(&bptt(folder.path(), &["report", "text"])), "wrote text/report.html\n");
}

#[test]
fn a_run_of_a_renamed_task_opens_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures(), folder.path());
    let table = stdout(&bptt(folder.path(), &["trace", "task"]));
    assert!(table.starts_with("loss ") && table.contains("of cue_sentences with L = 20"), "{table}");
    let diagnosis = json(&bptt(folder.path(), &["diagnose", "task", "--json"]));
    assert_eq!(diagnosis["measured"]["lag"]["farthest"], 15);
    let again = ["train", "--config", "task/config.toml", "--out", "again", "--no-report"];
    stdout(&bptt(folder.path(), &again));
    let (code, message) = refusal(&bptt(folder.path(), &["train", "--task", "parity", "--out", "task"]));
    assert!(code == 1 && message.starts_with("task already contains a run"), "{message}");
    let model = |run: &str| fs::read(folder.path().join(run).join("model.safetensors")).unwrap().len();
    assert_eq!(model("task"), model("again"));
}

#[test]
fn a_comparison_of_the_first_version_is_read() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures(), folder.path());
    let result = folder.path().join("comparison/trainings/none-seed-1.json");
    let first: Value = serde_json::from_slice(&fs::read(result).unwrap()).unwrap();
    let compare =
        "compare --task parity --length 4 --remedy none --seeds 1 --steps 2 --hidden 2 --batch 2 --json";
    let arguments: Vec<&str> = compare.split(' ').chain(["--out", "comparison"]).collect();
    let report = json(&bptt(folder.path(), &arguments));
    assert_eq!(report["remedies"][0]["trainings"][0], first["reached"]);
}

#[test]
fn old_names_of_flags_work_with_a_warning() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange");
    let model =
        ["trace", "--model", "model.safetensors", "--module", "net.lstm_actor", "--input", "x.npy", "--json"];
    let with = |flag: &str, quiet: &[&str]| bptt(&models, &[&model[..], &[flag, "dh.npy"], quiet].concat());
    let (old, new) = (with("--seeds", &[]), with("--grad-output", &["-q"]));
    assert_eq!(stdout(&old), stdout(&new));
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said(&old).contains("warning: --seeds is now called --grad-output"), "{}", said(&old));
    assert!(!said(&new).contains("warning"), "{}", said(&new));

    // What is assumed is printed, quiet or not, and is in the JSON.
    let assumptions = json(&new)["assumptions"].clone();
    let sentences: Vec<&str> = assumptions.as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert!(sentences.iter().any(|sentence| sentence.contains("(B, T, I)")), "{sentences:?}");
    assert!(sentences.iter().any(|sentence| sentence.contains("initial h and c is zero")), "{sentences:?}");
    for sentence in sentences {
        assert!(said(&new).contains(&format!("assumed: {sentence}")), "{sentence}");
    }

    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures(), folder.path());
    let shown = |flags: [&str; 2]| {
        let output =
            bptt(folder.path(), &[&["trace", "text", "--text", "No food was left"][..], &flags].concat());
        (stdout(&output), said(&output).contains("warning"))
    };
    assert_eq!(shown(["--of", "food"]), (shown(["--predicting", "food"]).0, true));
    assert_eq!(shown(["--at", "1"]), (shown(["--loss-step", "1"]).0, true));
}
