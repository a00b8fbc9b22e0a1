//! The numbers of the laboratory are those of the library.

mod common;

use std::io::Read;

use base64::Engine;
use bptt::{Inputs, ItemizeOptions, Ledger, Objective, Parameter, Reduction, Symbols, Targets};
use bptt_serve::Limits;
use bptt_train::vocabulary::Unknown;
use bptt_train::{Config, Level, Vocabulary};
use common::{json, post, server};
use serde_json::{Value, json};

const TEXT: &str = "the cat sat on the mat";

/// log₁₀ of the norms of an entry, as the page reads them: all (k, t) with t ≤ k.
fn log10_norms(answer: &Value, parameter: &str) -> Vec<f32> {
    let packed =
        base64::engine::general_purpose::STANDARD.decode(answer["numbers"].as_str().unwrap()).unwrap();
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    let stage = &answer["data"]["subjects"][0]["stages"][0];
    let entries = stage["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["parameter"] == parameter).unwrap();
    let count = |key: &Value| usize::try_from(key.as_u64().unwrap()).unwrap();
    let (steps, at) = (count(&stage["steps"]), count(&entry["at"]));
    let length = steps * (steps + 1) / 2;
    let planes = &bytes[at + length..];
    (0..length).map(|i| f32::from_be_bytes([0, 1, 2, 3].map(|plane| planes[plane * length + i]))).collect()
}

fn library(cell: &str, sigma_max: Option<f64>, steps: usize) -> Ledger {
    let vocabulary = Vocabulary::build(TEXT, Level::Char, Unknown::Refuse, 1).unwrap();
    let ids = vocabulary.encode(TEXT).unwrap();
    let config = Config {
        cell: cell.into(),
        hidden: 16,
        init: "orthogonal".parse().unwrap(),
        sigma_max,
        seed: 3,
        ..Config::default()
    };
    let network = config.network(vocabulary.len(), vocabulary.len()).unwrap().cast::<f64>().unwrap();
    let symbols = |ids: &[u32]| Symbols::new(steps, 1, ids.to_vec()).unwrap();
    let trace = network.scan(Inputs::Symbols(symbols(&ids[..steps])), &network.zero_state(1)).unwrap();
    let targets = Targets::CrossEntropy(symbols(&ids[1..=steps]));
    let losses =
        network.losses(&trace, &Objective { targets, mask: None, reduction: Reduction::Sum }).unwrap();
    network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap()
}

fn lab(cell: &str, sigma_max: Option<f64>, steps: usize) -> Value {
    json!({
        "example": "text", "text": TEXT, "cell": cell, "hidden": 16, "init": "orthogonal", "sigma_max": sigma_max,
        "seed": 3, "steps": steps,
    })
}

#[test]
fn the_laboratory_shows_the_librarys_ledger() {
    let server = server(Vec::new(), Limits::default());
    for (cell, sigma_max, steps) in
        [("rnn", Some(1.5), 12), ("lstm", None, 7), ("gru", Some(0.8), 21), ("rnn_relu", None, 1)]
    {
        let answer = json(&post(server.address(), "/api/lab", &lab(cell, sigma_max, steps).to_string()));
        let ledger = library(cell, sigma_max, steps);
        for (name, parameter) in [
            ("weight_hh", Parameter::WEIGHT_HH),
            ("weight_ih", Parameter::WEIGHT_IH),
            ("input", Parameter::INPUT),
        ] {
            let entry = ledger.entry(0, parameter).unwrap();
            let expected = (0..steps).flat_map(|k| (0..=k).map(move |t| (k, t)));
            for ((k, t), shown) in expected.zip(log10_norms(&answer, name)) {
                let exact = entry.log10_norm(k, t).unwrap();
                let same = f64::from(shown) == exact || (f64::from(shown) - exact).abs() < 1e-5;
                assert!(same, "{cell} {name} ({k}, {t}): {shown} is not {exact}");
            }
        }
        let sigma = answer["sigma_max"].as_f64().unwrap();
        assert!((sigma - sigma_max.unwrap_or(1.0)).abs() < 1e-5, "{sigma}");
        assert_eq!(answer["most_steps"], 21);
    }
}

/// The norm of every contribution in a formula is the ledger's, whatever the cell is made of.
#[test]
fn every_cell_has_its_formula() {
    let server = server(Vec::new(), Limits::default());
    for cell in bptt::cells() {
        let ledger = library(cell, None, 6);
        let asked = json!({ "lab": lab(cell, None, 6), "k": 5, "t": 2 });
        let answer = json(&post(server.address(), "/api/lab/formula", &asked.to_string()));
        for entry in ledger.entries() {
            let found = &answer["contributions"][entry.parameter.as_str()];
            let (norm, exact) = (found["norm"].as_f64().unwrap(), entry.norm(5, 2).unwrap());
            assert!((norm - exact).abs() <= 1e-9 * exact, "{cell} {}: {norm}", entry.parameter.as_str());
            assert!(found["formula"].as_str().unwrap().contains("_{"), "{cell}: {found}");
        }
        let page = json(&post(server.address(), "/api/lab", &lab(cell, None, 6).to_string()));
        assert!(!page["data"]["subjects"][0]["equations"].as_array().unwrap().is_empty(), "{cell}");
    }
    let formula = |cell: &str, parameter: &str| {
        let asked = json!({ "lab": lab(cell, None, 6), "k": 5, "t": 2 });
        let answer = json(&post(server.address(), "/api/lab/formula", &asked.to_string()));
        answer["contributions"][parameter]["formula"].as_str().unwrap().to_owned()
    };
    assert_eq!(formula("rnn", "weight_hh"), "da_{2} h_{1}^{⊤}");
    assert_eq!(formula("gru", "weight_hh"), "da_{hh,2} h_{1}^{⊤}");
    assert_eq!(
        formula("gru_reset_before", "weight_hh"),
        "da_{2} h_{1}^{⊤} (gates r, z), da_{2} s_{2}^{⊤} (gates n)"
    );
    assert_eq!(formula("lstm_peephole", "peephole_o"), "da_{2} ∘ c_{2}");
    assert_eq!(formula("lstm_layer_norm", "weight_ih"), "d_{x,2} x_{2}^{⊤}");
    assert_eq!(formula("lstm_projected", "weight_hr"), "dh_{2} m_{2}^{⊤}");
}

#[test]
fn more_steps_than_there_are_read_the_whole_text() {
    let server = server(Vec::new(), Limits::default());
    let answer = json(&post(server.address(), "/api/lab", &lab("rnn", None, 200).to_string()));
    assert_eq!(answer["data"]["subjects"][0]["symbols"].as_array().unwrap().len(), 21);
}

#[test]
fn the_articles_example_is_the_articles() {
    let server = server(Vec::new(), Limits::default());
    let asked = json!({ "example": "article", "cell": "rnn", "init": "article", "steps": 3 });
    let answer = json(&post(server.address(), "/api/lab", &asked.to_string()));
    // Loss 3, step 3 of dWx: the article prints 3.604 as its norm, from its own matrix.
    let norms = log10_norms(&answer, "weight_ih");
    assert_eq!(norms.len(), 6);
    let formula = json!({ "lab": asked, "k": 2, "t": 0 });
    let formula = json(&post(server.address(), "/api/lab/formula", &formula.to_string()));
    let norm = formula["contributions"]["weight_ih"]["norm"].as_f64().unwrap();
    assert!((norm.log10() - f64::from(norms[3])).abs() < 1e-6);
    assert!((formula["x"][0].as_f64().unwrap() - 1.624_345_363_663_241_7).abs() < 1e-12);
}

/// The factors of the formula multiply to its result.
#[test]
fn the_factors_of_the_formula_multiply_to_its_result() {
    let server = server(Vec::new(), Limits::default());
    let asked =
        json!({ "example": "article", "cell": "rnn", "init": "article", "sigma_max": 1.7, "steps": 3 });
    let asked = json!({ "lab": asked, "k": 2, "t": 0 });
    let answer = json(&post(server.address(), "/api/lab/formula", &asked.to_string()));
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let chain = answer["chain"].as_array().unwrap();
    assert_eq!(chain.len(), 3);
    for pair in chain.windows(2) {
        let (later, here) = (numbers(&pair[0]["da"]), numbers(&pair[1]["da"]));
        for (row, da) in pair[1]["factors"].as_array().unwrap().iter().zip(&here) {
            let product: f64 = numbers(row).iter().zip(&later).map(|(f, d)| f * d).sum();
            assert!((product - da).abs() < 1e-12 * da.abs().max(1e-3), "{product} is not {da}");
        }
    }
    assert_eq!(numbers(&chain[2]["da"]), numbers(&answer["da"]));
    let of = |key: &str| answer[key].as_f64().unwrap();
    let product = of("da_hh_norm") * of("h_prev_norm");
    assert!((product / answer["contributions"]["weight_hh"]["norm"].as_f64().unwrap() - 1.0).abs() < 1e-12);

    let text = json!({ "lab": lab("lstm", Some(1.0), 9), "k": 8, "t": 2 });
    let answer = json(&post(server.address(), "/api/lab/formula", &text.to_string()));
    let exact = library("lstm", Some(1.0), 9).entry(0, Parameter::WEIGHT_HH).unwrap().norm(8, 2).unwrap();
    assert!((answer["contributions"]["weight_hh"]["norm"].as_f64().unwrap() / exact - 1.0).abs() < 1e-9);
    let beyond = json!({ "lab": lab("rnn", None, 9), "k": 3, "t": 4 });
    assert!(
        common::refused(&post(server.address(), "/api/lab/formula", &beyond.to_string()), 422)
            .contains("expected 0 to 3")
    );
}
