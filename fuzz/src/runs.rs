//! Settings, and the folder of a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bptt::Readout;
use bptt_train::diagnose::{self, of_training};
use bptt_train::run::{self, Existing, Writer, metrics, snapshots};
use bptt_train::{Config, DataSource, Event, Flow, Run, Training, memory, task_by_name, train};
use bptt_view::report;
use serde_json::{Value, json};

/// What the run learns.
const TEXT: &str = "the cat sat on the mat.\n";

/// The bytes that a training may need here.
const MEMORY: f64 = 24e6;

/// Whether a training with these settings is made in milliseconds.
pub fn is_small(config: &Config) -> bool {
    let needed = memory::Sizes::of(config, Some(100)).and_then(|sizes| memory::of_training(config, &sizes));
    needed.is_ok_and(|needed| needed < MEMORY)
        && config.hidden * config.layers <= 24
        && config.batch * config.window <= 256
}

/// At most three updates on the task, or on a short text in place of any other.
///
/// # Panics
/// If the text cannot be prepared.
pub fn train_a_little(config: &Config) {
    let mut config = config.clone();
    (config.steps, config.floss) = (config.steps.min(3), config.floss.min(2));
    let mut observer = |_: &Event<'_>| Flow::Continue;
    if let Some(name) = &config.task {
        let Ok(task) = task_by_name(name) else { return };
        config.length = Some(config.length_of(&*task).min(task.least_length().max(12)));
        let steps = task.steps(config.length_of(&*task));
        if steps <= 60 {
            drop(train(&config, &DataSource::task(&*task, &config), &mut observer));
        }
        return;
    }
    config.text = None;
    if let Ok((vocabulary, corpus)) = run::prepare(&config, &TEXT.repeat(12)) {
        let data = DataSource::Text { corpus: &corpus, symbols: vocabulary.len() };
        drop(train(&config, &data, &mut observer));
    }
}

/// The files of a run by their names in its folder.
type Files = BTreeMap<String, Vec<u8>>;

const CHECKPOINT: &str = "checkpoints/00000002";

fn config() -> Config {
    Config {
        text: Some("text.txt".into()),
        hidden: 3,
        batch: 2,
        window: 4,
        steps: 4,
        evaluate_every: 2,
        trace_every: 2,
        ..Config::default()
    }
}

/// A run that was stopped after two of four updates, or, without a network, was killed then.
fn made(stopped: bool) -> Files {
    let (of, config) = (tempfile::tempdir().expect("a folder can be created"), config());
    let folder = of.path();
    let (vocabulary, corpus) = run::prepare(&config, &TEXT.repeat(12)).expect("the text can be learned");
    let data = DataSource::Text { corpus: &corpus, symbols: vocabulary.len() };
    let mut writer =
        Writer::begin(folder, &config, Some((&vocabulary, &corpus)), Existing::Refuse).expect("it is empty");
    let events = [
        json!({ "event": "step", "step": 1, "loss": 2.5, "loss_bits": 3.6, "gradient_norm": 1.5, "clipped_norm": 1.5, "learning_rate": 2e-3 }),
        json!({ "event": "trace", "step": 2, "horizon": 3, "decay": -0.5 }),
        json!({ "event": "evaluation", "step": 2, "held_out_loss": 2.4, "held_out_bits": 3.5 }),
    ];
    let (mut log, _) = writer.metrics(0).expect("a file can be written");
    events.iter().for_each(|event| log.add(event));
    let written = log.written().expect("a file can be written");
    let mut training = Training::new(&config, &data).expect("the settings are possible");
    let mut observer = |event: &Event<'_>| match event {
        Event::Updated { training, .. } if training.steps() == 2 => {
            writer.save_snapshot(2, training.network()).expect("it can be written");
            writer.save_checkpoint(training, &written).expect("it can be written");
            Flow::Stop
        }
        _ => Flow::Continue,
    };
    training.begin(&mut observer).expect("it begins");
    let outcome = training.go_on(&mut observer).expect("it trains");
    if stopped {
        writer.save_model(&outcome.network).expect("it can be written");
        writer.finish(false).expect("it can be written");
    }
    drop((writer, log));
    let mut files = Files::new();
    for inside in [folder.to_owned(), folder.join("checkpoints"), folder.join("snapshots")] {
        for path in bptt_io::files::list(&inside).expect("it can be listed") {
            if path.is_file() {
                let name = path.strip_prefix(folder).expect("it is inside").to_str().expect("it is text");
                files.insert(name.into(), fs::read(&path).expect("it can be read"));
            }
        }
    }
    files
}

/// The run that was stopped, or the one that was killed.
pub fn files(stopped: bool) -> &'static Files {
    static MADE: OnceLock<[Files; 2]> = OnceLock::new();
    &MADE.get_or_init(|| [made(false), made(true)])[usize::from(stopped)]
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Two lines: some JSON and its digest.
fn sealed(json: &[u8]) -> Vec<u8> {
    [json, b"\n", digest(json).as_bytes(), b"\n"].concat()
}

