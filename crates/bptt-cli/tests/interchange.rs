//! Models of PyTorch's: what `trace`, `inspect` and `export` say of them, and how they refuse. `interchange.py` beside this
//! file made the model, the arrays and PyTorch's numbers, and says how.

mod common;

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

/// A GRU with I = 3 and H = 2, every number `0.5`.
fn gru() -> Vec<(&'static str, &'static [usize], Vec<f64>)> {
    vec![
        ("weight_ih_l0", &[6, 3], vec![0.5; 18]),
        ("weight_hh_l0", &[6, 2], vec![0.5; 12]),
        ("bias_ih_l0", &[6], vec![0.5; 6]),
        ("bias_hh_l0", &[6], vec![0.5; 6]),
    ]
}

/// Exit code and message of a command, run in a folder with one file more.
fn refused(name: &str, bytes: &[u8], arguments: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    fs::write(folder.path().join(name), bytes).unwrap();
    refusal(&bptt(folder.path(), arguments))
}

const ACTOR: [&str; 2] = ["--module", "net.lstm_actor"];
const SEEDS: [&str; 4] = ["--input", "x.npy", "--seeds", "dh.npy"];

#[test]
fn every_component_of_a_pytorch_model_has_the_norm_that_autograd_gives() {
    let ledger = traced(&[&ACTOR[..], &SEEDS].concat());
    assert_eq!((&ledger["schema"], &ledger["symbols"]), (&json!("bptt.ledger/1"), &Value::Null));
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
    let seeds = ["--input", "x_time_major.npy", "--time-major", "--seeds", path.to_str().unwrap()];
    assert_eq!(traced(&[&ACTOR[..], &seeds].concat()), traced(&[&ACTOR[..], &SEEDS].concat()));
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
    let train = ["train", "--generate", "pantry", "--sentences", "50", "--steps", "2", "--hidden", "4"];
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
    assert_eq!(module["notes"], json!([note]));
    let text = stdout(&bptt(folder.path(), &["inspect", "m.safetensors"]));
    assert!(text.contains(note) && text.contains("spectral radius"), "{text}");
}

#[test]
fn damaged_models_are_refused_with_the_tensors_name_and_both_shapes() {
    let changed = |index: usize, shape: &'static [usize], numbers: Vec<f64>| {
        let mut tensors = gru();
        tensors[index] = (tensors[index].0, shape, numbers);
        file(&tensors)
    };
    let without = |index: usize| {
        let mut tensors = gru();
        tensors.remove(index);
        file(&tensors)
    };
    let with = |name: &'static str, shape: &'static [usize]| {
        let mut tensors = gru();
        tensors.push((name, shape, vec![0.5; shape.iter().product()]));
        file(&tensors)
    };
    let of_type = |dtype: &[u8; 3]| {
        let mut whole = file(&gru());
        let at = whole.windows(3).position(|bytes| bytes == b"F64").unwrap();
        whole[at..at + 3].copy_from_slice(dtype);
        whole
    };
    let nan = [vec![0.5; 2], vec![f64::NAN], vec![0.5; 9]].concat();
    let whole = file(&gru());
    let floats = "expected F16, BF16, F32 or F64";
    let cases: Vec<(Vec<u8>, String)> = vec![
        (changed(0, &[5, 3], vec![0.5; 15]), "tensor weight_ih_l0: expected (6, I), given (5, 3)".into()),
        (changed(3, &[7], vec![0.5; 7]), "tensor bias_hh_l0: expected (6,), given (7,)".into()),
        (
            changed(1, &[7, 2], vec![0.5; 14]),
            "tensor weight_hh_l0: expected (G·H, H) with G = 1 (rnn), 3 (gru) or 4 (lstm), given (7, 2)".into(),
        ),
        (with("weight_ih_l1", &[6, 2]), "tensor weight_hh_l1 is missing; expected shape (6, 2)".into()),
        (with("weight_hr_l0", &[1, 2]), "tensor weight_hr_l0: an LSTM with proj_size is not supported; expected one \
            without".into()),
        (without(1), "tensor weight_hh_l0 is missing; expected shape (G·H, H)".into()),
        (without(2), "tensor bias_ih_l0 is missing; expected shape (6,)".into()),
        (changed(1, &[6, 2], nan), "tensor weight_hh_l0 is not finite at (1, 0)".into()),
        (of_type(b"F99"), format!("tensor weight_ih_l0 has the type F99; {floats}")),
        (of_type(b"I64"), format!("tensor weight_ih_l0 has the type I64; {floats}")),
        (
            of_type(b"F32"),
            "tensor weight_ih_l0: (6, 3) of F32 is 72 bytes, given bytes 0 to 144 of the data".into(),
        ),
        (
            whole[..whole.len() - 50].to_vec(),
            "tensor bias_ih_l0: (6,) of F64 is bytes 240 to 288 of the data, given 286 bytes; the file is cut off, save \
             or copy it again"
                .into(),
        ),
        ([&whole[..], b"more"].concat(), "4 bytes of it belong to no tensor; save or copy it again".into()),
        (
            file(&[("head.weight", &[2, 3], vec![0.5; 6])]),
            "it holds no recurrent module; expected a weight_hh_l0 or weight_hh (PyTorch), recurrent_kernel (Keras) or \
             Wh (CS231n), given head.weight"
                .into(),
        ),
    ];
    for (bytes, problem) in cases {
        let arguments = [&["trace", "--model", "m.safetensors"], &SEEDS[..]].concat();
        let expected = format!("m.safetensors is not a usable model: {problem}");
        assert_eq!(refused("m.safetensors", &bytes, &arguments), (1, expected));
    }
    let (_, message) = refused("m.safetensors", &whole[..20], &["inspect", "m.safetensors"]);
    assert!(message.contains("its header is cut off or damaged"), "{message}");
}

