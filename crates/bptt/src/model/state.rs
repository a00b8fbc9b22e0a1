//! The recurrent state between two steps.

use crate::array::{Matrix, View};
use crate::kernel::Real;

/// The recurrent state of every layer between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T> {
    /// h of each cell in the order of [`Weights::layers`], (B, H).
    pub h: Vec<Matrix<T>>,
    /// c of each cell, (B, H); (B, 0) where the cell has none.
    pub c: Vec<Matrix<T>>,
}

impl<T: Real> State<T> {
    /// A state of cells that have h alone.
    pub fn of_h(h: Vec<Matrix<T>>) -> Self {
        let c = h.iter().map(|h| Matrix::zeros(h.rows(), 0)).collect();
        Self { h, c }
    }

    /// The state of sequence `b` alone.
    #[must_use]
    pub fn sequence(&self, b: usize) -> Self {
        let row = |m: &Matrix<T>| View::new(1, m.cols(), m.row(b)).to_matrix();
        Self { h: self.h.iter().map(row).collect(), c: self.c.iter().map(row).collect() }
    }

    /// The same state in another precision.
    pub fn cast<U: Real>(&self) -> State<U> {
        State { h: self.h.iter().map(Matrix::cast).collect(), c: self.c.iter().map(Matrix::cast).collect() }
    }
}
