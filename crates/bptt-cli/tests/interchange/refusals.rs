//! How models and arrays are refused.

use std::fs;
use std::path::Path;

use super::common::{bptt, refusal, stdout};
use super::{SEEDS, file, fixtures, write_npy};

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
        (
            with("weight_hr_l0", &[1, 2]),
            "tensor weight_ih_l0: expected (G·H, I) with the 4 gates of lstm_projected, given (6, 3)".into(),
        ),
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
    let zip = |name: &str, bytes: &[u8]| {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        archive.start_file(name, stored).unwrap();
        std::io::Write::write_all(&mut archive, bytes).unwrap();
        archive.finish().unwrap().into_inner()
    };
    let torch =
        "from safetensors.torch import save_file; save_file(model.state_dict(), \"model.safetensors\")";
    let cases: [(&str, Vec<u8>, &str, &str); 10] = [
        (
            "m.pt",
            zip("archive/data.pkl", b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R."),
            "its pickle needs posix.system, which is no part of a state_dict and is not run here",
            "torch.save(model.state_dict(), \"model.pt\")",
        ),
        (
            "m.pkl",
            b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}.".to_vec(),
            "it is a pickle, but not PyTorch's; nothing in it is run",
            "numpy.savez(",
        ),
        ("m.h5", b"\x89HDF\r\n\x1a\n--".to_vec(), "it is cut off or damaged", ""),
        ("m.keras", zip("model.weights.h5", b""), "it is a file of Keras' without a usable config.json", ""),
        ("m.gguf", b"GGUF\x03\x00\x00\x00".to_vec(), "it is a GGUF file", "numpy.savez("),
        ("m.tflite", b"\x1c\x00\x00\x00TFL3".to_vec(), "it is a TensorFlow Lite model", "numpy.savez("),
        ("m.onnx", b"\x08\x08\x12\x07pytorch".to_vec(), "it is an ONNX file without a graph", ""),
        (
            "m.model",
            b"#Parameter# /w {2,2} 10 ZERO_GRAD\n".to_vec(),
            "it is a text file of DyNet's",
            "numpy.savez(",
        ),
        (
            "m.bin",
            b"anything else".to_vec(),
            "it is neither safetensors, .npz nor a file of PyTorch's",
            torch,
        ),
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
fn keras_cells_that_cannot_be_told_are_asked_for() {
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
        model(&["--grad-output", "dh.npy"]),
        (
            2,
            "model.safetensors holds 2 recurrent modules; choose one with --module: critic gru, 1 layer, I 3, H 5 \
             net.lstm_actor lstm, 2 layers, both directions, I 3, H 4"
                .into()
        )
    );
    assert_eq!(
        model(&["--grad-output", "dh.npy", "--module", "actor"]),
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
    let expected = "m.safetensors holds more than one tensor that fits behind the module, and names do not tell which map follows it directly; choose one with --head: a (4, 2) b (3, 2)";
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
        (&["--input", &wide, "--grad-output", "dh.npy"], 1, format!("{wide}: expected (B, T, 3), given (4, 10, 23)")),
        (&["--input", "x.npy", "--grad-output", "x.npy"], 1, "x.npy: expected (2, 5, 8), given (2, 5, 3)".into()),
        (&["--input", &nan, "--grad-output", "dh.npy"], 1, format!("{nan} is not finite at step 1, sequence 0")),
        (&["--input", "x.npy", "--grad-output", "dh.npy", "--h0", "x.npy"], 1, "x.npy: expected (4, 2, 4), given (2, 5, 3)".into()),
        (
            &["--input", "x.npy", "--target", "h0.npy"],
            2,
            "--target: h0.npy holds real numbers of shape [4, 2, 4]; expected classes (B, T) = [2, 5] or values (B, T, V) = \
             [2, 5, 6] for every step, or classes (B) = [2] or values (B, V) = [2, 6] for whole sequences"
                .into(),
        ),
        (
            &["--input", "x.npy", "--target", "x.npy", "--loss", "ce"],
            2,
            "--target: x.npy holds real numbers of shape [2, 5, 3]; expected classes (B, T) = [2, 5] or values (B, T, V) = \
             [2, 5, 6] for every step, or classes (B) = [2] or values (B, V) = [2, 6] for whole sequences"
                .into(),
        ),
        (&["--input", "expected.json", "--grad-output", "dh.npy"], 1, "expected.json is not a usable array: it is no .npy \
            file; save it with numpy.save(\"x.npy\", array)".into()),
        (
            &["--input", "x.npy"],
            2,
            "there is no loss: give --target y.npy (the model needs a head), or --grad-output dh.npy, the gradient of the \
             loss at each step with respect to the top layer's output"
                .into(),
        ),
        (
            &["--input", "ids.npy", "--embedding", "head", "--grad-output", "dh.npy"],
            1,
            "model.safetensors is not a usable model: tensor head.weight: expected (N, 3), given (6, 8)".into(),
        ),
    ];
    for (arguments, code, expected) in cases {
        assert_eq!(trace(arguments), (code, expected));
    }
}

#[test]
fn folders_of_others_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    // As Orbax 0.12.8 writes them: the folder of a step, and that of its manager.
    for file in [
        "orbax/_METADATA",
        "orbax/d/0",
        "steps/3/_CHECKPOINT_METADATA",
        "tf/saved_model.pb",
        "tfjs/model.json",
        "empty/a/b",
    ] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    for (name, problem) in [
        (
            "orbax",
            "orbax is not a usable model: it is a folder of Orbax's, which is not read; restore it and write",
        ),
        ("steps", "steps is not a usable model: it is a folder of Orbax's, which is not read"),
        ("steps/3", "steps/3 is not a usable model: it is a folder of Orbax's, which is not read"),
        ("tf", "it is a SavedModel of TensorFlow's, which is not read; save the model as a file of Keras'"),
        ("tfjs", "it is a folder; give the file model.json in it"),
        ("empty", "it is a folder; give the file of the model"),
    ] {
        for arguments in [&["inspect", name][..], &["export", name, "--to", "a.safetensors"]] {
            let (code, message) = refusal(&bptt(folder.path(), arguments));
            assert!(code == 1 && message.contains(problem), "{arguments:?}: {code} {message}");
        }
    }
}
