//! A vocabulary, and behind a line `----` a text in its symbols.

#![no_main]

use bptt_train::Vocabulary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (json, text) = bptt_fuzz::parts(bytes);
    let Ok(vocabulary) = serde_json::from_slice::<Vocabulary>(json) else { return };
    let written = serde_json::to_vec(&vocabulary).expect("symbols are JSON");
    assert_eq!(serde_json::from_slice::<Vocabulary>(&written).expect("what is written is read"), vocabulary);
    for id in 0..vocabulary.len() as u32 {
        assert_eq!(vocabulary.id(vocabulary.symbol(id)), Some(id));
        let _ = vocabulary.show(id);
    }
    let Ok(text) = std::str::from_utf8(text) else { return };
    match vocabulary.encode(text) {
        Ok(ids) => drop(vocabulary.decode(&ids)),
        Err(error) => drop(error.to_string()),
    }
});
