//! NumPy's `.npy`: one array with a header that gives type, order and shape; and files of several arrays by name.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::tensor::{Dtype, Tensor, shape};
use crate::{Error, files};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads one array.
///
/// # Errors
/// If the file cannot be read, is no `.npy` file, is cut off, or has a type other than real numbers (2, 4, 8 bytes),
/// integers or truth values.
pub fn read(path: &Path) -> Result<Tensor, Error> {
    let bytes = files::read(path)?;
    parse(path.display().to_string(), &bytes)
        .map_err(|problem| Error::ArrayFile { path: path.into(), problem })
}

/// The array in the bytes of a `.npy` file, in C order and little-endian; otherwise what is wrong, in words.
pub(crate) fn parse(name: String, bytes: &[u8]) -> Result<Tensor, String> {
    let Header { dtype, big_endian, fortran, sizes, data } = header(bytes)?;
    let (width, data) = (dtype.bitsize() / 8, &bytes[data..]);
    let needed = needed(width, &sizes);
    if needed != Some(data.len()) {
        let needed = needed.map_or("too many".into(), |needed| needed.to_string());
        return Err(format!(
            "{} numbers of {width} bytes are {needed} bytes, given {}; it is cut off or damaged, save it again",
            shape(&sizes),
            data.len()
        ));
    }
    let mut bytes = if fortran { c_order(data, width, &sizes) } else { data.to_vec() };
    if big_endian {
        bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    Ok(Tensor { name, dtype, shape: sizes, bytes })
}

/// What a header says.
struct Header {
    dtype: Dtype,
    big_endian: bool,
    fortran: bool,
    sizes: Vec<usize>,
    /// Where the numbers begin.
    data: usize,
}

fn header(bytes: &[u8]) -> Result<Header, String> {
    if !bytes.starts_with(MAGIC) {
        return Err("it is no .npy file; save it with numpy.save(\"x.npy\", array)".into());
    }
    let (header, data) = split(bytes).ok_or("its header is cut off or damaged; save it again")?;
    let field = |key: &str| Some(header.split_once(&format!("'{key}':"))?.1.trim_start());
    let descr = field("descr").ok_or("its header has no 'descr'")?;
    let fortran = field("fortran_order").ok_or("its header has no 'fortran_order'")?.starts_with("True");
    let sizes = field("shape").and_then(sizes).ok_or("its header has no usable 'shape'")?;
    let (dtype, big_endian) = number_type(descr)?;
    Ok(Header { dtype, big_endian, fortran, sizes, data: bytes.len() - data.len() })
}

/// The bytes of so many numbers.
fn needed(width: usize, sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(width, |product, &size| product.checked_mul(size))
}

/// How long a `.npy` file is by its header, of which `beginning` has at least that.
pub(crate) fn whole_length(beginning: &[u8]) -> Result<usize, String> {
    let Header { dtype, sizes, data, .. } = header(beginning)?;
    let length = needed(dtype.bitsize() / 8, &sizes).and_then(|needed| needed.checked_add(data));
    length.ok_or_else(|| format!("its shape {} is too large", shape(&sizes)))
}

/// The header, a Python dictionary, and the numbers behind it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (version, rest) = bytes.get(MAGIC.len()..)?.split_at_checked(2)?;
    let (length, rest) = match version[0] {
        1 => rest.split_at_checked(2)?,
        2 | 3 => rest.split_at_checked(4)?,
        _ => return None,
    };
    let length = length.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

/// The numbers of a tuple: `(2, 3), …`.
fn sizes(text: &str) -> Option<Vec<usize>> {
    let (tuple, _) = text.strip_prefix('(')?.split_once(')')?;
    tuple.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok()).collect()
}

