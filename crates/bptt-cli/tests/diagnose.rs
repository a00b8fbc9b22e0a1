//! `diagnose` and `check`: runs with planted faults, models with arrays, and limits for a CI.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use common::{bptt, refusal, stdout};

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn bptt(&self, arguments: &[&str]) -> Output {
        bptt(self.folder.path(), arguments)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A run of a few updates of parity over 20 bits: the first bit lies 19 steps before the loss.
    fn train(&self, out: &str, settings: &[&str]) {
        let mut arguments =
            vec!["train", "--task", "parity", "--length", "20", "--hidden", "8", "--out", out];
        arguments.extend(["--steps", "2", "--batch", "4", "--trace-every", "0", "--learning-rate", "1e-6"]);
        arguments.extend(settings);
        stdout(&self.bptt(&arguments));
    }

    fn diagnosis(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["diagnose", "--json"];
        all.extend(arguments);
        serde_json::from_str(&stdout(&self.bptt(&all))).unwrap()
    }
}

#[test]
fn a_vanishing_gradient_is_reported_and_the_proposals_can_be_run() {
    let fixture = Fixture::new();
    fixture.train("faint", &["--init", "orthogonal", "--sigma-max", "0.3"]);
    let text = stdout(&fixture.bptt(&["diagnose", "faint"]));
    assert!(text.starts_with("vanishes before it: "), "{text}");
    assert!(text.contains("19 steps back, at the lag of the dependency"), "{text}");
    let first = "bptt train --config faint/config.toml --cell lstm --chrono 20 --out faint-1";
    assert!(text.contains(first), "{text}");
    let json = fixture.diagnosis(&["faint"]);
    assert_eq!(
        (json["schema"].as_str(), json["verdict"].as_str()),
        (Some("bptt.diagnosis/1"), Some("vanishes"))
    );
    assert_eq!(json["measured"]["lag"]["farthest"], 19);
    let kept = json["measured"]["reach"]["log10_kept"].as_f64().unwrap();
    // At most σ_max to the power of the lag.
    assert!(kept < 19.0 * 0.3f64.log10() + 1.0, "{kept}");
    let remedies = json["remedies"].as_array().unwrap();
    assert_eq!(remedies.len(), 3);
    for remedy in remedies {
        let command = remedy["command"].as_str().unwrap();
        let arguments: Vec<&str> = command.strip_prefix("bptt ").unwrap().split(' ').collect();
        stdout(&fixture.bptt(&arguments));
    }
    assert_eq!(fixture.diagnosis(&["faint-1"])["verdict"], "reaches");
}

