//! The arrays of a batch, as `.npy` files: inputs, targets, masks, lengths and states of every kind.

#![no_main]

use bptt_io::arrays;
use bptt_io::batch::{Arrangement, finite, ids, lengths, states};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[features, choice], bytes)) = bytes.split_first_chunk() else { return };
    let path = bptt_fuzz::folder().join("x.npy");
    std::fs::write(&path, bytes).expect("a file can be written");
    let Ok(array) = arrays::read(&path) else { return };
    assert!(array.bytes.len() <= bytes.len());
    let features = usize::from(features);
    let extent = (choice & 1 == 1).then_some((usize::from(choice >> 1 & 7), usize::from(choice >> 4 & 7)));
    for order in [Arrangement::BatchFirst, Arrangement::TimeMajor] {
        if let Ok(sequence) = order.sequence(&array, extent, features) {
            drop(finite(&array, sequence, |t, _| t > 0));
        }
        if let Ok((size, values)) = order.grid(&array, extent) {
            drop(ids(&array, size, &values, features.max(1), |t, b| t != b));
        }
    }
    for size in [(3, 2), (1, 1), (usize::from(choice), features)] {
        drop(lengths(&array, size));
        drop(states(&array, size.0, size.1, features));
    }
    let file = bptt_fuzz::folder().join(if choice & 1 == 0 { "x.npz" } else { "x.safetensors" });
    // What can be written is read again as the same.
    let array = bptt_io::Tensor { name: "x".into(), ..array };
    if arrays::write(&file, std::slice::from_ref(&array), &Default::default()).is_ok() {
        let read = bptt_io::Tensors::read(&file).expect("what is written is read");
        assert_eq!(read.get("x"), Some(&array));
    }
});
