//! Trainings that are killed, interrupted and damaged.
#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bptt_train::{Rng, run};
use common::{bptt, refusal, stdout};
use serde_json::Value;

/// Two trainings in which everything has a state: a text with dropout, momentum, carried states, ledgers, and the best network
/// kept; and a task with its own random sequences.
const TRAININGS: [&str; 2] = [
    "train --generate cue_sentences --sentences 400 --level word --cell lstm --layers 2 --dropout 0.2 --hidden 8 --window 8 \
     --batch 20 --steps 150 --evaluate-every 30 --trace-every 25 --keep best --schedule cosine",
    "train --task adding --length 12 --cell gru --hidden 10 --batch 20 --steps 250 --evaluate-every 50 --trace-every 40 \
     --optimizer rmsprop",
];

fn arguments(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn spawn(folder: &Path, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bptt"))
        .args(arguments(line))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Everything that has to be equal: networks byte by byte, and events without their times.
fn contents(run: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<Value>) {
    let mut files = BTreeMap::new();
    for path in ["config.toml", "vocabulary.json", "model.safetensors"].map(|name| run.join(name)) {
        files.extend(
            fs::read(&path)
                .ok()
                .map(|bytes| (path.file_name().unwrap().to_string_lossy().into_owned(), bytes)),
        );
    }
    for path in fs::read_dir(run.join("snapshots")).unwrap().map(|entry| entry.unwrap().path()) {
        files.insert(path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
    }
    let (mut events, torn) = run::metrics::read(run).unwrap();
    assert_eq!(torn, None);
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        event.remove("seconds");
        event.remove("check");
    }
    (files, events)
}

#[test]
fn killed_trainings_continue_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut moments = Rng::new(3, 0);
    let (mut killed, mut without) = (0, 0);
    for (i, line) in TRAININGS.iter().enumerate() {
        let start = Instant::now();
        stdout(&bptt(folder, &arguments(&format!("{line} --no-report --out whole-{i}"))));
        let whole = start.elapsed().as_secs_f64();
        let expected = contents(&folder.join(format!("whole-{i}")));
        for kill in 0..25 {
            let name = format!("killed-{i}-{kill}");
            let command = format!("{line} --no-report --checkpoint-every 9 --out {name}");
            let mut child = spawn(folder, &command);
            // Checkpoints are synced, which takes longer than the training itself.
            std::thread::sleep(Duration::from_secs_f64(moments.uniform_in(0.0, 1.5 * whole)));
            killed += usize::from(child.try_wait().unwrap().is_none());
            let _ = child.kill();
            child.wait().unwrap();
            let (run, mut ended) = (folder.join(&name), false);
            if run::exists(&run) {
                reads(folder, &name, &mut without);
                let threads = 1 + kill % 2;
                let resumed = bptt(
                    folder,
                    &arguments(&format!("--threads {threads} train --no-report --resume {name}")),
                );
                ended = String::from_utf8_lossy(&resumed.stderr).contains("has ended");
                assert!(resumed.status.success() || ended, "{}", String::from_utf8_lossy(&resumed.stderr));
            } else {
                // Killed before there was anything to continue: the same command begins again.
                stdout(&bptt(folder, &arguments(&command)));
            }
            let found = contents(&run);
            let same: Vec<_> =
                found.0.iter().filter(|(file, bytes)| expected.0.get(*file) == Some(bytes)).collect();
            assert!(same.len() == found.0.len() && same.len() == expected.0.len(), "{name}: other files");
            assert!(found.1 == expected.1, "{name}: other events");
            // Killed at the very end, it may have left them.
            let left: Vec<PathBuf> = files(&run).into_iter().filter(|path| is_left(path)).collect();
            assert!(ended || left.is_empty(), "{name}: {left:?}");
            stdout(&bptt(folder, &["verify", &name]));
        }
    }
    println!("{killed} of 50 were killed before they ended, {without} of them before the first checkpoint");
    assert!(killed > 25);
}

/// Reading commands work on an interrupted run, or say that there is no network yet.
fn reads(folder: &Path, name: &str, without: &mut usize) {
    let task = fs::read_to_string(folder.join(name).join("config.toml")).unwrap().contains("task =");
    let mut commands = vec![
        format!("diagnose {name} --json"),
        format!("plot {name} --kind curves --out {name}.csv"),
        format!("plot {name} --kind profile --out {name}-profile.csv"),
        format!("report {name} --out {name}.html"),
        format!("trace {name} --json"),
    ];
    if !task {
        commands.push(format!("sample {name} --length 5"));
    }
    stdout(&bptt(folder, &["verify", name]));
    let mut missing = 0;
    for command in &commands {
        let output = bptt(folder, &arguments(command));
        let errors = String::from_utf8_lossy(&output.stderr);
        missing += usize::from(errors.contains("has no network yet"));
        assert!(output.status.success() || errors.contains("has no network yet"), "{command}: {errors}");
    }
    assert!(missing == 0 || missing == commands.len(), "{name}: {missing}");
    *without += usize::from(missing > 0);
}

#[test]
fn signals_keep_everything_and_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    stdout(&bptt(folder, &arguments(&format!("{} --no-report --out whole", TRAININGS[0]))));
    let expected = contents(&folder.join("whole"));
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        // Slow enough to be interrupted: a checkpoint after every update.
        let line = format!("{} --no-report --checkpoint-every 1 --out run{name}", TRAININGS[0]);
        let mut child = spawn(folder, &line);
        let metrics = folder.join(format!("run{name}/metrics.jsonl"));
        while fs::metadata(&metrics).map_or(0, |found| found.len()) == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let run = folder.join(format!("run{name}"));
        assert!(run.join("model.safetensors").exists());
        let verified = stdout(&bptt(folder, &["verify", &format!("run{name}")]));
        assert!(verified.contains("can be continued after"), "{verified}");
        stdout(&bptt(folder, &arguments(&format!("train --no-report --resume run{name}"))));
        assert!(contents(&run) == expected);
    }
}

