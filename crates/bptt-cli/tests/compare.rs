//! `bptt compare` continues after an interruption and ends with the same table.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bptt_train::Rng;
use bptt_train::compare::{Folder, Plan};
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
    // The way out that it names.
    assert!(
        message.ends_with("remove it, and the command that made the comparison trains it again"),
        "{message}"
    );
    fs::remove_file(&result).unwrap();
    assert!(stdout(&bptt(folder.path(), &["verify", "out"])).contains("with 1 of 2 trainings"));
    assert_eq!(stdout(&quick(&[&small[..], &["--csv"]].concat())).lines().count(), 3);
    let settings = folder.path().join("out/comparison.json");
    fs::write(&settings, "{").unwrap();
    let (_, message) = refusal(&quick(&small));
    assert!(message.ends_with("continues it with the trainings that are there"), "{message}");
    fs::remove_file(&settings).unwrap();
    stdout(&quick(&small));
    assert!(stdout(&bptt(folder.path(), &["verify", "out"])).contains("with 2 of 2 trainings"));

    // Somebody else's folder.
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/notes"), "mine").unwrap();
    let mine = ["compare", "--task", "parity", "--length", "3", "--out", "mine", "--remedy", "none"];
    let (_, message) = refusal(&bptt(folder.path(), &mine));
    assert!(message.contains("mine is not empty"), "{message}");
}

/// Six trainings, of a hundredth of a second each.
const QUICK: &str = "compare --task parity --length 4 --remedy none,clip:0.1 --seeds 3 --hidden 4 --batch 4 --steps 30 \
                     --quiet --threads 1 --json --out";

fn quick(folder: &Path, name: &str) -> std::process::Output {
    let arguments: Vec<&str> = QUICK.split_whitespace().chain([name]).collect();
    bptt(folder, &arguments)
}

/// Everything in a comparison, without times.
fn contents(folder: &Path) -> Vec<(String, String)> {
    let inside = |folder: &Path| -> Vec<_> {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).collect()
    };
    let mut files: Vec<_> = [inside(folder), inside(&folder.join("trainings"))].concat();
    files.sort();
    let content = |path: &std::path::PathBuf| {
        let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        // It is also that of the times.
        file.as_object_mut().unwrap().remove("check").unwrap();
        (path.strip_prefix(folder).unwrap().display().to_string(), without_times(&file.to_string()))
    };
    files.iter().map(content).collect()
}

#[test]
fn killed_comparisons_continue_to_the_same_results() {
    // In memory where that is possible: most of the time goes into syncs elsewhere.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let folder = folder.path();
    let start = Instant::now();
    let json = without_times(&stdout(&quick(folder, "whole")));
    let whole = start.elapsed().as_secs_f64();
    let expected = contents(&folder.join("whole"));
    assert_eq!(expected.len(), 7);
    let mut moments = Rng::new(5, 0);
    let (mut killed, mut tries, mut begun) = (0, 0, 0);
    while killed < 50 {
        tries += 1;
        assert!(tries < 500, "{killed} of {tries} were killed before they ended");
        let name = format!("killed-{tries}");
        let mut child = Command::new(env!("CARGO_BIN_EXE_bptt"))
            .args(QUICK.split_whitespace().chain([&*name]))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs_f64(moments.uniform_in(0.0, 0.7 * whole)));
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if ended {
            continue;
        }
        killed += 1;
        if folder.join(&name).join("comparison.json").exists() {
            let there = stdout(&bptt(folder, &["verify", &name]));
            begun += usize::from(!there.contains("with 0 of 6") && !there.contains("with 6 of 6"));
        }
        assert_eq!(without_times(&stdout(&quick(folder, &name))), json, "{name}");
        assert_eq!(contents(&folder.join(&name)), expected, "{name}");
    }
    println!("{killed} were killed before they ended, {begun} of them with some of the trainings finished");
}

#[test]
fn no_damage_of_a_comparison_is_accepted_silently() {
    let folder = tempfile::tempdir().unwrap();
    stdout(&quick(folder.path(), "out"));
    let out = folder.path().join("out");
    let is_read = || {
        let (kept, comparison) = Folder::existing(&out)?.expect("there is a comparison");
        kept.results(&Plan::new(comparison)?)
    };
    let whole = is_read().unwrap();
    assert!(whole.len() == 6 && whole.iter().all(Option::is_some));
    let mut files: Vec<_> =
        fs::read_dir(out.join("trainings")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.extend([out.join("comparison.json")]);
    files.sort();
    let mut random = Rng::new(13, 0);
    let mut silent = Vec::new();
    for damage in 0..1300 {
        let path = random.choose(&files);
        let bytes = fs::read(path).unwrap();
        let mut damaged = bytes.clone();
        if damage % 13 < 3 {
            damaged.truncate(random.below(bytes.len()));
        } else {
            damaged[random.below(bytes.len())] ^= 1 << random.below(8);
        }
        fs::write(path, &damaged).unwrap();
        if let Ok(results) = is_read() {
            silent.push((path.clone(), String::from_utf8_lossy(&damaged).into_owned(), results));
        }
        fs::write(path, &bytes).unwrap();
    }
    assert!(silent.is_empty(), "{} of 1300: {silent:#?}", silent.len());
}

#[test]
fn remedies_are_listed_with_a_sentence_each() {
    let list = stdout(&bptt(Path::new("."), &["compare", "--list"]));
    assert!(list.lines().count() > 15 && list.contains("clip:norm=1"), "{list}");
    assert!(list.lines().skip(1).all(|line| line.ends_with('.')), "{list}");
}
