//! A file of Keras', see `data/make_keras.py`: every layer's outputs are those that Keras computed.

use std::path::{Path, PathBuf};

use bptt::{GradientOptions, Inputs, Losses, Sequence};
use bptt_io::{Module, Tensors, choose, find, inspect};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn layers_compute_what_keras_does() {
    // In the archive the groups are called after classes: layers/gru_1 is the layer "before".
    for file in ["keras.h5", "keras.keras"] {
        check(file);
    }
}

fn check(file: &str) {
    let [model, numbers] = [file, "keras.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    let x = numbers.get("x").unwrap().floats().unwrap();
    let modules = [
        ("hard/lstm_cell", "lstm_with:hard_sigmoid,tanh", "hard"),
        ("both/lstm/lstm_cell", "lstm", "both"),
        ("after/gru_cell", "gru", "after"),
        ("before/gru_cell", "gru_reset_before_with:sigmoid,relu", "before"),
        ("vanilla/simple_rnn_cell", "rnn_relu", "vanilla"),
    ];
    assert_eq!(find(&model).len(), modules.len());
    for (name, cell, output) in modules {
        let module = choose(&model, Some(name), None).unwrap();
        assert_eq!(module.cell, cell, "{name}");
        let network = module.network(None).unwrap();
        let inputs = Inputs::Dense(Sequence::new(4, 1, 2, &x).unwrap());
        let cache = network.scan(inputs, &network.zero_state(1)).unwrap();
        let expected = numbers.get(output).unwrap().floats().unwrap();
        assert_eq!(cache.output().data().len(), expected.len());
        for (found, expected) in cache.output().data().iter().zip(expected) {
            // Keras multiplies matrices in f32, whatever the layer's type (findings/keras_float64_products.sh).
            assert!((found - expected).abs() < 1e-6, "{name}: {found} is not {expected}");
        }
    }
    assert!(inspect(&model, None).unwrap().unreadable.is_empty());
}

#[test]
fn weights_without_a_configuration_are_read_with_defaults_and_that_is_said() {
    let weights = Tensors::read(&data("keras.weights.h5")).unwrap();
    let module = choose(&weights, Some("both/lstm/lstm_cell"), None).unwrap();
    assert!(module.assumptions[0].starts_with("the activations of both/lstm/lstm_cell are sigmoid and tanh"));
    let both = "the two directions of both/lstm/lstm_cell are read side by side (merge_mode concat), which is not in the file";
    assert_eq!(module.assumptions[1..], [both]);
    let model = Tensors::read(&data("keras.h5")).unwrap();
    let of_model = choose(&model, Some("both/lstm/lstm_cell"), None).unwrap();
    assert!(of_model.assumptions.is_empty(), "{:?}", of_model.assumptions);
    assert_eq!(module.weights, of_model.weights);
}

#[test]
fn weights_of_keras_2_have_its_defaults_and_cudnns_are_rearranged() {
    let [model, numbers] = ["keras2.h5", "keras2.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    let x = numbers.get("x").unwrap().floats().unwrap();
    let hard = "are hard_sigmoid (0.2 a + 0.5) and tanh, the defaults of Keras 2.2.4, which wrote the file";
    let cudnn = "are in CuDNN's arrangement";
    let modules = [
        ("lstm_1", "lstm_with:hard_sigmoid_0.2,tanh", hard),
        ("gru_1", "gru_reset_before_with:hard_sigmoid_0.2,tanh", hard),
        ("cu_dnnlstm_1", "lstm", cudnn),
        ("cu_dnngru_1", "gru", cudnn),
    ];
    assert_eq!(find(&model).len(), modules.len());
    for (name, cell, said) in modules {
        let module = choose(&model, Some(name), None).unwrap();
        assert_eq!(module.cell, cell, "{name}");
        assert!(module.assumptions.iter().any(|of| of.contains(said)), "{name}: {:?}", module.assumptions);
        let network = module.network(None).unwrap();
        let inputs = Inputs::Dense(Sequence::new(4, 1, 2, &x).unwrap());
        let cache = network.scan(inputs, &network.zero_state(1)).unwrap();
        let expected = numbers.get(name).unwrap().floats().unwrap();
        assert_eq!(cache.output().data().len(), expected.len());
        for (found, expected) in cache.output().data().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found} is not {expected}");
        }
    }
    // The activations may be others: the way out that is said.
    for cell in ["lstm", "lstm_with:sigmoid,relu"] {
        assert_eq!(choose(&model, Some("lstm_1"), Some(cell)).unwrap().cell, cell);
    }
    let refused = choose(&model, Some("lstm_1"), Some("gru")).unwrap_err().to_string();
    assert!(refused.contains("lstm_1 with 4 gates"), "{refused}");
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{what}: {found} is not {expected}");
    }
}

/// The module of the layer called `name`.
fn layer(model: &Tensors, name: &str) -> Result<Module, String> {
    let outlines = find(model);
    let path = &outlines.iter().find(|outline| outline.name.split('/').next() == Some(name)).unwrap().name;
    choose(model, Some(path), None).map_err(|error| error.to_string())
}

/// For a `merge_mode`, what it makes of two numbers.
type Merge = fn(f64, f64) -> f64;

