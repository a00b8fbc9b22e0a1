//! Models of PyTorch's: what `trace`, `inspect` and `export` say of them, and how they refuse. `interchange.py` beside this
//! file made the model, the arrays and PyTorch's numbers, and says how.

mod common;
#[path = "interchange/doors.rs"]
mod doors;
#[path = "interchange/refusals.rs"]
mod refusals;
#[path = "interchange/targets.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use common::{bptt, refusal, stdout};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange")
}

/// What a command prints, run among the fixtures.
fn said(arguments: &[&str]) -> String {
    stdout(&bptt(&fixtures(), arguments))
}

fn traced(arguments: &[&str]) -> Value {
    let mut all = vec!["trace", "--json", "--model", "model.safetensors"];
    all.extend(arguments);
    serde_json::from_str(&said(&all)).unwrap()
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(fixtures().join("expected.json")).unwrap()).unwrap()
}

/// A ledger's entry by PyTorch's name of the parameter: `weight_ih_l0_reverse`.
fn entry<'a>(ledger: &'a Value, name: &str) -> &'a Value {
    let entries = ledger["entries"].as_array().unwrap();
    let found = entries.iter().find(|e| {
        let reverse = if e["direction"] == "reverse" { "_reverse" } else { "" };
        let parameter = e["parameter"].as_str().unwrap();
        let own = format!("{parameter}_l{}{reverse}", e["layer"]);
        // Where both biases have the same gradient, the ledger has one.
        own == name || own == name.replace("bias_ih", "bias").replace("bias_hh", "bias")
    });
    found.unwrap_or_else(|| panic!("no entry {name}"))
}

fn assert_close(what: &str, found: &Value, expected: &Value) {
    let (found, expected) = (found.as_f64().unwrap_or(0.0), expected.as_f64().unwrap_or(0.0));
    assert!((found - expected).abs() <= 1e-10 * expected.abs(), "{what}: {found} is not {expected}");
}

/// Compares the norm of every parameter's gradient.
fn assert_totals(ledger: &Value, expected: &Value, parameters: usize) {
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), parameters);
    for (name, norm) in expected {
        assert_close(name, &entry(ledger, name)["total_norm"], norm);
    }
    for (name, error) in ledger["balance"].as_object().unwrap() {
        assert!(error.as_f64().unwrap() < 1e-12, "{name}");
    }
}

/// The tensors of a safetensors file: type, shape and bytes by name.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (String, Value, Vec<u8>)> {
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let entries = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let tensor = |(name, info): (&String, &Value)| {
        let at = |i: usize| usize::try_from(info["data_offsets"][i].as_u64().unwrap()).unwrap();
        let bytes = data[at(0)..at(1)].to_vec();
        (name.clone(), (info["dtype"].as_str().unwrap().into(), info["shape"].clone(), bytes))
    };
    entries.map(tensor).collect()
}

