//! The tensors of the zip archives that `torch.save` and `torch.jit.save` write.
//!
//! Source: `torch/serialization.py`: `NAME/data.pkl` has the values, `NAME/data/KEY` the numbers of each storage,
//! `NAME/byteorder` their byte order.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};

use zip::{CompressionMethod, ZipArchive};

use super::pickle::read as read_pickle;
use super::values::{Heap, Storage, StoredTensor, Value};
use crate::tensor::{Dtype, Tensor};

/// The values.
const PICKLE: &str = "data.pkl";

/// Dictionaries within dictionaries, at most.
const DEEPEST: usize = 64;

/// A pickle's length at most: of a million tensors.
const LONGEST_PICKLE: u64 = 1 << 30;

/// Tensors by name, and those that cannot be read, with the reason.
type Found = (BTreeMap<String, Tensor>, BTreeMap<String, String>);

/// The member of an archive that has the values, if the archive is one of PyTorch's.
fn pickle_of(names: &[String]) -> Option<&String> {
    names.iter().find(|name| *name == PICKLE || name.ends_with("/data.pkl"))
}

/// Whether an archive with these members is one of PyTorch's.
pub(crate) fn is_archive(names: &[String]) -> bool {
    pickle_of(names).is_some()
}

/// The tensors by their names in the dictionaries, joined by dots; dictionaries that hold everything there is lend no name,
/// and those of optimizers are left out.
///
/// # Errors
/// What is not understood, in words.
pub(crate) fn read(archive: &mut ZipArchive<Cursor<&[u8]>>, names: &[String]) -> Result<Found, String> {
    let pickle = pickle_of(names).ok_or("it has no data.pkl")?;
    let root = pickle.strip_suffix(PICKLE).unwrap_or_default();
    let bytes = member(archive, pickle, LONGEST_PICKLE)?;
    let (value, heap, _) = read_pickle(&bytes)?;
    let big_endian = match names.iter().find(|name| **name == format!("{root}byteorder")) {
        Some(name) => member(archive, name, 16)?.starts_with(b"big"),
        None => false,
    };
    let load = |storage: &Storage, length: usize| {
        member(archive, &format!("{root}data/{}", storage.key), length as u64)
    };
    tensors(&value, &heap, big_endian, HashMap::new(), load)
}

/// The beginning of what `torch.save` wrote before 1.6: a pickle of a number.
pub(crate) const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The tensors of such a file: pickles of a number, a version, properties of the machine, the values and the keys of their
/// storages, and the numbers of these.
///
/// # Errors
/// What is not understood, in words.
pub(crate) fn read_legacy(bytes: &[u8]) -> Result<Found, String> {
    let cut_off = || "it is cut off or damaged".to_owned();
    let (_, _, rest) = read_pickle(bytes)?;
    let (_, _, rest) = read_pickle(rest)?;
    let (_, _, rest) = read_pickle(rest)?;
    let (value, heap, rest) = read_pickle(rest)?;
    let (keys, lists, mut rest) = read_pickle(rest)?;
    let Value::List(keys) = keys else { return Err(cut_off()) };
    let mut storages = HashMap::new();
    for key in &lists.lists[keys] {
        let Value::Text(key) = key else { return Err(cut_off()) };
        let storage = heap.storages.get(&**key).ok_or_else(cut_off)?;
        let width = dtype(&storage.kind).map(|dtype| dtype.bitsize() / 8);
        let width = width.ok_or_else(|| format!("numbers of type {} are not known here", storage.kind))?;
        let (count, behind) = rest.split_first_chunk().ok_or_else(cut_off)?;
        let length =
            usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(width));
        let (numbers, behind) = behind.split_at_checked(length.ok_or_else(cut_off)?).ok_or_else(cut_off)?;
        storages.insert(key.to_string(), numbers.to_vec());
        rest = behind;
    }
    tensors(&value, &heap, false, storages, |_, _| Err(cut_off()))
}

