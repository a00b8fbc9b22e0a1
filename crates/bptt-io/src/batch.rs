//! The arrays of a batch, (B, T, …) or (T, B, …), as the time-major sequences, ids and states that a network reads.

use bptt::{Error as CoreError, Matrix, Sequence, View};

use crate::Error;
use crate::tensor::{FLOATS, Tensor, shape};
use crate::tensors::{Size, expected, fits};

/// Which axis of a user's arrays comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arrangement {
    /// (B, T, …), PyTorch's `batch_first=True`.
    BatchFirst,
    /// (T, B, …).
    TimeMajor,
}

/// The size of a batch, (T, B), where it is known already.
pub type Extent = Option<(usize, usize)>;

impl Arrangement {
    /// The shape that is asked for, in the user's order.
    fn sizes(self, extent: Extent, features: Option<Size>) -> Vec<Size> {
        let (steps, batch) = match extent {
            Some((steps, batch)) => (Size::Is(steps), Size::Is(batch)),
            None => (Size::Any("T"), Size::Any("B")),
        };
        let first = if self == Self::TimeMajor { [steps, batch] } else { [batch, steps] };
        first.into_iter().chain(features).collect()
    }

    /// An array's real numbers as (T, B, features).
    ///
    /// # Errors
    /// If it has another shape or type.
    pub fn sequence(self, array: &Tensor, extent: Extent, features: usize) -> Result<Sequence<f64>, Error> {
        let sizes = self.sizes(extent, Some(Size::Is(features)));
        check(array, &sizes)?;
        let integers = || Some(array.integers()?.into_iter().map(|v| v as f64).collect());
        let numbers: Vec<f64> = array.floats().or_else(integers).ok_or_else(|| wrong_type(array, FLOATS))?;
        let [first, second] = [array.shape[0], array.shape[1]];
        Ok(match self {
            Self::TimeMajor => Sequence::new(first, second, features, &numbers)?,
            Self::BatchFirst => Sequence::from_batch_first(first, second, features, &numbers)?,
        })
    }

    /// An array's integers or truth values as (T, B), with that shape.
    ///
    /// # Errors
    /// If it has another shape or type.
    pub fn grid(self, array: &Tensor, extent: Extent) -> Result<((usize, usize), Vec<i64>), Error> {
        check(array, &self.sizes(extent, None))?;
        let values = integers(array)?;
        let [first, second] = [array.shape[0], array.shape[1]];
        Ok(match self {
            Self::TimeMajor => ((first, second), values),
            Self::BatchFirst => {
                let turned = (0..second).flat_map(|t| (0..first).map(move |b| b * second + t));
                ((second, first), turned.map(|i| values[i]).collect())
            }
        })
    }
}

/// States as PyTorch has them, (layers · directions, B, H): a (B, H) matrix for each cell.
///
/// # Errors
/// If the array has another shape or type or is not finite.
pub fn states(array: &Tensor, cells: usize, batch: usize, hidden: usize) -> Result<Vec<Matrix<f64>>, Error> {
    check(array, &[Size::Is(cells), Size::Is(batch), Size::Is(hidden)])?;
    let numbers = array.floats().ok_or_else(|| wrong_type(array, FLOATS))?;
    if let Some(place) = array.not_finite(&numbers) {
        return Err(unusable(array, format!("it is not finite at {place}")));
    }
    let states = numbers.chunks_exact(batch * hidden);
    Ok(states.map(|state| View::new(batch, hidden, state).to_matrix()).collect())
}

/// The number of steps of each sequence.
///
/// # Errors
/// If the array has another shape or type, or a number of steps is not from 1 to T.
pub fn lengths(array: &Tensor, (steps, batch): (usize, usize)) -> Result<Vec<usize>, Error> {
    check(array, &[Size::Is(batch)])?;
    let length = |(b, length): (usize, i64)| {
        let known = usize::try_from(length).ok().filter(|length| (1..=steps).contains(length));
        known.ok_or_else(|| {
            unusable(array, format!("sequence {b} has {length} steps there; expected 1 to {steps}"))
        })
    };
    integers(array)?.into_iter().enumerate().map(length).collect()
}

fn integers(array: &Tensor) -> Result<Vec<i64>, Error> {
    array.integers().ok_or_else(|| wrong_type(array, "integers or bool"))
}

fn check(array: &Tensor, sizes: &[Size]) -> Result<(), Error> {
    if fits(&array.shape, sizes) {
        return Ok(());
    }
    if array.shape.len() == sizes.len()
        && let Some(axis) = array.shape.iter().position(|&size| size == 0)
    {
        let (expected, given) = (expected(sizes), shape(&array.shape));
        let problem = format!(
            "axis {axis} of its shape {given} is empty; expected at least 1 along each of {expected}"
        );
        return Err(unusable(array, problem));
    }
    Err(CoreError::Shape { what: array.name.clone(), expected: expected(sizes), given: shape(&array.shape) }
        .into())
}

fn wrong_type(array: &Tensor, expected: &str) -> Error {
    unusable(array, format!("its type is {}; expected {expected}", array.dtype))
}

