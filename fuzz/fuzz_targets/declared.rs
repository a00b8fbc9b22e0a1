//! A safetensors file read as every cell in turn, with a head, an embedding and a layout. The first byte chooses the layout.

#![no_main]

use std::path::Path;

use bptt_io::{HeadChain, Layout, NO_EMBEDDING, Tensors, choose, embedding, export, head};
use libfuzzer_sys::fuzz_target;

const SOURCES: [Option<&str>; 8] = [
    None,
    Some("pytorch"),
    Some("keras"),
    Some("haste"),
    Some("flax"),
    Some("mlx"),
    Some("paddle"),
    Some("cs231n"),
];
const GATES: [Option<&str>; 3] = [None, Some("i,g,f,o"), Some("z,r,n")];

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let (header, numbers) = bptt_fuzz::parts(rest);
    let file = bptt_fuzz::models::safetensors(header, numbers);
    let (source, gates) = (SOURCES[usize::from(choice) % 8], GATES[usize::from(choice) / 8 % 3]);
    let layout = Layout::new(source, gates).expect("they are known");
    let Ok(tensors) = Tensors::of_bytes(Path::new("fuzzed"), &file, &layout) else { return };
    bptt_fuzz::models::check(&tensors, file.len());
    let cells = bptt::cells();
    for cell in cells.iter().map(|cell| Some(*cell)).chain([None]) {
        let Ok(module) = choose(&tensors, None, cell) else { continue };
        let found = head(&tensors, &module, None, None);
        drop(embedding(&tensors, &module, None, found.as_ref().ok().map(|found| found.0.as_str())));
        drop(embedding(&tensors, &module, Some(NO_EMBEDDING), None));
        drop(HeadChain::read(&tensors, &module, &["fc1", "relu", "fc2"]));
        let to = bptt_fuzz::folder().join("exported.safetensors");
        if export(&tensors, Some(&module), cell, &to).is_ok() {
            let read = Tensors::read(&to).expect("what is written is read");
            let again = choose(&read, None, cell).expect("the module is there");
            assert!(again.weights.cells.len() == module.weights.cells.len() && again.cell == module.cell);
        }
        drop(module.network(found.ok().map(|found| found.1)));
    }
});
