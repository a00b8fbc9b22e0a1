//! Gradients in bf16 against those of PyTorch and JAX. `bf16.py` beside this file made them, trained the networks, and says how
//! they are written.

use std::path::Path;

use bptt::{
    CellParams, Framework, FrameworkSums, Inputs, Matrix, Network, Objective, Readout, Reduction,
    ScanOptions, Sequence, Symbols, Targets, Weights, cell_by_name,
};
use serde_json::Value;

/// Numbers of four hexadecimal digits (bf16) or eight (f32).
fn numbers(text: &Value, digits: usize) -> Vec<f64> {
    let text = text.as_str().unwrap();
    let bits = |i: usize| u32::from_str_radix(&text[i * digits..(i + 1) * digits], 16).unwrap();
    (0..text.len() / digits).map(|i| f64::from(f32::from_bits(bits(i) << (32 - 4 * digits)))).collect()
}

fn one_hot(symbols: &Symbols, features: usize) -> Sequence<f64> {
    let (steps, batch) = symbols.shape();
    let mut numbers = Sequence::zeros(steps, batch, features);
    for (numbers, &id) in numbers.data_mut().chunks_exact_mut(features).zip(symbols.ids()) {
        numbers[id as usize] = 1.0;
    }
    numbers
}

/// What the library says of a file's network.
fn predicted(case: &Value) -> Vec<FrameworkSums> {
    let size = |name: &str| usize::try_from(case[name].as_u64().unwrap()).unwrap();
    let (steps, batch, outputs) = (size("steps"), size("batch"), size("outputs"));
    let cell = cell_by_name(case["cell"].as_str().unwrap()).unwrap();
    let bidirectional = case["bidirectional"].as_bool().unwrap();
    let directions = if bidirectional { 2 } else { 1 };
    let width = directions * size("output");
    let zeros = |index: usize| {
        let inputs = if index < directions { size("inputs") } else { width };
        CellParams::zeros_with_output(cell.spec(), inputs, size("hidden"), size("output"))
    };
    let readout = Readout {
        w_hy: Matrix::new(outputs, width, numbers(&case["head"][0], 4)).unwrap(),
        b_y: Matrix::new(1, outputs, numbers(&case["head"][1], 4)).unwrap(),
    };
    let cells = (0..size("layers") * directions).map(zeros).collect();
    let mut weights = Weights { cells, bidirectional, readout: Some(readout) };
    let names: Vec<String> = weights.tensors().into_iter().map(|(name, _)| name).collect();
    let of_cells = names.iter().zip(weights.tensors_mut()).filter(|(name, _)| !name.starts_with("head"));
    for (name, tensor) in of_cells {
        tensor.data_mut().copy_from_slice(&numbers(&case["weights"][name], 4));
    }
    let network = Network::new(cell, weights).unwrap();
    let (inputs, targets) = if case["x"].is_string() {
        let values = |name: &str, features: usize, digits: usize| {
            Sequence::new(steps, batch, features, &numbers(&case[name], digits)).unwrap()
        };
        let targets = Targets::SquaredError(values("target", outputs, 8));
        (Inputs::Dense(values("x", size("inputs"), 4)), targets)
    } else {
        let symbols = |name: &str| {
            let ids =
                case[name].as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap());
            Symbols::new(steps, batch, ids.collect()).unwrap()
        };
        let targets = if case["squared"].as_bool().unwrap() {
            Targets::SquaredError(one_hot(&symbols("target"), outputs))
        } else {
            Targets::CrossEntropy(symbols("target"))
        };
        (Inputs::Symbols(symbols("x")), targets)
    };
    let first_loss = size("first_loss");
    let mask = (0..steps * batch).map(|i| i / batch >= first_loss).collect();
    let objective = Objective { targets, mask: Some(mask), reduction: Reduction::MeanTokens };
    network.precision_sums(&inputs, &network.zero_state(batch), &ScanOptions::default(), &objective).unwrap()
}

/// How far a predicted gradient is from a framework's.
struct Distance {
    /// The largest difference of one number, relative to the largest number of the gradient.
    largest: f64,
    /// The part of the numbers that differ.
    differing: f64,
}

/// For each framework of a file and each weight.
fn distances(case: &Value) -> Vec<(Framework, String, Distance)> {
    let mut all = Vec::new();
    for of in predicted(case) {
        let gradients = &case["gradients"][of.framework.as_str()];
        if gradients.is_null() {
            continue;
        }
        assert!(of.rounds_within_steps);
        let digits = if of.framework == Framework::JaxCastInside { 8 } else { 4 };
        for parameter in &of.parameters {
            let name = format!("{}_{}", parameter.parameter, parameter.cell.suffix());
            let real = numbers(&gradients[&name], digits);
            let found = parameter.in_framework().gradient.data();
            assert_eq!(real.len(), found.len());
            let size = real.iter().fold(0.0f64, |size, v| size.max(v.abs()));
            let differences: Vec<f64> =
                real.iter().zip(found).map(|(real, &found)| (real - f64::from(found)).abs()).collect();
            let largest = differences.iter().fold(0.0f64, |largest, &d| largest.max(d));
            let differing = differences.iter().filter(|&&d| d > 0.0).count() as f64 / real.len() as f64;
            let distance = Distance { largest: if largest == 0.0 { 0.0 } else { largest / size }, differing };
            all.push((of.framework, name, distance));
        }
    }
    all
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every number of every weight's gradient, to the last bit of bf16 (2^-8 of the gradient's largest number where f32 sums in
/// another order have changed a rounding).
fn agree(name: &str, frameworks: usize) {
    let case = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/bf16/{name}.json")));
    let distances = distances(&case);
    for (framework, parameter, Distance { largest, differing }) in &distances {
        println!("{name} {framework:?} {parameter}: {largest:.1e}, {differing:.4} differ");
    }
    assert_eq!(distances.len(), frameworks * case["weights"].as_object().unwrap().len());
    for (framework, parameter, Distance { largest, .. }) in distances {
        assert!(largest <= 2f64.powi(-8), "{name} {framework:?} {parameter}: {largest:e}");
    }
}

#[test]
fn rnn_is_that_of_pytorch_and_jax() {
    agree("constant_rnn_relu", 3);
    agree("adding_rnn", 3);
}

#[test]
fn gru_is_that_of_pytorch() {
    agree("constant_gru", 1);
    agree("text_gru", 1);
}

#[test]
fn lstm_is_that_of_pytorch() {
    agree("constant_lstm", 1);
    agree("copying_lstm", 1);
}

#[test]
fn lstm_projected_is_that_of_pytorch() {
    agree("constant_lstm_projected", 1);
    agree("text_lstm_projected", 1);
}

/// Two layers in both directions.
#[test]
fn stacks_are_those_of_pytorch() {
    for cell in ["rnn", "gru", "lstm", "lstm_projected"] {
        agree(&format!("layers_{cell}"), 1);
    }
}

/// Prints the table of `book/src/precision.md`, of the files in the folder `BPTT_BF16_CASES`.
#[test]
#[ignore = "needs the files that bf16.py --large writes"]
fn bf16_of_larger_networks() {
    let folder = std::env::var("BPTT_BF16_CASES").expect("BPTT_BF16_CASES names a folder");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        for (framework, parameter, Distance { largest, differing }) in distances(&read(&file)) {
            let name = file.file_stem().unwrap().display();
            println!(
                "{name} {} {parameter}: {largest:.1e}, {:.1} % differ",
                framework.as_str(),
                100.0 * differing
            );
        }
    }
}
