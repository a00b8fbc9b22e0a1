//! Targets of a model from another program: what their type and shape mean, and what is no possible meaning.

use bptt_io::{Error, Tensor};

use crate::Failure;
use crate::args::Loss;

/// What targets are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Meaning {
    pub loss: Loss,
    /// Whether there is one for each sequence, (B) or (B, V), and not one for each step.
    pub of_sequences: bool,
    /// Whether classes are given as one-hot rows.
    pub one_hot: bool,
}

/// The sizes that targets are compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub steps: usize,
    pub batch: usize,
    /// V, the number of the head's outputs.
    pub outputs: usize,
    pub time_major: bool,
}

impl Sizes {
    fn steps_shape(self) -> [usize; 2] {
        if self.time_major { [self.steps, self.batch] } else { [self.batch, self.steps] }
    }
}

/// Whether targets of this shape have one entry for each sequence.
pub(super) fn is_of_sequences(shape: &[usize], sizes: Sizes) -> bool {
    let Sizes { batch, outputs, .. } = sizes;
    match *shape {
        [b] => b == batch,
        [b, v] => [b, v] == [batch, outputs] && (outputs > 1 || [b, v] != sizes.steps_shape()),
        _ => false,
    }
}

/// What `target` means for a loss that was given or not.
///
/// # Errors
/// If it is nothing that has a loss, or could be two things; the message says what was probably meant.
pub(super) fn meaning(target: &Tensor, given: Option<Loss>, sizes: Sizes) -> Result<Meaning, Failure> {
    let Sizes { batch, steps, outputs, .. } = sizes;
    let integers = target.integers();
    let (name, shape) = (&target.name, &target.shape);
    let refuse = |problem: String| Failure::Usage(format!("--target: {name} {problem}"));
    let holds = if integers.is_some() { "integers" } else { "real numbers" };
    let per_step = sizes.steps_shape();
    let order = if sizes.time_major { "(T, B" } else { "(B, T" };
    let (s, v) = (format!("{order})"), format!("{order}, V)"));
    let whole = is_of_sequences(shape, sizes);
    let values_shape = [&per_step[..], &[outputs]].concat();
    let one_hot = || outputs > 1 && shape.last() == Some(&outputs) && rows_are_one_hot(target, outputs);
    let classes_way_out = format!(
        "for cross-entropy give the classes themselves, {}, as numpy.argmax(y, -1) has them, for squared errors --loss mse",
        if whole { "(B)" } else { s.as_str() }
    );
    let as_classes = |of_sequences| Meaning { loss: Loss::Ce, of_sequences, one_hot: false };
    let not_integers = || {
        refuse(format!(
            "holds real numbers of shape {shape:?}; classes are integers, as y.astype(numpy.int64) has them, and targets of \
             squared errors are {v} or (B, V) with V = {outputs}"
        ))
    };
    let no_loss_fits = || {
        refuse(format!(
            "holds {holds} of shape {shape:?}; expected classes {s} = {per_step:?} or values {v} = {values_shape:?} for every \
             step, or classes (B) = [{batch}] or values (B, V) = {:?} for whole sequences",
            [batch, outputs]
        ))
    };
    match shape.len() {
        1 if whole && integers.is_some() && given != Some(Loss::Mse) => return Ok(as_classes(true)),
        1 if whole && outputs == 1 && given != Some(Loss::Ce) => {
            return Ok(Meaning { loss: Loss::Mse, of_sequences: true, one_hot: false });
        }
        1 if whole => return Err(not_integers()),
        1 if shape[0] == steps && batch == 1 => {
            return Err(refuse(format!(
                "has shape {shape:?} without the axis of the sequences; expected {s} = {per_step:?}, as y[{}] has",
                if sizes.time_major { ":, None" } else { "None" }
            )));
        }
        2 if shape[..] == per_step && integers.is_some() && given != Some(Loss::Mse) => {
            if whole && given.is_none() && one_hot() {
                return Err(refuse(format!(
                    "holds integers of shape {shape:?} that are either classes {s} or one-hot rows (B, V); for classes give \
                     --loss ce, for one-hot rows the classes (B) themselves, numpy.argmax(y, -1)"
                )));
            }
            return Ok(as_classes(false));
        }
        2 if shape[..] == per_step && !whole && outputs == 1 && given != Some(Loss::Ce) => {
            return Err(refuse(format!(
                "holds {holds} {s}; values for squared errors have an axis for the outputs, {v} = {values_shape:?}, as \
                 y[..., None] has"
            )));
        }
        2 if shape[..] == per_step && !whole => return Err(not_integers()),
        3 if outputs > 1 && shape[..2] == per_step && shape[2] == 1 && integers.is_some() => {
            return Err(refuse(format!(
                "holds integers of shape {shape:?}; classes have no third axis, {s} = {per_step:?}, as y[..., 0] has"
            )));
        }
        _ => {}
    }
    if !whole && *shape != values_shape {
        return Err(no_loss_fits());
    }
    // Values, or one-hot rows.
    match given {
        Some(Loss::Ce) if one_hot() => Ok(Meaning { loss: Loss::Ce, of_sequences: whole, one_hot: true }),
        Some(Loss::Ce) => Err(refuse(format!(
            "holds {holds} of shape {shape:?} whose rows are not one-hot; cross-entropy with probabilities is not supported: \
             give classes, {s} or (B), or the gradients of your loss with --grad-output"
        ))),
        None if integers.is_some() || one_hot() => {
            Err(refuse(format!("holds {holds} of shape {shape:?}, as one-hot classes do; {classes_way_out}")))
        }
        Some(Loss::Mse) | None => Ok(Meaning { loss: Loss::Mse, of_sequences: whole, one_hot: false }),
    }
}

