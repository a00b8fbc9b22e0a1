//! An HDF5 file of Keras'.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bptt_fuzz::read_behind(b"\x89HDF\r\n\x1a\n", bytes));
