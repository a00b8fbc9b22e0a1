//! Folders whose files somebody has changed, with digests that fit: refused by name, and before memory is taken.

use std::fs;
use std::path::Path;

use bptt_train::compare::{Budget, Comparison, Folder, Plan};
use bptt_train::run::{self, Existing, Writer};
use bptt_train::{Config, DataSource, Event, Flow, Run, Training};
use serde_json::Value;

/// A run that was killed after its second update.
fn killed(folder: &Path) {
    let config = Config {
        hidden: 3,
        batch: 2,
        window: 4,
        steps: 4,
        text: Some("text.txt".into()),
        ..Config::default()
    };
    let (vocabulary, corpus) = run::prepare(&config, &"the cat sat on the mat.\n".repeat(8)).unwrap();
    let data = DataSource::Text { corpus: &corpus, symbols: vocabulary.len() };
    let writer = Writer::begin(folder, &config, Some((&vocabulary, &corpus)), Existing::Refuse).unwrap();
    let written = writer.metrics(0).unwrap().0.written().unwrap();
    let mut observer = |event: &Event<'_>| match event {
        Event::Updated { training, .. } if training.steps() == 2 => {
            writer.save_checkpoint(training, &written).unwrap();
            Flow::Stop
        }
        _ => Flow::Continue,
    };
    Training::new(&config, &data).unwrap().go_on(&mut observer).unwrap();
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Changes a file of JSON with its own digest.
fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(fs::read_to_string(path).unwrap().lines().next().unwrap()).unwrap();
    change(&mut value);
    let json = value.to_string();
    fs::write(path, format!("{json}\n{}\n", digest(json.as_bytes()))).unwrap();
}

/// Puts other settings into a run.
fn configure(folder: &Path, config: &str) {
    fs::write(folder.join(run::CONFIG), config).unwrap();
    for file in ["run.json", "checkpoints/00000002.json"] {
        change(&folder.join(file), |value| value["files"][run::CONFIG] = digest(config.as_bytes()).into());
    }
}

#[test]
fn a_network_that_the_checkpoint_cannot_hold_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    killed(folder.path());
    assert_eq!(Run::open(folder.path()).unwrap().network.hidden(), 3);
    let refused = |config: &str| {
        configure(folder.path(), config);
        (Run::open(folder.path()).unwrap_err().to_string(), run::verify(folder.path()).is_err())
    };
    let (message, verified) = refused("hidden = 32768\nlayers = 1073741824\ncell = \"lstm\"\n");
    assert!(
        message.contains("the network of the settings has 9223653507538485260 numbers, and there are 402")
            && verified,
        "{message}"
    );
    let (message, _) = refused("hidden = 4\n");
    assert!(message.contains("is [3, 12] of F32, expected [4, 12] of F32"), "{message}");
    let (message, _) = refused("hidden = 4611686018427387904\n");
    assert!(message.starts_with("hidden: 4611686018427387904 is not possible"), "{message}");
}

#[test]
fn a_manifest_names_files_of_the_run_only() {
    let folder = tempfile::tempdir().unwrap();
    killed(folder.path());
    for name in ["/dev/zero", "../model.safetensors", "snapshots/../../x.safetensors", "report.html", ""] {
        change(&folder.path().join("run.json"), |value| {
            let files = value["files"].as_object_mut().unwrap();
            files.retain(|name, _| name == run::CONFIG);
            files.insert(name.into(), "0".into());
        });
        let refused = Run::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("{name:?}, which is no file of a run")), "{refused}");
    }
}

#[test]
fn a_comparison_of_any_size_is_read_or_refused() {
    let comparison = |base: Config, seeds| Comparison {
        base: Config { task: Some("adding".into()), length: base.length.or(Some(10)), ..base },
        remedies: vec!["none".into(), "lstm".into()],
        seeds,
        budget: Budget::Flops,
        solved_at: 0.9,
    };
    let plan = |base: Config, seeds| Plan::new(comparison(base, seeds)).map(|plan| plan.trainings().len());
    // Networks of gigabytes are counted, not made.
    assert_eq!(plan(Config { hidden: 32_768, ..Config::default() }, 2).unwrap(), 4);
    let refused = |base: Config, seeds| plan(base, seeds).unwrap_err().to_string();
    let message = refused(Config::default(), 1 << 40);
    assert!(
        message.starts_with("seeds: 1099511627776 is not possible; expected at most 1048576 trainings"),
        "{message}"
    );
    let message = refused(Config { steps: i64::MAX as u64, ..Config::default() }, 1);
    assert!(message.contains("fewer than 2⁶⁴ floating-point operations"), "{message}");
    // A folder is read whatever its comparison asks for.
    let folder = tempfile::tempdir().unwrap();
    let base = Config { length: Some(1 << 30), ..Config::default() };
    let there = serde_json::json!({ "schema": "bptt.comparison-settings/1", "comparison": comparison(base, 1 << 40) });
    fs::write(folder.path().join("comparison.json"), there.to_string()).unwrap();
    assert_eq!(Folder::existing(folder.path()).unwrap().unwrap().1.seeds, 1 << 40);
}