/// A safetensors file of f64 tensors.
fn file(tensors: &[(&str, &[usize], Vec<f64>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, numbers) in tensors {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
        let info = json!({ "dtype": "F64", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert((*name).into(), info);
    }
    let header = Value::Object(header).to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

const ACTOR: [&str; 2] = ["--module", "net.lstm_actor"];
const SEEDS: [&str; 4] = ["--input", "x.npy", "--grad-output", "dh.npy"];

#[test]
fn every_component_of_a_pytorch_model_has_the_norm_that_autograd_gives() {
    let ledger = traced(&[&ACTOR[..], &SEEDS].concat());
    assert_eq!((&ledger["schema"], &ledger["symbols"]), (&json!("bptt.ledger/2"), &Value::Null));
    assert_totals(&ledger, &expected()["seeds"], 16);
    let components = expected()["components"].clone();
    for (name, rows) in components.as_object().unwrap() {
        for (k, row) in rows.as_array().unwrap().iter().enumerate() {
            for (t, norm) in row.as_array().unwrap().iter().enumerate() {
                assert_close(&format!("{name} ({k}, {t})"), &entry(&ledger, name)["norm"][k][t], norm);
            }
        }
    }
}

#[test]
fn time_major_arrays_give_the_same_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let seeds = npy_f64(&fixtures().join("dh.npy"));
    let turned = (0..5).flat_map(|t| (0..2).map(move |b| (b * 5 + t) * 8));
    let turned: Vec<f64> = turned.flat_map(|i| seeds[i..i + 8].to_vec()).collect();
    let path = folder.path().join("dh.npy");
    write_npy(&path, &[5, 2, 8], &turned);
    let seeds = ["--input", "x_time_major.npy", "--time-major", "--grad-output", path.to_str().unwrap()];
    // All but the names of files and what is assumed of their axes.
    let numbers = |arguments: &[&str]| {
        let mut ledger = traced(&[&ACTOR[..], arguments].concat());
        let object = ledger.as_object_mut().unwrap();
        assert!(["provenance", "assumptions"].iter().all(|key| object.remove(*key).is_some()));
        ledger
    };
    assert_eq!(numbers(&seeds), numbers(&SEEDS));
}

#[test]
fn cross_entropy_through_embedding_and_head_has_pytorchs_gradients() {
    let arguments = [
        "--input",
        "ids.npy",
        "--target",
        "target.npy",
        "--reduction",
        "mean",
        "--h0",
        "h0.npy",
        "--c0",
        "c0.npy",
    ];
    let ledger = traced(&[&ACTOR[..], &arguments].concat());
    assert_totals(&ledger, &expected()["cross_entropy"], 16);
}

#[test]
fn squared_error_of_padded_sequences_has_pytorchs_gradients() {
    let arguments = ["--module", "critic", "--head", "value", "--time-major", "--input", "x_time_major.npy"];
    let more = ["--target", "y.npy", "--lengths", "lengths.npy"];
    let ledger = traced(&[&arguments[..], &more].concat());
    assert_totals(&ledger, &expected()["squared_error"], 4);
}

#[test]
fn a_pytorch_model_comes_back_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let source = tensors(&fs::read(fixtures().join("model.safetensors")).unwrap());

    let line = said(&["export", "model.safetensors", "--to", &path("all.safetensors")]);
    let load = format!("model.load_state_dict(load_file({:?}), strict=True)\n", path("all.safetensors"));
    assert_eq!(line, format!("import torch; from safetensors.torch import load_file; {load}"));
    assert_eq!(tensors(&fs::read(path("all.safetensors")).unwrap()), source);

    let line =
        said(&["export", "model.safetensors", "--module", "net.lstm_actor", "--to", &path("a.safetensors")]);
    assert!(
        line.contains("torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True).load_state_dict("),
        "{line}"
    );
    let of = |prefix: &str| -> BTreeMap<_, _> {
        let own =
            source.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t.clone())));
        own.collect()
    };
    assert_eq!(tensors(&fs::read(path("a.safetensors")).unwrap()), of("net.lstm_actor."));

    said(&["export", "critic.npz", "--to", &path("critic.safetensors")]);
    assert_eq!(tensors(&fs::read(path("critic.safetensors")).unwrap()), of("critic."));
    said(&["export", &path("critic.safetensors"), "--to", &path("critic.npz")]);
    said(&["export", &path("critic.npz"), "--to", &path("again.safetensors")]);
    assert_eq!(fs::read(path("again.safetensors")).unwrap(), fs::read(path("critic.safetensors")).unwrap());

    let before = fs::read(path("critic.npz")).unwrap();
    let again = ["export", "model.safetensors", "--to", &path("critic.npz")];
    let (code, message) = refusal(&bptt(&fixtures(), &again));
    assert!(
        code == 2 && message.ends_with("critic.npz exists already; choose another or give --force"),
        "{message}"
    );
    let (code, message) = refusal(&bptt(&fixtures(), &[&again[..], &["--force"]].concat()));
    let expected = "NumPy has no BF16, the type of tensor extra.shorter; write .safetensors instead";
    assert!(code == 1 && message.ends_with(expected), "{message}");
    assert_eq!(fs::read(path("critic.npz")).unwrap(), before);
}

