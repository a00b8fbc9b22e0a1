//! The command: its output, its files, and its errors.

mod common;

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
    assert!((shares - 1.0).abs() < 1e-12);
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

/// Lines of metrics without the times.
fn metrics(path: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds");
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
        (1, "run already contains a run; choose another --out or remove it")
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
    let wild =
        ["--cell", "rnn_identity", "--learning-rate", "1e30", "--optimizer", "sgd", "--clip-norm", "0"];
    let output = fixture.train("wild", &wild);
    let message = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains("training stopped at update 2") && message.contains("not finite"), "{message}");
    let sample = fixture.bptt(&["sample", "wild", "--length", "5"]);
    assert!(sample.status.success(), "the network kept is usable");
}

/// Three updates of both networks into `out`.
fn demo(fixture: &Fixture, out: &str, more: &[&str]) -> Output {
    let mut arguments = vec!["demo", "--steps", "3", "--out", out];
    arguments.extend(more);
    fixture.bptt(&arguments)
}

#[test]
fn the_demo_compares_two_networks_and_leaves_two_runs() {
    let fixture = Fixture::new();
    let output = demo(&fixture, "demo", &["--json"]);
    assert!(output.stderr.is_empty(), "no progress where stderr is no terminal");
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&json["schema"], &json["parameter"]), (&"bptt.demo/2".into(), &"weight_ih".into()));
    assert_eq!((&json["cue"], &json["effect"]), (&"food".into(), &"dinner".into()));
    let networks = json["networks"].as_array().unwrap();
    let cells: Vec<&str> = networks.iter().map(|network| network["cell"].as_str().unwrap()).collect();
    assert_eq!(cells, ["rnn", "lstm"]);
    for network in networks {
        let number = |value: &Value| value.as_f64().unwrap();
        let word = |word: &Value| {
            ["weight_ih", "weight_hh", "bias"].map(|key| number(&word[key])).iter().sum::<f64>()
        };
        let taught = network["taught_bits"].as_array().unwrap();
        assert_eq!(
            (taught.len(), &taught[3]["word"], &taught[3]["distance"]),
            (14, &"food".into(), &11.into())
        );
        let rest = ["earlier_bits", "readout_bits", "remainder_bits"].map(|key| number(&network[key]));
        let decrease = number(&network["loss_bits"]["first"]) - number(&network["loss_bits"]["last"]);
        let pieces = taught.iter().map(word).chain(rest).sum::<f64>();
        assert!((decrease - pieces).abs() < 1e-12, "{decrease} {pieces}");
        let row = network["row"].as_array().unwrap();
        assert_eq!(row[row.len() - 11]["word"], "food");
        assert!(number(&row[row.len() - 1]["norm"]) > 0.0);
        assert!(number(&network["untrained_reach"]["decay_per_step"]) < 0.0);

        let run = network["run"].as_str().unwrap();
        let ledger = fs::read(fixture.path(run).join("ledger.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&ledger).unwrap()["schema"], "bptt.ledger/2");
        stdout(&fixture.bptt(&["trace", run, "--text", "no food", "--predicting", "food"]));
        stdout(&fixture.bptt(&["sample", run, "--prime", "Without ink", "--length", "5"]));
    }

    let text = stdout(&demo(&fixture, "other", &["--threads", "1"]));
    assert!(
        text.contains("what taught them “dinner”?") && text.contains("does the gradient of the LSTM reach"),
        "{text}"
    );
    for model in ["rnn/model.safetensors", "lstm/model.safetensors"] {
        let bytes = |out: &str| fs::read(fixture.path(out).join(model)).unwrap();
        assert!(bytes("demo") == bytes("other"), "{model} with one thread");
    }
}

#[test]
fn a_demo_replaces_demos_alone() {
    let fixture = Fixture::new();
    stdout(&demo(&fixture, "demo", &[]));
    let model = |run: &str| fs::read(fixture.path(run).join("model.safetensors")).unwrap();
    let first = model("demo/lstm");
    // An older version wrote one run into the folder itself.
    for file in ["config.toml", "vocabulary.json", "model.safetensors", "metrics.jsonl", "ledger.json"] {
        fs::copy(fixture.path("demo/rnn").join(file), fixture.path("demo").join(file)).unwrap();
    }
    fs::write(fixture.path("demo/notes.txt"), "mine").unwrap();
    stdout(&demo(&fixture, "demo", &["--seed", "2"]));
    assert!(model("demo/lstm") != first);
    let mut left: Vec<_> =
        fs::read_dir(fixture.path("demo")).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lstm", "notes.txt", "report.html", "rnn"]);

    for run in ["mine", "deeper/lstm"] {
        stdout(&fixture.train(run, &[]));
        // A ledger in its folder does not make a run a demo.
        stdout(&fixture.bptt(&["trace", run, "--text", "fox", "--out", &format!("{run}/ledger.json")]));
        let before = model(run);
        let (code, message) = refusal(&demo(&fixture, run.split('/').next().unwrap(), &[]));
        assert!(code == 1 && message.contains(&format!("{run} already contains a run")), "{message}");
        assert!(model(run) == before);
    }
    assert!(!fixture.path("deeper/rnn").exists(), "refused before anything is written");
}

/// The data of the report at `path`.
fn report(path: &Path) -> Value {
    let page = fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn training_ends_with_a_report_that_shows_the_training_from_its_beginning() {
    let fixture = Fixture::new();
    let text = stdout(&fixture.train("run", &["--cell", "lstm"]));
    assert!(text.ends_with("report: run/report.html\n"), "{text}");
    let shown = report(&fixture.path("run/report.html"));
    let subject = &shown["subjects"][0];
    let steps = subject["stages"].as_array().unwrap().iter().map(|stage| stage["step"].as_u64().unwrap());
    assert_eq!(steps.collect::<Vec<_>>(), [0, 1, 3, 7, 15, 30]);
    assert_eq!(subject["training"]["steps"].as_array().unwrap().len(), 30);
    let again = "bptt train --text text.txt --cell lstm --hidden 12 --steps 30 --batch 20 --window 16 --trace-every 10 \
                 --out run";
    assert_eq!(shown["reproduce"], serde_json::json!([again]));

    let ledger: Value =
        serde_json::from_str(&stdout(&fixture.bptt(&["trace", "run", "--gates", "--json"]))).unwrap();
    let entry = &subject["stages"][5]["entries"][1];
    assert_eq!(entry["total_norm"], ledger["entries"][1]["total_norm"]);
    assert_eq!(entry["log10_profile"], ledger["entries"][1]["log10_profile"]);

    let quiet = stdout(&fixture.train("quiet", &["--no-report", "--trace-every", "0", "--json"]));
    assert!(serde_json::from_str::<Value>(&quiet).unwrap()["report"].is_null());
    assert!(!fixture.path("quiet/report.html").exists() && !fixture.path("quiet/snapshots").exists());
}

#[test]
fn a_report_is_made_of_one_run_or_of_all_in_a_folder() {
    let fixture = Fixture::new();
    for run in ["runs/a", "runs/b"] {
        stdout(&fixture.train(run, &["--no-report"]));
    }
    let text = stdout(&fixture.bptt(&["report", "runs", "--text", "the fox", "--predicting", "f"]));
    assert_eq!(text, "wrote runs/report.html\n");
    let shown = report(&fixture.path("runs/report.html"));
    let names: Vec<&Value> = shown["subjects"].as_array().unwrap().iter().map(|of| &of["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((&shown["subjects"][0]["k"], &shown["subjects"][0]["targets"][4]), (&4.into(), &"f".into()));
    assert_eq!(shown["reproduce"][2], "bptt report runs --text 'the fox' --predicting f");

    let (code, message) = refusal(&fixture.bptt(&["report", "nowhere"]));
    assert_eq!(
        (code, message.as_str()),
        (2, "nowhere is not a run and contains none; bptt train creates runs")
    );
    assert_eq!(refusal(&fixture.bptt(&["report", "runs/a", "--loss-step", "99"])).0, 2);
    let (code, message) = refusal(&fixture.bptt(&["report", "runs/a", "--steps", "100000"]));
    assert!(code != 0 && !message.is_empty(), "{message}");
}

#[test]
fn both_directions_can_be_learned_and_traced_but_not_sampled() {
    let fixture = Fixture::new();
    let both = ["--bidirectional", "--layers", "2", "--cell", "lstm"];
    let output = fixture.train("both", &both);
    assert!(String::from_utf8_lossy(&output.stderr).contains("reads the symbols that it predicts"));
    stdout(&output);
    stdout(&fixture.train("again", &[&both[..], &["--threads", "1"]].concat()));
    let model = |run: &str| fs::read(fixture.path(run).join("model.safetensors")).unwrap();
    assert!(model("both") == model("again"));
    assert!(fs::read_to_string(fixture.path("both/config.toml")).unwrap().contains("bidirectional = true"));

    let (code, message) = refusal(&fixture.bptt(&["sample", "both"]));
    assert!(
        code == 2 && message.contains("its reverse cells read symbols that are not generated yet"),
        "{message}"
    );
    let trace = |more: &[&str]| {
        fixture.bptt(&[&["trace", "both", "--text", "fox", "--loss-step", "1"][..], more].concat())
    };
    // Loss 1 reaches steps 0 and 1 through the top layer's forward cell, 1 and 2 through its reverse cell, and all below.
    for (layer, direction, first) in [
        ("1", "forward", vec!["0", "1"]),
        ("1", "reverse", vec!["1", "2"]),
        ("0", "reverse", vec!["0", "1", "2"]),
    ] {
        let text = stdout(&trace(&["--layer", layer, "--direction", direction]));
        assert!(
            text.contains(&format!("contributions to weight_hh of layer {layer}, {direction} cell")),
            "{text}"
        );
        let steps: Vec<_> = text.lines().skip(3).map_while(|line| line.split_whitespace().next()).collect();
        assert_eq!(steps, first, "{text}");
    }
    let json: Value = serde_json::from_str(&stdout(&trace(&["--json"]))).unwrap();
    let reverse =
        json["entries"].as_array().unwrap().iter().filter(|entry| entry["direction"] == "reverse").count();
    assert_eq!(reverse, 4 + 3 + 4, "weights, bias, input, and initial states");

    stdout(&fixture.train("forward", &[]));
    let (code, message) =
        refusal(&fixture.bptt(&["trace", "forward", "--text", "fox", "--direction", "reverse"]));
    assert!(code == 2 && message.contains("this network is not bidirectional"), "{message}");
}

#[test]
fn gates_and_paths_are_shown_separately() {
    let fixture = Fixture::new();
    stdout(&fixture.train("runs/lstm", &["--cell", "lstm", "--layers", "2"]));
    let trace = ["trace", "runs/lstm", "--text", "the lazy dog", "--gates", "--paths"];
    let json: Value =
        serde_json::from_str(&stdout(&fixture.bptt(&[&trace[..], &["--json"]].concat()))).unwrap();
    let entry = &json["entries"][0];
    let last = entry["norm"].as_array().unwrap().len() - 1;
    let norm = entry["norm"][last][2].as_f64().unwrap();
    let squares: f64 = ["i", "f", "g", "o"]
        .map(|gate| entry["gate_norm"][gate][last][2].as_f64().unwrap().powi(2))
        .iter()
        .sum();
    assert!((squares.sqrt() / norm - 1.0).abs() < 1e-12);
    let saturation = json["saturation"].as_array().unwrap();
    assert_eq!((saturation.len(), &saturation[5]["gate"]), (8, &Value::from("f")));
    assert!(saturation.iter().all(|of| of["low"].as_f64().unwrap() + of["high"].as_f64().unwrap() <= 1.0));
    let split = &json["paths"][0];
    assert_eq!((split["loss"].as_u64(), split["layer"].as_u64()), (Some(last as u64), Some(0)));
    for t in 0..=last {
        let shares = split["share"].as_object().unwrap();
        assert_eq!(shares.keys().collect::<Vec<_>>(), ["seed", "along_c", "through_gates", "through_h"]);
        let sum: f64 = shares.values().map(|of| of[t].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }

    let table = stdout(&fixture.bptt(&trace));
    for word in ["i", "f", "g", "o", "along_c", "through_gates", "low end"] {
        assert!(
            table.contains(&format!("{word}  ")) || table.contains(&format!("  {word}")),
            "{word}: {table}"
        );
    }
    let plain = stdout(&fixture.bptt(&trace[..4]));
    assert!(!plain.contains("along_c") && !plain.contains("saturation"));
}

#[test]
fn truncation_is_shown_where_it_cuts() {
    let fixture = Fixture::new();
    stdout(&fixture.train("run", &[]));
    let trace = ["trace", "run", "--text", "the lazy dog", "--detach-every", "4", "--burn-in", "2"];
    let json: Value =
        serde_json::from_str(&stdout(&fixture.bptt(&[&trace[..], &["--json"]].concat()))).unwrap();
    assert_eq!(json["entries"][0]["state"][9], "ccccccccvv..");
    assert!(["norm", "share", "state"].iter().all(|key| json["entries"][0][key][1].is_null()));
    assert_eq!(json["loss_steps"], serde_json::json!((2..12).collect::<Vec<_>>()));
    assert!(json["losses"][1].is_null() && json["losses"][2].as_f64().unwrap() > 0.0);
    assert_eq!(json["gradient_span"][3], serde_json::json!([2, 4]));
    assert!(stdout(&fixture.bptt(&trace)).contains("cut at 8"));
    let (code, message) = refusal(&fixture.bptt(&[&trace[..], &["--loss-step", "1"]].concat()));
    let expected =
        "there is no loss at step 1: it is masked, padding or burn-in; choose another with --loss-step";
    assert_eq!((code, message.as_str()), (2, expected));
}

#[test]
fn small_contributions_are_merged_with_a_tolerance() {
    let fixture = Fixture::new();
    stdout(&fixture.train("run", &[]));
    let trace = ["trace", "run", "--text", "the lazy dog", "--tolerance", "0.3"];
    let json: Value =
        serde_json::from_str(&stdout(&fixture.bptt(&[&trace[..], &["--json"]].concat()))).unwrap();
    assert_eq!(json["tolerance"], 0.3);
    let entry = &json["entries"][1];
    let state = entry["state"][11].as_str().unwrap();
    assert!(state.starts_with('r') && state.ends_with('v'), "{state}");
    let sum = |numbers: &Value| -> f64 { numbers.as_array().unwrap().iter().filter_map(Value::as_f64).sum() };
    let separate: f64 = entry["share"].as_array().unwrap().iter().map(sum).sum();
    assert!((separate + sum(&entry["remainder_share"]) - 1.0).abs() < 1e-9);
    let text = stdout(&fixture.bptt(&trace));
    assert!(text.contains("remainder") && text.contains("merged into one row"), "{text}");
    let (code, message) = refusal(&fixture.bptt(&["trace", "run", "--text", "fox", "--tolerance", "2"]));
    let expected = "tolerance: 2 is not possible; expected a fraction from 0 to below 1";
    assert_eq!((code, message.as_str()), (2, expected));
}