#[test]
fn a_folder_belongs_to_one_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = format!("{} --no-report --checkpoint-every 1 --out run", TRAININGS[1]);
    let mut child = spawn(folder, &line);
    while !folder.join("run/config.toml").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let (code, error) = refusal(&bptt(folder, &["train", "--resume", "run", "--no-report"]));
    assert!(code == 1 && error.contains("is being written by process "), "{error}");
    let (_, error) = refusal(&bptt(folder, &arguments(&format!("{line} --force"))));
    assert!(error.contains("is being written by process "), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    let (_, error) = refusal(&bptt(folder, &arguments(&line)));
    assert!(error.contains("already contains a run") && error.contains("--resume"), "{error}");
    stdout(&bptt(folder, &arguments(&format!("{line} --force"))));

    // Somebody else's folder stays as it is.
    fs::create_dir_all(folder.join("other/snapshots")).unwrap();
    fs::write(folder.join("other/config.toml"), "mine").unwrap();
    fs::write(folder.join("other/snapshots/2024.csv"), "mine").unwrap();
    for force in ["", " --force"] {
        let line = format!("{} --no-report --out other{force}", TRAININGS[1]);
        let (_, error) = refusal(&bptt(folder, &arguments(&line)));
        assert!(error.contains("is not empty and holds no run"), "{error}");
    }
    assert_eq!(fs::read_to_string(folder.join("other/config.toml")).unwrap(), "mine");
    assert!(folder.join("other/snapshots/2024.csv").exists() && !folder.join("other/.lock").exists());

    // Other settings than those of the run.
    let (code, error) = refusal(&bptt(folder, &["train", "--resume", "run", "--hidden", "7"]));
    assert!(code == 2 && error.contains("with its own settings"), "{error}");
    let (_, error) = refusal(&bptt(folder, &["train", "--resume", "run"]));
    assert!(error.contains("has ended"), "{error}");
    let config = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    fs::write(folder.join("run/config.toml"), config.replace("hidden = 10", "hidden = 11")).unwrap();
    let (_, error) = refusal(&bptt(folder, &["trace", "run"]));
    assert!(error.contains("config.toml cannot be used: it was changed"), "{error}");
    // Also where nothing but the network tells, as in runs of the first version.
    fs::remove_file(folder.join("run/run.json")).unwrap();
    let (_, error) = refusal(&bptt(folder, &["trace", "run"]));
    assert!(error.contains("are not those of the network"), "{error}");
}

/// Whether a file belongs to an unfinished training.
fn is_left(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.starts_with('.') || path.parent().unwrap().ends_with("checkpoints")
}

/// All files of a run.
fn files(run: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn no_damage_of_a_run_is_accepted_silently() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    stdout(&bptt(folder, &arguments(&format!("{} --no-report --out ended", TRAININGS[0]))));
    let mut child = spawn(folder, &format!("{} --no-report --checkpoint-every 9 --out killed", TRAININGS[0]));
    while !folder.join("killed/checkpoints/00000054.json").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let _ = fs::remove_file(folder.join("killed/.lock"));

    let mut random = Rng::new(11, 0);
    let mut silent = Vec::new();
    for name in ["ended", "killed"] {
        let run = folder.join(name);
        assert!(is_noticed(&run).is_none(), "{name}: {:?}", is_noticed(&run));
        // Arrays whose manifest was removed just before the kill belong to no checkpoint.
        let is_orphan = |path: &PathBuf| {
            path.parent().unwrap().ends_with("checkpoints") && !path.with_extension("json").exists()
        };
        let files: Vec<PathBuf> = files(&run).into_iter().filter(|path| !is_orphan(path)).collect();
        for damage in 0..650 {
            let path = random.choose(&files);
            let bytes = fs::read(path).unwrap();
            let mut damaged = bytes.clone();
            let what = if damage % 13 < 3 {
                let length = random.below(bytes.len());
                damaged.truncate(length);
                format!("{} cut to {length} of {} bytes", path.display(), bytes.len())
            } else {
                let (byte, bit) = (random.below(bytes.len()), random.below(8));
                damaged[byte] ^= 1 << bit;
                format!("{} with bit {bit} of byte {byte} flipped", path.display())
            };
            fs::write(path, &damaged).unwrap();
            if is_noticed(&run).is_none() {
                silent.push(what);
            }
            fs::write(path, &bytes).unwrap();
        }
    }
    assert!(silent.is_empty(), "{} of 1300: {silent:#?}", silent.len());
}

