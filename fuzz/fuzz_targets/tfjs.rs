//! A `model.json` of TensorFlow.js, and behind a line `----` the file of its weights, which it names `w.bin`.

#![no_main]

use bptt_io::Tensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (model, weights) = bptt_fuzz::parts(bytes);
    let (path, beside) = (bptt_fuzz::folder().join("model.json"), bptt_fuzz::folder().join("w.bin"));
    std::fs::write(&path, [b"{\"weightsManifest\":", model].concat()).expect("a file can be written");
    std::fs::write(&beside, weights).expect("a file can be written");
    if let Ok(tensors) = Tensors::read(&path) {
        bptt_fuzz::models::check(&tensors, bytes.len());
    }
});
