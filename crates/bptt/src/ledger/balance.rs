//! The check that components add up to the ordinary gradient.

use rayon::prelude::*;

use crate::Error;
use crate::gradient::Gradient;
use crate::kernel::{Real, distance, norm};

/// How far the components' sum is from the ordinary gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// The parameter's name on disk (`weight_hh_l0`, `head.weight`, `input`, `initial_state_l0`, …).
    pub parameter: String,
    /// ‖Σ components − gradient‖ / ‖gradient‖.
    pub relative_error: f64,
}

/// ‖sum − gradient‖ / ‖gradient‖ for every parameter.
pub(crate) fn balance<T: Real>(
    itemized: &Gradient<T>,
    gradient: &Gradient<T>,
) -> Result<Vec<Balance>, Error> {
    let both = named(itemized).into_iter().zip(named(gradient));
    let pairs: Vec<_> = both.map(|((parameter, sum), (_, whole))| (parameter, sum, whole)).collect();
    let of_pair = |(parameter, sum, whole): (String, &[T], &[T])| {
        let (difference, size) = (distance(sum, whole), norm(whole));
        // Below the format's normal numbers the ordinary gradient itself has no relative precision left.
        let floor = T::min_positive_value().f64() * (whole.len() as f64).sqrt() / T::BALANCE_TOLERANCE;
        let relative_error = if difference == 0.0 { 0.0 } else { difference / size.max(floor) };
        // Not "greater than": a NaN must not pass.
        if !matches!(relative_error.partial_cmp(&T::BALANCE_TOLERANCE), Some(std::cmp::Ordering::Less)) {
            return Err(Error::Balance { parameter, relative_error, tolerance: T::BALANCE_TOLERANCE });
        }
        Ok(Balance { parameter, relative_error })
    };
    // The error is that of the first parameter in order, whichever thread finds one first.
    let balance: Vec<_> = pairs.into_par_iter().map(of_pair).collect();
    balance.into_iter().collect()
}

/// All parts of a gradient by name.
fn named<T: Real>(gradient: &Gradient<T>) -> Vec<(String, &[T])> {
    let weights = &gradient.weights;
    let mut parts: Vec<_> = weights.tensors().into_iter().map(|(name, m)| (name, m.data())).collect();
    parts.extend(gradient.inputs.iter().map(|x| ("input".to_owned(), x.data())));
    let states = weights.cells.iter().map(|params| params.spec().states.len()).max().unwrap_or(0);
    for state in 0..states {
        for (index, of_cell) in gradient.initial.cells.iter().enumerate() {
            let name = weights.cells[index].spec().states[state].initial.as_str();
            let suffix = weights.cell_id(index).suffix();
            parts.push((format!("{name}_{suffix}"), of_cell[state].data()));
        }
    }
    parts
}
