//! ONNX graphs, see `data/make_onnx.py`: every node's outputs are those of ONNX Runtime.

use std::path::{Path, PathBuf};

use bptt::{Inputs, Sequence};
use bptt_io::{Tensors, choose, inspect};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn numbers(tensors: &Tensors, name: &str) -> Vec<f64> {
    tensors.get(name).unwrap().floats().unwrap()
}

#[test]
fn nodes_compute_what_onnx_runtime_does() {
    let [model, expected] = ["onnx.onnx", "onnx.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    let x = numbers(&expected, "x");
    let nodes = [
        ("lstm.LSTM", "lstm"),
        ("both.LSTM", "lstm"),
        ("hard.LSTM", "lstm_with:hard_sigmoid_0.2,tanh,relu"),
        ("after.GRU", "gru"),
        ("before.GRU", "gru_reset_before"),
        ("relu.RNN", "rnn_relu"),
    ];
    for (name, cell) in nodes {
        let module = choose(&model, Some(name), None).unwrap();
        assert_eq!(module.cell, cell, "{name}");
        let network = module.network(None).unwrap();
        let inputs = Inputs::Dense(Sequence::new(4, 1, 2, &x).unwrap());
        let cache = network.scan(inputs, &network.zero_state(1)).unwrap();
        // (T, D, B, H) with one sequence is (T, B, D·H).
        let expected = numbers(&expected, name.split('.').next().unwrap());
        assert_eq!(cache.output().data().len(), expected.len());
        for (found, expected) in cache.output().data().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found} is not {expected}");
        }
    }
}

#[test]
fn what_no_cell_computes_is_refused_by_its_node() {
    let model = Tensors::read(&data("onnx.onnx")).unwrap();
    for (name, problem) in
        [("clipped", "(clip)"), ("joined", "(input_forget)"), ("backward", "(direction reverse)")]
    {
        let refused = choose(&model, Some(&format!("{name}.LSTM")), None).unwrap_err().to_string();
        assert!(refused.contains(&format!("{name}.LSTM: it")) && refused.contains(problem), "{refused}");
    }
    let report = inspect(&model, None).unwrap();
    assert_eq!((report.modules.len(), report.unreadable.len()), (6, 3));
    let path = data("onnx.onnx");
    let bytes = std::fs::read(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("m.onnx");
    std::fs::write(&cut, &bytes[..bytes.len() - 100]).unwrap();
    let refused = Tensors::read(&cut).unwrap_err().to_string();
    assert!(refused.contains("it is an ONNX graph that is damaged"), "{refused}");
}

#[test]
fn quantized_weights_are_what_they_stand_for() {
    let [model, expected] =
        ["quantized.onnx", "quantized.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    let module = choose(&model, None, None).unwrap();
    assert_eq!(module.description(), "lstm, 1 layer, both directions, I 2, H 3");
    assert!(module.assumptions.iter().any(|said| said.contains("the weights of q are quantized")));
    for (parameter, name) in [("weight_ih", "w"), ("weight_hh", "r")] {
        let found = module.weights.cells.iter().flat_map(|cell| cell[parameter].data());
        for (found, expected) in found.zip(numbers(&expected, name)) {
            assert!((found - expected).abs() < 1e-12, "{parameter}: {found} is not {expected}");
        }
    }
}
