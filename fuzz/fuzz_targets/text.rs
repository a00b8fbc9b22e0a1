//! A file of text, by character and by word. The first byte chooses the level and what becomes of rare symbols.

#![no_main]

use bptt_train::vocabulary::Unknown;
use bptt_train::{Baselines, Corpus, Level, Vocabulary, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let level = if choice & 1 == 0 { Level::Char } else { Level::Word };
    let unknown = if choice & 2 == 0 { Unknown::Refuse } else { Unknown::Map };
    let path = bptt_fuzz::folder().join("text.txt");
    std::fs::write(&path, bytes).expect("a file can be written");
    drop(text::normalized(&path, level));
    let Ok(read) = text::read_text(&path) else { return };
    for (at, symbol) in text::symbols(&read, level) {
        assert!(read.is_char_boundary(at) && (symbol == "\n" || read[at..].starts_with(symbol)));
    }
    let Ok(vocabulary) = Vocabulary::build(&read, level, unknown, usize::from(choice >> 2 & 3)) else {
        return;
    };
    let ids = vocabulary.encode(&read).expect("its own text");
    let written = vocabulary.decode(&ids);
    if level == Level::Char && vocabulary.unk().is_none() {
        assert_eq!(written, read);
    }
    let corpus = Corpus::split(ids, 0.1).expect("a tenth can be held out");
    let _ = corpus.shown();
    drop(Baselines::measure(&corpus.train, &corpus.held_out, vocabulary.len()));
});