fn unusable(array: &Tensor, problem: String) -> Error {
    Error::ArrayFile { path: array.name.clone().into(), problem }
}

/// Ids of a (T, B) grid as [`Arrangement::grid`] gives it. Where `counts` is false, any value is accepted and replaced by 0.
///
/// # Errors
/// If an id that counts is below 0 or not below `size`.
pub fn ids(
    array: &Tensor,
    (_, batch): (usize, usize),
    values: &[i64],
    size: usize,
    counts: impl Fn(usize, usize) -> bool,
) -> Result<Vec<u32>, Error> {
    let id = |(i, &value): (usize, &i64)| {
        let (t, b) = (i / batch, i % batch);
        let known = u32::try_from(value).ok().filter(|&id| (id as usize) < size);
        match known {
            _ if !counts(t, b) => Ok(0),
            Some(id) => Ok(id),
            None => Err(unusable(
                array,
                format!(
                    "its id {value} at step {t}, sequence {b} is not possible; expected 0 to {}",
                    size - 1
                ),
            )),
        }
    };
    values.iter().enumerate().map(id).collect()
}

/// Refuses a sequence that is not finite at a step that counts, and sets those that do not to zero.
///
/// # Errors
/// [`bptt::Error::NotFinite`] with the array's name, step and sequence.
pub fn finite(
    array: &Tensor,
    mut sequence: Sequence<f64>,
    counts: impl Fn(usize, usize) -> bool,
) -> Result<Sequence<f64>, Error> {
    let (steps, batch) = (sequence.steps(), sequence.batch());
    for (t, b) in (0..steps).flat_map(|t| (0..batch).map(move |b| (t, b))) {
        if !counts(t, b) {
            sequence.at_mut(t, b).fill(0.0);
        }
    }
    match sequence.first_not_finite() {
        Some((step, sequence)) => {
            Err(CoreError::NotFinite { what: array.name.clone(), step, sequence }.into())
        }
        None => Ok(sequence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;

    fn array(shape: &[usize]) -> Tensor {
        let numbers: Vec<f64> = (0..shape.iter().product::<usize>()).map(|v| v as f64).collect();
        Tensor::of_floats("x.npy".into(), Dtype::F64, shape.to_vec(), &numbers)
    }

    fn of_integers(shape: &[usize], values: &[i64]) -> Tensor {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor { name: "x.npy".into(), dtype: Dtype::I64, shape: shape.to_vec(), bytes }
    }

    #[test]
    fn both_arrangements_give_the_same_steps() {
        let batch_first = Arrangement::BatchFirst.sequence(&array(&[2, 3, 2]), None, 2).unwrap();
        assert_eq!((batch_first.steps(), batch_first.batch()), (3, 2));
        assert_eq!(batch_first.at(1, 0), [2.0, 3.0]);
        let time_major = Arrangement::TimeMajor.sequence(&array(&[2, 3, 2]), None, 2).unwrap();
        assert_eq!((time_major.steps(), time_major.batch()), (2, 3));
        assert_eq!(time_major.at(0, 1), [2.0, 3.0]);
        let grid = of_integers(&[2, 3], &[0, 1, 2, 3, 4, 5]);
        assert_eq!(Arrangement::BatchFirst.grid(&grid, None).unwrap(), ((3, 2), vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(Arrangement::TimeMajor.grid(&grid, None).unwrap(), ((2, 3), vec![0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_shapes() {
        let refused = Arrangement::BatchFirst.sequence(&array(&[4, 10, 23]), None, 24).unwrap_err();
        assert_eq!(refused.to_string(), "x.npy: expected (B, T, 24), given (4, 10, 23)");
        let refused = Arrangement::TimeMajor.sequence(&array(&[4, 2, 1]), Some((3, 2)), 1).unwrap_err();
        assert_eq!(refused.to_string(), "x.npy: expected (3, 2, 1), given (4, 2, 1)");
        let refused = states(&array(&[1, 2, 4]), 2, 2, 4).unwrap_err();
        assert_eq!(refused.to_string(), "x.npy: expected (2, 2, 4), given (1, 2, 4)");
        let refused = lengths(&of_integers(&[2], &[3, 0]), (3, 2)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "x.npy is not a usable array: sequence 1 has 0 steps there; expected 1 to 3"
        );
        let refused = ids(&of_integers(&[1, 2], &[1, -1]), (2, 1), &[1, -1], 5, |_, _| true).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "x.npy is not a usable array: its id -1 at step 1, sequence 0 is not possible; expected 0 to 4"
        );
    }

    #[test]
    fn only_what_counts_has_to_be_finite() {
        let x = Sequence::new(2, 1, 1, &[1.0, f64::NAN]).unwrap();
        let kept = finite(&array(&[2, 1, 1]), x.clone(), |t, _| t == 0).unwrap();
        assert_eq!(kept.data(), [1.0, 0.0]);
        let refused = finite(&array(&[2, 1, 1]), x, |_, _| true).unwrap_err();
        assert_eq!(refused.to_string(), "x.npy is not finite at step 1, sequence 0");
    }
}
