//! PyTorch's numbers, forward, backward and taken apart the hard way. `pytorch.py` beside this file made them and says
//! how.

use bptt::{
    CellParams, Inputs, Matrix, Network, Objective, Readout, Reduction, Select, Sequence, State, Symbols,
    Targets, Weights, cell_by_name,
};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

/// A matrix; a vector is one row.
fn matrix(value: &Value) -> Matrix<f64> {
    let data = numbers(value);
    let rows = if value[0].is_array() { value.as_array().unwrap().len() } else { 1 };
    Matrix::new(rows, data.len() / rows, data).unwrap()
}

fn assert_equal(what: &str, found: &[f64], expected: &Value) {
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-10 * scale, "{what}: {found} is not {expected}");
    }
}

#[test]
fn forward_gradients_and_components_are_pytorchs() {
    let file: Value = serde_json::from_str(include_str!("pytorch.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let p = |name: &str| matrix(&case["parameters"][name]);
        let layer = CellParams {
            w_ih: p("weight_ih_l0"),
            w_hh: p("weight_hh_l0"),
            b_ih: p("bias_ih_l0"),
            b_hh: p("bias_hh_l0"),
        };
        let readout = Some(Readout { w_hy: p("head.weight"), b_y: p("head.bias") });
        let cell = cell_by_name(case["cell"].as_str().unwrap()).unwrap();
        let network = Network::new(cell, Weights { layers: vec![layer], readout }).unwrap();

        let (steps, batch) = (case["x"].as_array().unwrap().len(), case["x"][0].as_array().unwrap().len());
        let x = Sequence::new(steps, batch, network.inputs(), numbers(&case["x"])).unwrap();
        let initial = match &case["initial"].as_array().unwrap()[..] {
            [h0] => State::of_h(vec![matrix(h0)]),
            [h0, c0] => State { h: vec![matrix(h0)], c: vec![matrix(c0)] },
            _ => panic!("a state is h or (h, c)"),
        };
        let ids = case["target"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
        let ids = ids.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
        let objective = Objective {
            targets: Targets::CrossEntropy(Symbols::new(steps, batch, ids).unwrap()),
            mask: None,
            reduction: Reduction::MeanTokens,
        };

        let trace = network.scan(Inputs::Dense(x), &initial).unwrap();
        assert_equal("output", trace.top().data(), &case["output"]);
        let last = trace.final_state();
        assert_equal("h_n", last.h[0].data(), &case["final"][0]);
        let losses = network.losses(&trace, &objective).unwrap();
        assert_equal("loss", &[losses.total], &case["loss"]);
        let gradient = network.gradient(&trace, &losses, true).unwrap();
        for (name, tensor) in gradient.weights.tensors() {
            assert_equal(&name, tensor.data(), &case["gradients"][&name]);
        }
        assert_equal("dx", gradient.inputs.unwrap().data(), &case["dx"]);
        assert_equal("dh0", gradient.initial.h[0].data(), &case["dinitial"][0]);
        if network.cell().has_memory() {
            assert_equal("c_n", last.c[0].data(), &case["final"][1]);
            assert_equal("dc0", gradient.initial.c[0].data(), &case["dinitial"][1]);
        }

        let components = network.components(&trace, &losses, Select::All).unwrap();
        let expected = case["components"].as_array().unwrap();
        assert_eq!(components.len(), expected.len());
        for (found, expected) in components.iter().zip(expected) {
            assert_eq!(
                (Some(found.k as u64), Some(found.t as u64)),
                (expected["k"].as_u64(), expected["t"].as_u64())
            );
            assert_equal("w_ih", found.w_ih.data(), &expected["w_ih"]);
            assert_equal("w_hh", found.w_hh.data(), &expected["w_hh"]);
            assert_equal("b_ih", found.b_ih.data(), &expected["b_ih"]);
            assert_equal("b_hh", found.b_hh.data(), &expected["b_hh"]);
        }
    }
}