#[test]
fn other_formats_are_refused_with_the_line_that_saves_a_usable_one() {
    let zip = |name: &str| {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.finish().unwrap().into_inner()
    };
    let torch =
        "from safetensors.torch import save_file; save_file(model.state_dict(), \"model.safetensors\")";
    let keras = "numpy.savez(\"model.npz\", **{w.path: w.numpy() for w in model.weights})";
    let cases: [(&str, Vec<u8>, &str, &str); 6] = [
        (
            "m.pt",
            zip("archive/data.pkl"),
            "it is a pickle of PyTorch's, which could run anything when opened",
            torch,
        ),
        (
            "m.pth",
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P".to_vec(),
            "it is a pickle, which could run anything",
            torch,
        ),
        ("m.h5", b"\x89HDF\r\n\x1a\n--".to_vec(), "it is a file of Keras'", keras),
        ("m.keras", zip("model.weights.h5"), "it is a file of Keras'", keras),
        ("m.bin", b"anything else".to_vec(), "it is neither safetensors nor .npz", torch),
        ("m.npy", b"\x93NUMPY\x01\x00".to_vec(), "it is a lone array", "numpy.savez("),
    ];
    for (name, bytes, problem, way_out) in cases {
        let (code, message) = refused(name, &bytes, &["inspect", name]);
        assert_eq!(code, 1);
        assert!(message.starts_with(&format!("{name} is not a usable model: {problem}")), "{message}");
        assert!(message.contains(way_out), "{message}");
    }
    let (code, message) = refused("m.npz", b"PK\x03\x04 cut off", &["inspect", "m.npz"]);
    assert!(code == 1 && message.contains("the archive is cut off or damaged"), "{message}");
}

#[test]
fn keras_cells_that_cannot_be_told_or_do_not_exist_are_refused_in_words() {
    let gru = |bias: Option<&'static [usize]>| {
        let mut tensors: Vec<(&str, &[usize], Vec<f64>)> = vec![
            ("gru/gru_cell/kernel", &[3, 6], vec![0.5; 18]),
            ("gru/gru_cell/recurrent_kernel", &[2, 6], vec![0.5; 12]),
        ];
        tensors.extend(bias.map(|shape| ("gru/gru_cell/bias", shape, vec![0.5; shape.iter().product()])));
        file(&tensors)
    };
    let inspect = |bytes: &[u8]| refused("m.safetensors", bytes, &["inspect", "m.safetensors"]);
    let (code, message) = inspect(&gru(None));
    assert_eq!(code, 1);
    assert!(
        message.contains("without a bias, so the file does not say whether reset_after is set"),
        "{message}"
    );
    let (code, message) = inspect(&gru(Some(&[2, 5])));
    let expected = "tensor gru/gru_cell/bias: expected (2, 6), given (2, 5)";
    assert!(code == 1 && message.ends_with(expected), "{message}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.safetensors"), gru(None)).unwrap();
    stdout(&bptt(folder.path(), &["inspect", "m.safetensors", "--cell", "gru"]));
}

