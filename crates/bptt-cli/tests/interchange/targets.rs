//! Targets, reductions, masks, gradients into c, and files of components and states: PyTorch's numbers for them.
//! `interchange_targets.py` in the folder above made these.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::common::{bptt, refusal, stdout};
use super::{ACTOR, assert_close, assert_totals, entry, fixtures, npy_f64, tensors, traced, write_npy};

const CLASSES: [&str; 6] = ["--input", "x.npy", "--target", "classes.npy", "--lengths", "lengths.npy"];

fn expected(name: &str) -> Value {
    let all: Value = serde_json::from_slice(&fs::read(fixtures().join("targets.json")).unwrap()).unwrap();
    all[name].clone()
}

fn actor(arguments: &[&str]) -> Value {
    traced(&[&ACTOR[..], arguments].concat())
}

fn refused(arguments: &[&str]) -> (i32, String) {
    refusal(&bptt(&fixtures(), &[&["trace", "--model", "model.safetensors"], &ACTOR[..], arguments].concat()))
}

/// Losses are not rounded in the JSON.
fn assert_loss(ledger: &Value, expected: &Value) {
    let (found, expected) = (ledger["total_loss"].as_f64().unwrap(), expected["loss"].as_f64().unwrap());
    assert!((found - expected).abs() < 1e-14 * expected, "{found} is not {expected}");
}

fn says(ledger: &Value, sentence: &str) -> bool {
    ledger["assumptions"].as_array().unwrap().iter().any(|said| said.as_str().unwrap().contains(sentence))
}

/// The arrays of an `.npz` of f64.
fn npz(path: &Path) -> BTreeMap<String, (Vec<u64>, Vec<f64>)> {
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let mut arrays = BTreeMap::new();
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).unwrap();
        let (name, mut bytes) = (member.name().unwrap().trim_end_matches(".npy").to_owned(), Vec::new());
        member.read_to_end(&mut bytes).unwrap();
        let array = npyz::NpyFile::new(&bytes[..]).unwrap();
        let shape = array.shape().to_vec();
        let numbers = if name == "loss_steps" {
            array.into_vec::<u64>().unwrap().into_iter().map(|k| k as f64).collect()
        } else {
            array.into_vec().unwrap()
        };
        arrays.insert(name, (shape, numbers));
    }
    arrays
}

