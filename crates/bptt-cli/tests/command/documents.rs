//! The demo and the reports that the command makes.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::Fixture;
use crate::common::{refusal, stdout};

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
        assert_eq!((taught.len(), &taught[3]["word"], &taught[3]["lag"]), (14, &"food".into(), &10.into()));
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
        text.contains("what taught them to tell the sixteen endings apart, “dinner” and the others?")
            && text.contains("the word that decides it, “food”, lies 10 steps back"),
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
