//! Damaged files: refused or read, but never a panic, and never more time or memory than they can hold.

use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bptt_io::{Layout, Tensors, find, inspect};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

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

/// Numbers that sizes, counts and places are likely to go wrong with.
const SIZES: [u64; 8] = [0, 1, 3, 0xff, 0x1_0000, 0xffff_ffff, 1 << 40, u64::MAX];

/// A file whose parts are changed and whose lengths and checksums fit again, so that a reader goes on behind them; the bytes alone
/// where a format has none.
fn restructured(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    match bytes {
        [b'P', b'K', ..] => archive(bytes, numbers),
        [.., _] if bytes.get(8) == Some(&b'{') => header(bytes, numbers),
        [0x89, b'H', ..] => {
            let mut bytes = mutated(bytes, numbers);
            let at = numbers.below(bytes.len()) / 8 * 8;
            let size = SIZES[numbers.below(SIZES.len())].to_le_bytes();
            bytes.iter_mut().skip(at).zip(size).for_each(|(byte, of)| *byte = of);
            bytes
        }
        [0x08, ..] => fields(bytes, numbers, 0).unwrap_or_else(|| mutated(bytes, numbers)),
        _ => mutated(bytes, numbers),
    }
}

/// An archive with one member changed, left out or under another's name.
fn archive(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut read = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut members = Vec::new();
    for index in 0..read.len() {
        let (mut member, mut content) = (read.by_index(index).unwrap(), Vec::new());
        member.read_to_end(&mut content).unwrap();
        members.push((member.name().unwrap().into_owned(), content));
    }
    let chosen = numbers.below(members.len());
    match numbers.below(8) {
        0 => drop(members.remove(chosen)),
        1 => members[chosen].0 = format!("{}x", members[numbers.below(members.len())].0),
        _ if members[chosen].1.is_empty() => {}
        _ => members[chosen].1 = mutated(&members[chosen].1, numbers),
    }
    let mut written = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in members {
        written.start_file(name, stored).unwrap();
        written.write_all(&content).unwrap();
    }
    written.finish().unwrap().into_inner()
}

/// safetensors with one number of the header replaced by another.
fn header(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
    let (text, data) = bytes[8..].split_at(length);
    let text = str::from_utf8(text).unwrap();
    let starts: Vec<usize> =
        text.match_indices(|c: char| c.is_ascii_digit()).map(|(place, _)| place).collect();
    let at = starts[numbers.below(starts.len())];
    let end = at + text[at..].find(|c: char| !c.is_ascii_digit()).unwrap();
    let text = format!("{}{}{}", &text[..at], SIZES[numbers.below(SIZES.len())], &text[end..]);
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat()
}

/// A message of Protocol Buffers with one field left out, repeated or changed, at any depth.
fn fields(bytes: &[u8], numbers: &mut Numbers, depth: usize) -> Option<Vec<u8>> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let start = rest;
        let tag = varint(&mut rest)?;
        let content = match tag & 7 {
            0 => varint(&mut rest).map(|_| None)?,
            1 => rest.split_off(..8).map(|_| None)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Some(rest.split_off(..length)?)
            }
            5 => rest.split_off(..4).map(|_| None)?,
            _ => return None,
        };
        parts.push((tag, &start[..start.len() - rest.len()], content));
    }
    let chosen = numbers.below(parts.len().max(1));
    let change = numbers.below(6);
    let mut made = Vec::new();
    for (index, (tag, whole, content)) in parts.into_iter().enumerate() {
        match content {
            _ if index != chosen => made.extend_from_slice(whole),
            _ if change == 0 && depth > 0 => {}
            _ if change == 1 => made.extend([whole, whole].concat()),
            None => {
                encode(&mut made, tag & !7);
                encode(&mut made, SIZES[numbers.below(SIZES.len())]);
            }
            Some(content) => {
                let deeper = (depth < 6 && !content.is_empty()).then(|| fields(content, numbers, depth + 1));
                let changed = match deeper.flatten() {
                    Some(changed) => changed,
                    None if content.is_empty() => vec![0; 3],
                    None => mutated(content, numbers),
                };
                encode(&mut made, tag);
                encode(&mut made, changed.len() as u64);
                made.extend(changed);
            }
        }
    }
    Some(made)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn encode(made: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        made.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    made.push(u8::try_from(number).unwrap());
}

