//! What torch.save wrote before 1.6, behind its magic number.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    bptt_fuzz::read_behind(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", bytes);
});
