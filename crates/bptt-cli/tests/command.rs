//! The command: its output, its files, and its errors.

#[path = "command/book.rs"]
mod book;
mod common;
#[path = "command/documents.rs"]
mod documents;
#[path = "../src/args/shell_lines.rs"]
mod shell_lines;
#[path = "command/traces.rs"]
mod traces;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use common::{bptt, refusal, stdout};

/// A folder with a small text and a small run of it.
struct Fixture {
    folder: tempfile::TempDir,
}

const SMALL: [&str; 8] = ["--hidden", "12", "--steps", "30", "--window", "16", "--batch", "20"];

impl Fixture {
    fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        let text = "the quick brown fox jumps over the lazy dog\n".repeat(40);
        fs::write(fixture.path("text.txt"), text).unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bptt(&self, arguments: &[&str]) -> Output {
        bptt(self.folder.path(), arguments)
    }

    fn train(&self, out: &str, more: &[&str]) -> Output {
        let mut arguments = vec!["train", "--text", "text.txt", "--out", out];
        if !more.contains(&"--trace-every") {
            arguments.extend(["--trace-every", "10"]);
        }
        arguments.extend(SMALL);
        arguments.extend(more);
        self.bptt(&arguments)
    }
}

#[test]
fn the_article_is_printed_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    // The exact balance depends on rounding.
    insta::with_settings!({filters => vec![(r"error \d\.\de-1\d", "error [rounding]")]}, {
        insta::assert_snapshot!(stdout(&bptt(folder.path(), &["article"])));
    });
}

#[test]
fn the_articles_json_has_the_documented_schema() {
    let json: Value = serde_json::from_str(&stdout(&bptt(Path::new("."), &["article", "--json"]))).unwrap();
    assert_eq!(json["schema"], "bptt.ledger/2");
    assert_eq!((&json["loss_steps"], json["steps"].as_u64()), (&serde_json::json!([0, 1, 2]), Some(3)));
    assert!(json["losses"].is_null() && json["total_loss"].is_null(), "gradients alone are given");
    assert_eq!((&json["provenance"]["cell"], &json["states"]["v"]), (&"rnn".into(), &"value".into()));
    let said = json["assumptions"].as_array().unwrap();
    assert!(said.iter().any(|sentence| sentence.as_str().unwrap().contains("transpose of PyTorch's")));
    assert_eq!(
        json["components"]["weight_ih"][2][0][0][3].as_f64().map(|v| (v * 1e8).round()),
        Some(-1_311_703.0)
    );
    assert_eq!(json["components"]["weight_hh"][2].as_array().unwrap().len(), 3);
    assert_eq!(json["components"]["bias"][1].as_array().unwrap().len(), 2);
    let entries = json["entries"].as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|e| e["parameter"].as_str().unwrap()).collect();
    assert_eq!(names, ["weight_ih", "weight_hh", "bias", "input", "initial_state"]);
    assert!(entries[0]["norm"][0][1].is_null() && entries[0]["norm"][1][1].is_f64());
    assert_eq!(entries[0]["state"][1], "vv.");
    assert_eq!(entries[4]["norm"].as_array().unwrap().len(), 3);
    let shares: f64 = entries[0]["share"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .filter_map(Value::as_f64)
        .sum();
    assert!((shares - 1.0).abs() < 1e-7);
}

#[test]
fn help_has_examples_on_every_command() {
    for command in [
        "demo", "article", "train", "tasks", "compare", "sample", "trace", "plot", "report", "diagnose",
        "check", "inspect", "export",
    ] {
        let help = stdout(&bptt(Path::new("."), &[command, "--help"]));
        assert!(help.contains("Example") && help.contains(&format!("bptt {command}")), "{command}");
    }
}