fn numbers(target: &Tensor) -> Vec<f64> {
    let integers = || target.integers().unwrap_or_default().into_iter().map(|v| v as f64).collect();
    target.floats().unwrap_or_else(integers)
}

/// Whether every row of `outputs` numbers has a single 1 and zeros beside it.
fn rows_are_one_hot(target: &Tensor, outputs: usize) -> bool {
    let is_one_hot = |row: &[f64]| {
        row.iter().all(|&v| v == 0.0 || v == 1.0) && row.iter().filter(|&&v| v == 1.0).count() == 1
    };
    numbers(target).chunks(outputs).all(is_one_hot)
}

/// One-hot rows (…, V) as classes (…).
pub(super) fn classes_of_rows(target: &Tensor, outputs: usize) -> Tensor {
    let class = |row: &[f64]| row.iter().position(|&v| v == 1.0).unwrap_or(0) as u64;
    let bytes = numbers(target).chunks(outputs).flat_map(|row| class(row).to_le_bytes()).collect();
    let shape = target.shape[..target.shape.len() - 1].to_vec();
    Tensor { name: target.name.clone(), dtype: bptt_io::Dtype::U64, shape, bytes }
}

/// Targets of whole sequences at a place of (T, B, …) that a mask leaves alone: the same at every step.
pub(super) fn at_every_step(target: &Tensor, sizes: Sizes) -> Tensor {
    let row = target.bytes.len() / sizes.batch.max(1);
    let rows = || target.bytes.chunks(row.max(1));
    let bytes = if sizes.time_major {
        target.bytes.repeat(sizes.steps)
    } else {
        rows().flat_map(|row| row.repeat(sizes.steps)).collect()
    };
    let shape = [&sizes.steps_shape()[..], &target.shape[1..]].concat();
    Tensor { name: target.name.clone(), dtype: target.dtype, shape, bytes }
}

/// Truth values from bool, or from integers or real numbers that are all 0 or 1. `why` says why others are refused.
pub(super) fn truth_values(array: Tensor, why: &str) -> Result<Tensor, Failure> {
    let numbers = numbers(&array);
    let Some(place) = numbers.iter().position(|&v| v != 0.0 && v != 1.0) else {
        let bytes = numbers.iter().map(|&v| u8::from(v == 1.0)).collect();
        return Ok(Tensor { dtype: bptt_io::Dtype::BOOL, bytes, ..array });
    };
    let mut rest = place;
    let mut index: Vec<String> = array
        .shape
        .iter()
        .rev()
        .map(|size| {
            let at = rest % size;
            rest /= size;
            at.to_string()
        })
        .collect();
    index.reverse();
    let problem =
        format!("it holds {} at ({}); expected bool, or 0 and 1{why}", numbers[place], index.join(", "));
    Err(Error::ArrayFile { path: array.name.into(), problem }.into())
}

#[cfg(test)]
mod tests {
    use bptt_io::Dtype;

    use super::*;

    const SIZES: Sizes = Sizes { steps: 3, batch: 2, outputs: 4, time_major: false };

    fn reals(shape: &[usize]) -> Tensor {
        let numbers: Vec<f64> = (0..shape.iter().product::<usize>()).map(|i| 0.5 + i as f64).collect();
        Tensor::of_floats("y.npy".into(), Dtype::F64, shape.to_vec(), &numbers)
    }

    fn integers(shape: &[usize]) -> Tensor {
        let classes = [0_i64, 1, 2].into_iter().cycle().take(shape.iter().product());
        let bytes = classes.flat_map(i64::to_le_bytes).collect();
        Tensor { name: "y.npy".into(), dtype: Dtype::I64, shape: shape.to_vec(), bytes }
    }

    fn rows(shape: &[usize], classes: &[usize], outputs: usize) -> Tensor {
        let numbers: Vec<f64> = classes
            .iter()
            .flat_map(|&class| (0..outputs).map(move |v| f64::from(u8::from(v == class))))
            .collect();
        Tensor::of_floats("y.npy".into(), Dtype::F32, shape.to_vec(), &numbers)
    }

