//! The archive itself, whatever is in it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bptt_fuzz::read_behind(b"PK\x03\x04", bytes));