/// The type of an array's numbers, and whether the most significant byte comes first.
fn number_type(descr: &str) -> Result<(Dtype, bool), String> {
    let plain = descr.strip_prefix('\'').and_then(|rest| Some(rest.split_once('\'')?.0));
    let dtype = match plain.and_then(|plain| plain.get(1..)) {
        Some("f2") => Dtype::F16,
        Some("f4") => Dtype::F32,
        Some("f8") => Dtype::F64,
        Some("i1") => Dtype::I8,
        Some("i2") => Dtype::I16,
        Some("i4") => Dtype::I32,
        Some("i8") => Dtype::I64,
        Some("u1") => Dtype::U8,
        Some("u2") => Dtype::U16,
        Some("u4") => Dtype::U32,
        Some("u8") => Dtype::U64,
        Some("b1") => Dtype::BOOL,
        _ => {
            return Err(format!(
                "its type is {}; expected real numbers (f2, f4, f8), integers (i1 to i8, u1 to u8) or bool",
                plain.unwrap_or("a record")
            ));
        }
    };
    Ok((dtype, descr.starts_with("'>")))
}

/// Converts numbers of `width` bytes from Fortran to C order.
fn c_order(data: &[u8], width: usize, sizes: &[usize]) -> Vec<u8> {
    let mut index = vec![0; sizes.len()];
    let mut ordered = Vec::with_capacity(data.len());
    for _ in 0..data.len() / width {
        let place = index.iter().zip(sizes).rev().fold(0, |place, (&i, &size)| place * size + i);
        ordered.extend_from_slice(&data[place * width..(place + 1) * width]);
        for (i, &size) in index.iter_mut().zip(sizes).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
    }
    ordered
}

/// The bytes of a `.npy` file (format 1.0), if NumPy has the tensor's type.
pub(crate) fn encode(tensor: &Tensor) -> Option<Vec<u8>> {
    Some([&head(tensor)?, &tensor.bytes[..]].concat())
}

/// What stands before the numbers in a `.npy` file (format 1.0), if NumPy has the tensor's type.
fn head(tensor: &Tensor) -> Option<Vec<u8>> {
    let descr = match tensor.dtype {
        Dtype::F16 => "<f2",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        Dtype::I8 => "|i1",
        Dtype::I16 => "<i2",
        Dtype::I32 => "<i4",
        Dtype::I64 => "<i8",
        Dtype::U8 => "|u1",
        Dtype::U16 => "<u2",
        Dtype::U32 => "<u4",
        Dtype::U64 => "<u8",
        Dtype::BOOL => "|b1",
        Dtype::C64 => "<c8",
        _ => return None,
    };
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {}, }}", shape(&tensor.shape));
    // Magic, version and length are 10 bytes, the newline one more; the data begins at a multiple of 64.
    let header = format!("{header}{}\n", " ".repeat((64 - (header.len() + 11) % 64) % 64));
    let length = u16::try_from(header.len()).ok()?;
    Some([MAGIC, &[1, 0], &length.to_le_bytes()[..], header.as_bytes()].concat())
}

/// Writes named arrays to a `.npz` or `.safetensors` file, whole or not at all, without a second copy of them in memory.
/// `notes` are the metadata of a `.safetensors` file; NumPy's archives have none.
///
/// # Errors
/// If the ending is another, NumPy lacks an array's type, or the file cannot be written.
pub fn write(path: &Path, arrays: &[Tensor], notes: &BTreeMap<String, String>) -> Result<(), Error> {
    match files::ending(path).as_deref() {
        Some("npz") => files::write_with(path, |file| {
            let mut archive = ZipWriter::new(BufWriter::new(file));
            for array in arrays {
                let head =
                    head(array).ok_or_else(|| io::Error::other(format!("NumPy has no {}", array.dtype)))?;
                let stored = SimpleFileOptions::default()
                    .compression_method(CompressionMethod::Stored)
                    .large_file(array.bytes.len() >= 1 << 31);
                archive.start_file(format!("{}.npy", array.name), stored)?;
                archive.write_all(&head)?;
                archive.write_all(&array.bytes)?;
            }
            archive.finish()?.flush()
        }),
        Some("safetensors") => files::write_with(path, |file| {
            let mut file = BufWriter::new(file);
            write_safetensors(&mut file, arrays, notes)?;
            file.flush()
        }),
        _ => Err(Error::UnknownEnding { path: path.into(), expected: ".npz or .safetensors" }),
    }
}

/// The bytes of a `.safetensors` file.
pub fn to_safetensors(arrays: &[Tensor], notes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(arrays.iter().map(|array| array.bytes.len()).sum());
    write_safetensors(&mut bytes, arrays, notes).expect("memory can be written");
    bytes
}

