//! Time-major sequences, one step of which is a plain matrix view.

use num_traits::Float;

use super::aligned::Aligned;
use super::matrix::{View, cast};
use crate::Error;

/// A time-major (T, B, F) array: step, then sequence of the batch, then feature.
///
/// This is PyTorch's (T, B, F) layout; batch-first data is turned round at the boundary with
/// [`Sequence::from_batch_first`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence<T> {
    steps: usize,
    batch: usize,
    features: usize,
    data: Aligned<T>,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { steps: 0, batch: 0, features: 0, data: Aligned::default() }
    }
}

impl<T: Float> Sequence<T> {
    /// A (steps, batch, features) array of zeros.
    pub fn zeros(steps: usize, batch: usize, features: usize) -> Self {
        Self { steps, batch, features, data: Aligned::zeros(steps * batch * features) }
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
        Ok(Self { steps, batch, features, data: Aligned::from_slice(data) })
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
    pub fn cast<U: Float>(&self) -> Sequence<U> {
        let mut data = Aligned::zeros(self.data.len());
        data.iter_mut().zip(&*self.data).for_each(|(to, number)| *to = cast(*number));
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

impl<'a, T: Float> SequenceView<'a, T> {
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
        let row = first_not_finite(self.data)? / self.features;
        Some((row / self.batch, row % self.batch))
    }

    /// All entries in (T, B, F) order.
    pub fn data(&self) -> &'a [T] {
        self.data
    }
}

/// Where the first number stands that is infinite or not a number.
fn first_not_finite<T: Float>(numbers: &[T]) -> Option<usize> {
    /// Numbers that are looked at together, without a branch between them.
    const TOGETHER: usize = 256;
    let all_finite = |chunk: &[T]| chunk.iter().fold(true, |finite, v| finite & v.is_finite());
    let chunk = numbers.chunks(TOGETHER).position(|chunk| !all_finite(chunk))?;
    let first = chunk * TOGETHER;
    numbers[first..].iter().position(|v| !v.is_finite()).map(|i| first + i)
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
