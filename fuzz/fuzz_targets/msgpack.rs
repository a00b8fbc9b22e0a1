//! A tree of Flax, behind the beginning of a map by names.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bptt_fuzz::read_behind(&[0x81, 0xa6], bytes));
