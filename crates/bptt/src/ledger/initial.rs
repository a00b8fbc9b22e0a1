//! What losses have left at the initial states.

use super::loss_row::{InitialMeasure, LossRow};
use super::projections::UpdateProjections;
use crate::kernel::{self, Real, power_of_two};
use crate::reverse::Rows;

/// Measures what every loss has left at a cell's initial states: row k of `rows` for the k-th loss.
pub(crate) fn measure_initial<T: Real>(
    rows: &Rows<T>,
    projections: &UpdateProjections<T>,
    losses: &mut [LossRow],
    parts: &mut [f64],
) {
    let batch = rows.batch();
    for (k, loss) in losses.iter_mut().enumerate() {
        let exponents = &rows.exponents[k * batch..(k + 1) * batch];
        for (state, with) in projections.initial().iter().enumerate() {
            let row = |b: usize| rows.row(state, k * batch + b);
            let squares: Vec<f64> = (0..batch).map(|b| kernel::dot(row(b), row(b)).f64()).collect();
            let counted = exponents.iter().zip(&squares).filter(|(_, square)| **square > 0.0);
            let largest = counted.map(|(&e, _)| e).max().unwrap_or(0);
            let (mut square, mut inner) = (0.0, 0.0);
            for (b, &exponent) in exponents.iter().enumerate() {
                if exponent <= largest {
                    square += squares[b] * power_of_two::<f64>(exponent - largest).powi(2);
                }
                inner += kernel::dot(row(b), with.row(b)).f64() * power_of_two::<f64>(exponent);
                parts[state] += squares[b].sqrt() * power_of_two::<f64>(exponent);
            }
            loss.initial.push(InitialMeasure {
                norm: square.sqrt() * power_of_two::<f64>(largest),
                log10_norm: square.sqrt().log10() + f64::from(largest) * std::f64::consts::LOG10_2,
                inner,
            });
        }
    }
}
