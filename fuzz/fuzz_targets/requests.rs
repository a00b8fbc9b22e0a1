//! Requests to the page: the first byte chooses between a path, a body for one of the addresses that take one, and a whole
//! request with its headers.

#![no_main]

use bptt_fuzz::server;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 4 {
        0 => server::post("/api/explore", rest),
        1 => server::post("/api/live/ask", rest),
        2 => server::get(rest),
        _ => server::raw(rest),
    }
});
