//! A model of TensorFlow.js in its folder, see `data/frameworks/make_tfjs.mjs`; what its layers compute is compared in `frameworks.rs`.

use std::path::{Path, PathBuf};

use bptt_io::{Layout, Tensors, choose, inspect};
use serde_json::{Value, json};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/frameworks/tfjs_lstm")
}

/// The model with a change, and these files of weights, read.
fn read(change: impl FnOnce(&mut Value), files: &[(&str, &[u8])]) -> Result<Tensors, String> {
    let mut model: Value =
        serde_json::from_slice(&std::fs::read(data().join("model.json")).unwrap()).unwrap();
    change(&mut model);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.json"), model.to_string()).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    Tensors::read(&folder.path().join("model.json")).map_err(|error| error.to_string())
}

fn weights() -> Vec<u8> {
    std::fs::read(data().join("weights.bin")).unwrap()
}

#[test]
fn weights_in_several_files_are_one() {
    let bytes = weights();
    let (first, second) = bytes.split_at(50);
    let paths = |model: &mut Value| model["weightsManifest"][0]["paths"] = json!(["a.bin", "b.bin"]);
    let tensors = read(paths, &[("a.bin", first), ("b.bin", second)]).unwrap();
    let whole = Tensors::read(&data().join("model.json")).unwrap();
    assert!(tensors.iter().eq(whole.iter()));
    assert_eq!(tensors.get("lstm_LSTM1/kernel").unwrap().shape, [2, 12]);
}

/// tfjs-core 4.22.0, io_utils.js, `decodeWeight`: q · scale + min.
#[test]
fn quantized_weights_are_read_as_tensorflow_js_reads_them_and_that_is_said() {
    let quantized = |dtype: &'static str| {
        move |model: &mut Value| {
            let bias = &mut model["weightsManifest"][0]["weights"][2];
            assert_eq!(bias["name"], "lstm_LSTM1/bias");
            bias["quantization"] =
                json!({"dtype": dtype, "min": -1.0, "scale": 0.25, "original_dtype": "float32"});
        }
    };
    let (bytes, q) = (weights(), [0_u8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 200]);
    let before = bytes.len() - 48;
    let short = q.iter().flat_map(|&q| u16::from(q).to_le_bytes()).collect::<Vec<u8>>();
    for (dtype, bias) in [("uint8", &q[..]), ("uint16", &short)] {
        let file = [&bytes[..before], bias].concat();
        let tensors = read(quantized(dtype), &[("weights.bin", &file)]).unwrap();
        let expected: Vec<f64> = q.iter().map(|&q| 0.25 * f64::from(q) - 1.0).collect();
        assert_eq!(tensors.get("lstm_LSTM1/bias").unwrap().floats().unwrap(), expected);
        let said = choose(&tensors, None, None).unwrap().assumptions;
        assert!(said[0].contains(&format!("the weight lstm_LSTM1/bias is quantized to {dtype}")), "{said:?}");
    }
    // 1.0 in binary16 is 0x3c00.
    let file = [&bytes[..before], &[0x00, 0x3c].repeat(12)].concat();
    let tensors = read(quantized("float16"), &[("weights.bin", &file)]).unwrap();
    assert_eq!(tensors.get("lstm_LSTM1/bias").unwrap().floats().unwrap(), [1.0; 12]);
}

#[test]
fn weights_that_are_not_real_numbers_or_of_an_optimizer_are_left_out() {
    let more = |model: &mut Value| {
        let all = model["weightsManifest"][0]["weights"].as_array_mut().unwrap();
        all.push(json!({"name": "count", "shape": [], "dtype": "int32"}));
        all.push(json!({"name": "m", "shape": [1], "dtype": "float32", "group": "optimizer"}));
    };
    let file = [weights(), vec![0; 8]].concat();
    let tensors = read(more, &[("weights.bin", &file)]).unwrap();
    assert_eq!(
        (tensors.iter().count(), tensors.unreadable().collect::<Vec<_>>()),
        (3, vec![("count", "its type is int32; expected float32")])
    );
    assert_eq!(inspect(&tensors, None).unwrap().modules.len(), 1);
}

#[test]
fn what_is_not_beside_the_file_or_damaged_is_refused() {
    let refused = |change: fn(&mut Value), files: &[(&str, &[u8])], problem: &str| {
        let refused = read(change, files).unwrap_err();
        assert!(refused.contains(problem), "{refused}");
    };
    let bytes = weights();
    let own = [("weights.bin", bytes.as_slice())];
    refused(|_| (), &[], "its weights are in ./weights.bin, which cannot be read beside it (No such file");
    for elsewhere in ["../weights.bin", "/etc/hostname", "https://host/weights.bin", "a\\b"] {
        let change = |model: &mut Value| model["weightsManifest"][0]["paths"] = json!([elsewhere]);
        let refused = read(change, &own).unwrap_err();
        assert!(refused.contains("which is not beside it; put it there and name it so"), "{refused}");
    }
    refused(
        |_| (),
        &[("weights.bin", &bytes[1..])],
        "weight lstm_LSTM1/bias is longer than the files of weights; copy them again",
    );
    refused(
        |_| (),
        &[("weights.bin", &[bytes.clone(), vec![0]].concat())],
        "1 bytes of ./weights.bin belong to no weight",
    );
    refused(
        |model| model["weightsManifest"][0]["weights"][0]["quantization"] = json!({"dtype": "uint8"}),
        &own,
        "weight lstm_LSTM1/kernel is quantized without min and scale",
    );
    refused(
        |model| model["weightsManifest"][0]["weights"][0]["dtype"] = json!("string"),
        &own,
        "weight lstm_LSTM1/kernel has the type string, which is not read",
    );
    refused(
        |model| model["weightsManifest"][0]["weights"][0]["shape"] = json!([1u64 << 40, 1u64 << 40]),
        &own,
        "weight lstm_LSTM1/kernel is longer than the files of weights",
    );
    refused(
        |model| model["weightsManifest"][0]["paths"] = json!(["./weights.bin", "weights.bin"]),
        &own,
        "it names the file of weights weights.bin twice",
    );
    refused(
        |model| model["weightsManifest"][0]["weights"][1]["name"] = json!("lstm_LSTM1/kernel"),
        &own,
        "it names the weight lstm_LSTM1/kernel twice",
    );
    refused(|model| model["modelTopology"] = Value::Null, &own, "without a modelTopology");
    refused(
        |model| model["weightsManifest"] = json!({}),
        &own,
        "it is a model.json of TensorFlow.js that is damaged",
    );
    refused(
        |model| model["format"] = json!("graph-model"),
        &own,
        "it is a graph model of TensorFlow.js, which is not read; give the Keras file that it was converted from",
    );
    let model = std::fs::read(data().join("model.json")).unwrap();
    let refused =
        Tensors::of_bytes(Path::new("model.json"), &model, &Layout::default()).unwrap_err().to_string();
    assert!(refused.contains("its weights are in files beside it; read it from its folder"), "{refused}");
    // The file of weights alone says nothing.
    assert!(Tensors::read(&data().join("weights.bin")).is_err());
}
