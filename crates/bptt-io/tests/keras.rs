//! A file of Keras', see `data/make_keras.py`: every layer's outputs are those that Keras computed.

use std::path::{Path, PathBuf};

use bptt::{Inputs, Sequence};
use bptt_io::{Tensors, choose, find, inspect};

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
