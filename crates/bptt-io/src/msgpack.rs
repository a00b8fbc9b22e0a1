//! Trees of arrays as `flax.serialization.to_bytes` writes them, of Flax's and Haiku's parameters.
//!
//! Source: flax 0.12.8, serialization.py: MessagePack maps by names; an array is the extension 1, whose bytes are MessagePack
//! again: shape, type and numbers. Arrays over 1 GB are in parts, which is not read.

use std::collections::BTreeMap;

use rmp::Marker;
use rmp::decode::{read_array_len, read_bin_len, read_ext_meta, read_int, read_map_len, read_str_from_slice};

use crate::tensor::{Dtype, Tensor};

/// Maps and lists within each other, at most.
const DEEPEST: usize = 64;
/// Axes of an array, at most.
const MOST_AXES: usize = 32;
const ARRAY: i8 = 1;
/// What an optimizer keeps has the parameters' names again.
const OPTIMIZER: &str = "opt_state";

/// Whether the bytes begin as a map by names does.
pub(crate) fn is_tree(bytes: &[u8]) -> bool {
    let ([0x81..=0x8f, names @ ..] | [0xde, _, _, names @ ..]) = bytes else { return false };
    matches!(names.first(), Some(0xa0..=0xbf | 0xd9))
}

/// Arrays by their names, and those that cannot be read, with the reason.
type Found = (BTreeMap<String, Tensor>, BTreeMap<String, String>);

/// The arrays of the tree, `params/cell/hi/kernel`, without an optimizer's.
///
/// # Errors
/// If the bytes are no whole tree.
pub(crate) fn read(mut bytes: &[u8]) -> Result<Found, String> {
    let mut found = Found::default();
    walk(&mut bytes, "", &mut found, DEEPEST).ok_or("it is a MessagePack tree that is cut off or damaged")?;
    if !bytes.is_empty() {
        return Err(format!("it is a MessagePack tree with {} more bytes behind it", bytes.len()));
    }
    Ok(found)
}

/// Takes the next value from `bytes` and finds the arrays in it. Nothing of the tree is kept, so that it needs no memory.
fn walk(bytes: &mut &[u8], name: &str, found: &mut Found, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match Marker::from_u8(*bytes.first()?) {
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            for _ in 0..read_map_len(bytes).ok()? {
                let Some(key) = text(bytes) else {
                    skip(bytes, depth)?;
                    skip(bytes, depth)?;
                    continue;
                };
                match name {
                    "" if key == OPTIMIZER => skip(bytes, depth)?,
                    "" => walk(bytes, key, found, depth)?,
                    _ => walk(bytes, &format!("{name}/{key}"), found, depth)?,
                }
            }
            Some(())
        }
        Marker::FixExt1
        | Marker::FixExt2
        | Marker::FixExt4
        | Marker::FixExt8
        | Marker::FixExt16
        | Marker::Ext8
        | Marker::Ext16
        | Marker::Ext32 => {
            let meta = read_ext_meta(bytes).ok()?;
            let content = bytes.split_off(..usize::try_from(meta.size).ok()?)?;
            if meta.typeid == ARRAY {
                match array(name, content) {
                    Ok(tensor) => drop(found.0.insert(name.into(), tensor)),
                    Err(problem) => drop(found.1.insert(name.into(), problem)),
                }
            }
            Some(())
        }
        // Counters, and what has no numbers.
        _ => skip(bytes, depth),
    }
}

