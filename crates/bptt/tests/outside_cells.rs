//! Cells against outside implementations: PyTorch's projected LSTM, Keras' layers with hard sigmoids, and written-out forms under
//! PyTorch's automatic differentiation. `outside_cells.py` makes the numbers; what it draws is drawn again here.

use crate::common;

use bptt::{
    CellParams, Component, GradientOptions, Inputs, ItemizeOptions, Losses, Matrix, Network, Parameter,
    Select, Sequence, State, Weights, cell_by_name,
};
use serde_json::Value;

use common::{Normals, norm};

/// What the script draws: the upper bits, so that every number is exact.
fn draw(random: &mut Normals, count: usize) -> Vec<f64> {
    (0..count).map(|_| (random.bits() >> 53) as f64 / 2048.0 - 0.5).collect()
}

fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

fn size(of: &Value) -> usize {
    usize::try_from(of.as_u64().unwrap()).unwrap()
}

/// The largest difference relative to the largest number expected.
fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(f64::MIN_POSITIVE, |most, v| most.max(v.abs()));
    found.iter().zip(expected).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f64::max)
}

/// One file's problem.
struct Case {
    data: Value,
    network: Network<f64>,
    x: Sequence<f64>,
    initial: State<f64>,
    seeds: Sequence<f64>,
}

impl Case {
    fn new(data: &str, cell: &str) -> Self {
        let data: Value = serde_json::from_str(data).unwrap();
        let [steps, batch, inputs, hidden, width] =
            ["steps", "batch", "inputs", "hidden", "width"].map(|name| size(&data[name]));
        let mut random = Normals(data["seed"].as_u64().unwrap());
        let cell = cell_by_name(cell).unwrap();
        let mut params = CellParams::zeros_with_output(cell.spec(), inputs, hidden, width);
        let named = data["parameters"].as_array().unwrap();
        assert_eq!(named.len(), cell.spec().params.len());
        for (named, param) in named.iter().zip(params.tensors_mut()) {
            let shape: Vec<usize> = named[1].as_array().unwrap().iter().map(size).collect();
            let numbers = draw(&mut random, shape.iter().product());
            let drawn: f64 = numbers.iter().sum();
            assert_eq!(drawn, data["drawn_sum"][named[0].as_str().unwrap()].as_f64().unwrap());
            let (scale, shift) =
                if shape.len() == 1 { (1.0, 0.5) } else { (data["scale"].as_f64().unwrap(), 0.0) };
            let numbers: Vec<f64> = numbers.iter().map(|v| v * scale + shift).collect();
            param.data_mut().copy_from_slice(&numbers);
        }
        let mut state = |width: usize| Matrix::new(batch, width, draw(&mut random, batch * width)).unwrap();
        let h = state(width);
        let initial = if cell.spec().states.len() > 1 {
            State::of_h_and_c(vec![h], vec![state(hidden)])
        } else {
            State::of_h(vec![h])
        };
        let x = Sequence::new(steps, batch, inputs, &draw(&mut random, steps * batch * inputs)).unwrap();
        let seeds = Sequence::new(steps, batch, width, &draw(&mut random, steps * batch * width)).unwrap();
        let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
        Self { data, network: Network::new(cell, weights).unwrap(), x, initial, seeds }
    }

    /// The norm of each loss's and step's contribution to one tensor of a component.
    fn norms(components: &[Component<f64>], of: impl Fn(&Component<f64>) -> Vec<f64>) -> Vec<f64> {
        components.iter().map(|c| norm([&of(c)])).collect()
    }

