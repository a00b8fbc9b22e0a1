//! A file of a run's folder in place of the one that was written, with checksums that fit. The first byte says which.

#![no_main]

use bptt_fuzz::runs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((which, bytes)) = bytes.split_first() {
        runs::read_with(*which, bytes);
    }
});