#[test]
fn a_run_can_be_sampled_and_traced() {
    let fixture = Fixture::new();
    let trained = stdout(&fixture.train("runs/a", &[]));
    assert!(trained.contains("bigram") && trained.contains("wrote runs/a"), "{trained}");
    for file in ["config.toml", "vocabulary.json", "model.safetensors", "metrics.jsonl"] {
        assert!(fixture.path("runs/a").join(file).exists(), "{file}");
    }

    let sample = ["sample", "runs/a", "--prime", "the ", "--length", "30", "--seed", "7"];
    let text = stdout(&fixture.bptt(&sample));
    assert!(text.starts_with("the ") && text.chars().count() == 35, "{text:?}");
    assert_eq!(stdout(&fixture.bptt(&sample)), text);

    let table = stdout(&fixture.bptt(&["trace", "runs/a", "--text", "the quick fox", "--predicting", "q"]));
    assert!(table.starts_with("loss 4: predicting “q” after “␣”"), "{table}");
    assert!(table.contains("horizon") && table.contains("decay") && table.contains("balance"));

    let json: Value =
        serde_json::from_str(&stdout(&fixture.bptt(&["trace", "runs/a", "--text", "the fox", "--json"])))
            .unwrap();
    assert_eq!(
        json["symbols"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect::<String>(),
        "⏎the␣fo"
    );
    for (_, error) in json["balance"].as_object().unwrap() {
        assert!(error.as_f64().unwrap() < 1e-12);
    }

    stdout(&fixture.bptt(&["trace", "runs/a", "--batch", "3", "--steps", "10", "--out", "ledger.npz"]));
    let mut archive = zip::ZipArchive::new(fs::File::open(fixture.path("ledger.npz")).unwrap()).unwrap();
    let norms = npyz::NpyFile::new(archive.by_name("weight_hh_norm_l0.npy").unwrap()).unwrap();
    assert_eq!(norms.shape(), [10, 10]);
    let norms: Vec<f64> = norms.into_vec().unwrap();
    assert!(norms[1].is_nan() && norms[99] > 0.0);
}

/// Lines of metrics without the times and their checksums.
fn metrics(path: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        let event = value.as_object_mut().unwrap();
        event.remove("seconds");
        event.remove("check");
        value
    };
    lines.lines().map(parse).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let fixture = Fixture::new();
    for (out, threads) in [("one", "1"), ("two", "2"), ("again", "2")] {
        stdout(&fixture.train(out, &["--threads", threads, "--seed", "5"]));
    }
    let model = |run: &str| fs::read(fixture.path(run).join("model.safetensors")).unwrap();
    assert!(model("one") == model("two") && model("two") == model("again"));
    let first = metrics(&fixture.path("one"));
    assert_eq!(first.len(), 30 + 3 + 1);
    assert_eq!(first, metrics(&fixture.path("two")));
    assert_eq!(first, metrics(&fixture.path("again")));
    stdout(&fixture.train("other", &["--seed", "6"]));
    assert!(model("one") != model("other"));
}

#[test]
fn dropout_gives_the_same_bytes_with_any_number_of_threads() {
    let fixture = Fixture::new();
    let two = ["--layers", "2"];
    let with = ["--layers", "2", "--dropout", "0.4", "--threads"];
    stdout(&fixture.train("plain", &two));
    stdout(&fixture.train("one", &[&with[..], &["1"]].concat()));
    stdout(&fixture.train("two", &[&with[..], &["2"]].concat()));
    let model = |run: &str| fs::read(fixture.path(run).join("model.safetensors")).unwrap();
    assert!(model("one") == model("two") && model("one") != model("plain"));
}

#[test]
fn a_run_is_never_written_over() {
    let fixture = Fixture::new();
    stdout(&fixture.train("run", &[]));
    let before = fs::read(fixture.path("run/model.safetensors")).unwrap();
    let (code, message) = refusal(&fixture.train("run", &["--seed", "9"]));
    assert_eq!(
        (code, message.as_str()),
        (
            1,
            "run already contains a run; choose another --out, continue it with --resume, or replace it with --force"
        )
    );
    assert_eq!(fs::read(fixture.path("run/model.safetensors")).unwrap(), before);
}

#[test]
fn a_task_can_be_learned_and_traced() {
    let fixture = Fixture::new();
    let tasks: Value =
        serde_json::from_str(&stdout(&fixture.bptt(&["tasks", "--length", "30", "--json"]))).unwrap();
    let adding = &tasks["tasks"][0];
    assert_eq!((tasks["schema"].as_str(), adding["name"].as_str()), (Some("bptt.tasks/1"), Some("adding")));
    assert_eq!(adding["lag"], serde_json::json!([16, 29]));
    assert!(stdout(&fixture.bptt(&["tasks"])).contains("copy_memory"));

    let train = ["train", "--task", "noisy_latch", "--length", "8", "--hidden", "4", "--steps", "200"];
    let more = ["--learning-rate", "0.02", "--floss", "3", "--omega", "0.1", "--out", "latch", "--json"];
    let learned = stdout(&fixture.bptt(&[&train[..], &more].concat()));
    let learned: Value = serde_json::from_str(&learned).unwrap();
    assert!(learned["solved"].as_f64().unwrap() > 0.99, "{learned}");
    assert!(learned["held_out_loss"].as_f64() < learned["baseline_loss"].as_f64());
    assert_eq!((learned["lag"].clone(), learned["length"].as_u64()), (serde_json::json!([5, 7]), Some(8)));
    let metrics = fs::read_to_string(fixture.path("latch/metrics.jsonl")).unwrap();
    let events = |name: &str| metrics.lines().filter(|line| line.contains(&format!("\"{name}\""))).count();
    assert_eq!((events("flossing"), events("step"), events("end")), (3, 205, 1));
    assert!(!fixture.path("latch/vocabulary.json").exists());

    let again =
        stdout(&fixture.bptt(&["train", "--config", "latch/config.toml", "--out", "again", "--json"]));
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["held_out_loss"], learned["held_out_loss"]);

    let table = stdout(&fixture.bptt(&["trace", "latch", "--batch", "2"]));
    assert!(table.starts_with("loss 7 of noisy_latch with L = 8, 2 sequences: "), "{table}");
    let (code, message) = refusal(&fixture.bptt(&["sample", "latch"]));
    let expected = "this is a run of the task noisy_latch; expected a run of a text";
    assert_eq!((code, message.as_str()), (2, expected));
    let (_, message) = refusal(&fixture.bptt(&["trace", "latch", "--text", "a"]));
    assert_eq!(message, "--text applies to texts only; this is a run of the task noisy_latch");
}