/// Takes the next value from `bytes`.
fn skip(bytes: &mut &[u8], depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let marker = Marker::from_u8(*bytes.first()?);
    let (head, length): (usize, usize) = match marker {
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            return (0..2 * u64::from(read_map_len(bytes).ok()?)).try_for_each(|_| skip(bytes, depth));
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            return (0..read_array_len(bytes).ok()?).try_for_each(|_| skip(bytes, depth));
        }
        Marker::FixStr(length) => (1, usize::from(length)),
        Marker::Str8 | Marker::Bin8 => (2, size(bytes, 1)?),
        Marker::Str16 | Marker::Bin16 => (3, size(bytes, 2)?),
        Marker::Str32 | Marker::Bin32 => (5, size(bytes, 4)?),
        Marker::Ext8 => (3, size(bytes, 1)?),
        Marker::Ext16 => (4, size(bytes, 2)?),
        Marker::Ext32 => (6, size(bytes, 4)?),
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => (1, 0),
        Marker::U8 | Marker::I8 => (1, 1),
        Marker::U16 | Marker::I16 | Marker::FixExt1 => (1, 2),
        Marker::FixExt2 => (1, 3),
        Marker::U32 | Marker::I32 | Marker::F32 => (1, 4),
        Marker::FixExt4 => (1, 5),
        Marker::U64 | Marker::I64 | Marker::F64 => (1, 8),
        Marker::FixExt8 => (1, 9),
        Marker::FixExt16 => (1, 17),
        Marker::Reserved => return None,
    };
    bytes.split_off(..head.checked_add(length)?).map(drop)
}

/// The big-endian number of `width` bytes behind a marker.
fn size(bytes: &[u8], width: usize) -> Option<usize> {
    let digits = bytes.get(1..=width)?;
    Some(digits.iter().fold(0, |size, &byte| size << 8 | usize::from(byte)))
}

/// Takes a text from `bytes`, if one is next.
fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let (text, rest) = read_str_from_slice(*bytes).ok()?;
    *bytes = rest;
    Some(text)
}

/// An array: shape, type and numbers.
fn array(name: &str, mut bytes: &[u8]) -> Result<Tensor, String> {
    let parts = |bytes: &mut &[u8]| {
        let axes = (read_array_len(bytes).ok()? == 3).then(|| read_array_len(bytes).ok())??;
        let shape = (0..axes).map(|_| read_int::<usize, _>(bytes).ok());
        let shape = shape
            .take(MOST_AXES)
            .collect::<Option<Vec<usize>>>()
            .filter(|shape| shape.len() == axes as usize)?;
        let dtype = text(bytes)?.to_owned();
        let length = read_bin_len(bytes).ok()?;
        (bytes.len() == length as usize).then_some((shape, dtype))
    };
    let (shape, dtype) = parts(&mut bytes).ok_or("it has no shape, type and numbers")?;
    let numbers = bytes;
    let dtype = match dtype.as_str() {
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float32" => Dtype::F32,
        "float64" => Dtype::F64,
        "int32" => Dtype::I32,
        "int64" => Dtype::I64,
        "uint32" => Dtype::U32,
        "bool" => Dtype::BOOL,
        other => return Err(format!("its type is {other}")),
    };
    let length = shape.iter().try_fold(dtype.bitsize() / 8, |length, &size| length.checked_mul(size));
    if length != Some(numbers.len()) {
        return Err(format!("its shape {shape:?} of {dtype} does not fit its {} bytes", numbers.len()));
    }
    Ok(Tensor { name: name.into(), dtype, shape, bytes: numbers.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a": {"w": array (2,) of f32}, "opt_state": {"w": the same}, "step": 3}`.
    fn tree() -> Vec<u8> {
        let mut array = vec![0x93, 0x91, 2, 0xa7];
        array.extend(b"float32");
        array.extend([0xc4, 8]);
        array.extend([1.5_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()));
        let ext = |to: &mut Vec<u8>| {
            to.extend([0x81, 0xa1, b'w', 0xc7, u8::try_from(array.len()).unwrap(), 1]);
            to.extend(&array);
        };
        let mut bytes = vec![0x83, 0xa1, b'a'];
        ext(&mut bytes);
        bytes.push(0xa9);
        bytes.extend(b"opt_state");
        ext(&mut bytes);
        bytes.extend([0xa4, b's', b't', b'e', b'p', 3]);
        bytes
    }

    #[test]
    fn arrays_have_the_names_of_the_maps_around_them() {
        let bytes = tree();
        assert!(is_tree(&bytes));
        let (tensors, unreadable) = read(&bytes).unwrap();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["a/w"]);
        assert_eq!(tensors["a/w"].floats().unwrap(), [1.5, -2.0]);
        assert!(unreadable.is_empty());
        for length in 1..bytes.len() {
            assert!(read(&bytes[..length]).unwrap_err().contains("cut off or damaged"), "{length}");
        }
        assert!(!is_tree(&[0x80, 0x02]));
    }
}
