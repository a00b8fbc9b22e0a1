//! Damaged files: refused or read, but never a panic, and never more memory than they can hold.

use std::path::Path;

use bptt_io::{Tensors, find, inspect};

/// A generator of numbers (Steele et al., 2014: `SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }
}

/// Numbers that lengths, counts and instructions are likely to go wrong with.
const BYTES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'.', b'(', b'}'];

fn mutated(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(5) {
            0 => bytes[at] = BYTES[numbers.below(BYTES.len())],
            1 => bytes[at] ^= 1 << numbers.below(8),
            2 => bytes.truncate(at.max(1)),
            3 => drop(bytes.splice(at..at, [BYTES[numbers.below(BYTES.len())]; 3])),
            _ => {
                let end = (at + numbers.below(32)).min(bytes.len());
                let moved = bytes[at..end].to_vec();
                let to = numbers.below(bytes.len());
                bytes.splice(to..to, moved);
            }
        }
    }
    bytes
}

#[test]
fn three_thousand_damaged_files_are_refused_or_read() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let folder = tempfile::tempdir().unwrap();
    let arrays = folder.path().join("arrays.npz");
    let state = Tensors::read(&data.join("checkpoint.safetensors")).unwrap();
    bptt_io::export(&state, None, None, &arrays).unwrap();
    let path = folder.path().join("damaged");
    let mut read = 0;
    for (seed, file) in (1..).zip([
        "checkpoint.pt",
        "legacy.pt",
        "views.pt",
        "checkpoint.safetensors",
        "keras.h5",
        "arrays.npz",
    ]) {
        let from = if file == "arrays.npz" { arrays.clone() } else { data.join(file) };
        let (bytes, mut numbers) = (std::fs::read(from).unwrap(), Numbers(seed));
        for _ in 0..375 {
            let damaged = mutated(&bytes, &mut numbers);
            std::fs::write(&path, &damaged).unwrap();
            let Ok(tensors) = Tensors::read(&path) else { continue };
            read += 1;
            let held: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
            assert!(held <= 4 * damaged.len() + (64 << 20), "{file}: {held} bytes of {}", damaged.len());
            for outline in find(&tensors) {
                drop(outline.read(&tensors, None));
            }
            drop(inspect(&tensors, None));
        }
    }
    assert!((300..2700).contains(&read), "{read} of 3,000 were read");
}
