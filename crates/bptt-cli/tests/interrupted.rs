//! What is said of interrupted runs, and of what is not a run.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bptt_train::run::{self, State};
use common::{bptt, refusal, stdout};

const TRAIN: &str = "train --generate cue_sentences --sentences 60 --level word --hidden 4 --window 6 --batch 4 --steps 160 \
                     --trace-every 40 --evaluate-every 80";

fn arguments(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn spawn(folder: &Path, line: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bptt"));
    command
        .args(arguments(line))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a training of `line` in `run` once it has this checkpoint.
fn killed(folder: &Path, line: &str, checkpoint: u64) {
    let mut child = spawn(folder, &format!("{line} --checkpoint-every 1 --out run"));
    while !folder.join(format!("run/checkpoints/{checkpoint:08}.json")).exists() {
        assert!(child.try_wait().unwrap().is_none(), "it is still training");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(run::state(&folder.join("run")), Some(State::Running));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(run::state(&folder.join("run")), Some(State::Interrupted));
}

#[test]
fn snapshots_that_were_added_or_removed_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    killed(folder, &format!("{TRAIN} --no-report"), 50);
    let snapshots = folder.join("run/snapshots");
    let at = |step: u64| snapshots.join(format!("{step:08}.safetensors"));
    let refused = |file: &str, expected: &str| {
        for line in ["verify run", "train --no-report --resume run"] {
            let (code, error) = refusal(&bptt(folder, &arguments(line)));
            assert!(code == 1 && error.contains(file) && error.contains(expected), "{line}: {error}");
        }
    };
    stdout(&bptt(folder, &["verify", "run"]));
    // Of the same network as one that is there: nothing but the list tells.
    for step in [3, 41, 150] {
        fs::copy(at(40), at(step)).unwrap();
        refused(&format!("{step:08}.safetensors"), "it was added");
        fs::remove_file(at(step)).unwrap();
    }
    let whole = fs::read(at(20)).unwrap();
    fs::remove_file(at(20)).unwrap();
    refused("00000020.safetensors", "it was removed");
    fs::copy(at(40), at(20)).unwrap();
    refused("00000020.safetensors", "it was changed");
    fs::write(at(20), whole).unwrap();
    // One that the training had written before it was killed, and will write again.
    fs::copy(at(40), at(80)).unwrap();
    stdout(&bptt(folder, &["verify", "run"]));
    stdout(&bptt(folder, &arguments("train --no-report --resume run")));
    assert!(fs::read(at(80)).unwrap() != fs::read(at(40)).unwrap());
    stdout(&bptt(folder, &["verify", "run"]));
    assert_eq!(run::state(&folder.join("run")), Some(State::Ended));
    fs::copy(at(40), at(41)).unwrap();
    let (_, error) = refusal(&bptt(folder, &["verify", "run"]));
    assert!(error.contains("00000041.safetensors cannot be used: it was added"), "{error}");
}

#[test]
fn the_report_of_a_replaced_run_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = "train --task parity --length 3 --hidden 3 --steps 3 --quiet --out run";
    stdout(&bptt(folder, &arguments(line)));
    let report = folder.join("run/report.html");
    assert!(report.exists());
    stdout(&bptt(folder, &arguments(&format!("{line} --force --no-report"))));
    assert!(!report.exists());
    // A page of somebody else stays.
    fs::write(&report, "<!doctype html><title>mine</title>").unwrap();
    stdout(&bptt(folder, &arguments(&format!("{line} --force --no-report"))));
    assert!(report.exists());
}

const TAGS: [&str; 3] = ["train/loss_bits", "grad/norm_preclip", "held_out/loss_bits"];

/// Updates and tags of the numbers in the event files of a folder.
fn scalars(folder: &Path) -> Vec<(u64, &'static str)> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let file = fs::read(path).unwrap();
        let mut rest = &file[..];
        // A killed training may have left half a record.
        while let Some((length, _)) = rest.split_first_chunk() {
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
            let Some((record, others)) = rest.split_at_checked(length + 16) else { break };
            // Length and checksum, the time, and the tag of the update, which has seven bits in a byte.
            let digits = &record[12 + 9 + 1..];
            let last = digits.iter().position(|byte| byte & 0x80 == 0).unwrap();
            let step = digits[..=last].iter().rev().fold(0, |step, byte| step << 7 | u64::from(byte & 0x7f));
            let has = |tag: &&str| record.windows(tag.len()).any(|window| window == tag.as_bytes());
            found.extend(TAGS.into_iter().find(has).map(|tag| (step, tag)));
            rest = others;
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn events_of_a_continued_training_come_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    stdout(&bptt(folder, &arguments(&format!("{TRAIN} --no-report --out whole --tensorboard tb-whole"))));
    let expected = scalars(&folder.join("tb-whole"));
    assert_eq!(expected.len(), 2 * 160 + 2);
    killed(folder, &format!("{TRAIN} --no-report --tensorboard tb"), 90);
    assert!(scalars(&folder.join("tb")).len() > 170);
    stdout(&bptt(folder, &arguments("train --no-report --resume run --tensorboard tb")));
    assert_eq!(fs::read_dir(folder.join("tb")).unwrap().count(), 2);
    assert_eq!(scalars(&folder.join("tb")), expected);
}

#[test]
fn what_is_not_a_run_is_named_with_what_to_give_instead() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    stdout(&bptt(
        folder,
        &arguments("compare --task parity --length 3 --remedy none --seeds 1 --steps 2 --hidden 3 --out c"),
    ));
    for line in [
        "diagnose c",
        "trace c",
        "sample c",
        "check c --min-horizon 3",
        "plot c --kind heatmap --out c.svg",
        "train --resume c",
    ] {
        let (code, error) = refusal(&bptt(folder, &arguments(line)));
        assert_eq!(code, 2, "{line}: {error}");
        assert!(
            error.contains("c holds a comparison of remedies, not a run: bptt report c shows it"),
            "{line}: {error}"
        );
    }
    let json = stdout(&bptt(folder, &arguments("verify c --json")));
    assert!(json.contains("\"comparison\":\"c\"") && json.contains("\"finished\":true"), "{json}");

    stdout(&bptt(
        folder,
        &arguments("train --task parity --length 3 --hidden 3 --steps 3 --no-report --out run"),
    ));
    for name in ["x.PDF", "x.Svg", "x.CSV"] {
        stdout(&bptt(folder, &["plot", "run", "--kind", "heatmap", "--out", name]));
        assert!(folder.join(name).exists());
    }
    let (code, error) = refusal(&bptt(folder, &arguments("diagnose run --lag 1000000000")));
    assert!(code == 2 && error.contains("expected at most 2, the farthest in the 3 steps"), "{error}");
    let most = u64::MAX.to_string();
    stdout(&bptt(
        folder,
        &arguments(
            "train --generate cue_sentences --sentences 60 --hidden 3 --window 8 --batch 2 --steps 3 --no-report --out text",
        ),
    ));
    let (code, error) = refusal(&bptt(folder, &["diagnose", "text", "--lag", &most]));
    assert!(code == 2 && error.contains("expected at most "), "{error}");
}