/// See `data/make_keras_refused.py`: what a refusal asks for computes what Keras does.
#[test]
fn merged_directions_are_refused_with_the_gradients_of_both() {
    let [model, numbers] = ["refused.keras", "refused.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    let floats = |name: &str| numbers.get(name).unwrap().floats().unwrap();
    let module = layer(&model, "joined").unwrap();
    let network = module.network(None).unwrap();
    let x = Inputs::Dense(Sequence::new(4, 1, 2, &floats("x")).unwrap());
    let cache = network.scan(x, &network.zero_state(1)).unwrap();
    let (y, seeds) = (cache.output().data(), floats("seeds"));
    assert_close(y, &floats("joined"), "joined");
    // y of both outputs of a unit, and the gradient by the first of L = s y.
    let modes: [(&str, &str, &str, Merge, Merge); 3] = [
        ("summed", "sum", "that by the sum, twice", |f, b| f + b, |s, _| s),
        ("averaged", "ave", "half of that by the average, twice", f64::midpoint, |s, _| s / 2.0),
        (
            "multiplied",
            "mul",
            "that by the product, times the output of the other",
            |f, b| f * b,
            |s, b| s * b,
        ),
    ];
    for (name, mode, both, merge, gradient) in modes {
        let refused = layer(&model, name).unwrap_err();
        assert!(
            refused.contains(&format!("its two directions are merged by {mode}, which is not read")),
            "{refused}"
        );
        assert!(refused.contains("set its merge_mode to concat") && refused.contains(both), "{refused}");
        let rows: Vec<(&[f64], &[f64])> = y.chunks(6).map(|row| row.split_at(3)).collect();
        let merged: Vec<f64> = rows.iter().flat_map(|(f, b)| (0..3).map(|u| merge(f[u], b[u]))).collect();
        assert_close(&merged, &floats(name), name);
        let of_both: Vec<f64> = rows
            .iter()
            .zip(seeds.chunks(3))
            .flat_map(|((f, b), s)| {
                let of = |other: &[f64]| (0..3).map(|u| gradient(s[u], other[u])).collect::<Vec<f64>>();
                [of(b), of(f)].concat()
            })
            .collect();
        let losses = Losses::from_seeds(Sequence::new(4, 1, 6, &of_both).unwrap());
        let gradient = network.gradient(&cache, &losses, GradientOptions { inputs: true }).unwrap();
        assert_close(gradient.inputs.unwrap().data(), &floats(&format!("{name}.dx")), name);
    }
    // None: two outputs, which stand side by side here, and that is said.
    let apart = layer(&model, "apart").unwrap();
    assert_eq!(apart.weights, module.weights);
    assert_close(y, &floats("apart"), "apart");
    let said = "apart gives out its two directions apart (merge_mode None); they are read side by side, the forward one first";
    assert_eq!(apart.assumptions, [said]);
}

#[test]
fn what_refusals_ask_for_computes_what_the_layers_do() {
    let [model, numbers] = ["refused.keras", "refused.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    let floats = |name: &str| numbers.get(name).unwrap().floats().unwrap();
    let outputs = |name: &str, x: &[f64]| {
        let network = layer(&model, name).unwrap().network(None).unwrap();
        let x = Inputs::Dense(Sequence::new(4, 1, 2, x).unwrap());
        network.scan(x, &network.zero_state(1)).unwrap().output().data().to_vec()
    };
    let reversed =
        |rows: &[f64], width: usize| -> Vec<f64> { rows.chunks(width).rev().flatten().copied().collect() };
    let x = floats("x");
    for (name, way_out) in [
        (
            "backwards",
            "(go_backwards), which is not read; set go_backwards to false and give its inputs reversed",
        ),
        (
            "cells",
            "it is an RNN of given cells, which is not read; the layers LSTM, GRU and SimpleRNN take the weights",
        ),
        (
            "unlike",
            "different layers, which is not read; make a layer of each, the second without go_backwards",
        ),
        (
            "named",
            "of which the other was not found; Bidirectional without a backward_layer takes the weights of both",
        ),
    ] {
        let refused = layer(&model, name).unwrap_err();
        assert!(refused.contains(way_out), "{refused}");
    }
    assert_close(&outputs("plain", &reversed(&x, 2)), &floats("backwards"), "backwards");
    assert_close(&outputs("plain", &x), &floats("cells"), "cells");
    assert_close(&outputs("joined", &x), &floats("named"), "named");
    let halves = [outputs("plain", &x), reversed(&outputs("relu", &reversed(&x, 2)), 3)];
    let joined: Vec<f64> =
        halves[0].chunks(3).zip(halves[1].chunks(3)).flat_map(|(f, b)| [f, b].concat()).collect();
    assert_close(&joined, &floats("unlike"), "unlike");
}

#[test]
fn damaged_files_are_refused() {
    let bytes = std::fs::read(data("keras.h5")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.h5");
    for length in [8, 100, 2_000, bytes.len() / 2] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let refused = Tensors::read(&path).unwrap_err().to_string();
        assert!(refused.contains("it is cut off or damaged"), "{refused}");
    }
}
