//! The log of a watched training, against every limit.

#![no_main]

use bptt_train::diagnose::{WatchLimits, check_watch_log, read_watch_log};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(updates) = read_watch_log(text) else { return };
    let limits = WatchLimits {
        min_horizon: Some(10),
        max_decay: Some(0.1),
        max_nearest_lag: Some(2),
        min_farthest_lag: Some(20),
        no_crossing: true,
        state_error: Some(1e-3),
        output_error: Some(1e-3),
        no_padding: true,
    };
    assert_eq!(check_watch_log(&updates, &limits).len(), 8);
});
