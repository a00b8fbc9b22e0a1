//! Parts of a gradient with exponents of their own.

use super::rows::add_row;
use crate::array::Matrix;
use crate::kernel;
use crate::kernel::Real;

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
