//! The body of a request to the laboratory, for a ledger or for the formula of one of its cells.

#![no_main]

use bptt_fuzz::server;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let is_formula = body.windows(5).any(|window| window == b"\"lab\"");
    let path = if is_formula { "/api/lab/formula" } else { "/api/lab" };
    server::post(path, body);
});