#[test]
fn what_is_ambiguous_is_listed_and_asked_for() {
    let model = |more: &[&str]| {
        let arguments = [&["trace", "--model", "model.safetensors", "--input", "x.npy"], more].concat();
        refusal(&bptt(&fixtures(), &arguments))
    };
    assert_eq!(
        model(&["--seeds", "dh.npy"]),
        (
            2,
            "model.safetensors holds 2 recurrent modules; choose one with --module: critic gru, 1 layer, I 3, H 5 \
             net.lstm_actor lstm, 2 layers, both directions, I 3, H 4"
                .into()
        )
    );
    assert_eq!(
        model(&["--seeds", "dh.npy", "--module", "actor"]),
        (
            2,
            "module: \"actor\", which is not in model.safetensors, is not possible; expected \"critic\" or \
             \"net.lstm_actor\""
                .into()
        )
    );
    let two =
        [&gru()[..], &[("a.weight", &[4, 2], vec![0.5; 8]), ("b.weight", &[3, 2], vec![0.5; 6])]].concat();
    let (code, message) = refused(
        "m.safetensors",
        &file(&two),
        &["trace", "--model", "m.safetensors", "--input", "x.npy", "--target", "target.npy"],
    );
    let expected = "m.safetensors holds 2 heads that fit; choose one with --head: a (4, 2) b (3, 2)";
    assert_eq!((code, message.as_str()), (2, expected));
}

#[test]
fn arrays_that_do_not_fit_are_refused_with_both_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_npy(Path::new(&path("wide.npy")), &[4, 10, 23], &[0.0; 920]);
    write_npy(Path::new(&path("nan.npy")), &[1, 2, 3], &[0.0, 0.0, 0.0, 0.0, f64::NAN, 0.0]);
    let trace = |arguments: &[&str]| {
        let all =
            [&["trace", "--model", "model.safetensors", "--module", "net.lstm_actor"], arguments].concat();
        refusal(&bptt(&fixtures(), &all))
    };
    let (wide, nan) = (path("wide.npy"), path("nan.npy"));
    let cases: [(&[&str], i32, String); 9] = [
        (&["--input", &wide, "--seeds", "dh.npy"], 1, format!("{wide}: expected (B, T, 3), given (4, 10, 23)")),
        (&["--input", "x.npy", "--seeds", "x.npy"], 1, "x.npy: expected (2, 5, 8), given (2, 5, 3)".into()),
        (&["--input", &nan, "--seeds", "dh.npy"], 1, format!("{nan} is not finite at step 1, sequence 0")),
        (&["--input", "x.npy", "--seeds", "dh.npy", "--h0", "x.npy"], 1, "x.npy: expected (4, 2, 4), given (2, 5, 3)".into()),
        (&["--input", "x.npy", "--target", "lengths.npy"], 1, "lengths.npy: expected (2, 5, 6), given (2,)".into()),
        (
            &["--input", "x.npy", "--target", "x.npy", "--loss", "ce"],
            1,
            "x.npy: expected (2, 5), given (2, 5, 3)".into(),
        ),
        (&["--input", "expected.json", "--seeds", "dh.npy"], 1, "expected.json is not a usable array: it is no .npy \
            file; save it with numpy.save(\"x.npy\", array)".into()),
        (
            &["--input", "x.npy"],
            2,
            "there is no loss: give --target y.npy (the model needs a head then), or --seeds dh.npy, the gradient each \
             loss sends into the top layer's output"
                .into(),
        ),
        (
            &["--input", "ids.npy", "--embedding", "head", "--seeds", "dh.npy"],
            1,
            "model.safetensors is not a usable model: tensor head.weight: expected (N, 3), given (6, 8)".into(),
        ),
    ];
    for (arguments, code, expected) in cases {
        assert_eq!(trace(arguments), (code, expected));
    }
}

#[test]
fn the_table_shows_both_directions_and_what_is_cut() {
    let table = |more: &[&str]| {
        said(&[&["trace", "--model", "model.safetensors"], &ACTOR[..], &SEEDS, more].concat())
    };
    let reverse = table(&["--layer", "1", "--direction", "reverse", "--at", "1"]);
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