#[test]
fn runs_with_faults_get_their_verdicts_and_fail_their_checks() {
    let fixture = Fixture::new();
    let open = ["--cell", "lstm", "--forget-bias", "6"];
    fixture.train("healthy", &open);
    assert_eq!(fixture.diagnosis(&["healthy"])["verdict"], "reaches");
    let limits = ["--min-horizon", "10", "--max-decay", "0.2", "--no-cuts"];
    let check = |run: &str, more: &[&str]| {
        let mut all = vec!["check", run];
        all.extend(limits);
        all.extend(more);
        fixture.bptt(&all)
    };
    let passed = stdout(&check("healthy", &[]));
    assert!(passed.contains("min-horizon  ok") && passed.contains("no-cuts      ok"), "{passed}");

    fixture.train("cut", &[&open[..], &["--detach-every", "4"]].concat());
    let json = fixture.diagnosis(&["cut"]);
    assert_eq!((json["verdict"].as_str(), json["measured"]["uncut"].as_u64()), (Some("cut"), Some(3)));
    let failed = check("cut", &["--json"]);
    assert_eq!(failed.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!((json["schema"].as_str(), json["passed"].as_bool()), (Some("bptt.check/1"), Some(false)));
    let by_name = |name: &str| {
        json["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()["passed"]
            .clone()
    };
    assert_eq!((by_name("min-horizon"), by_name("no-cuts")), (Value::Bool(false), Value::Bool(false)));
    let words: Vec<String> =
        String::from_utf8_lossy(&failed.stderr).split_whitespace().map(str::to_owned).collect();
    let reason = words.join(" ");
    assert!(reason.contains("--no-cuts: 100 %") && reason.contains("cut by truncation"), "{reason}");
    // Uncut, the same network is healthy.
    assert_eq!(fixture.diagnosis(&["cut", "--detach-every", "0"])["verdict"], "reaches");

    fixture.train("strong", &["--cell", "rnn_identity", "--init", "identity", "--sigma-max", "2"]);
    assert_eq!(fixture.diagnosis(&["strong"])["verdict"], "explodes");

    // One weight becomes a NaN, as after an update that went wrong.
    let mut run = bptt_train::Run::open(&fixture.path("healthy")).unwrap();
    *run.network.tensors_mut()[0].data_mut().last_mut().unwrap() = f32::NAN;
    bptt_train::Run::save_model(&fixture.path("healthy"), &run.network).unwrap();
    let text = stdout(&fixture.bptt(&["diagnose", "healthy"]));
    assert!(text.starts_with("not finite: first in rnn.") && text.contains("the data are finite"), "{text}");
    let (code, message) = (check("healthy", &[]).status.code(), check("healthy", &[]));
    assert_eq!(code, Some(1));
    assert!(String::from_utf8_lossy(&message.stdout).contains("not measurable"));
}

#[test]
fn the_window_of_a_text_cuts_by_default() {
    let fixture = Fixture::new();
    let text = "the quick brown fox jumps over the lazy dog\n".repeat(40);
    fs::write(fixture.path("text.txt"), text).unwrap();
    let arguments = [
        "train",
        "--text",
        "text.txt",
        "--cell",
        "lstm",
        "--forget-bias",
        "6",
        "--hidden",
        "8",
        "--out",
        "a",
    ];
    let few =
        ["--window", "8", "--batch", "4", "--steps", "2", "--trace-every", "0", "--learning-rate", "1e-6"];
    stdout(&fixture.bptt(&[&arguments[..], &few[..]].concat()));
    let json = fixture.diagnosis(&["a", "--lag", "12", "--batch", "2"]);
    assert_eq!((json["verdict"].as_str(), json["measured"]["uncut"].as_u64()), (Some("cut"), Some(7)));
    let command = json["remedies"][0]["command"].as_str().unwrap();
    assert_eq!(command, "bptt train --config a/config.toml --window 24 --out a-1");
    let json = fixture.diagnosis(&["a", "--batch", "2"]);
    assert!(
        json["sentence"].as_str().unwrap().starts_with("reaches the end of the window, 7 steps back"),
        "{json}"
    );
    let text = ["diagnose", "a", "--text", "the lazy dog", "--detach-every", "0", "--lag", "40"];
    let (code, error) = refusal(&fixture.bptt(&text));
    let expected =
        "--lag: 40 is not possible; expected at most 11, the farthest in the 12 steps that are read";
    assert_eq!((code, &*error), (2, expected));
}

#[test]
fn a_model_from_another_program_is_diagnosed_data_first() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange");
    let model = ["--model", "model.safetensors", "--module", "net.lstm_actor", "--lag", "3"];
    let arrays = ["--input", "x.npy", "--grad-output", "dh.npy"];
    let whole = bptt(&fixtures, &[&["diagnose", "--json"][..], &model, &arrays].concat());
    let json: Value = serde_json::from_str(&stdout(&whole)).unwrap();
    assert_eq!(json["measured"]["reach"]["at_lag"].as_u64().map(|losses| losses > 0), Some(true));

    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("x.npy");
    let mut bytes = fs::read(fixtures.join("x.npy")).unwrap();
    let end = bytes.len();
    bytes[end - 8..].copy_from_slice(&f64::INFINITY.to_le_bytes());
    fs::write(&broken, bytes).unwrap();
    let input = ["--input", broken.to_str().unwrap(), "--grad-output", "dh.npy"];
    let said = stdout(&bptt(&fixtures, &[&["diagnose"][..], &model, &input].concat()));
    assert!(said.starts_with("not finite: first at step "), "{said}");
    assert!(said.contains("x.npy (the data contain it)"), "{said}");
}

#[test]
fn wrong_usage_is_another_exit_code_than_a_failed_check() {
    let here = Path::new(".");
    let (code, message) = refusal(&bptt(here, &["check", "nowhere"]));
    assert_eq!(code, 2);
    assert_eq!(message, "no limit is given; expected --min-horizon, --max-decay or --no-cuts");
    let (code, message) = refusal(&bptt(here, &["check", "nowhere", "--max-decay", "-1"]));
    assert_eq!(code, 2);
    assert!(message.starts_with("--max-decay: -1 is not possible"), "{message}");
    let (code, _) = refusal(&bptt(here, &["diagnose"]));
    assert_eq!(code, 2);
    let (code, message) = refusal(&bptt(here, &["check", "nowhere", "--no-cuts"]));
    assert_eq!(code, 1);
    assert!(message.contains("nowhere"), "{message}");
}

#[test]
fn the_log_of_a_watched_training_is_held_against_limits() {
    let folder = tempfile::tempdir().unwrap();
    let log = r#"{"module": "core", "nearest_lag": 0, "crossing": 0, "state_error": 0.008}
{"module": "core", "nearest_lag": 6, "crossing": 0, "state_error": null}
"#;
    fs::write(folder.path().join("log.jsonl"), log).unwrap();
    let check =
        |limits: &[&str]| bptt(folder.path(), &[&["check", "--watch", "log.jsonl"][..], limits].concat());
    let said = stdout(&check(&["--no-crossing", "--state-error", "0.01"]));
    assert!(said.contains("no-crossing") && said.contains("stored states off by 0.008"), "{said}");
    for (limit, reason) in [
        (
            &["--max-nearest-lag", "1"][..],
            "core: a nearest lag of 6 steps, the worst of 2 updates; at most 1 is required",
        ),
        (&["--no-padding"], "not measured: none of 2 updates has this number"),
    ] {
        let failed = check(limit);
        assert_eq!(failed.status.code(), Some(1));
        let said = String::from_utf8(failed.stderr).unwrap();
        assert!(said.contains(&format!("log.jsonl: {}: {reason}", limit[0])), "{said}");
        assert!(String::from_utf8(failed.stdout).unwrap().contains("failed"));
    }
    let (code, message) = refusal(&check(&[]));
    assert_eq!(code, 2);
    assert!(message.contains("no limit is given"), "{message}");
    let (code, _) = refusal(&bptt(folder.path(), &["check", "run", "--max-nearest-lag", "1"]));
    assert_eq!(code, 2);
    fs::write(folder.path().join("log.jsonl"), "{}").unwrap();
    let (code, message) = refusal(&check(&["--no-crossing"]));
    assert_eq!(code, 1);
    assert!(message.starts_with("log.jsonl: line 1 is no watched update"), "{message}");
}

#[test]
fn update_precision_and_windows_are_reported_on_request() {
    let fixture = Fixture::new();
    fixture.train("faint", &["--init", "orthogonal", "--sigma-max", "0.5", "--optimizer", "sgd"]);
    let json = fixture.diagnosis(&["faint", "--update", "--precision", "--max-bias", "0.01"]);
    let update = &json["update"];
    let lags = update["lags"].as_array().unwrap();
    let sum = |key: &str| lags.iter().map(|lag| lag[key].as_f64().unwrap()).sum::<f64>();
    assert!((sum("gradient") - 1.0).abs() < 1e-9 && (sum("update") - 1.0).abs() < 1e-9, "{update}");
    assert_eq!((&lags[3]["first"], &lags[3]["last"]), (&4.into(), &7.into()));
    // Plain gradient descent, clipped or not, preserves every share.
    for lag in lags {
        assert!((lag["gradient"].as_f64().unwrap() - lag["update"].as_f64().unwrap()).abs() < 1e-9, "{lag}");
    }

    let precision = json["precision"]["lags"].as_array().unwrap();
    let difference = |format: &str| precision[0][format]["difference"].as_f64().unwrap();
    assert_eq!(precision[0]["lag"], 0);
    assert!(difference("f32") < 1e-5 && (1e-5..0.1).contains(&difference("bf16")), "{}", precision[0]);
    assert!(json["precision"]["small_from"].is_null());
    let sums = json["precision"]["bf16_sums"].as_array().unwrap();
    assert_eq!(sums.len(), 12, "the parameters of a vanilla cell in three frameworks");
    let order = |framework: &str, name: &str| {
        let of = sums.iter().find(|of| of["framework"] == framework && of["parameter"] == name).unwrap();
        of["order"].as_str().unwrap()
    };
    assert_eq!(order("pytorch", "weight_ih"), "one_product");
    assert_eq!(order("pytorch", "weight_hh"), "steps_in_format");
    assert_eq!(order("jax_cast_outside", "weight_ih"), "steps_in_format");
    assert_eq!(order("jax_cast_inside", "bias_hh"), "steps_in_f32");
    for of in sums {
        assert_eq!(of["rounds_within_steps"], true);
        let error = |order: &str| of[order]["difference"].as_f64().unwrap();
        assert!(
            error("one_product") < 0.1 && error("one_product") <= error("steps_in_format") + 0.01,
            "{of}"
        );
    }

    let measured = &json["measured"];
    let smallest = &measured["smallest_window"];
    assert!(smallest["bias"].as_f64().unwrap() <= 0.01, "{smallest}");
    let windows = measured["windows"].as_array().unwrap();
    for window in windows.iter().filter(|window| window["steps"].as_u64() < smallest["steps"].as_u64()) {
        assert!(window["bias"].as_f64().unwrap() > 0.01, "{window} is smaller than {smallest}");
    }
    for horizons in ["horizons", "horizons_untrained"] {
        let learning = &measured[horizons]["learning"];
        let number = |key: &str| learning[key].as_f64().unwrap();
        assert!(number("low") <= number("steps") && number("steps") <= number("high"), "{learning}");
    }

    let text = stdout(&fixture.bptt(&["diagnose", "faint", "--update", "--precision"]));
    for words in [
        "shares of the lags in the next update (sgd",
        "precision of the backpropagated",
        "added up over the steps, weights in bf16",
        "JAX, cast inside",
        "before training, median",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for wrong in
        [&["diagnose", "faint", "--max-bias", "0"][..], &["diagnose", "--model", "m.npz", "--update"]]
    {
        assert_eq!(fixture.bptt(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
