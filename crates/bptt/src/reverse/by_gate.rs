//! Rows by the gate that they last passed.

use super::rows::{Rows, add_row, sum_of_classes};
use crate::array::{Matrix, View};
use crate::kernel;
use crate::kernel::Real;
use crate::model::CellParams;

/// dh ← dh + da_hh W_hh, where what comes through gate g enters the rows of class 1 + g. Where the last gate reads what
/// was kept, `through_kept` stands for its product.
pub(crate) fn hop_by_gate<T: Real>(
    rows: &mut Rows<T>,
    da_hh: View<'_, T>,
    through_kept: &[T],
    classes: usize,
    params: &CellParams<T>,
) {
    let (batch, hidden) = (rows.batch(), params.hidden());
    let all = |rows: View<'_, T>, exponents: &[i32]| {
        sum_of_classes(rows, &exponents[..rows.rows()], (classes, batch), |_, _| true)
    };
    let (sum, exponents) = all(da_hh, &rows.exponents);
    let sum = View::new(exponents.len(), da_hh.cols(), &sum);
    let kept = (!through_kept.is_empty())
        .then(|| all(View::new(da_hh.rows(), hidden, through_kept), &rows.exponents));
    let mut through = vec![T::zero(); sum.rows() * hidden];
    for gate in 0..classes - 1 {
        let (through, exponents) = match &kept {
            Some((kept, exponents)) if gate + 2 == classes => (kept, exponents),
            _ => {
                let block = sum.columns(gate * hidden..(gate + 1) * hidden);
                kernel::product(&mut through, false, block, params.w_hh.view().rows_of(gate, hidden));
                (&through, &exponents)
            }
        };
        for (r, through) in through.chunks_exact(hidden).enumerate() {
            let row = (r / batch * classes + 1 + gate) * batch + r % batch;
            rows.add_seed(row, through, exponents[r]);
        }
    }
}

/// Rows (B, H) with an exponent each.
pub(crate) type Scaled<T> = (Vec<T>, Vec<i32>);

/// (B, H) numbers, each standing for itself times 2^exponent.
#[derive(Clone, Debug)]
pub(crate) struct Part<T> {
    pub(crate) numbers: Matrix<T>,
    pub(crate) exponent: i32,
}

impl<T: Real> Part<T> {
    /// From rows with an exponent each.
    pub(crate) fn new((rows, exponents): &Scaled<T>, hidden: usize) -> Self {
        let with_exponents = || rows.chunks_exact(hidden).zip(exponents);
        let nonzero = with_exponents().filter(|(row, _)| kernel::largest(row) > T::zero());
        let exponent = nonzero.map(|(_, &e)| e).max().unwrap_or(0);
        let numbers = with_exponents().flat_map(|(row, &e)| {
            // A row of zeros may carry an exponent that means nothing.
            let factor: T = kernel::power_of_two((e - exponent).min(0));
            row.iter().map(move |&v| v * factor)
        });
        let numbers = numbers.collect();
        Self {
            numbers: Matrix::new(exponents.len(), hidden, numbers).expect("H numbers a sequence"),
            exponent,
        }
    }

    pub(crate) fn in_full(&self) -> Matrix<T> {
        let mut numbers = self.numbers.clone();
        for number in numbers.data_mut() {
            *number *= kernel::power_of_two(self.exponent);
        }
        numbers
    }
}

/// sum ← sum + rows, row by row with their exponents.
pub(crate) fn add<T: Real>(sum: &mut Scaled<T>, rows: &Scaled<T>, width: usize) {
    let to = sum.0.chunks_exact_mut(width).zip(&mut sum.1);
    for ((to, to_exponent), (row, &exponent)) in to.zip(rows.0.chunks_exact(width).zip(&rows.1)) {
        add_row(to, &mut [], to_exponent, row, exponent);
    }
}

/// The largest of some exponents.
pub(crate) fn largest(exponents: &[i32]) -> i32 {
    exponents.iter().copied().max().unwrap_or(0)
}
