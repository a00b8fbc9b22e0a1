//! Files that hold more than a model: nothing of them is guessed.

use std::fs;
use std::path::Path;

use super::common::{bptt, refusal, stdout};
use super::{file, write_npy};

type Tensor = (&'static str, &'static [usize], Vec<f64>);

/// A GRU with I = 3 and H = 4.
fn gru() -> Vec<Tensor> {
    vec![
        ("rnn.weight_ih_l0", &[12, 3], vec![0.2; 36]),
        ("rnn.weight_hh_l0", &[12, 4], vec![0.1; 48]),
        ("rnn.bias_ih_l0", &[12], vec![0.3; 12]),
        ("rnn.bias_hh_l0", &[12], vec![0.4; 12]),
    ]
}

/// A folder with this model, inputs, gradients, ids and targets.
fn folder(more: &[Tensor]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("m.safetensors"), file(&[&gru()[..], more].concat())).unwrap();
    write_npy(&path("x.npy"), &[1, 5, 3], &[0.5; 15]);
    write_npy(&path("dh.npy"), &[1, 5, 4], &[1.0; 20]);
    write_integers(&path("ids.npy"), &[1, 5], &[2, 0, 1, 1, 2]);
    write_integers(&path("one_hot.npy"), &[1, 5, 2], &[0, 1, 1, 0, 1, 0, 0, 1, 1, 0]);
    write_integers(&path("y.npy"), &[1, 5], &[1, 0, 0, 1, 0]);
    folder
}

fn write_integers(path: &Path, shape: &[usize], numbers: &[i64]) {
    let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let header = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({},), }}\n", shape.join(", "));
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

fn trace(folder: &tempfile::TempDir, more: &[&str]) -> std::process::Output {
    bptt(folder.path(), &[&["trace", "--model", "m.safetensors"], more].concat())
}

#[test]
fn a_tensor_that_nothing_reads_has_to_be_let_go() {
    let folder = folder(&[("rnn.ln_hh.weight", &[12], vec![1.0; 12])]);
    let given = ["--input", "x.npy", "--grad-output", "dh.npy"];
    let (code, message) = refusal(&trace(&folder, &given));
    assert_eq!(code, 1);
    assert!(
        message.contains("tensor rnn.ln_hh.weight of shape (12,) stands beside the weights of rnn"),
        "{message}"
    );
    assert!(message.contains("--ignore rnn.ln_hh.weight"), "{message}");
    for command in
        [&["inspect", "m.safetensors"][..], &["export", "m.safetensors", "--to", "again.safetensors"]]
    {
        assert_eq!(refusal(&bptt(folder.path(), command)), (1, message.clone()));
        stdout(&bptt(folder.path(), &[command, &["--ignore", "rnn.ln_hh.weight"]].concat()));
    }
    let ledger = trace(&folder, &[&given[..], &["--json", "--ignore", "rnn.ln_hh.weight"]].concat());
    let ledger: serde_json::Value = serde_json::from_str(&stdout(&ledger)).unwrap();
    let said = ledger["assumptions"].as_array().unwrap();
    assert!(said.iter().any(|said| said == "rnn.ln_hh.weight takes no part in the computation (--ignore)"));
    let unknown = refusal(&trace(&folder, &[&given[..], &["--ignore", "rnn.ln"]].concat()));
    assert!(unknown.1.contains("ignore: \"rnn.ln\", which is not in m.safetensors"), "{}", unknown.1);
}

#[test]
fn maps_that_may_follow_are_listed() {
    let folder = folder(&[("fc1.weight", &[8, 4], vec![0.1; 32]), ("fc2.weight", &[2, 8], vec![0.1; 16])]);
    let given = ["--input", "x.npy", "--target", "y.npy"];
    let (code, message) = refusal(&trace(&folder, &given));
    assert_eq!(code, 2);
    assert!(
        message.ends_with("choose one with --head: fc1 (8, 4) fc2 (2, 8), which does not fit"),
        "{message}"
    );
    stdout(&trace(&folder, &[&given[..], &["--head", "fc1"]].concat()));
    let chain = trace(&folder, &[&given[..], &["--json", "--head", "fc1,relu,fc2"]].concat());
    let ledger: serde_json::Value = serde_json::from_str(&stdout(&chain)).unwrap();
    assert_eq!(ledger["provenance"]["head"], "fc1,relu,fc2");
    assert!(ledger["total_loss"].as_f64().unwrap() > 0.0);
    let (code, message) = refusal(&trace(&folder, &[&given[..], &["--head", "fc2,relu,fc1"]].concat()));
    assert!(code == 1 && message.contains("tensor fc2.weight: expected (V, 4), given (2, 8)"), "{message}");
}

#[test]
fn integers_stand_for_what_is_said_or_certain() {
    let folder =
        folder(&[("encoder.weight", &[9, 3], vec![0.1; 27]), ("decoder.weight", &[2, 4], vec![0.1; 8])]);
    let given = ["--input", "ids.npy", "--target", "y.npy"];
    let (code, message) = refusal(&trace(&folder, &given));
    assert_eq!(code, 2);
    assert!(
        message.contains("choose one with --embedding: encoder (9, 3) none the integers are one-hot"),
        "{message}"
    );
    for embedding in ["encoder", "none"] {
        let found = trace(&folder, &[&given[..], &["--embedding", embedding, "--head", "decoder"]].concat());
        stdout(&found);
    }
}

#[test]
fn integer_one_hot_targets_are_not_silently_squared() {
    let folder = folder(&[("head.weight", &[2, 4], vec![0.1; 8])]);
    let given = ["--input", "x.npy", "--target", "one_hot.npy"];
    let (code, message) = refusal(&trace(&folder, &given));
    assert_eq!(code, 2);
    assert!(message.contains("numpy.argmax(y, -1)") && message.contains("--loss mse"), "{message}");
    stdout(&trace(&folder, &[&given[..], &["--loss", "mse"]].concat()));
}

#[test]
fn an_empty_axis_is_named() {
    let folder = folder(&[]);
    for (shape, axis) in [([2, 0, 3], 1), ([0, 5, 3], 0)] {
        write_npy(&folder.path().join("x.npy"), &shape, &[]);
        let (code, message) = refusal(&trace(&folder, &["--input", "x.npy", "--grad-output", "dh.npy"]));
        let expected = format!("x.npy is not a usable array: axis {axis} of its shape ");
        assert!(code == 1 && message.starts_with(&expected), "{message}");
    }
}
