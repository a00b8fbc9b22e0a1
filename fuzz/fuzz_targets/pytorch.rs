//! The pickle of a file of PyTorch's, and the numbers of a storage.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (pickle, numbers) = bptt_fuzz::halves(bytes);
    bptt_fuzz::read_archive(&[("archive/data.pkl", pickle), ("archive/data/0", numbers)]);
});