/// The tensors of `value`; `load` gives the bytes of a storage that is not in `storages`.
fn tensors(
    value: &Value,
    heap: &Heap,
    big_endian: bool,
    mut storages: HashMap<String, Vec<u8>>,
    mut load: impl FnMut(&Storage, usize) -> Result<Vec<u8>, String>,
) -> Result<Found, String> {
    let mut found = Vec::new();
    walk(value, heap, &mut Vec::new(), &mut found)?;
    let shared = shared_path(&found);
    let (mut tensors, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
    for (path, stored) in found {
        let name = path[shared..].join(".");
        if tensors.contains_key(&name) {
            return Err(format!("two of its tensors are called {name}"));
        }
        match tensor(&name, stored, big_endian, &mut storages, &mut load) {
            Ok(tensor) => drop(tensors.insert(name, tensor)),
            Err(problem) => drop(unreadable.insert(name, problem)),
        }
    }
    if tensors.is_empty() && unreadable.is_empty() {
        return Err("it holds no tensor in a dictionary; save model.state_dict()".into());
    }
    Ok((tensors, unreadable))
}

/// A member's bytes, which are no more than `limit`.
fn member(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    let size = entry.size();
    if entry.compression() != CompressionMethod::Stored {
        return Err(format!("{name} is compressed, which PyTorch's files are not"));
    }
    if size > limit {
        return Err(format!("{name} has {size} bytes; expected at most {limit}"));
    }
    let mut bytes = Vec::new();
    // A member may be longer than it says.
    entry.take(size + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 != size {
        return Err(format!("{name} has not the length that it declares"));
    }
    Ok(bytes)
}

/// Adds every tensor in `value`, with the keys that lead to it.
fn walk<'a>(
    value: &'a Value,
    heap: &'a Heap,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, &'a StoredTensor)>,
) -> Result<(), String> {
    if path.len() > DEEPEST {
        return Err(format!("its dictionaries are more than {DEEPEST} deep"));
    }
    let key_of = |key: &Value| match key {
        Value::Text(key) => Some(key.to_string()),
        Value::Int(key) => Some(key.to_string()),
        _ => None,
    };
    let entries: Vec<(String, &Value)> = match value {
        Value::Tensor(tensor) => {
            found.push((path.clone(), tensor));
            return Ok(());
        }
        Value::Dict(dict) => {
            let has = |name: &str| {
                heap.dicts[*dict].iter().any(|(key, _)| key_of(key).is_some_and(|key| key == name))
            };
            if has("state") && has("param_groups") {
                return Ok(());
            }
            heap.dicts[*dict].iter().filter_map(|(key, value)| Some((key_of(key)?, value))).collect()
        }
        Value::List(list) => {
            heap.lists[*list].iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect()
        }
        Value::Tuple(values) => values.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
        _ => return Ok(()),
    };
    for (key, value) in entries {
        path.push(key);
        walk(value, heap, path, found)?;
        path.pop();
    }
    Ok(())
}

/// How many keys all tensors share: dictionaries around the state_dict.
fn shared_path(found: &[(Vec<String>, &StoredTensor)]) -> usize {
    let Some((first, _)) = found.first() else { return 0 };
    let shared =
        |path: &[String]| path.iter().zip(first).take_while(|(a, b)| a == b).count().min(path.len() - 1);
    found.iter().map(|(path, _)| if path.is_empty() { 0 } else { shared(path) }).min().unwrap_or(0)
}

/// The numbers of a view of a storage, in C order.
fn tensor(
    name: &str,
    stored: &StoredTensor,
    big_endian: bool,
    storages: &mut HashMap<String, Vec<u8>>,
    load: &mut impl FnMut(&Storage, usize) -> Result<Vec<u8>, String>,
) -> Result<Tensor, String> {
    let (storage, shape) = (&stored.storage, &stored.shape);
    let dtype = dtype(&storage.kind)
        .ok_or_else(|| format!("its type is {}; expected real numbers or integers", storage.kind))?;
    let width = dtype.bitsize() / 8;
    let damaged = || "it reaches beyond its numbers".to_owned();
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size)).ok_or_else(damaged)?;
    // The last number's place. Views that repeat numbers could be of any size.
    let last = shape.iter().zip(&stored.strides).try_fold(stored.offset, |last, (&size, &stride)| {
        last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
    });
    let last = last.ok_or_else(damaged)?;
    if count > storage.count || (count > 0 && last >= storage.count) {
        return Err(damaged());
    }
    if !storages.contains_key(&storage.key) {
        let length = storage.count.checked_mul(width).ok_or_else(damaged)?;
        storages.insert(storage.key.clone(), load(storage, length)?);
    }
    let numbers = storages.get(&storage.key).ok_or_else(damaged)?;
    let mut bytes = Vec::with_capacity(count * width);
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        let place =
            index.iter().zip(&stored.strides).fold(stored.offset, |place, (i, stride)| place + i * stride);
        let number = numbers.get(place * width..(place + 1) * width).ok_or_else(damaged)?;
        if big_endian {
            bytes.extend(number.iter().rev());
        } else {
            bytes.extend_from_slice(number);
        }
        for (i, &size) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
    }
    Ok(Tensor { name: name.into(), dtype, shape: shape.clone(), bytes })
}

fn dtype(storage: &str) -> Option<Dtype> {
    Some(match storage {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}
