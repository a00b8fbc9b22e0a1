//! The two arrays of the library: a row-major [`Matrix`] and the time-major [`Sequence`], one step of which is a
//! plain matrix view.

use aligned_vec::{AVec, CACHELINE_ALIGN};

use crate::{Error, Real, kernel};

/// Zeros that begin where a cache line does, so that no register is loaded from two of them.
pub(crate) fn zeros<T: Real>(count: usize) -> AVec<T> {
    let mut zeros = AVec::new(CACHELINE_ALIGN);
    zeros.resize(count, T::zero());
    zeros
}

/// A dense row-major matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix<T> {
    rows: usize,
    cols: usize,
    data: Vec<T>,
}

impl<T: Real> Matrix<T> {
    /// A (rows, cols) matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![T::zero(); rows * cols] }
    }

    /// A (rows, cols) matrix from its entries, row after row.
    ///
    /// # Errors
    /// If `data` does not hold rows · cols numbers.
    pub fn new(rows: usize, cols: usize, data: Vec<T>) -> Result<Self, Error> {
        if data.len() != rows * cols {
            return Err(Error::Shape {
                what: "matrix".into(),
                expected: format!("{} numbers for ({rows}, {cols})", rows * cols),
                given: format!("{} numbers", data.len()),
            });
        }
        Ok(Self { rows, cols, data })
    }

    /// Makes it a (rows, cols) matrix of zeros in the memory it has.
    pub(crate) fn clear(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        self.data.clear();
        self.data.resize(rows * cols, T::zero());
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`, a slice of `cols` numbers.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Row `i`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// All entries, row after row.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// All entries, row after row, to write.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The whole matrix as a view.
    pub fn view(&self) -> View<'_, T> {
        View::new(self.rows, self.cols, &self.data)
    }

    /// The same numbers in another precision (f32 to f64 is exact).
    pub fn cast<U: Real>(&self) -> Matrix<U> {
        Matrix { rows: self.rows, cols: self.cols, data: self.data.iter().map(|v| U::of(v.f64())).collect() }
    }
}

/// A borrowed row-major matrix, or some columns of one.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    rows: usize,
    cols: usize,
    /// From one row to the next.
    stride: usize,
    data: &'a [T],
}

impl<'a, T: Real> View<'a, T> {
    /// A view of `data` as (rows, cols).
    ///
    /// # Panics
    /// If `data` does not hold rows · cols numbers.
    pub fn new(rows: usize, cols: usize, data: &'a [T]) -> Self {
        assert_eq!(data.len(), rows * cols, "a view must cover its data");
        Self { rows, cols, stride: cols, data }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How many numbers lie from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..i * self.stride + self.cols]
    }

    /// All entries, row after row; of a view of some columns, with what lies between them.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// These columns alone.
    #[must_use]
    pub fn columns(&self, columns: std::ops::Range<usize>) -> Self {
        assert!(columns.end <= self.cols, "columns of a view");
        let data = &self.data[columns.start.min(self.data.len())..];
        Self { rows: self.rows, cols: columns.len(), stride: self.stride, data }
    }

    /// These rows alone.
    #[must_use]
    pub(crate) fn some_rows(&self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.end <= self.rows, "rows of a view");
        let data = &self.data[(rows.start * self.stride).min(self.data.len())..];
        Self { rows: rows.len(), data, ..*self }
    }

    /// Rows `i`·`count` to (`i` + 1)·`count`.
    pub(crate) fn rows_of(&self, i: usize, count: usize) -> Self {
        assert_eq!(self.stride, self.cols, "rows of a whole matrix");
        let size = count * self.cols;
        Self::new(count, self.cols, &self.data[i * size..(i + 1) * size])
    }

    /// A copy that owns its entries.
    pub fn to_matrix(&self) -> Matrix<T> {
        let data = (0..self.rows).flat_map(|i| self.row(i)).copied().collect();
        Matrix { rows: self.rows, cols: self.cols, data }
    }
}

/// A time-major (T, B, F) array: step, then sequence of the batch, then feature.
///
/// This is PyTorch's (T, B, F) layout; batch-first data is turned round at the boundary with
/// [`Sequence::from_batch_first`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence<T> {
    steps: usize,
    batch: usize,
    features: usize,
    data: AVec<T>,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { steps: 0, batch: 0, features: 0, data: AVec::new(CACHELINE_ALIGN) }
    }
}

impl<T: Real> Sequence<T> {
    /// A (steps, batch, features) array of zeros.
    pub fn zeros(steps: usize, batch: usize, features: usize) -> Self {
        Self { steps, batch, features, data: zeros(steps * batch * features) }
    }

    /// A (steps, batch, features) array from its entries in that order, features contiguous.
    ///
    /// # Errors
    /// If `data` does not hold steps · batch · features numbers.
    pub fn new(steps: usize, batch: usize, features: usize, data: &[T]) -> Result<Self, Error> {
        if data.len() != steps * batch * features {
            return Err(Error::Shape {
                what: "sequence".into(),
                expected: format!("{} numbers for ({steps}, {batch}, {features})", steps * batch * features),
                given: format!("{} numbers", data.len()),
            });
        }
        Ok(Self { steps, batch, features, data: AVec::from_slice(CACHELINE_ALIGN, data) })
    }

    /// A sequence from a (batch, steps, features) array.
    ///
    /// # Errors
    /// If `data` does not hold batch · steps · features numbers.
    pub fn from_batch_first(batch: usize, steps: usize, features: usize, data: &[T]) -> Result<Self, Error> {
        let source = Self::new(batch, steps, features, data)?;
        let mut sequence = Self::zeros(steps, batch, features);
        for t in 0..steps {
            for b in 0..batch {
                sequence.at_mut(t, b).copy_from_slice(source.at(b, t));
            }
        }
        Ok(sequence)
    }

    /// T, the number of time steps.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// B, the number of sequences side by side.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// F, the number of features of one step of one sequence.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Step `t`, a (B, F) matrix.
    pub fn step(&self, t: usize) -> View<'_, T> {
        let width = self.batch * self.features;
        View::new(self.batch, self.features, &self.data[t * width..(t + 1) * width])
    }

    /// Step `t`, (B, F) row-major, to write.
    pub fn step_mut(&mut self, t: usize) -> &mut [T] {
        let width = self.batch * self.features;
        &mut self.data[t * width..(t + 1) * width]
    }

    /// Step `from` to read and its neighbor `to` to write.
    pub(crate) fn two_steps(&mut self, from: usize, to: usize) -> (View<'_, T>, &mut [T]) {
        let width = self.batch * self.features;
        let (low, high) = self.data.split_at_mut(from.max(to) * width);
        let (low, high) = (&mut low[from.min(to) * width..][..width], &mut high[..width]);
        let (from, to) = if from < to { (low, high) } else { (high, low) };
        (View::new(self.batch, self.features, from), to)
    }

    /// Step `t` of sequence `b`: F numbers.
    pub fn at(&self, t: usize, b: usize) -> &[T] {
        let start = (t * self.batch + b) * self.features;
        &self.data[start..start + self.features]
    }

    /// Step `t` of sequence `b`, to write.
    pub fn at_mut(&mut self, t: usize, b: usize) -> &mut [T] {
        let start = (t * self.batch + b) * self.features;
        &mut self.data[start..start + self.features]
    }

    /// Steps `range` as one (len · B, F) matrix.
    pub fn rows(&self, range: std::ops::Range<usize>) -> View<'_, T> {
        let width = self.batch * self.features;
        View::new(range.len() * self.batch, self.features, &self.data[range.start * width..range.end * width])
    }

    /// Step and sequence of the first entry that is infinite or not a number.
    pub fn first_not_finite(&self) -> Option<(usize, usize)> {
        self.view().first_not_finite()
    }

    /// All entries in (T, B, F) order.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// All entries in (T, B, F) order, to write.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The same numbers, borrowed.
    pub fn view(&self) -> SequenceView<'_, T> {
        SequenceView { steps: self.steps, batch: self.batch, features: self.features, data: &self.data }
    }

    /// Makes it (steps, batch, features) in the memory it has; what its entries are then is not said.
    pub(crate) fn reshape(&mut self, steps: usize, batch: usize, features: usize) {
        (self.steps, self.batch, self.features) = (steps, batch, features);
        self.data.resize(steps * batch * features, T::zero());
    }

    /// Adds zeros behind the last step, up to `steps` of them.
    pub(crate) fn extend(&mut self, steps: usize) {
        self.steps = steps;
        self.data.resize(steps * self.batch * self.features, T::zero());
    }

    /// The same numbers in another precision (f32 to f64 is exact).
    pub fn cast<U: Real>(&self) -> Sequence<U> {
        let data = AVec::from_iter(CACHELINE_ALIGN, self.data.iter().map(|v| U::of(v.f64())));
        Sequence { steps: self.steps, batch: self.batch, features: self.features, data }
    }
}

/// A borrowed time-major (T, B, F) array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceView<'a, T> {
    steps: usize,
    batch: usize,
    features: usize,
    data: &'a [T],
}

impl<'a, T: Real> SequenceView<'a, T> {
    /// T, the number of time steps.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// B, the number of sequences side by side.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// F, the number of features of one step of one sequence.
    pub fn features(&self) -> usize {
        self.features
    }

    /// These steps alone.
    #[must_use]
    pub(crate) fn some_steps(&self, steps: std::ops::Range<usize>) -> Self {
        let width = self.batch * self.features;
        Self { steps: steps.len(), data: &self.data[steps.start * width..steps.end * width], ..*self }
    }

    /// Step `t`, a (B, F) matrix.
    pub fn step(&self, t: usize) -> View<'a, T> {
        self.rows(t..t + 1)
    }

    /// Step `t` of sequence `b`: F numbers.
    pub fn at(&self, t: usize, b: usize) -> &'a [T] {
        let start = (t * self.batch + b) * self.features;
        &self.data[start..start + self.features]
    }

    /// Steps `range` as one (len · B, F) matrix.
    pub fn rows(&self, range: std::ops::Range<usize>) -> View<'a, T> {
        let width = self.batch * self.features;
        View::new(range.len() * self.batch, self.features, &self.data[range.start * width..range.end * width])
    }

    /// Step and sequence of the first entry that is infinite or not a number.
    pub fn first_not_finite(&self) -> Option<(usize, usize)> {
        // A sum that is finite has finite terms, and is much sooner found.
        if kernel::sum_of_sizes(self.data).is_finite() {
            return None;
        }
        let row = self.data.iter().position(|v| !v.is_finite())? / self.features;
        Some((row / self.batch, row % self.batch))
    }

    /// All entries in (T, B, F) order.
    pub fn data(&self) -> &'a [T] {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_matrix_and_batch_first_data_is_turned_round() {
        let numbers: Vec<f64> = (0..12).map(f64::from).collect();
        let sequence = Sequence::from_batch_first(2, 3, 2, &numbers).unwrap();
        assert_eq!((sequence.steps(), sequence.batch(), sequence.features()), (3, 2, 2));
        assert_eq!(sequence.step(1).row(0), &[2.0, 3.0]);
        assert_eq!(sequence.step(1).row(1), &[8.0, 9.0]);
        assert_eq!(sequence.at(2, 1), &[10.0, 11.0]);
        assert_eq!(sequence.rows(1..3).rows(), 4);
    }

    #[test]
    fn a_wrong_count_names_both_shapes() {
        let error = Sequence::<f32>::new(2, 3, 4, &[0.0; 23]).unwrap_err();
        assert_eq!(error.to_string(), "sequence: expected 24 numbers for (2, 3, 4), given 23 numbers");
    }
}
