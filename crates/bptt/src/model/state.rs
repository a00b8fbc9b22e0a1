//! The recurrent state between two steps.

use crate::array::{Matrix, View};
use crate::kernel::Real;

/// The recurrent state of every cell between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T> {
    /// The states of each cell in the order of [`Weights::cells`](crate::Weights::cells), each in the order of its
    /// specification: h, and c where there is one; (B, width) each.
    pub cells: Vec<Vec<Matrix<T>>>,
}

impl<T: Real> State<T> {
    /// A state of cells that have h alone.
    pub fn of_h(h: Vec<Matrix<T>>) -> Self {
        Self { cells: h.into_iter().map(|h| vec![h]).collect() }
    }

    /// h and c of each cell.
    pub fn of_h_and_c(h: Vec<Matrix<T>>, c: Vec<Matrix<T>>) -> Self {
        Self { cells: h.into_iter().zip(c).map(|(h, c)| vec![h, c]).collect() }
    }

    /// h of cell `index`, (B, P).
    pub fn h(&self, index: usize) -> &Matrix<T> {
        &self.cells[index][0]
    }

    /// State `state` of cell `index`, if it has so many.
    pub fn get(&self, index: usize, state: usize) -> Option<&Matrix<T>> {
        self.cells.get(index)?.get(state)
    }

    /// All matrices, cell after cell.
    pub fn matrices(&self) -> impl Iterator<Item = &Matrix<T>> {
        self.cells.iter().flatten()
    }

    /// The same, to write.
    pub fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix<T>> {
        self.cells.iter_mut().flatten()
    }

    /// The state of sequence `b` alone.
    #[must_use]
    pub fn sequence(&self, b: usize) -> Self {
        self.map(|m| View::new(1, m.cols(), m.row(b)).to_matrix())
    }

    /// The same state in another precision.
    pub fn cast<U: Real>(&self) -> State<U> {
        self.map(Matrix::cast)
    }

    fn map<U>(&self, matrix: impl Fn(&Matrix<T>) -> Matrix<U>) -> State<U> {
        State { cells: self.cells.iter().map(|cell| cell.iter().map(&matrix).collect()).collect() }
    }
}
