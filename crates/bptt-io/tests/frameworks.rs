//! Models of other frameworks against what these compute, see `data/frameworks/make_*.py`: outputs, and of every loss L_k the
//! gradient by each input and the norms of those by the weights.

use std::path::{Path, PathBuf};

use bptt::{GradientOptions, Inputs, Losses, Matrix, Sequence};
use bptt_io::{Layout, Module, Tensors, choose};

const I: usize = 2;
const T: usize = 4;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/frameworks").join(name)
}

/// As in `common.py`.
fn numbers(seed: f64, count: usize) -> Vec<f64> {
    (0..count).map(|i| (seed + 1.7 * i as f64).sin() * 0.8).collect()
}

fn module(file: &str, layout: Option<&str>, cell: Option<&str>) -> Module {
    let tensors = Tensors::read_as(&data(file), &Layout::new(layout, None).unwrap()).unwrap();
    choose(&tensors, None, cell).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn norm(matrix: &Matrix<f64>) -> f64 {
    matrix.data().iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        // MLX multiplies f64 with the precision of f32, and TensorFlow.js computes in f32.
        let limit = if what.starts_with("mlx") || what.starts_with("tfjs") { 1e-6 } else { 1e-12 };
        assert!((found - expected).abs() < limit, "{what}, {i}: {found} is not {expected}");
    }
}

/// Compares the module in `file` with the numbers of `case`.
fn check(framework: &str, case: &str, file: &str, layout: Option<&str>, title: &str, cell: &str) -> Module {
    let proofs = ["npz", "safetensors"].map(|ending| data(&format!("{framework}.{ending}")));
    let proofs = Tensors::read(proofs.iter().find(|path| path.exists()).unwrap()).unwrap();
    let proof = |what: &str| proofs.get(&format!("{case}.{what}")).unwrap().floats().unwrap();
    // What no file tells is asked for.
    let module = module(file, layout, (case == "gru_before").then_some(cell));
    assert_eq!((module.outline.convention.title(), module.cell.as_str()), (title, cell), "{file}");
    let network = module.network(None).unwrap();
    let x = Sequence::new(T, 1, I, &numbers(0.3, T * I)).unwrap();
    let cache = network.scan(Inputs::Dense(x), &network.zero_state(1)).unwrap();
    assert_close(cache.output().data(), &proof("y"), file);
    let width = module.width();
    let (seeds, dx, norms) = (numbers(0.9, T * width), proof("dx"), proof("norms"));
    for k in 0..T {
        let of_k: Vec<f64> =
            seeds.iter().enumerate().map(|(i, s)| if i / width == k { *s } else { 0.0 }).collect();
        let losses = Losses::from_seeds(Sequence::new(T, 1, width, &of_k).unwrap());
        let gradient = network.gradient(&cache, &losses, GradientOptions { inputs: true }).unwrap();
        let what = format!("{file}, loss {k}");
        assert_close(gradient.inputs.unwrap().data(), &dx[k * T * I..(k + 1) * T * I], &what);
        // Of the first layer; the scripts of Flax take both directions together.
        let directions = if framework == "flax" { network.directions() } else { 1 };
        let of = |name: &str| {
            let cells = &gradient.weights.cells[..directions];
            cells.iter().map(|cell| norm(&cell[name]).powi(2)).sum::<f64>().sqrt()
        };
        let found = ["weight_ih", "weight_hh", "bias_ih"].map(of);
        // Of two matrices alone if there is no bias.
        let count = norms.len() / T;
        assert_close(&found[..count], &norms[count * k..count * (k + 1)], &what);
    }
    module
}

#[test]
fn flax_cells_of_linen_and_nnx() {
    for (case, title, cell) in [
        ("lstm", "Flax linen", "lstm"),
        ("optimized", "Flax linen", "lstm"),
        ("gru", "Flax linen", "gru"),
        ("simple", "Flax linen", "rnn"),
        ("both", "Flax linen", "gru"),
        ("nnx_lstm", "Flax nnx", "lstm"),
        ("nnx_optimized", "Flax nnx", "lstm"),
        ("nnx_gru", "Flax nnx", "gru"),
        ("nnx_simple", "Flax nnx", "rnn"),
    ] {
        check("flax", case, &format!("flax_{case}.msgpack"), None, title, cell);
    }
    let tensors = Tensors::read(&data("flax_mgu.msgpack")).unwrap();
    let refused = choose(&tensors, None, None).unwrap_err().to_string();
    assert!(refused.contains("tensor params/cell/hr/kernel is missing; Flax linen's gru has"), "{refused}");
}

