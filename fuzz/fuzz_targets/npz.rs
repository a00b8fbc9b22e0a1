//! An array in an archive of NumPy's.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bptt_fuzz::read_archive(&[("lstm.weight_hh_l0.npy", bytes)]));
