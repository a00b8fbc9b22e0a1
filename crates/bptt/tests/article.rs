//! The seed article's numerical example: its printed entries, its norms, and its exercise.

use crate::common;

use bptt::{
    Inputs, ItemizeOptions, Losses, Matrix, Network, Parameter, Select, Sequence, State, Weights,
    cell_by_name,
};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

/// The article's (rows, cols) matrix, transposed into ours.
fn transposed(value: &Value, rows: usize, cols: usize) -> Matrix<f64> {
    let data = numbers(value);
    let turned = (0..rows * cols).map(|i| data[(i % rows) * cols + i / rows]).collect();
    Matrix::new(cols, rows, turned).unwrap()
}

fn article() -> Value {
    serde_json::from_str(include_str!("fixtures/article.json")).unwrap()
}

struct Example {
    network: Network<f64>,
    inputs: Inputs<f64>,
    initial: State<f64>,
    seeds: Sequence<f64>,
}

fn example(article: &Value) -> Example {
    let inputs = &article["inputs"];
    let cell = cell_by_name("rnn").unwrap();
    let tensors = vec![
        transposed(&inputs["Wx"], 3, 4),
        transposed(&inputs["Wh"], 4, 4),
        Matrix::new(1, 4, numbers(&inputs["b"])).unwrap(),
        Matrix::zeros(1, 4),
    ];
    let layer = bptt::CellParams::new(cell.spec(), tensors).unwrap();
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
    Example {
        network: Network::new(cell, weights).unwrap(),
        inputs: Inputs::Dense(Sequence::from_batch_first(1, 3, 3, &numbers(&inputs["x"])).unwrap()),
        initial: State::of_h(vec![Matrix::new(1, 4, numbers(&inputs["h0"])).unwrap()]),
        seeds: Sequence::from_batch_first(1, 3, 4, &numbers(&inputs["dh"])).unwrap(),
    }
}

#[test]
fn all_printed_entries_agree_to_the_printed_digits() {
    let article = article();
    let example = example(&article);
    let trace = example.network.scan(example.inputs, &example.initial).unwrap();
    let components = example
        .network
        .components(&trace, &Losses::from_seeds(example.seeds.clone()), Select::Loss(2))
        .unwrap();
    let mut entries = 0;
    for (c, printed) in components.iter().zip(article["printed"]["loss_2_components_dWx"].as_array().unwrap())
    {
        for (i, row) in printed.as_array().unwrap().iter().enumerate() {
            for (j, printed) in row.as_array().unwrap().iter().enumerate() {
                // Ours is (H, D), the article's (D, H), printed with eight decimals.
                let ours = c.params["weight_ih"].row(j)[i];
                assert_eq!((ours * 1e8).round(), (printed.as_f64().unwrap() * 1e8).round(), "step {}", c.t);
                entries += 1;
            }
        }
    }
    assert_eq!(entries, 36);
}

#[test]
fn the_norms_are_the_articles_and_every_norm_is_the_references() {
    let article = article();
    let example = example(&article);
    let trace = example.network.scan(example.inputs.clone(), &example.initial).unwrap();
    let ledger = example
        .network
        .itemize(&trace, &Losses::from_seeds(example.seeds.clone()), &ItemizeOptions::default())
        .unwrap();
    assert!(ledger.worst_balance() < 1e-15, "{:?}", ledger.balance());

    let w_ih = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
    for (t, printed) in article["printed"]["loss_2_component_norms"].as_array().unwrap().iter().enumerate() {
        let printed: f64 = printed.as_str().unwrap().parse().unwrap();
        let error = (w_ih.norm(2, t).unwrap() - printed).abs() / printed;
        assert!(error <= 1e-15, "step {t}: relative error {error:e}");
    }

    let slow = common::from_seeds(&example.network, &example.inputs, &example.initial, &example.seeds);
    for k in 0..3 {
        for t in 0..=k {
            let c = &slow.contributions[k][t];
            let expected = [
                (Parameter::WEIGHT_IH, common::norm(&c.w_ih)),
                (Parameter::WEIGHT_HH, common::norm(&c.w_hh)),
                (Parameter::BIAS, common::norm([&c.bias])),
                (Parameter::INPUT, common::norm(&c.input)),
            ];
            for (parameter, expected) in expected {
                let found = ledger.entry(0, parameter).unwrap().norm(k, t).unwrap();
                assert!((found - expected).abs() <= 1e-12 * expected, "{parameter:?} ({k}, {t})");
            }
        }
        let found = ledger.per_loss()[0].norm[k].unwrap();
        let expected = common::norm(&slow.initial[k]);
        assert!((found - expected).abs() <= 1e-12 * expected, "h0 of loss {k}");
    }
}