/// What is said of the files of a run; nothing if they are as they were written. What a killed training left of its metrics
/// after the newest checkpoint does not count.
fn is_noticed(run: &Path) -> Option<String> {
    let verified = match run::verify(run) {
        Ok(verified) => verified,
        Err(error) => return Some(error.to_string()),
    };
    match run::metrics::read(run) {
        Err(error) => Some(error.to_string()),
        Ok((_, torn)) => verified.notes.first().cloned().or(torn),
    }
}

/// What was changed while a training was interrupted is refused before it goes on.
#[test]
fn a_changed_run_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut child = spawn(folder, &format!("{} --no-report --checkpoint-every 9 --out run", TRAININGS[0]));
    while !folder.join("run/checkpoints/00000018.json").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let run = folder.join("run");
    let refused = |file: &str, change: &dyn Fn(&str) -> Option<String>, expected: &str| {
        let whole = fs::read_to_string(run.join(file)).unwrap();
        match change(&whole) {
            Some(changed) => fs::write(run.join(file), changed).unwrap(),
            None => fs::remove_file(run.join(file)).unwrap(),
        }
        for arguments in [&["verify", "run"][..], &["train", "--no-report", "--resume", "run"]] {
            let output = bptt(folder, arguments);
            let error =
                String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                output.status.code() == Some(1) && error.contains(expected),
                "{file}, {arguments:?}: {error}"
            );
        }
        fs::write(run.join(file), whole).unwrap();
    };
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let joined = |lines: &[String]| Some(lines.join("\n") + "\n");
    let beginning = "its beginning is not what it was";
    refused("metrics.jsonl", &|text| joined(&[&lines(text)[..4], &lines(text)[9..]].concat()), beginning);
    refused("metrics.jsonl", &|text| Some(text.replacen("\"step\":4", "\"step\":5", 1)), beginning);
    refused(
        "metrics.jsonl",
        &|text| {
            let mut lines = lines(text);
            lines.swap(2, 5);
            joined(&lines)
        },
        beginning,
    );
    refused("config.toml", &|text| Some(text.replace("hidden = 8", "hidden = 9")), "was changed");
    refused("vocabulary.json", &|_| None, "vocabulary.json");
    stdout(&bptt(folder, &["train", "--no-report", "--resume", "run"]));
    stdout(&bptt(folder, &["verify", "run"]));

    // Another network of the same sizes.
    let snapshot = fs::read_dir(run.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    fs::copy(snapshot, run.join("model.safetensors")).unwrap();
    let (code, error) = refusal(&bptt(folder, &["verify", "run"]));
    assert!(code == 1 && error.contains("model.safetensors cannot be used: it was changed"), "{error}");

    // A network alone is somebody else's.
    fs::create_dir_all(folder.join("other/snapshots")).unwrap();
    fs::copy(run.join("model.safetensors"), folder.join("other/model.safetensors")).unwrap();
    fs::write(folder.join("other/snapshots/5.txt"), "mine").unwrap();
    let (_, error) = refusal(&bptt(folder, &arguments(&format!("{} --out other --force", TRAININGS[1]))));
    assert!(error.contains("is not empty and holds no run"), "{error}");
    assert!(folder.join("other/snapshots/5.txt").exists());
}

#[test]
fn a_training_that_is_stopped_before_its_first_update_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = "train --task delayed_xor:delay=4 --length 40 --hidden 24 --floss 2000 --steps 3 --no-report --out run";
    let mut child = spawn(folder, line);
    let metrics = folder.join("run/metrics.jsonl");
    while fs::metadata(&metrics).map_or(0, |found| found.len()) == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let said = stdout(&bptt(folder, &["verify", "run"]));
    assert!(said.contains("--resume begins again"), "{said}");
    // Two signals in a moment are one: a sender may signal a process and its group.
    let mut child = spawn(folder, "train --no-report --resume run");
    while !folder.join("run/.lock").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, "-TERM");
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(folder.join("run/model.safetensors").exists());
}
