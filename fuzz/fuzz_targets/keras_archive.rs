//! A .keras archive: its configuration and its weights.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (config, weights) = bptt_fuzz::halves(bytes);
    bptt_fuzz::read_archive(&[
        ("metadata.json", br#"{"keras_version": "3.15.0"}"#),
        ("config.json", config),
        ("model.weights.h5", weights),
    ]);
});
