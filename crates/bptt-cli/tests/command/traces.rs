//! Traces of runs, and what they show.

use std::fs;

use serde_json::Value;

use crate::Fixture;
use crate::common::{refusal, stdout};

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
    assert!((separate + sum(&entry["remainder_share"]) - 1.0).abs() < 1e-6);
    let text = stdout(&fixture.bptt(&trace));
    assert!(text.contains("remainder") && text.contains("merged into one row"), "{text}");
    let (code, message) = refusal(&fixture.bptt(&["trace", "run", "--text", "fox", "--tolerance", "2"]));
    let expected = "tolerance: 2 is not possible; expected a fraction from 0 to below 1";
    assert_eq!((code, message.as_str()), (2, expected));
}

#[test]
fn every_cell_can_be_learned_saved_traced_and_continued_from_its_file() {
    let fixture = Fixture::new();
    let cells = [
        "rnn_leaky:0.25",
        "lstm_1997",
        "gru_reset_before",
        "lstm_projected",
        "lstm_peephole",
        "lstm_with:hard_sigmoid,relu",
        "gru_with:sigmoid,hard_sigmoid_0.2",
        "lstm_layer_norm",
        "min_gru",
    ];
    for cell in cells {
        let run = cell.replace([':', ','], "_");
        stdout(&fixture.train(&run, &["--cell", cell, "--layers", "2", "--no-report"]));
        let json: Value =
            serde_json::from_str(&stdout(&fixture.bptt(&["trace", &run, "--text", "the fox", "--json"])))
                .unwrap();
        assert_eq!(json["provenance"]["cell"], cell);
        for (name, error) in json["balance"].as_object().unwrap() {
            assert!(error.as_f64().unwrap() < 1e-12, "{cell} {name}: {error}");
        }
        stdout(&fixture.bptt(&["trace", &run, "--text", "fox"]));
        stdout(&fixture.bptt(&["sample", &run, "--length", "5"]));
        let found: Value =
            serde_json::from_str(&stdout(&fixture.bptt(&["inspect", &run, "--json"]))).unwrap();
        assert_eq!((&found["modules"][0]["cell"], &found["modules"][0]["layers"]), (&cell.into(), &2.into()));
        stdout(&fixture.bptt(&["inspect", &run]));
        stdout(&fixture.bptt(&["diagnose", &run, "--steps", "16", "--batch", "4"]));
        stdout(&fixture.bptt(&["report", &run]));
    }
    let trace = |more: &[&str]| fixture.bptt(&[&["trace", "min_gru", "--text", "fox"], more].concat());
    assert!(stdout(&trace(&[])).contains("contributions to bias of layer 0"));
    let (code, message) = refusal(&trace(&["--parameter", "weight-hh", "--layer", "1"]));
    let expected = "--parameter weight-hh is not possible in layer 1; expected weight_ih, bias";
    assert_eq!((code, message.as_str()), (2, expected));
    let projected = fixture.bptt(&["trace", "lstm_projected", "--text", "fox", "--parameter", "weight_hr"]);
    assert!(stdout(&projected).contains("contributions to weight_hr"));
}