    /// Output, states, gradients, components and the ledger's norms against the file's.
    fn check(&self) {
        let Self { data, network, x, initial, seeds } = self;
        let cache = network.scan(Inputs::Dense(x.clone()), initial).unwrap();
        let losses = Losses::from_seeds(seeds.clone());
        let name = network.spec().name.clone();
        let same = |what: &str, found: &[f64], expected: &Value| {
            let error = error(found, &flat(expected));
            assert!(error < 1e-10, "{name}, {what}: {error:e}");
        };
        same("output", cache.output().data(), &data["output"]);
        if let Some(c) = cache.final_state().get(0, 1) {
            same("final c", c.data(), &data["final_c"]);
        }
        let gradient = network.gradient(&cache, &losses, GradientOptions { inputs: true }).unwrap();
        let names: Vec<&str> = network.spec().params.iter().map(|param| param.name).collect();
        for (name, found) in names.iter().zip(gradient.weights.cells[0].tensors()) {
            same(name, found.data(), &data["gradient"][name]);
        }
        same("dx", gradient.inputs.as_ref().unwrap().data(), &data["gradient"]["x"]);
        for (name, found) in ["h_0", "c_0"].iter().zip(gradient.initial.matrices()) {
            same(name, found.data(), &data["gradient"][name]);
        }

        let components = network.components(&cache, &losses, Select::All).unwrap();
        for (i, name) in names.iter().enumerate() {
            let found = Self::norms(&components, |c| c.params.tensors()[i].data().to_vec());
            same(&format!("norms of {name}"), &found, &data["norm"][name]);
        }
        same("norms of x", &Self::norms(&components, |c| c.input.data().to_vec()), &data["norm"]["x"]);

        let ledger = network.itemize(&cache, &losses, &ItemizeOptions::default()).unwrap();
        assert!(ledger.worst_balance() <= 1e-12, "{name}: {:?}", ledger.balance());
        for entry in ledger.entries() {
            let expected = match entry.parameter {
                Parameter::INPUT => &data["norm"]["x"],
                // The first bias has the gradient that they share.
                Parameter::BIAS => names
                    .iter()
                    .map(|name| &data["norm"][name])
                    .zip(&network.spec().params)
                    .find_map(|(of, param)| (param.kind == bptt::cell::ParamKind::Bias).then_some(of))
                    .unwrap(),
                other => &data["norm"][other.as_str()],
            };
            let steps = x.steps();
            let found: Vec<f64> =
                (0..steps).flat_map(|k| (0..=k).map(move |t| entry.norm(k, t).unwrap())).collect();
            same(&format!("ledger of {}", entry.parameter.as_str()), &found, expected);
        }
        for (name, of) in ["h_0", "c_0"].iter().zip(ledger.per_loss()) {
            let found: Vec<f64> = of.norm.iter().map(|norm| norm.unwrap()).collect();
            same(&format!("norm of {name}"), &found, &data["initial_norm"][name]);
        }
    }
}

/// Tests of these names: file and cell.
macro_rules! cases {
    ($($test:ident: $file:literal, $cell:literal;)*) => {
        $(#[test]
        fn $test() {
            Case::new(include_str!(concat!("outside_cells/", $file, ".json")), $cell).check();
        })*
    };
}

cases! {
    lstm_projected_equals_pytorch: "lstm_proj", "lstm_projected";
    lstm_peephole_equals_autograd: "lstm_peephole", "lstm_peephole";
    lstm_with_tanh_equals_keras: "keras_lstm_tanh", "lstm_with:hard_sigmoid,tanh";
    lstm_with_relu_equals_keras: "keras_lstm_relu", "lstm_with:hard_sigmoid,relu";
    lstm_with_sigmoid_equals_keras: "keras_lstm_sigmoid", "lstm_with:hard_sigmoid,sigmoid";
    gru_with_tanh_equals_keras: "keras_gru_tanh", "gru_with:hard_sigmoid,tanh";
    gru_with_relu_equals_keras: "keras_gru_relu", "gru_with:hard_sigmoid,relu";
    gru_with_sigmoid_equals_keras: "keras_gru_sigmoid", "gru_with:hard_sigmoid,sigmoid";
    gru_reset_before_with_tanh_equals_keras: "keras_gru_tanh_reset_before", "gru_reset_before_with:hard_sigmoid,tanh";
    gru_reset_before_with_relu_equals_keras: "keras_gru_relu_reset_before", "gru_reset_before_with:hard_sigmoid,relu";
    gru_reset_before_with_sigmoid_equals_keras: "keras_gru_sigmoid_reset_before", "gru_reset_before_with:hard_sigmoid,sigmoid";
    lstm_with_the_older_hard_sigmoid_equals_autograd: "keras2_lstm_tanh", "lstm_with:hard_sigmoid_0.2,tanh";
    lstm_with_the_older_hard_sigmoid_and_relu_equals_autograd: "keras2_lstm_relu", "lstm_with:hard_sigmoid_0.2,relu";
    gru_with_the_older_hard_sigmoid_equals_autograd: "keras2_gru_tanh", "gru_with:hard_sigmoid_0.2,tanh";
    gru_with_the_older_hard_sigmoid_and_relu_equals_autograd: "keras2_gru_relu", "gru_with:hard_sigmoid_0.2,relu";
    lstm_layer_norm_equals_autograd: "lstm_layer_norm", "lstm_layer_norm";
    min_gru_equals_autograd: "min_gru", "min_gru";
}
