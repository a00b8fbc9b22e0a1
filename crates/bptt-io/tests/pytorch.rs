//! Files that `torch.save` wrote, see `data/make_pytorch.py`.

use std::io::Write;
use std::path::{Path, PathBuf};

use bptt_io::{Dtype, Tensors, choose, head};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn a_checkpoint_has_the_bits_of_its_state_dict() {
    let [checkpoint, state] =
        ["checkpoint.pt", "checkpoint.safetensors"].map(|name| Tensors::read(&data(name)).unwrap());
    assert!(
        checkpoint.iter().eq(state.iter()),
        "the optimizer's tensors and the dictionary's name are left out"
    );
    let module = choose(&checkpoint, None, None).unwrap();
    assert_eq!((module.outline.name.as_str(), module.python().as_str()), ("gru", "torch.nn.GRU(3, 5)"));
    assert_eq!(head(&checkpoint, &module, None, None).unwrap().0, "head");
}

#[test]
fn so_has_one_from_before_the_archives() {
    let [legacy, state] =
        ["legacy.pt", "checkpoint.safetensors"].map(|name| Tensors::read(&data(name)).unwrap());
    assert!(legacy.iter().eq(state.iter()));
    let bytes = std::fs::read(data("legacy.pt")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pt");
    for length in (1..bytes.len()).step_by(97) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        Tensors::read(&path).unwrap_err();
    }
}

#[test]
fn views_are_read_as_their_tensors_are() {
    let views = Tensors::read(&data("views.pt")).unwrap();
    let numbers = |name: &str| views.get(name).unwrap().floats().unwrap();
    assert_eq!(views.get("strided").unwrap().shape, [4, 3]);
    assert_eq!(numbers("strided"), [0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0]);
    assert_eq!(numbers("part"), [5.0, 6.0, 7.0, 8.0]);
    assert_eq!(numbers("tied.a"), numbers("tied.b"));
    assert_eq!((views.get("half").unwrap().dtype, numbers("half")), (Dtype::BF16, vec![0.0, 1.0, 2.0]));
}

/// An archive with this pickle and four numbers.
fn refusal(pickle: &[u8], method: CompressionMethod) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.pt");
    let mut archive = ZipWriter::new(std::fs::File::create(&path).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in [("m/data.pkl", pickle), ("m/data/0", &[0; 16])] {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
    match Tensors::read(&path) {
        Ok(tensors) => tensors.unreadable().map(|(_, problem)| problem.to_owned()).collect(),
        Err(error) => error.to_string(),
    }
}

/// `{"w": tensor}` with this count of numbers, offset, shape and stride.
fn tensor(kind: &str, count: u8, offset: u8, size: u8, stride: u8) -> Vec<u8> {
    let mut pickle =
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
            .to_vec();
    pickle.extend(kind.bytes());
    pickle.extend(b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK");
    pickle.extend([count, b't', b'Q', b'K', offset, b'K', size, 0x85, b'K', stride, 0x85]);
    pickle.extend(b"\x89}tRs.");
    pickle
}

#[test]
fn what_is_more_than_data_is_refused_by_its_name() {
    let stored = CompressionMethod::Stored;
    let named = |module: &str, name: &str| format!("\x05c{module}\n{name}\n)R.").replace('\x05', "");
    for (module, name) in
        [("posix", "system"), ("builtins", "eval"), ("torch", "load"), ("mine.models", "Net")]
    {
        let refused = refusal(named(module, name).as_bytes(), stored);
        assert!(refused.contains(&format!("its pickle needs {module}.{name}, ")), "{refused}");
    }
    assert_eq!(refusal(&tensor("FloatStorage", 4, 0, 4, 1), stored), "");
    let cases: [(Vec<u8>, CompressionMethod, &str); 9] = [
        (tensor("FloatStorage", 4, 1, 4, 1), stored, "it reaches beyond its numbers"),
        (tensor("FloatStorage", 4, 0, 3, 2), stored, "it reaches beyond its numbers"),
        (tensor("FloatStorage", 4, 0, 200, 0), stored, "it reaches beyond its numbers"),
        (tensor("DoubleStorage", 4, 0, 4, 1), stored, "it reaches beyond its numbers"),
        (tensor("FloatStorage", 2, 0, 2, 1), stored, "m/data/0 has 16 bytes; expected at most 8"),
        (tensor("QInt8Storage", 4, 0, 4, 1), stored, "its type is QInt8Storage"),
        (tensor("FloatStorage", 4, 0, 4, 1), CompressionMethod::Deflated, "is compressed"),
        (b"\x80\x02}".to_vec(), stored, "its pickle is cut off or damaged"),
        (b"\x80\x02}.".to_vec(), stored, "it holds no tensor in a dictionary"),
    ];
    for (pickle, method, problem) in cases {
        let refused = refusal(&pickle, method);
        assert!(refused.contains(problem), "{refused} is not {problem}");
    }
    // Dictionaries that hold themselves.
    assert!(refusal(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", stored).contains("deep"));
}
