//! Losses as Python gives them: by their gradients, or by targets of the network's head.

use bptt::{ForwardCache, Losses, Network, Objective, Real, Reduction, Sequence, Symbols, Targets};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::sequence;
use crate::errors::{BpttError, ShapeError, to_python};

/// A dictionary of losses; either `seeds` or `targets` is there.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct GivenLosses<'py> {
    /// ∂L_k/∂h_k, (T, B, D·P).
    seeds: Option<PyReadonlyArray3<'py, f64>>,
    /// Which steps have a loss, (T), and what it is, (T, B).
    present: Option<PyReadonlyArray1<'py, bool>>,
    values: Option<PyReadonlyArray2<'py, f64>>,
    /// Classes, (T, B), or numbers, (T, B, V).
    targets: Option<Bound<'py, PyAny>>,
    /// Where there is a loss, (T, B).
    mask: Option<PyReadonlyArray2<'py, bool>>,
    reduction: String,
}

/// Losses of either kind.
pub enum Given {
    /// With their gradients.
    Seeds { seeds: Sequence<f64>, present: Option<Vec<bool>>, values: Option<Vec<f64>> },
    /// Of the head's outputs.
    Objective(Objective<f64>),
}

impl Given {
    /// Reads the arrays.
    pub fn read(given: &GivenLosses<'_>) -> PyResult<Self> {
        let Some(targets) = &given.targets else {
            let seeds = given
                .seeds
                .as_ref()
                .ok_or_else(|| BpttError::new_err("losses: expected grad_output or targets"))?;
            let seeds = sequence(seeds)?;
            let present: Option<Vec<bool>> = given.present.as_ref().map(|p| p.as_array().to_vec());
            if present.as_ref().is_some_and(|present| present.len() != seeds.steps()) {
                return Err(ShapeError::new_err(format!("present: expected {} flags", seeds.steps())));
            }
            let values: Option<Vec<f64>> =
                given.values.as_ref().map(|v| v.as_array().iter().copied().collect());
            let count = seeds.steps() * seeds.batch();
            if values.as_ref().is_some_and(|values| values.len() != count) {
                return Err(ShapeError::new_err(format!("values: expected {count} losses")));
            }
            return Ok(Self::Seeds { seeds, present, values });
        };
        let targets = if let Ok(numbers) = targets.extract::<PyReadonlyArray3<'_, f64>>() {
            Targets::SquaredError(sequence(&numbers)?)
        } else {
            let classes = targets.extract::<PyReadonlyArray2<'_, u32>>()?;
            Targets::CrossEntropy(symbols(&classes)?)
        };
        let mask = given.mask.as_ref().map(|mask| mask.as_array().iter().copied().collect());
        Ok(Self::Objective(Objective { targets, mask, reduction: reduction(&given.reduction)? }))
    }

    /// The losses of this scan.
    pub fn losses<T: Real>(
        &self,
        network: &Network<T>,
        cache: &ForwardCache<T>,
    ) -> Result<Losses<T>, bptt::Error> {
        match self {
            Self::Seeds { seeds, present, values } => {
                let mut losses = Losses::from_seeds(seeds.cast());
                if let Some(present) = present {
                    losses.present.clone_from(present);
                }
                if let Some(values) = values {
                    losses.values.clone_from(values);
                    losses.total = values.iter().sum();
                }
                Ok(losses)
            }
            Self::Objective(Objective { targets, mask, reduction }) => {
                let targets = match targets {
                    Targets::CrossEntropy(classes) => Targets::CrossEntropy(classes.clone()),
                    Targets::SquaredError(numbers) => Targets::SquaredError(numbers.cast()),
                };
                network.losses(cache, &Objective { targets, mask: mask.clone(), reduction: *reduction })
            }
        }
    }
}

/// Integers (T, B).
pub fn symbols(ids: &PyReadonlyArray2<'_, u32>) -> PyResult<Symbols> {
    let (steps, batch) = ids.as_array().dim();
    Symbols::new(steps, batch, ids.as_array().iter().copied().collect()).map_err(to_python)
}

/// By the names that the command has, with underscores.
fn reduction(name: &str) -> PyResult<Reduction> {
    Ok(match name {
        "sum" => Reduction::Sum,
        "mean" => Reduction::MeanTokens,
        "mean_per_sequence" => Reduction::MeanPerSequence,
        "sum_per_sequence" => Reduction::MeanBatch,
        other => {
            return Err(PyValueError::new_err(format!(
                "reduction: {other} is not possible; expected sum, mean, mean_per_sequence, sum_per_sequence"
            )));
        }
    })
}
