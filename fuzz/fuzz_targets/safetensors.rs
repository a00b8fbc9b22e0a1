//! The header of a safetensors file, of the length that it has, and its numbers.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (header, numbers) = bptt_fuzz::halves(bytes);
    bptt_fuzz::read(&bptt_fuzz::models::safetensors(header, numbers));
});
