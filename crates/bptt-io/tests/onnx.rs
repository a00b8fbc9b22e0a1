//! ONNX graphs, see `data/make_onnx.py`: every node's outputs are those of ONNX Runtime.

use std::path::{Path, PathBuf};

use bptt::{Inputs, Sequence};
use bptt_io::{Module, Tensors, choose, inspect};

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

/// Weights behind Slice, Squeeze, Unsqueeze, Concat, Transpose, Identity, Reshape, Split and Cast.
#[test]
fn weights_are_followed_to_the_arrays_that_they_are_made_of() {
    let [model, expected] = ["computed.onnx", "computed.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    let x = numbers(&expected, "x");
    for (name, cell) in
        [("sliced", "lstm"), ("started", "lstm"), ("turned", "gru_reset_before"), ("fed", "rnn")]
    {
        let module = choose(&model, Some(name), None).unwrap();
        assert_eq!(module.cell, cell, "{name}");
        let network = module.network(None).unwrap();
        let mut state = network.zero_state(1);
        if name == "started" {
            state.cells[0][0].data_mut().copy_from_slice(&numbers(&expected, "h0"));
            state.cells[0][1].data_mut().copy_from_slice(&numbers(&expected, "c0"));
        }
        let inputs = Inputs::Dense(Sequence::new(4, 1, 2, &x).unwrap());
        let cache = network.scan(inputs, &state).unwrap();
        let expected = numbers(&expected, name);
        assert_eq!(cache.output().data().len(), expected.len());
        for (found, expected) in cache.output().data().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found} is not {expected}");
        }
    }
    let refused = choose(&model, Some("scaled"), None).unwrap_err().to_string();
    assert!(
        refused.contains("its weights \"product\" are computed in the graph by a Mul that is not followed")
            && refused.contains("constant folding"),
        "{refused}"
    );
    // What was read is listed no more; what was not, is.
    let others = inspect(&model, None).unwrap().others;
    let is_listed = |name: &str| others.iter().any(|other| other.name == name);
    assert!(!is_listed("kernel") && !is_listed("w") && !is_listed("both") && is_listed("unscaled"));
}

#[test]
fn lengths_and_initial_states_of_the_graph_are_said() {
    let model = Tensors::read(&data("computed.onnx")).unwrap();
    let said = choose(&model, Some("sliced"), None).unwrap().assumptions;
    let expected = [
        "started is given the lengths [4] in the graph; give --lengths if sequences end early",
        "started begins with initial_h in the graph, the array \"h0\" of shape (1, 1, 3), which is not zero; give it with --h0",
        "started begins with initial_c in the graph, the array \"c0\" of shape (1, 1, 3), which is not zero; give it with --c0",
        "fed is given initial_h \"state\" in the graph, which is an input or computed; give --h0 if it is not zero",
    ];
    // The zeros of `turned` are not worth a word.
    assert_eq!(said, expected);
}

/// Both directions' outputs (T, D·H) as ONNX has them, of one sequence.
fn outputs(module: &Module, x: &[f64]) -> Vec<f64> {
    let network = module.network(None).unwrap();
    let inputs = Inputs::Dense(Sequence::new(4, 1, 2, x).unwrap());
    network.scan(inputs, &network.zero_state(1)).unwrap().output().data().to_vec()
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{what}: {found} is not {expected}");
    }
}

/// The rows of a sequence from the last to the first.
fn reversed(rows: &[f64], width: usize) -> Vec<f64> {
    rows.chunks(width).rev().flatten().copied().collect()
}

#[test]
fn peepholes_are_read() {
    let [model, expected] = ["ways_out.onnx", "ways_out.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    for (name, description) in [
        ("peephole", "lstm_peephole, 1 layer, I 2, H 3"),
        ("peepholes", "lstm_peephole, 1 layer, both directions, I 2, H 3"),
    ] {
        let module = choose(&model, Some(name), None).unwrap();
        assert_eq!(module.description(), description);
        assert_close(&outputs(&module, &numbers(&expected, "x")), &numbers(&expected, name), name);
    }
    let refused = choose(&model, Some("peephole"), Some("lstm")).unwrap_err().to_string();
    assert!(
        refused.contains("tensor peephole.peephole_f_l0 of shape (3,) and 2 more stands beside"),
        "{refused}"
    );
}

/// What a refusal asks for is in the graph, too, with the same weights.
#[test]
fn ways_out_of_refused_nodes_compute_what_the_nodes_do() {
    let [model, expected] = ["ways_out.onnx", "ways_out.npz"].map(|name| Tensors::read(&data(name)).unwrap());
    let x = numbers(&expected, "x");
    let refuse = |name: &str, way_out: &str| {
        let refused = choose(&model, Some(name), None).unwrap_err().to_string();
        assert!(refused.contains(&format!("{name}: it")) && refused.contains(way_out), "{refused}");
    };
    let read = |name: &str| choose(&model, Some(name), None).unwrap();
    for kind in ["LSTM", "GRU"] {
        refuse(
            &format!("reverse_{kind}"),
            "(direction reverse), which is not read; set its direction to forward, give the inputs from the last step to the first",
        );
        let found = outputs(&read(&format!("turned_{kind}")), &reversed(&x, 2));
        assert_close(&reversed(&found, 3), &numbers(&expected, &format!("reverse_{kind}")), kind);
    }
    refuse(
        "clipped",
        "±50 (clip), which no cell here does; if none of them gets there, remove the attribute",
    );
    assert_close(&outputs(&read("unclipped"), &x), &numbers(&expected, "clipped"), "clipped");
    refuse(
        "explicit",
        "activation_beta), which are not read; if they are the defaults of ONNX, remove the attributes",
    );
    assert_close(&outputs(&read("implicit"), &x), &numbers(&expected, "explicit"), "explicit");
    refuse("unlike", "different activations, which is not read; make a node of each, of direction forward");
    let halves = [outputs(&read("unlike_0"), &x), reversed(&outputs(&read("unlike_1"), &reversed(&x, 2)), 3)];
    let joined: Vec<f64> =
        halves[0].chunks(3).zip(halves[1].chunks(3)).flat_map(|(f, b)| [f, b].concat()).collect();
    assert_close(&joined, &numbers(&expected, "unlike"), "unlike");
}

#[test]
fn steps_that_no_cell_computes_are_sent_to_python() {
    let model = Tensors::read(&data("ways_out.onnx")).unwrap();
    for (name, problem) in [
        ("joined", "its input and forget gates are one (input_forget), which no cell here has"),
        ("soft", "its activations are sigmoid, softsign, which are not known here"),
        ("vanilla", "its activation is sigmoid, which a vanilla layer has not here"),
        ("relu_peephole", "it has peepholes (input P) and the activations sigmoid, tanh, relu"),
        ("clipped", "otherwise in Python"),
    ] {
        let refused = choose(&model, Some(name), None).unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
        assert!(
            refused.contains("bptt.torch.cell_ledger and bptt.jax.cell_ledger itemize any step"),
            "{refused}"
        );
    }
}
