//! The reverse scan over the losses of a recurrence whose steps somebody else differentiates.
//!
//! There is one row for each loss: its gradient with respect to the state, as numbers times a power of two, so that neither
//! small nor large gradients leave the range of f64. Step t, from the last one on, is passed like this:
//!
//! 1. The row of loss t, if there is one, begins as its gradient with respect to the step's output.
//! 2. The rows of later losses ([`OutsideRows::later`]) go through the step: vector-Jacobian products give the rows before it,
//!    for [`OutsideRows::keep`], and each row's component of each parameter, whose norm and products are for
//!    [`OutsideRows::record`], both without the power of two.

use std::ops::Range;

use super::floor_log2;
use crate::kernel::power_of_two;

/// The rows and the records of a ledger.
#[derive(Clone, Debug)]
pub struct OutsideRows {
    steps: usize,
    /// The steps that have a loss, ascending.
    losses: Vec<usize>,
    /// (R, width) for each part of the state.
    parts: Vec<Vec<f64>>,
    widths: Vec<usize>,
    exponents: Vec<i32>,
    parameters: usize,
    /// (P, R, T), NaN where nothing is recorded.
    log10: Vec<f64>,
    inner: Vec<f64>,
}

/// A row is infinite or NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowNotFinite {
    /// The step of its loss.
    pub loss: usize,
}

impl OutsideRows {
    /// For losses at these steps of `steps`, a state whose parts have these numbers of reals (two for a complex number), and
    /// so many parameters. All rows are zero.
    ///
    /// # Panics
    /// If the losses do not ascend, or one is not below `steps`.
    pub fn new(steps: usize, losses: Vec<usize>, widths: Vec<usize>, parameters: usize) -> Self {
        assert!(losses.is_sorted_by(|a, b| a < b) && losses.last().is_none_or(|&last| last < steps));
        let rows = losses.len();
        let nothing = vec![f64::NAN; parameters * rows * steps];
        Self {
            steps,
            parts: widths.iter().map(|width| vec![0.0; rows * width]).collect(),
            widths,
            exponents: vec![0; rows],
            parameters,
            log10: nothing.clone(),
            inner: nothing,
            losses,
        }
    }

    /// The steps that have a loss.
    pub fn losses(&self) -> &[usize] {
        &self.losses
    }

    /// The row of the loss at step `t`.
    pub fn own(&self, t: usize) -> Option<usize> {
        self.losses.binary_search(&t).ok()
    }

    /// The rows of the losses after step `t`.
    pub fn later(&self, t: usize) -> Range<usize> {
        self.losses.partition_point(|&loss| loss <= t)..self.losses.len()
    }

    /// Part `part` of the state's gradient of these rows, (rows, width), without their powers of two.
    pub fn part(&self, part: usize, rows: &[usize]) -> Vec<f64> {
        let width = self.widths[part];
        rows.iter().flat_map(|row| &self.parts[part][row * width..(row + 1) * width]).copied().collect()
    }

    /// The powers of two of these rows; infinite or zero where they leave the range of f64.
    pub fn factors(&self, rows: &[usize]) -> Vec<f64> {
        rows.iter().map(|&row| power_of_two(self.exponents[row])).collect()
    }

    /// Records the norms of components of some parameters and their products with the unit vector of the gradient, both
    /// (parameters, rows), at step `t`.
    ///
    /// # Errors
    /// If a norm is not finite.
    ///
    /// # Panics
    /// If the sizes do not match.
    pub fn record(
        &mut self,
        t: usize,
        rows: &[usize],
        parameters: &[usize],
        norms: &[f64],
        inner: &[f64],
    ) -> Result<(), RowNotFinite> {
        assert_eq!(
            (norms.len(), inner.len()),
            (parameters.len() * rows.len(), parameters.len() * rows.len())
        );
        for (p, &parameter) in parameters.iter().enumerate() {
            for (r, &row) in rows.iter().enumerate() {
                let (norm, inner) = (norms[p * rows.len() + r], inner[p * rows.len() + r]);
                if !norm.is_finite() {
                    return Err(RowNotFinite { loss: self.losses[row] });
                }
                let (at, exponent) =
                    ((parameter * self.losses.len() + row) * self.steps + t, self.exponents[row]);
                self.log10[at] = norm.log10() + f64::from(exponent) * std::f64::consts::LOG10_2;
                self.inner[at] = inner * power_of_two::<f64>(exponent);
            }
        }
        Ok(())
    }

    /// Replaces the rows by those before the step, one (rows, width) for each part of the state. A row far from 1 gets
    /// another power of two.
    ///
    /// # Errors
    /// If a row is not finite.
    ///
    /// # Panics
    /// If the sizes do not match.
    pub fn keep(&mut self, rows: &[usize], before: &[&[f64]]) -> Result<(), RowNotFinite> {
        for (r, &row) in rows.iter().enumerate() {
            let of_row = |part: usize| &before[part][r * self.widths[part]..(r + 1) * self.widths[part]];
            let numbers = || (0..self.widths.len()).flat_map(of_row);
            if numbers().any(|number| !number.is_finite()) {
                return Err(RowNotFinite { loss: self.losses[row] });
            }
            let largest = numbers().fold(0.0_f64, |largest, number| largest.max(number.abs()));
            let power = if largest > 0.0 { floor_log2(largest) } else { 0 };
            let power = if power.abs() > FAR { power } else { 0 };
            // In two steps: a power of two may itself leave the range.
            let half = power / 2;
            let (first, second) = (power_of_two::<f64>(-half), power_of_two::<f64>(half - power));
            for ((part, &width), before) in self.parts.iter_mut().zip(&self.widths).zip(before) {
                let kept = &mut part[row * width..(row + 1) * width];
                for (kept, number) in kept.iter_mut().zip(&before[r * width..(r + 1) * width]) {
                    *kept = number * first * second;
                }
            }
            self.exponents[row] += power;
        }
        Ok(())
    }