/// Of this process: the memory that it has and the most that it had since the last call with `forget`; nothing where the system
/// does not say it.
fn memory(forget: bool) -> Option<[usize; 2]> {
    if forget {
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
    };
    Some([number("VmRSS:")?, number("VmHWM:")?])
}

/// Reads a file of names and shapes in a folder with the weights of the file called `file`.
fn beside_its_weights(file: &str, bytes: &[u8]) -> Result<Tensors, bptt_io::Error> {
    let folder = tempfile::tempdir().unwrap();
    let weights =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file).with_file_name("weights.bin");
    std::fs::copy(weights, folder.path().join("weights.bin")).unwrap();
    let path = folder.path().join("model.json");
    std::fs::write(&path, bytes).unwrap();
    Tensors::read(&path)
}

/// Reads a file as `bptt inspect` does; whether it has tensors.
fn read(file: &str, bytes: &[u8]) -> bool {
    let most = 4 * bytes.len() + (64 << 20);
    let (before, start) = (memory(true), Instant::now());
    let tensors = if file.ends_with("/model.json") {
        beside_its_weights(file, bytes)
    } else {
        Tensors::of_bytes(Path::new(file), bytes, &Layout::default())
    };
    if let Ok(tensors) = &tensors {
        let held: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
        assert!(held <= most, "{file}: {held} bytes of {}", bytes.len());
        for outline in find(tensors) {
            drop(outline.read(tensors, None));
        }
        drop(inspect(tensors, None));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{file}: {:?}", start.elapsed());
    if let (Some([before, _]), Some([_, peak])) = (before, memory(false)) {
        assert!(peak - before.min(peak) <= most, "{file}: {} bytes of {}", peak - before, bytes.len());
    }
    tensors.is_ok()
}

/// Damaged files of each kind.
const TURNS: usize = 215;

#[test]
fn three_thousand_damaged_files_are_refused_or_read() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let folder = tempfile::tempdir().unwrap();
    let arrays = folder.path().join("arrays.npz");
    let state = Tensors::read(&data.join("checkpoint.safetensors")).unwrap();
    bptt_io::export(&state, None, None, &arrays).unwrap();
    let files = [
        "checkpoint.pt",
        "legacy.pt",
        "views.pt",
        "checkpoint.safetensors",
        "keras.h5",
        "keras.weights.h5",
        "keras.keras",
        "arrays.npz",
        "onnx.onnx",
        "quantized.onnx",
        "computed.onnx",
        "frameworks/flax_both.msgpack",
        "frameworks/chainer_lstm.npz",
        "frameworks/haiku_gru.npz",
        "frameworks/tfjs_both/model.json",
    ];
    let mut opened = 0;
    for (seed, file) in (1..).zip(files) {
        let from = if file == "arrays.npz" { arrays.clone() } else { data.join(file) };
        let (bytes, mut numbers) = (std::fs::read(from).unwrap(), Numbers(seed));
        assert!(read(file, &bytes), "{file}");
        let mut of_file = 0;
        for turn in 0..TURNS {
            let change = if turn % 2 == 0 { mutated } else { restructured };
            of_file += usize::from(read(file, &change(&bytes, &mut numbers)));
        }
        assert!((5..TURNS).contains(&of_file), "{file}: {of_file} of {TURNS} were read");
        opened += of_file;
    }
    assert!((300..2700).contains(&opened), "{opened} of 3,225 were read");
}
