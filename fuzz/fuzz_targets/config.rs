//! Settings, and a few updates with those that are small.

#![no_main]

use bptt_fuzz::runs;
use bptt_train::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(config) = toml::from_str::<Config>(text) else { return };
    let written = toml::to_string(&config).expect("settings can be written");
    let again: Config = toml::from_str(&written).expect("what is written is read");
    assert!(config == again || written.contains("nan"), "{written}");
    if config.check().is_err() || !runs::is_small(&config) {
        return;
    }
    runs::train_a_little(&config);
});