    /// log₁₀ of the norm of each row's part of the state's gradient, (R); −∞ where it is zero.
    pub fn part_log10_norms(&self, part: usize) -> Vec<f64> {
        let width = self.widths[part];
        let norm = |row: usize| {
            let numbers = &self.parts[part][row * width..(row + 1) * width];
            let largest = numbers.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
            let scale = if largest > 0.0 { largest } else { 1.0 };
            let squares: f64 = numbers.iter().map(|number| (number / scale).powi(2)).sum();
            (squares.sqrt()).log10()
                + scale.log10()
                + f64::from(self.exponents[row]) * std::f64::consts::LOG10_2
        };
        (0..self.losses.len()).map(norm).collect()
    }

    /// The sum of all rows of a part of the state's gradient, (width).
    pub fn part_sum(&self, part: usize) -> Vec<f64> {
        let width = self.widths[part];
        let mut sum = vec![0.0; width];
        for (row, &exponent) in self.exponents.iter().enumerate() {
            let factor = power_of_two::<f64>(exponent);
            for (sum, number) in sum.iter_mut().zip(&self.parts[part][row * width..]) {
                *sum += factor * number;
            }
        }
        sum
    }

    /// log₁₀ of the components' norms, (P, R, T); NaN where nothing is recorded.
    pub fn log10_norms(&self) -> &[f64] {
        &self.log10
    }

    /// The components' products with the unit vector of the gradient, (P, R, T).
    pub fn inner(&self) -> &[f64] {
        &self.inner
    }

    /// Σ ‖component‖ of each parameter, (P).
    pub fn sizes(&self) -> Vec<f64> {
        let each = (self.losses.len() * self.steps).max(1);
        let size = |p: usize| {
            let of = self.log10.get(p * each..(p + 1) * each).unwrap_or_default();
            of.iter().filter(|log10| !log10.is_nan()).map(|log10| 10f64.powf(*log10)).sum()
        };
        (0..self.parameters).map(size).collect()
    }
}

/// How many powers of two the largest number of a row may be from 1.
const FAR: i32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// A state of one number that each step multiplies by w, and a parameter whose component is the row itself.
    fn linear(w: f64, steps: usize) -> OutsideRows {
        let losses: Vec<usize> = (0..steps).collect();
        let mut rows = OutsideRows::new(steps, losses, vec![1], 1);
        for t in (0..steps).rev() {
            let own = rows.own(t).unwrap();
            rows.record(t, &[own], &[0], &[1.0], &[1.0]).unwrap();
            rows.keep(&[own], &[&[w]]).unwrap();
            let later: Vec<usize> = rows.later(t).collect();
            let part = rows.part(0, &later);
            rows.record(t, &later, &[0], &part, &part).unwrap();
            let before: Vec<f64> = part.iter().map(|number| w * number).collect();
            rows.keep(&later, &[&before]).unwrap();
        }
        rows
    }

    #[test]
    fn powers_are_kept_far_outside_the_range_of_f64() {
        for w in [1e-3, 1e3, 1.0] {
            let steps = 400;
            let rows = linear(w, steps);
            for k in 0..steps {
                for t in 0..=k {
                    let found = rows.log10_norms()[k * steps + t];
                    let expected = (k - t) as f64 * w.log10();
                    assert!(
                        (found - expected).abs() < 1e-9 * (1.0 + expected.abs()),
                        "{w} {k} {t}: {found} {expected}"
                    );
                }
                assert!(
                    rows.log10_norms()[k * steps + k + 1..(k + 1) * steps].iter().all(|log10| log10.is_nan())
                );
            }
            let state = rows.part_log10_norms(0);
            assert!((state[7] - 8.0 * w.log10()).abs() < 1e-9);
        }
    }

    #[test]
    fn sums_add_rows_with_their_powers() {
        let rows = linear(0.5, 30);
        assert!((rows.part_sum(0)[0] - (1.0 - 0.5f64.powi(30))).abs() < 1e-12);
        let size: f64 = (0..30).map(|k| 2.0 - 0.5f64.powi(k)).sum();
        assert!((rows.sizes()[0] - size).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_finite_is_named_by_its_loss() {
        let mut rows = OutsideRows::new(4, vec![1, 3], vec![2], 1);
        assert_eq!(rows.keep(&[1], &[&[1.0, f64::NAN]]), Err(RowNotFinite { loss: 3 }));
        assert_eq!(rows.record(0, &[0], &[0], &[f64::INFINITY], &[0.0]), Err(RowNotFinite { loss: 1 }));
        assert_eq!((rows.own(2), rows.later(1), rows.later(3)), (None, 1..2, 2..2));
    }
}