fn write_safetensors(
    file: &mut impl Write,
    arrays: &[Tensor],
    notes: &BTreeMap<String, String>,
) -> io::Result<()> {
    let mut sorted: Vec<&Tensor> = arrays.iter().collect();
    // As the library sorts them, so that every array is aligned.
    sorted.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    file.write_all(&safetensors_head(&sorted, notes))?;
    sorted.iter().try_for_each(|array| file.write_all(&array.bytes))
}

/// What stands before the data of a `.safetensors` file: the length of the JSON, and the JSON with spaces up to a multiple of
/// eight bytes. (The library's own function writes to a file that it names itself, which may be left when the process ends.)
fn safetensors_head(arrays: &[&Tensor], notes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut header = Map::new();
    if !notes.is_empty() {
        header.insert("__metadata__".into(), json!(notes));
    }
    let mut start = 0;
    for array in arrays {
        let end = start + array.bytes.len();
        let entry = json!({ "dtype": array.dtype, "shape": array.shape, "data_offsets": [start, end] });
        header.insert(array.name.clone(), entry);
        start = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header].concat()
}

/// Reads the arrays and notes of a `.safetensors` file that is in memory, as they stand there.
///
/// # Errors
/// If it is damaged.
pub fn of_safetensors(bytes: &[u8]) -> Result<(Vec<Tensor>, BTreeMap<String, String>), String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let array = |(name, view): (String, TensorView<'_>)| Tensor {
        name,
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let notes = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
    Ok((file.tensors().into_iter().map(array).collect(), notes.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, fortran: bool, sizes: &str, data: &[u8]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {sizes}, }}\n");
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, &[1, 0], &length[..], header.as_bytes(), data].concat()
    }

    fn parsed(bytes: &[u8]) -> Result<Tensor, String> {
        parse("x.npy".into(), bytes)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let numbers = [1.5, -2.0, 0.25, 4.0, 5.0, 6.0];
        for sizes in [vec![6], vec![2, 3], vec![1, 6, 1]] {
            let tensor = Tensor::of_floats("x.npy".into(), Dtype::F16, sizes, &numbers);
            let bytes = encode(&tensor).unwrap();
            assert_eq!((bytes.len() - 12) % 64, 0);
            assert_eq!(parsed(&bytes).unwrap(), tensor);
        }
    }

    #[test]
    fn fortran_order_and_big_endian_numbers_are_converted() {
        let data: Vec<u8> = [0_i16, 3, 1, 4, 2, 5].iter().flat_map(|v| v.to_be_bytes()).collect();
        let tensor = parsed(&npy("'>i2'", true, "(2, 3)", &data)).unwrap();
        assert_eq!((tensor.shape.as_slice(), tensor.integers().unwrap()), (&[2, 3][..], (0..6).collect()));
    }

    #[test]
    fn other_files_and_types_are_refused_by_name() {
        let refused = |bytes: &[u8]| parsed(bytes).unwrap_err();
        let expected = "expected real numbers (f2, f4, f8), integers (i1 to i8, u1 to u8) or bool";
        assert_eq!(refused(&npy("'<c8'", false, "(1,)", &[0; 8])), format!("its type is <c8; {expected}"));
        assert_eq!(refused(&npy("'|O'", false, "(1,)", &[0; 8])), format!("its type is |O; {expected}"));
        assert_eq!(
            refused(&npy("'<f8'", false, "(2, 2)", &[0; 24])),
            "(2, 2) numbers of 8 bytes are 32 bytes, given 24; it is cut off or damaged, save it again"
        );
        assert_eq!(refused(b"PK\x03\x04"), "it is no .npy file; save it with numpy.save(\"x.npy\", array)");
        assert_eq!(refused(&npy("'<f8'", false, "(2, two)", &[])), "its header has no usable 'shape'");
        assert_eq!(
            refused(&npy("[('a', '<f8')]", false, "(1,)", &[0; 8])),
            format!("its type is a record; {expected}")
        );
        assert_eq!(
            refused(&npy("'<f8'", false, "(1,)", &[])[..20]),
            "its header is cut off or damaged; save it again"
        );
        let huge = npy("'<f8'", false, "(9223372036854775807, 4)", &[]);
        assert!(refused(&huge).contains("are too many bytes"));
    }
}