    #[test]
    fn type_and_shape_decide() {
        let of = |loss, of_sequences, one_hot| Meaning { loss, of_sequences, one_hot };
        let read = |target: &Tensor, given| meaning(target, given, SIZES).unwrap();
        assert_eq!(read(&integers(&[2, 3]), None), of(Loss::Ce, false, false));
        assert_eq!(read(&integers(&[2]), None), of(Loss::Ce, true, false));
        assert_eq!(read(&reals(&[2, 3, 4]), None), of(Loss::Mse, false, false));
        assert_eq!(read(&reals(&[2, 4]), None), of(Loss::Mse, true, false));
        assert_eq!(read(&integers(&[2, 3, 4]), Some(Loss::Mse)), of(Loss::Mse, false, false));
        let one_hot = rows(&[2, 4], &[3, 1], 4);
        assert_eq!(read(&one_hot, Some(Loss::Ce)), of(Loss::Ce, true, true));
        assert_eq!(classes_of_rows(&one_hot, 4).integers().unwrap(), [3, 1]);
        let one = Sizes { outputs: 1, ..SIZES };
        assert_eq!(meaning(&reals(&[2]), None, one).unwrap(), of(Loss::Mse, true, false));
    }

    #[test]
    fn what_was_meant_is_said() {
        let refused = |target: &Tensor, given, sizes| match meaning(target, given, sizes) {
            Err(Failure::Usage(message)) => message,
            other => panic!("{other:?}"),
        };
        let square = Sizes { steps: 4, ..SIZES };
        let alone = Sizes { batch: 1, ..SIZES };
        let one = Sizes { outputs: 1, ..SIZES };
        for (target, given, sizes, part) in [
            (
                integers(&[2, 4]),
                None,
                SIZES,
                "as one-hot classes do; for cross-entropy give the classes themselves, (B)",
            ),
            (
                rows(&[2, 3, 4], &[0, 1, 2, 3, 0, 1], 4),
                None,
                SIZES,
                "real numbers of shape [2, 3, 4], as one-hot classes do",
            ),
            (reals(&[2, 3]), None, SIZES, "classes are integers, as y.astype(numpy.int64) has them"),
            (reals(&[2]), None, SIZES, "classes are integers"),
            (reals(&[2, 3, 4]), Some(Loss::Ce), SIZES, "cross-entropy with probabilities is not supported"),
            (integers(&[3]), None, alone, "expected (B, T) = [1, 3], as y[None] has"),
            (
                integers(&[2, 3, 1]),
                None,
                SIZES,
                "classes have no third axis, (B, T) = [2, 3], as y[..., 0] has",
            ),
            (reals(&[2, 3]), None, one, "(B, T, V) = [2, 3, 1], as y[..., None] has"),
            (integers(&[5]), None, SIZES, "expected classes (B, T) = [2, 3] or values (B, T, V) = [2, 3, 4]"),
            (reals(&[2, 3, 4, 1]), None, SIZES, "holds real numbers of shape [2, 3, 4, 1]; expected classes"),
        ] {
            let message = refused(&target, given, sizes);
            assert!(message.starts_with("--target: y.npy ") && message.contains(part), "{message}");
        }
        let bytes = [0, 1, 0, 0, 1, 0, 0, 0].iter().flat_map(|v: &i64| v.to_le_bytes()).collect();
        let both = Tensor { name: "y.npy".into(), dtype: Dtype::I64, shape: vec![2, 4], bytes };
        assert!(refused(&both, None, square).contains("either classes (B, T) or one-hot rows (B, V)"));
        assert!(!meaning(&both, Some(Loss::Ce), square).unwrap().of_sequences);
    }

    #[test]
    fn masks_hold_truth_values() {
        let of = |numbers: &[f64]| Tensor::of_floats("m.npy".into(), Dtype::F32, vec![2, 2], numbers);
        assert_eq!(truth_values(of(&[0.0, 1.0, 1.0, 0.0]), "").unwrap().integers().unwrap(), [0, 1, 1, 0]);
        let refused =
            truth_values(of(&[0.0, 1.0, 0.5, 0.0]), ": losses have no weights").unwrap_err().to_string();
        assert_eq!(
            refused,
            "m.npy is not a usable array: it holds 0.5 at (1, 0); expected bool, or 0 and 1: losses have no weights"
        );
        assert!(truth_values(of(&[0.0, f64::NAN, 1.0, 0.0]), "").is_err());
    }

    #[test]
    fn targets_of_sequences_stand_at_every_step() {
        let spread = at_every_step(&integers(&[2]), SIZES);
        assert_eq!((spread.shape.clone(), spread.integers().unwrap()), (vec![2, 3], vec![0, 0, 0, 1, 1, 1]));
        let spread = at_every_step(&integers(&[2]), Sizes { time_major: true, ..SIZES });
        assert_eq!((spread.shape.clone(), spread.integers().unwrap()), (vec![3, 2], vec![0, 1, 0, 1, 0, 1]));
    }
}
