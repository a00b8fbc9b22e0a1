//! PyTorch's numbers, forward, backward and taken apart the hard way. `pytorch.py` beside this file made them and says
//! how.

use bptt::{
    CellParams, Direction, Inputs, Matrix, Network, Objective, Readout, Reduction, Select, Sequence, State,
    Symbols, Targets, Weights, cell_by_name,
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

/// h and c of all cells.
fn assert_states((h, c): (&str, &str), found: &State<f64>, expected: &Value) {
    let flat =
        |states: &[Matrix<f64>]| -> Vec<f64> { states.iter().flat_map(|s| s.data().to_vec()).collect() };
    assert_equal(h, &flat(&found.h), &expected[0]);
    assert_equal(c, &flat(&found.c), expected.get(1).unwrap_or(&Value::Array(Vec::new())));
}

#[test]
fn forward_gradients_and_components_are_pytorchs() {
    let file: Value = serde_json::from_str(include_str!("pytorch.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let p = |name: String| matrix(&case["parameters"][name]);
        let bidirectional = case["bidirectional"].as_bool().unwrap();
        let directions = if bidirectional { 2 } else { 1 };
        let cells = usize::try_from(case["layers"].as_u64().unwrap()).unwrap() * directions;
        let cell = |index: usize| {
            let suffix =
                format!("l{}{}", index / directions, if index % directions == 1 { "_reverse" } else { "" });
            CellParams {
                w_ih: p(format!("weight_ih_{suffix}")),
                w_hh: p(format!("weight_hh_{suffix}")),
                b_ih: p(format!("bias_ih_{suffix}")),
                b_hh: p(format!("bias_hh_{suffix}")),
            }
        };
        let layers = (0..cells).map(cell).collect();
        let readout = Some(Readout { w_hy: p("head.weight".into()), b_y: p("head.bias".into()) });
        let kind = case["kind"].as_str().unwrap();
        let weights = Weights { layers, bidirectional, readout };
        let network = Network::new(cell_by_name(kind).unwrap(), weights).unwrap();

        let (steps, batch) = (case["x"].as_array().unwrap().len(), case["x"][0].as_array().unwrap().len());
        let x = Sequence::new(steps, batch, network.inputs(), numbers(&case["x"])).unwrap();
        let states =
            |value: &Value| -> Vec<Matrix<f64>> { value.as_array().unwrap().iter().map(matrix).collect() };
        let mut initial = State::of_h(states(&case["initial"][0]));
        if network.cell().has_memory() {
            initial.c = states(&case["initial"][1]);
        }
        let ids = case["target"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
        let ids = ids.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
        let objective = Objective {
            targets: Targets::CrossEntropy(Symbols::new(steps, batch, ids).unwrap()),
            mask: None,
            reduction: Reduction::MeanTokens,
        };

        let trace = network.scan(Inputs::Dense(x), &initial).unwrap();
        assert_equal("output", trace.output().data(), &case["output"]);
        let last = trace.final_state();
        assert_states(("h_n", "c_n"), &last, &case["final"]);
        let losses = network.losses(&trace, &objective).unwrap();
        assert_equal("loss", &[losses.total], &case["loss"]);
        let gradient = network.gradient(&trace, &losses, true).unwrap();
        for (name, tensor) in gradient.weights.tensors() {
            assert_equal(&name, tensor.data(), &case["gradients"][&name]);
        }
        assert_equal("dx", gradient.inputs.unwrap().data(), &case["dx"]);
        assert_states(("dh0", "dc0"), &gradient.initial, &case["dinitial"]);

        let expected = case["components"].as_array().unwrap();
        if expected.is_empty() {
            continue;
        }
        let components = network.components(&trace, &losses, Select::All).unwrap();
        assert_eq!(components.len(), expected.len(), "{kind}");
        for (found, expected) in components.iter().zip(expected) {
            let reverse = found.place.direction == Direction::Reverse;
            let index = found.place.layer * directions + usize::from(reverse);
            let found_at = [found.k, found.t, index].map(|n| Some(n as u64));
            assert_eq!(found_at, ["k", "t", "cell"].map(|key| expected[key].as_u64()));
            assert_equal("w_ih", found.w_ih.data(), &expected["w_ih"]);
            assert_equal("w_hh", found.w_hh.data(), &expected["w_hh"]);
            assert_equal("b_ih", found.b_ih.data(), &expected["b_ih"]);
            assert_equal("b_hh", found.b_hh.data(), &expected["b_hh"]);
        }
    }
}
