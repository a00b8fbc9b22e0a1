//! What `train`, `check`, `plot` and `report` say and accept beyond one kind of subject.

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::{bptt, refusal, stdout};

const TASK: [&str; 13] = [
    "train", "--task", "parity", "--length", "20", "--hidden", "8", "--batch", "4", "--steps", "4", "--out",
    "run",
];

#[test]
fn a_training_that_went_wrong_says_so_and_its_first_advice_helps() {
    let folder = tempfile::tempdir().unwrap();
    let train = |more: &[&str]| {
        let given =
            ["train", "--generate", "cue_sentences", "--sentences", "300", "--hidden", "8", "--steps", "60"];
        bptt(folder.path(), &[&given[..], &["--no-report", "--trace-every", "0", "--out"], more].concat())
    };
    let output = train(&["wild", "--learning-rate", "100"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("warning: updates are too large"), "{said}");
    let loss = |run: &str| -> f64 {
        let metrics = fs::read_to_string(folder.path().join(run).join("metrics.jsonl")).unwrap();
        let end: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        end["held_out_bits"].as_f64().unwrap()
    };
    let diagnosis = stdout(&bptt(folder.path(), &["diagnose", "wild", "--json"]));
    let diagnosis: Value = serde_json::from_str(&diagnosis).unwrap();
    assert_eq!(diagnosis["verdict"], "updates_too_large");
    let command = diagnosis["remedies"][0]["command"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).chain(["--no-report"]).collect();
    stdout(&bptt(folder.path(), &words));
    assert!(loss("wild-1") < loss("wild") / 2.0, "{} {}", loss("wild-1"), loss("wild"));

    let json: Value = serde_json::from_str(&stdout(&train(&["kept", "--json", "--keep", "best"]))).unwrap();
    assert_eq!(json["schema"], "bptt.train/1");
    let (code, message) = refusal(&train(&["not", "--patience", "2", "--evaluate-every", "0"]));
    assert_eq!(code, 2);
    assert!(message.starts_with("patience: 2 is not possible"), "{message}");
}

#[test]
fn the_best_network_is_kept_and_a_training_stops_early() {
    let folder = tempfile::tempdir().unwrap();
    // A rate that grows tenfold after half of the updates loses what was learned.
    let given = [
        "train",
        "--generate",
        "cue_sentences",
        "--sentences",
        "300",
        "--hidden",
        "8",
        "--steps",
        "200",
        "--json",
    ];
    let rest = [
        "--optimizer",
        "sgd",
        "--learning-rate",
        "0.5",
        "--clip-norm",
        "0",
        "--schedule",
        "step:every=100,factor=100",
    ];
    let train = |out: &str, more: &[&str]| -> Value {
        let output = ["--no-report", "--trace-every", "0", "--evaluate-every", "10", "--out", out];
        serde_json::from_str(&stdout(&bptt(folder.path(), &[&given[..], &rest, &output, more].concat())))
            .unwrap()
    };
    let (last, best) = (train("last", &[]), train("best", &["--keep", "best", "--patience", "3"]));
    let loss = |of: &Value| of["held_out_bits"].as_f64().unwrap();
    assert!(loss(&best) < loss(&last), "{best} {last}");
    assert_eq!(best["ending"], "stopped early");
    assert!(best["steps"].as_u64().unwrap() <= 110, "{best}");
}

#[test]
fn burn_in_is_a_cut_and_short_texts_are_read_as_far_as_they_go() {
    let folder = tempfile::tempdir().unwrap();
    stdout(&bptt(folder.path(), &[&TASK[..], &["--no-report"]].concat()));
    let check = |more: &[&str]| bptt(folder.path(), &[&["check", "run", "--no-cuts"][..], more].concat());
    assert!(check(&[]).status.success());
    let cut = check(&["--burn-in", "10"]);
    let said = String::from_utf8_lossy(&cut.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(cut.status.code(), Some(1));
    assert!(said.contains("100 % of the losses are cut from the step 19 steps back (burn-in)"), "{said}");

    fs::write(folder.path().join("tiny.txt"), "to be or not to be, that is the question\n".repeat(12))
        .unwrap();
    let text =
        ["train", "--text", "tiny.txt", "--window", "40", "--batch", "2", "--steps", "3", "--hidden", "6"];
    stdout(&bptt(folder.path(), &[&text[..], &["--no-report", "--out", "tiny"]].concat()));
    // 49 symbols are held out.
    let said = stdout(&bptt(folder.path(), &["diagnose", "tiny"]));
    assert!(said.contains("1 sequence of 48 steps, with losses at 48 of them, read by rnn"), "{said}");
}

#[test]
fn tasks_have_figures_and_models_have_reports() {
    let folder = tempfile::tempdir().unwrap();
    stdout(&bptt(folder.path(), &[&TASK[..], &["--trace-every", "2"]].concat()));
    for kind in ["heatmap", "profile", "curves"] {
        let table = stdout(&bptt(folder.path(), &["plot", "run", "--kind", kind, "--table"]));
        assert!(table.lines().count() > 2, "{kind}: {table}");
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange");
    let page = folder.path().join("model.html");
    let model = ["report", "--model", "model.safetensors", "--module", "net.lstm_actor", "--input", "x.npy"];
    let rest = ["--grad-output", "dh.npy", "--out", page.to_str().unwrap()];
    stdout(&bptt(&fixtures, &[&model[..], &rest].concat()));
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("bptt report --model model.safetensors") && html.contains("\"verdict\":["));
}

#[test]
fn words_shells_and_manuals() {
    let folder = tempfile::tempdir().unwrap();
    let words = stdout(&bptt(folder.path(), &["words"]));
    assert!(words.contains("horizon: ") && words.contains("balance: "), "{words}");
    let help = stdout(&bptt(folder.path(), &["help", "words"]));
    assert!(help.contains("cancellation: "), "{help}");
    let script = stdout(&bptt(folder.path(), &["completions", "bash"]));
    assert!(script.contains("--forget-bias"), "{}", &script[..200]);
    stdout(&bptt(folder.path(), &["man", "pages"]));
    let page = fs::read_to_string(folder.path().join("pages/bptt-train.1")).unwrap();
    assert!(page.contains("forget\\-bias") || page.contains("forget-bias"), "{}", &page[..400]);
}