fn norm(numbers: &[f64]) -> f64 {
    numbers.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn every_reduction_has_pytorchs_losses_and_gradients() {
    for name in ["sum", "mean", "mean-per-sequence", "sum-per-sequence"] {
        let ledger = actor(&[&CLASSES[..], &["--ignore-index", "3", "--reduction", name]].concat());
        let expected = expected(name);
        assert_totals(&ledger, &expected["gradients"], 16);
        assert_loss(&ledger, &expected);
        for (k, loss) in expected["losses"].as_array().unwrap().iter().enumerate() {
            // Null at a step without a loss.
            let found = ledger["losses"][k].as_f64().unwrap_or(0.0);
            assert!((found - loss.as_f64().unwrap()).abs() < 1e-14, "{k}: {found} is not {loss}");
        }
        let provenance = &ledger["provenance"];
        assert_eq!(provenance["reduction"], name.replace('-', "_"));
        assert_eq!(provenance["ignore_index"], 3);
    }
    let alias = actor(&[&CLASSES[..], &["--ignore-index", "3", "--reduction", "sum/B"]].concat());
    assert_eq!(alias["provenance"]["reduction"], "sum_per_sequence");
}

#[test]
fn what_is_ignored_is_said_and_negative_classes_are_refused() {
    let given = ["--input", "x.npy", "--target", "target.npy"];
    let ledger = actor(&given);
    assert!(says(
        &ledger,
        "targets of -100 in target.npy have no loss, as by PyTorch's default (--ignore-index)"
    ));
    assert_eq!(ledger["provenance"]["ignore_index"], -100);
    let (code, message) = refused(&[&given[..], &["--ignore-index", "-1"]].concat());
    let expected = "target.npy is not a usable array: its target -100 at step 1, sequence 0 is not possible; expected classes \
                    from 0 to 5, or --ignore-index -100 if targets of -100 have no loss";
    assert_eq!((code, message.as_str()), (1, expected));
    let none = actor(&[&CLASSES[..], &["--ignore-index", "-1"]].concat());
    assert!(says(&none, "no target in classes.npy is -1 (--ignore-index)"));
    let values = ["--input", "x.npy", "--target", "wide.npy", "--ignore-index", "0"];
    let folder = folder_with("wide.npy", &[2, 5, 6], &[0.5; 60]);
    let (code, message) = refused_in(folder.path(), &values);
    assert!(code == 2 && message.starts_with("--ignore-index applies to classes"), "{message}");
}

/// The fixtures with one array more.
fn folder_with(name: &str, shape: &[u64], numbers: &[f64]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    write_npy(&folder.path().join(name), shape, numbers);
    folder
}

fn refused_in(folder: &Path, arguments: &[&str]) -> (i32, String) {
    refusal(&bptt(folder, &[&["trace", "--model", "model.safetensors"], &ACTOR[..], arguments].concat()))
}

#[test]
fn targets_of_sequences_are_compared_with_the_last_step_or_the_final_state() {
    let given = ["--input", "x.npy", "--target", "class_of_sequence.npy", "--lengths", "lengths.npy"];
    let more = ["--reduction", "mean", "--many-to-one"];
    for name in ["last-step", "final-state"] {
        let ledger = actor(&[&given[..], &more, &[name]].concat());
        let expected = expected(name);
        assert_totals(&ledger, &expected["gradients"], 16);
        assert_loss(&ledger, &expected);
        assert_eq!(ledger["provenance"]["many_to_one"], name.replace('-', "_"));
        let steps =
            if name == "last-step" { serde_json::json!([2, 4]) } else { serde_json::json!([0, 2, 4]) };
        assert_eq!(ledger["loss_steps"], steps);
    }
    let (code, message) = refused(&given);
    assert!(code == 2 && message.contains("--many-to-one: last-step output[:, -1] final-state"), "{message}");
    let final_state = [&given[..], &["--many-to-one", "final-state"]].concat();
    let (code, message) = refused(&[&final_state[..], &["--burn-in", "1"]].concat());
    assert!(code == 2 && message.starts_with("--burn-in: with --many-to-one final-state"), "{message}");
    let (code, message) = refused(&[&final_state[..], &["--mask", "mask.npy"]].concat());
    assert!(code == 2 && message.starts_with("--mask: class_of_sequence.npy has one target"), "{message}");
    let (code, message) = refused(&[&CLASSES[..], &["--many-to-one", "last-step"]].concat());
    assert!(code == 2 && message.contains("has targets for every step"), "{message}");

    let value =
        ["--module", "critic", "--head", "value", "--input", "x.npy", "--target", "value_of_sequence.npy"];
    let ledger = traced(&value);
    assert_totals(&ledger, &expected("value")["gradients"], 4);
    assert_loss(&ledger, &expected("value"));
    let diagnosed =
        [&["diagnose", "--json", "--model", "model.safetensors"], &ACTOR[..], &final_state].concat();
    let diagnosed: Value = serde_json::from_str(&stdout(&bptt(&fixtures(), &diagnosed))).unwrap();
    assert_eq!(diagnosed["provenance"]["many_to_one"], "final_state");
}

#[test]
fn masks_of_zeros_and_ones_choose_the_losses() {
    let given = ["--input", "x.npy", "--grad-output", "dh.npy", "--mask"];
    let ledger = actor(&[&given[..], &["mask.npy"]].concat());
    assert_totals(&ledger, &expected("mask")["gradients"], 16);
    for (bad, place) in [(0.5, 3), (2.0, 0), (f64::NAN, 9)] {
        let mut numbers = vec![1.0; 10];
        numbers[place] = bad;
        let folder = folder_with("m.npy", &[2, 5], &numbers);
        let (code, message) = refused_in(folder.path(), &[&given[..], &["m.npy"]].concat());
        let (b, t) = (place / 5, place % 5);
        let expected = format!(
            "m.npy is not a usable array: it holds {bad} at ({b}, {t}); expected bool, or 0 and 1: single losses have no \
             weights here"
        );
        assert_eq!((code, message), (1, expected));
    }
}

#[test]
fn gradients_into_the_cell_state_have_pytorchs_components() {
    let ledger = actor(&["--input", "x.npy", "--grad-output", "dh.npy", "--grad-cell", "dc.npy", "--paths"]);
    let found = expected("cell_gradients");
    for (name, rows) in found["components"].as_object().unwrap() {
        for (k, row) in rows.as_array().unwrap().iter().enumerate() {
            for (t, norm) in row.as_array().unwrap().iter().enumerate() {
                assert_close(&format!("{name} ({k}, {t})"), &entry(&ledger, name)["norm"][k][t], norm);
            }
        }
    }
    assert_eq!(ledger["provenance"]["grad_cell"], "dc.npy");
    // Alone they are a part of both.
    let alone = actor(&["--input", "x.npy", "--grad-cell", "dc.npy"]);
    let norm = |ledger: &Value| entry(ledger, "weight_hh_l1")["norm"][4][4].as_f64().unwrap();
    assert!(norm(&alone) > 0.0 && (norm(&alone) - norm(&ledger)).abs() > 1e-6);
    let (code, message) = refused(&["--input", "x.npy", "--grad-cell", "x.npy"]);
    assert_eq!((code, message.as_str()), (1, "x.npy: expected (2, 5, 8), given (2, 5, 3)"));
    let gru = [
        "trace",
        "--model",
        "model.safetensors",
        "--module",
        "critic",
        "--input",
        "x.npy",
        "--grad-cell",
        "dc.npy",
    ];
    let (code, message) = refusal(&bptt(&fixtures(), &gru));
    assert_eq!(
        (code, message.as_str()),
        (2, "--grad-cell: the cell gru has no c; expected --grad-output only")
    );
}

#[test]
fn components_are_written_whole_and_are_autograds() {
    let folder = folder_with("unused.npy", &[1], &[0.0]);
    let run = |more: &[&str]| {
        let seeds = ["--input", "x.npy", "--grad-output", "dh.npy", "--grad-cell", "dc.npy"];
        bptt(
            folder.path(),
            &[&["trace", "--json", "--model", "model.safetensors"], &ACTOR[..], &seeds, more].concat(),
        )
    };
    stdout(&run(&["--components", "c.npz"]));
    let arrays = npz(&folder.path().join("c.npz"));
    assert_eq!((arrays.len(), &arrays["loss_steps"].1), (17, &vec![0.0, 1.0, 2.0, 3.0, 4.0]));
    let found = expected("cell_gradients");
    for (name, rows) in found["components"].as_object().unwrap() {
        let (shape, numbers) = &arrays[name];
        assert_eq!(shape[..2], [5, 5]);
        let size = numbers.len() / 25;
        for (i, component) in numbers.chunks(size).enumerate() {
            assert_close(name, &norm(component).into(), &rows[i / 5][i % 5]);
        }
    }
    let (shape, numbers) = &arrays["weight_hh_l0_reverse"];
    assert_eq!(shape[..], [5, 5, 16, 4]);
    let matrix: Vec<f64> =
        serde_json::from_value::<Vec<Vec<f64>>>(found["weight_hh_l0_reverse_3_1"].clone()).unwrap().concat();
    for (found, expected) in numbers[(3 * 5 + 1) * 64..][..64].iter().zip(&matrix) {
        assert!((found - expected).abs() < 1e-14, "{found} is not {expected}");
    }

    let fewer = ["--loss-step", "3", "--layer", "0", "--direction", "reverse", "--parameter", "weight-hh"];
    stdout(&run(&[&["--components", "c.safetensors"][..], &fewer].concat()));
    let bytes = fs::read(folder.path().join("c.safetensors")).unwrap();
    let chosen = tensors(&bytes);
    assert_eq!(chosen.keys().collect::<Vec<_>>(), ["loss_steps", "weight_hh_l0_reverse"]);
    let expected: Vec<u8> = numbers[3 * 5 * 64..4 * 5 * 64].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(chosen["weight_hh_l0_reverse"].2, expected);
    assert!(String::from_utf8_lossy(&bytes[..4000.min(bytes.len())]).contains("bptt.components/1"));
    stdout(&run(&["--components", "x.npz", "--parameter", "input", "--layer", "0", "--loss-step", "1"]));
    assert_eq!(npz(&folder.path().join("x.npz"))["input_l0"].0, [1, 5, 2, 3]);

    for (more, part) in [
        (
            &["--components", "c.txt"][..],
            "--components: c.txt has an unknown extension; expected .npz or .safetensors",
        ),
        (
            &["--components", "n.npz", "--parameter", "weight_xy"],
            "parameters are weight_ih, weight_hh, bias_ih, bias_hh, input",
        ),
        (&["--components", "n.npz", "--layer", "2"], "--components: no cell has what"),
    ] {
        let (code, message) = refusal(&run(more));
        assert!(code == 2 && message.contains(part), "{message}");
    }
    assert!(!folder.path().join("n.npz").exists());
}

#[test]
fn components_that_are_too_large_are_refused_before_any_work() {
    let folder = folder_with("long.npy", &[1, 1200, 3], &vec![0.1; 3600]);
    write_npy(&folder.path().join("g.npy"), &[1, 1200, 8], &vec![0.1; 9600]);
    let given = ["--input", "long.npy", "--grad-output", "g.npy", "--components", "c.npz"];
    let (code, message) = refused_in(folder.path(), &given);
    assert_eq!(code, 2);
    assert!(
        message.starts_with("--components: 1200 losses × 1200 steps × ")
            && message.contains(" bytes; at most 2147483648"),
        "{message}"
    );
    assert!(message.contains("Choose one loss with --loss-step"), "{message}");
    assert!(!folder.path().join("c.npz").exists());
}

#[test]
fn states_are_pytorchs_and_zero_in_padding() {
    let folder = folder_with("unused.npy", &[1], &[0.0]);
    let run = |more: &[&str]| {
        let all = [&["trace", "--json", "--model", "model.safetensors"], &ACTOR[..], more].concat();
        bptt(folder.path(), &all)
    };
    stdout(&run(&["--input", "x.npy", "--grad-output", "dh.npy", "--states", "s.npz"]));
    let arrays = npz(&folder.path().join("s.npz"));
    assert_eq!(arrays.len(), 8);
    for (name, expected) in expected("states").as_object().unwrap() {
        let expected: Vec<Vec<Vec<f64>>> = serde_json::from_value(expected.clone()).unwrap();
        let (shape, numbers) = &arrays[name];
        assert_eq!(shape[..], [2, 5, 4]);
        for (found, expected) in numbers.iter().zip(expected.concat().concat()) {
            assert!((found - expected).abs() < 1e-14, "{name}: {found} is not {expected}");
        }
    }
    let padded = ["--input", "x.npy", "--grad-output", "dh.npy", "--lengths", "lengths.npy"];
    stdout(&run(&[&padded[..], &["--states", "s.safetensors"]].concat()));
    let states = tensors(&fs::read(folder.path().join("s.safetensors")).unwrap());
    let c: Vec<f64> =
        states["c_l1"].2.chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert!(c[(5 + 3) * 4..].iter().all(|&v| v == 0.0) && c[(5 + 2) * 4] != 0.0);
    assert_eq!(c[..20], arrays["c_l1"].1[..20]);
    let (code, message) =
        refusal(&run(&[&padded[..4], &["--states", "t.npz", "--resets", "mask.npy"]].concat()));
    assert!(code == 2 && message.starts_with("--states: the states before an episode begins"), "{message}");
    assert_eq!(npy_f64(&fixtures().join("dc.npy")).len(), 80);
}