/// A manifest with right digests: of every file if `all`, otherwise where there is only `=` in place of one.
fn with_digests(json: &[u8], files: &Files, all: bool) -> Vec<u8> {
    let Ok(mut manifest) = serde_json::from_slice::<Value>(json) else { return sealed(json) };
    let listed = manifest.get_mut("files").and_then(Value::as_object_mut);
    for (name, known) in listed.into_iter().flatten() {
        if let Some(bytes) = files.get(name).filter(|_| all || known == "=") {
            *known = digest(bytes).into();
        }
    }
    sealed(manifest.to_string().as_bytes())
}

/// Lines with right checksums where they are objects.
fn with_checksums(text: &[u8]) -> Vec<u8> {
    let line = |line: &[u8]| match serde_json::from_slice::<Value>(line) {
        Ok(event) if event.as_object().is_some_and(|keys| !keys.is_empty()) => {
            metrics::line(&event).into_bytes()
        }
        _ => line.to_vec(),
    };
    let lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(line).collect();
    lines.join(&b'\n')
}

/// The files of a run with `bytes` in place of one of them, and checksums that fit.
pub fn replaced(which: u8, bytes: &[u8]) -> Files {
    let mut files = files(which & 1 == 1).clone();
    let (manifest, arrays) = (format!("{CHECKPOINT}.json"), format!("{CHECKPOINT}.safetensors"));
    let names = [
        "config.toml",
        "vocabulary.json",
        "metrics.jsonl",
        "run.json",
        &manifest,
        &arrays,
        "model.safetensors",
    ];
    let name = names[usize::from(which >> 1) % names.len()];
    let bytes = match name {
        "metrics.jsonl" => with_checksums(bytes),
        _ if name.ends_with(".safetensors") => {
            let (header, numbers) = crate::parts(bytes);
            crate::models::safetensors(header, numbers)
        }
        _ => bytes.to_vec(),
    };
    files.insert(name.into(), bytes);
    for of in [manifest.as_str(), "run.json"] {
        let given = files[of].clone();
        let is_given = of == name;
        let json =
            if is_given { &given } else { given.split(|&byte| byte == b'\n').next().unwrap_or_default() };
        let mut json = json.to_vec();
        if name == "metrics.jsonl" && of == manifest {
            let mut value: Value = serde_json::from_slice(&json).expect("it was written here");
            value["metrics"] = files[name].len().into();
            json = value.to_string().into_bytes();
        }
        let whole = with_digests(&json, &files, !is_given);
        files.insert(of.into(), whole);
    }
    files
}

/// Writes files into a folder that has nothing else then.
pub fn write(folder: &Path, files: &Files) {
    let inside = |name: &str| folder.join(name);
    fs::create_dir_all(inside("checkpoints")).expect("a folder can be created");
    fs::create_dir_all(inside("snapshots")).expect("a folder can be created");
    for (name, bytes) in files {
        fs::write(inside(name), bytes).expect("a file can be written");
    }
    if !files.contains_key("model.safetensors") {
        drop(fs::remove_file(inside("model.safetensors")));
    }
}

/// Reads and continues the run with `bytes` in place of one of its files.
pub fn read_with(which: u8, bytes: &[u8]) {
    let folder: PathBuf = crate::folder().join("run");
    write(&folder, &replaced(which, bytes));
    let _ = (run::exists(&folder), run::finished(&folder), run::ended(&folder), run::verify(&folder));
    if let Ok(run) = Run::open(&folder) {
        let outputs = run.network.weights().readout.as_ref().map_or(0, Readout::outputs);
        assert_eq!(outputs, run.network.inputs());
        if let Ok(vocabulary) = run.vocabulary() {
            drop(vocabulary.encode(TEXT).map(|ids| vocabulary.decode(&ids)));
        }
    }
    drop(snapshots::read(&folder));
    if let Ok((events, _)) = metrics::read(&folder) {
        let _ = report::training(&events);
        if let Some((training, _)) = diagnose::Training::read(&events) {
            drop(of_training(&training));
        }
    }
    resume(&folder);
}

/// Continues it as `bptt train --resume` does.
fn resume(folder: &Path) {
    let Ok(config) = run::read_config(&folder.join(run::CONFIG)) else { return };
    if config.check().is_err() || !is_small(&config) || config.task.is_some() || config.floss > 2 {
        return;
    }
    let Ok((vocabulary, corpus)) = run::prepare(&config, &TEXT.repeat(12)) else { return };
    let data = DataSource::Text { corpus: &corpus, symbols: vocabulary.len() };
    let Ok(mut training) = Training::new(&config, &data) else { return };
    if Writer::resume(folder, &config, Some(&corpus), &mut training).is_err() {
        return;
    }
    let mut left = 3;
    let mut observer = |event: &Event<'_>| {
        left -= i32::from(matches!(event, Event::Updated { .. }));
        if left > 0 { Flow::Continue } else { Flow::Stop }
    };
    drop(training.go_on(&mut observer));
}
