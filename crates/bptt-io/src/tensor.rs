//! One tensor of a file: its name, number type, shape and bytes.

use half::{bf16, f16};
pub use safetensors::Dtype;

/// An array as it stands in a file: its bits are kept until its numbers are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in the file; of a lone array, the file's own.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape; the last axis is contiguous.
    pub shape: Vec<usize>,
    /// Its numbers, little-endian.
    pub bytes: Vec<u8>,
}

/// What [`Tensor::floats`] reads.
pub(crate) const FLOATS: &str = "F16, BF16, F32 or F64";

impl Tensor {
    /// A tensor of real numbers. Rounds to `dtype`, which is exact for numbers that came from it.
    ///
    /// # Panics
    /// If `dtype` is not one of F16, BF16, F32 and F64.
    pub fn of_floats(name: String, dtype: Dtype, shape: Vec<usize>, numbers: &[f64]) -> Self {
        let bytes = match dtype {
            Dtype::F16 => numbers.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect(),
            Dtype::BF16 => numbers.iter().flat_map(|&v| bf16::from_f64(v).to_le_bytes()).collect(),
            #[allow(clippy::cast_possible_truncation)] // rounding is what was asked for
            Dtype::F32 => numbers.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
            Dtype::F64 => numbers.iter().flat_map(|&v| v.to_le_bytes()).collect(),
            other => unreachable!("{other} is no type that real numbers are written in"),
        };
        Self { name, dtype, shape, bytes }
    }

    /// The numbers, exactly, if they are F16, BF16, F32 or F64.
    pub fn floats(&self) -> Option<Vec<f64>> {
        Some(match self.dtype {
            Dtype::F16 => self.each(|bytes| f16::from_le_bytes(bytes).to_f64()),
            Dtype::BF16 => self.each(|bytes| bf16::from_le_bytes(bytes).to_f64()),
            Dtype::F32 => self.each(|bytes| f32::from_le_bytes(bytes).into()),
            Dtype::F64 => self.each(f64::from_le_bytes),
            _ => return None,
        })
    }

    /// The numbers if they are integers or truth values (0 and 1).
    pub fn integers(&self) -> Option<Vec<i64>> {
        Some(match self.dtype {
            Dtype::BOOL => self.each(|[byte]| i64::from(byte != 0)),
            Dtype::U8 => self.each(|bytes| u8::from_le_bytes(bytes).into()),
            Dtype::I8 => self.each(|bytes| i8::from_le_bytes(bytes).into()),
            Dtype::U16 => self.each(|bytes| u16::from_le_bytes(bytes).into()),
            Dtype::I16 => self.each(|bytes| i16::from_le_bytes(bytes).into()),
            Dtype::U32 => self.each(|bytes| u32::from_le_bytes(bytes).into()),
            Dtype::I32 => self.each(|bytes| i32::from_le_bytes(bytes).into()),
            // No id and no length is larger than i64::MAX.
            Dtype::U64 => self.each(|bytes| i64::try_from(u64::from_le_bytes(bytes)).unwrap_or(i64::MAX)),
            Dtype::I64 => self.each(i64::from_le_bytes),
            _ => return None,
        })
    }

    fn each<const N: usize, V>(&self, number: impl Fn([u8; N]) -> V) -> Vec<V> {
        self.bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
    }

    /// Transposes a matrix of any number type.
    pub(crate) fn transpose(&mut self) {
        let &[rows, cols] = self.shape.as_slice() else { return };
        let width = self.bytes.len() / (rows * cols).max(1);
        let entries = (0..cols).flat_map(|j| (0..rows).map(move |i| (i * cols + j) * width));
        self.bytes = entries.flat_map(|at| self.bytes[at..at + width].to_vec()).collect();
        self.shape = vec![cols, rows];
    }

    /// Where the first number that is infinite or not a number stands, as an index: `"(3, 0)"`.
    pub(crate) fn not_finite(&self, numbers: &[f64]) -> Option<String> {
        let mut rest = numbers.iter().position(|v| !v.is_finite())?;
        let mut place = vec![0; self.shape.len()];
        for (index, &size) in place.iter_mut().zip(&self.shape).rev() {
            (*index, rest) = (rest % size, rest / size);
        }
        Some(shape(&place))
    }
}

/// A shape as Python writes it.
pub(crate) fn shape(sizes: &[usize]) -> String {
    match sizes {
        [size] => format!("({size},)"),
        sizes => format!("({})", sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every finite number of the two short types.
    #[test]
    fn numbers_come_back_with_the_same_bits() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for dtype in [Dtype::F16, Dtype::BF16] {
            let tensor = Tensor { name: "w".into(), dtype, shape: vec![1 << 16], bytes: all.clone() };
            let numbers = tensor.floats().unwrap();
            let again = Tensor::of_floats("w".into(), dtype, vec![1 << 16], &numbers);
            for (i, v) in numbers.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                assert_eq!(tensor.bytes[2 * i..2 * i + 2], again.bytes[2 * i..2 * i + 2], "{dtype} {v:e}");
            }
        }
        let numbers = [0.1_f32, -0.0, f32::MIN_POSITIVE / 8.0, f32::MAX];
        let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensor = Tensor { name: "w".into(), dtype: Dtype::F32, shape: vec![4], bytes: bytes.clone() };
        assert_eq!(
            Tensor::of_floats("w".into(), Dtype::F32, vec![4], &tensor.floats().unwrap()).bytes,
            bytes
        );
    }

    #[test]
    fn the_first_entry_that_is_not_finite_is_located() {
        let numbers = [0.0, 1.0, 2.0, f64::INFINITY, 0.0, f64::NAN];
        let tensor = Tensor::of_floats("w".into(), Dtype::F64, vec![3, 2], &numbers);
        assert_eq!(tensor.not_finite(&numbers).unwrap(), "(1, 1)");
        assert_eq!(tensor.integers(), None);
    }
}