#[test]
fn a_run_is_exported_with_the_names_of_its_modules() {
    let folder = tempfile::tempdir().unwrap();
    let here = |arguments: &[&str]| bptt(folder.path(), arguments);
    let train =
        ["train", "--generate", "cue_sentences", "--sentences", "50", "--steps", "2", "--hidden", "4"];
    stdout(&here(&[&train[..], &["--cell", "lstm", "--out", "run"]].concat()));
    stdout(&here(&["export", "run", "--to", "model.safetensors"]));
    let exported = fs::read(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(exported, fs::read(folder.path().join("run/model.safetensors")).unwrap());
    let names: Vec<String> = tensors(&exported).into_keys().collect();
    assert_eq!(
        names,
        [
            "head.bias",
            "head.weight",
            "rnn.bias_hh_l0",
            "rnn.bias_ih_l0",
            "rnn.weight_hh_l0",
            "rnn.weight_ih_l0"
        ]
    );
}

#[test]
fn an_inspection_measures_every_block_and_finds_a_doubled_forget_bias() {
    // One unit: the blocks of W_hh are the numbers themselves.
    let lstm = file(&[
        ("actor.weight_ih_l0", &[4, 1], vec![1.0; 4]),
        ("actor.weight_hh_l0", &[4, 1], vec![1.0, -2.0, 3.0, 4.0]),
        ("actor.bias_ih_l0", &[4], vec![0.0, 1.0, 0.25, 0.0]),
        ("actor.bias_hh_l0", &[4], vec![0.0, 1.0, 0.5, 0.0]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.safetensors"), lstm).unwrap();
    let report: Value =
        serde_json::from_str(&stdout(&bptt(folder.path(), &["inspect", "m.safetensors", "--json"]))).unwrap();
    assert_eq!((&report["schema"], &report["others"]), (&json!("bptt.inspect/1"), &json!([])));
    let module = &report["modules"][0];
    assert_eq!(
        (&module["name"], &module["cell"], &module["parameters"]),
        (&json!("actor"), &json!("lstm"), &json!(16))
    );
    let forget = json!({"layer": 0, "direction": "forward", "gate": "f", "sigma_max": 2.0, "spectral_radius": 2.0,
        "bias": [2.0, 2.0, 2.0]});
    assert_eq!(module["blocks"][1], forget);
    assert_eq!(module["blocks"][2]["bias"], json!([0.75, 0.75, 0.75]));
    let note = "forget bias of l0 doubled: PyTorch adds both biases, 1.000 + 1.000 = 2.000 on average";
    let read = "actor is read as PyTorch: matrices (gates · H, inputs), gates in the order i, f, g, o";
    assert_eq!(module["notes"], json!([note, read]));
    let text = stdout(&bptt(folder.path(), &["inspect", "m.safetensors"]));
    assert!(text.contains(note) && text.contains("spectral radius"), "{text}");
}

#[test]
fn the_table_shows_both_directions_and_what_is_cut() {
    let table = |more: &[&str]| {
        said(&[&["trace", "--model", "model.safetensors"], &ACTOR[..], &SEEDS, more].concat())
    };
    let reverse = table(&["--layer", "1", "--direction", "reverse", "--loss-step", "1"]);
    let head = "loss 1 of net.lstm_actor (lstm, 2 layers, both directions, I 3, H 4), 2 sequences together; contributions \
                to weight_hh of layer 1, reverse cell\n";
    assert!(reverse.starts_with(head), "{reverse}");
    let steps: Vec<&str> =
        reverse.lines().skip(3).take(4).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(steps, ["1", "2", "3", "4"]);
    let cut = table(&["--layer", "1", "--detach-every", "2"]);
    assert!(cut.contains("cut at 4"), "{cut}");
}

fn npy_f64(path: &Path) -> Vec<f64> {
    npyz::NpyFile::new(&fs::read(path).unwrap()[..]).unwrap().into_vec().unwrap()
}

fn write_npy(path: &Path, shape: &[u64], numbers: &[f64]) {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut array = options.writer(&mut bytes).begin_nd().unwrap();
    array.extend(numbers).unwrap();
    array.finish().unwrap();
    fs::write(path, bytes).unwrap();
}