#[test]
fn bad_input_is_refused_before_work_starts() {
    let fixture = Fixture::new();
    fs::write(fixture.path("empty.txt"), "").unwrap();
    fs::write(fixture.path("latin1.txt"), b"caf\xe9").unwrap();
    fs::write(fixture.path("short.txt"), "too short").unwrap();
    fs::write(fixture.path("broken.toml"), "hidden = 3\nsteps = \"many\"\n").unwrap();
    fs::write(fixture.path("a-file"), "").unwrap();

    let train = |arguments: &[&str]| {
        let mut all = vec!["train", "--out", "never"];
        all.extend(arguments);
        let refused = refusal(&fixture.bptt(&all));
        assert!(!fixture.path("never").exists(), "{arguments:?} left a folder behind");
        refused
    };
    let cases: [(&[&str], i32, &str); 13] = [
        (&["--text", "missing.txt"], 1, "cannot read missing.txt: No such file"),
        (&["--text", "empty.txt"], 1, "empty.txt is empty"),
        (&["--text", "latin1.txt"], 1, "latin1.txt is not UTF-8: byte 0xe9 at offset 3"),
        (&["--text", "short.txt"], 1, "32 streams of windows of 64 steps need 2049 symbols, given"),
        (&["--text", "text.txt", "--hidden", "0"], 2, "hidden: 0 is not possible; expected at least 1"),
        (&["--text", "text.txt", "--learning-rate", "NaN"], 2, "learning_rate: NaN is not possible"),
        (&["--text", "text.txt", "--cell", "perceptron"], 2, "cell: \"perceptron\" is not possible"),
        (&["--config", "broken.toml"], 1, "line 2, column 9"),
        (&["--task", "subtracting"], 2, "task: subtracting is not possible; expected adding, multiplication"),
        (
            &["--task", "adding", "--length", "5"],
            2,
            "length: 5 for adding is not possible; expected at least 6",
        ),
        (&["--task", "adding", "--window", "5"], 2, "--window applies to texts only, not to the task adding"),
        (&["--text", "text.txt", "--length", "5"], 2, "length: 5 is not possible; expected a task"),
        (&[], 2, "nothing to learn; expected --text FILE, --generate cue_sentences or --task NAME"),
    ];
    for (arguments, code, expected) in cases {
        let (found, message) = train(arguments);
        assert_eq!(found, code, "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }

    let (code, message) = refusal(&fixture.train("a-file/run", &[]));
    assert_eq!(code, 1);
    assert!(message.contains("cannot create a-file/run"), "{message}");
}

#[test]
fn damaged_runs_and_unknown_symbols_are_named() {
    let fixture = Fixture::new();
    stdout(&fixture.train("run", &[]));
    let refused = |arguments: &[&str]| refusal(&fixture.bptt(arguments));

    let (code, message) = refused(&["trace", "run", "--text", "the\nfox ß"]);
    assert_eq!(code, 1);
    assert!(
        message.contains("line 2, column 5: \"ß\" (symbol 9 of the text) is not in the vocabulary"),
        "{message}"
    );
    assert_eq!(refused(&["trace", "run", "--text", "fox", "--predicting", "z"]).0, 2);
    assert_eq!(refused(&["trace", "run", "--text", "fox", "--loss-step", "9"]).0, 2);
    assert_eq!(refused(&["sample", "run", "--temperature", "NaN"]).0, 2);
    assert_eq!(refused(&["sample", "nowhere"]).0, 1);

    let model = fixture.path("run/model.safetensors");
    let whole = fs::read(&model).unwrap();
    fs::write(&model, &whole[..whole.len() - 10]).unwrap();
    let (code, message) = refused(&["sample", "run"]);
    assert!(code == 1 && message.contains("model.safetensors is not a usable model"), "{message}");
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&model, &flipped).unwrap();
    assert!(refused(&["sample", "run"]).1.contains("(checksum)"));
    fs::write(&model, b"not a model").unwrap();
    assert_eq!(refused(&["sample", "run"]).0, 1);
}

#[test]
fn a_loss_that_is_not_finite_stops_training_and_keeps_the_last_good_network() {
    let fixture = Fixture::new();
    let wild = ["--cell", "rnn_identity", "--learning-rate", "1e6", "--optimizer", "sgd", "--clip-norm", "0"];
    let output = fixture.train("wild", &wild);
    let message = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains("training stopped at update ") && message.contains("not finite"), "{message}");
    let sample = fixture.bptt(&["sample", "wild", "--length", "5"]);
    assert!(sample.status.success(), "the network kept is usable");
}
