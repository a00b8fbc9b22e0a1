//! Trees of arrays as `flax.serialization.to_bytes` writes them, of Flax's and Haiku's parameters.
//!
//! Source: flax 0.12.8, serialization.py: MessagePack maps by names; an array is the extension 1, whose bytes are MessagePack
//! again: shape, type and numbers. Arrays over 1 GB are in parts, which is not read.

use std::collections::BTreeMap;

use rmpv::ValueRef;
use rmpv::decode::read_value_ref_with_max_depth;

use crate::tensor::{Dtype, Tensor};

/// Maps within maps, at most.
const DEEPEST: usize = 64;
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
    let tree = decode(&mut bytes)
        .map_err(|error| format!("it is a MessagePack tree that is cut off or damaged ({error})"))?;
    if !bytes.is_empty() {
        return Err(format!("it is a MessagePack tree with {} more bytes behind it", bytes.len()));
    }
    let mut found = Found::default();
    walk(&tree, "", &mut found);
    Ok(found)
}

fn decode<'a>(bytes: &mut &'a [u8]) -> Result<ValueRef<'a>, String> {
    read_value_ref_with_max_depth(bytes, DEEPEST).map_err(|error| error.to_string())
}

fn walk(value: &ValueRef<'_>, name: &str, found: &mut Found) {
    match value {
        ValueRef::Map(entries) => {
            for (key, value) in entries {
                let Some(key) = text(key).filter(|key| !(name.is_empty() && *key == OPTIMIZER)) else {
                    continue;
                };
                let name = if name.is_empty() { key.to_owned() } else { format!("{name}/{key}") };
                walk(value, &name, found);
            }
        }
        ValueRef::Ext(ARRAY, bytes) => match array(name, bytes) {
            Ok(tensor) => drop(found.0.insert(name.into(), tensor)),
            Err(problem) => drop(found.1.insert(name.into(), problem)),
        },
        // Counters, and what has no numbers.
        _ => {}
    }
}

fn text<'a>(value: &ValueRef<'a>) -> Option<&'a str> {
    match value {
        ValueRef::String(text) => text.into_str(),
        _ => None,
    }
}

fn array(name: &str, mut bytes: &[u8]) -> Result<Tensor, String> {
    let ValueRef::Array(parts) = decode(&mut bytes)? else {
        return Err("it has no shape, type and numbers".into());
    };
    let [ValueRef::Array(sizes), dtype, ValueRef::Binary(numbers)] = parts.as_slice() else {
        return Err("it has no shape, type and numbers".into());
    };
    let size = |size: &ValueRef<'_>| size.as_u64().and_then(|size| usize::try_from(size).ok());
    let shape: Option<Vec<usize>> = sizes.iter().map(size).collect();
    let dtype = match text(dtype).unwrap_or_default() {
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
    let shape = shape.ok_or("its shape is none")?;
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
