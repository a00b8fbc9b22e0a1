//! An ONNX graph, behind the format's version.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bptt_fuzz::read_behind(&[0x08, 0x08, 0x3a], bytes));