#[test]
fn equinox_cells() {
    for cell in ["lstm", "gru"] {
        check("equinox", cell, &format!("equinox_{cell}.npz"), None, "Equinox", cell);
    }
}

#[test]
fn haiku_cores() {
    let lstm = check("haiku", "lstm", "haiku_lstm.npz", None, "Haiku", "lstm");
    assert_eq!(
        lstm.reading(),
        "lstm is read as Haiku: one matrix (inputs + H, gates · H), gates in the order i, g, f, o; 1 is added to the bias of f, as \
         the source does at every step"
    );
    let gru = check("haiku", "gru", "haiku_gru.npz", None, "Haiku", "gru_reset_before");
    assert!(gru.reading().contains("the signs of z are changed, because its h' is (1 − z) h + z n"));
    check("haiku", "rnn", "haiku_rnn.npz", None, "Haiku", "rnn_relu");
}

#[test]
fn mlx_layers() {
    for (case, cell) in [("lstm", "lstm"), ("gru", "gru"), ("rnn", "rnn"), ("unbiased", "rnn")] {
        check("mlx", case, &format!("mlx_{case}.npz"), None, "MLX", cell);
    }
}

#[test]
fn paddle_layers() {
    check("paddle", "lstm", "paddle_lstm.npz", None, "Paddle", "lstm");
    check("paddle", "gru", "paddle_gru.npz", None, "Paddle", "gru");
    check("paddle", "bigru", "paddle_bigru.npz", None, "Paddle", "gru");
}

#[test]
fn candles_layers() {
    let lstm = check("candle", "lstm", "candle_lstm.safetensors", Some("candle"), "candle", "lstm");
    assert_eq!(lstm.description(), "lstm, 2 layers, I 2, H 3");
    check("candle", "gru", "candle_gru.safetensors", Some("candle"), "candle", "gru");
    check("candle", "backward", "candle_backward.safetensors", Some("candle"), "candle", "lstm");
    // Names and arrangement are PyTorch's.
    check("candle", "lstm", "candle_lstm.safetensors", None, "PyTorch", "lstm");
}

#[test]
fn burns_modules() {
    for (case, cell) in [
        ("lstm", "lstm"),
        ("bilstm", "lstm"),
        ("gru", "gru"),
        ("gru_before", "gru_reset_before"),
        ("bigru", "gru"),
        ("rnn", "rnn"),
        ("birnn", "rnn"),
    ] {
        let module = check("burn", case, &format!("burn_{case}.safetensors"), None, "burn", cell);
        assert_eq!(module.weights.bidirectional, case.starts_with("bi"));
    }
}

#[test]
fn layers_of_tensorflow_js() {
    for (case, cell) in [
        ("lstm", "lstm_with:hard_sigmoid_0.2,tanh"),
        ("gru", "gru_reset_before_with:hard_sigmoid_0.2,tanh"),
        ("both", "rnn"),
    ] {
        let module = check("tfjs", case, &format!("tfjs_{case}/model.json"), None, "Keras", cell);
        assert_eq!(module.weights.bidirectional, case == "both");
        assert!(module.assumptions.is_empty(), "{:?}", module.assumptions);
    }
}

#[test]
fn chainer_links() {
    for (case, cell) in
        [("lstm", "lstm"), ("gru", "gru_reset_before"), ("steps_lstm", "lstm"), ("steps_bigru", "gru")]
    {
        check("chainer", case, &format!("chainer_{case}.npz"), None, "Chainer", cell);
    }
}

#[test]
fn tinygrads_cells_are_a_stack_if_it_is_asked_for() {
    let lstm = check("tinygrad", "lstm", "tinygrad_lstm.npz", Some("tinygrad"), "tinygrad", "lstm");
    assert_eq!(lstm.description(), "lstm, 2 layers, I 2, H 3");
}
