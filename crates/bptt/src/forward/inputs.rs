//! What a network reads: real features, or symbols standing for their one-hot vectors.

use std::ops::Range;

use crate::array::{Matrix, Sequence, SequenceView, View};
use crate::kernel::Real;
use crate::{Error, kernel};

/// What the network reads: real features, or symbols standing for their one-hot vectors.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs<T> {
    /// x, (T, B, I).
    Dense(Sequence<T>),
    /// One-hot x given by the position of its one.
    Symbols(Symbols),
}

/// A (T, B) array of symbol ids, time-major: step, then sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbols {
    steps: usize,
    batch: usize,
    ids: Vec<u32>,
}

impl Symbols {
    /// The ids of `steps` steps of `batch` sequences, time-major.
    ///
    /// # Errors
    /// If `ids` does not hold steps · batch numbers.
    pub fn new(steps: usize, batch: usize, ids: Vec<u32>) -> Result<Self, Error> {
        if ids.len() != steps * batch {
            return Err(Error::Shape {
                what: "symbols".into(),
                expected: format!("{} ids for ({steps}, {batch})", steps * batch),
                given: format!("{} ids", ids.len()),
            });
        }
        Ok(Self { steps, batch, ids })
    }

    /// The ids of step `t`, one for each sequence.
    #[inline]
    pub fn step(&self, t: usize) -> &[u32] {
        &self.ids[t * self.batch..(t + 1) * self.batch]
    }

    /// All ids, time-major.
    #[inline]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// (T, B).
    #[inline]
    pub fn shape(&self) -> (usize, usize) {
        (self.steps, self.batch)
    }

    /// Refuses ids outside an alphabet of `size` symbols.
    pub(crate) fn check(&self, what: &'static str, size: usize) -> Result<(), Error> {
        match self.ids.iter().position(|&id| id as usize >= size) {
            None => Ok(()),
            Some(i) => Err(Error::Symbol {
                what,
                id: self.ids[i],
                step: i / self.batch,
                sequence: i % self.batch,
                size,
            }),
        }
    }
}

/// The inputs of one step: the one place where dense and one-hot inputs differ.
#[derive(Clone, Copy)]
pub(crate) enum StepInput<'a, T> {
    Dense(View<'a, T>),
    Symbols(&'a [u32]),
}

impl<T: Real> Inputs<T> {
    /// (T, B).
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Dense(x) => (x.steps(), x.batch()),
            Self::Symbols(symbols) => symbols.shape(),
        }
    }

    /// The same inputs in another precision.
    pub fn cast<U: Real>(&self) -> Inputs<U> {
        match self {
            Self::Dense(x) => Inputs::Dense(x.cast()),
            Self::Symbols(symbols) => Inputs::Symbols(symbols.clone()),
        }
    }

    /// Puts zeros (of symbols, the first) where `is_padding` says so, whatever stood there.
    pub(crate) fn clear(&mut self, is_padding: impl Fn(usize, usize) -> bool) {
        let (steps, batch) = self.shape();
        for (t, b) in (0..steps).flat_map(|t| (0..batch).map(move |b| (t, b))) {
            if is_padding(t, b) {
                match self {
                    Self::Dense(x) => x.at_mut(t, b).fill(T::zero()),
                    Self::Symbols(symbols) => symbols.ids[t * batch + b] = 0,
                }
            }
        }
    }

    /// Refuses inputs that do not fit a network with `features` input features.
    pub(crate) fn check(&self, features: usize) -> Result<(), Error> {
        let (steps, batch) = self.shape();
        if steps == 0 || batch == 0 {
            return Err(Error::Shape {
                what: "inputs".into(),
                expected: "at least one step of one sequence".into(),
                given: format!("(T, B) = ({steps}, {batch})"),
            });
        }
        match self {
            Self::Symbols(symbols) => symbols.check("inputs", features),
            Self::Dense(x) if x.features() == features => Ok(()),
            Self::Dense(x) => Err(Error::Shape {
                what: "inputs".into(),
                expected: format!("{features} features"),
                given: format!("{} features", x.features()),
            }),
        }
    }

    pub(crate) fn read(&self) -> Reading<'_, T> {
        match self {
            Self::Dense(x) => Reading::Dense(x.view()),
            Self::Symbols(symbols) => Reading::Symbols(symbols),
        }
    }
}

/// What a layer reads, borrowed.
#[derive(Clone, Copy)]
pub(crate) enum Reading<'a, T> {
    Dense(SequenceView<'a, T>),
    Symbols(&'a Symbols),
}

impl<'a, T: Real> Reading<'a, T> {
    /// (T, B).
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Dense(x) => (x.steps(), x.batch()),
            Self::Symbols(symbols) => symbols.shape(),
        }
    }

    pub(crate) fn step(&self, t: usize) -> StepInput<'a, T> {
        match self {
            Self::Dense(x) => StepInput::Dense(x.step(t)),
            Self::Symbols(symbols) => StepInput::Symbols(symbols.step(t)),
        }
    }

    /// All steps at once, (T·B, I).
    pub(crate) fn all(&self) -> StepInput<'a, T> {
        self.steps(0..self.shape().0)
    }

    /// Some steps at once, (len · B, I).
    pub(crate) fn steps(&self, steps: Range<usize>) -> StepInput<'a, T> {
        match self {
            Self::Dense(x) => StepInput::Dense(x.rows(steps)),
            Self::Symbols(symbols) => {
                let (_, batch) = symbols.shape();
                StepInput::Symbols(&symbols.ids()[steps.start * batch..steps.end * batch])
            }
        }
    }
}

impl<T: Real> StepInput<'_, T> {
    /// dW ← dW + daᵀ x; da is (rows, G), dW (G, I).
    pub(crate) fn add_outer(&self, dw: &mut Matrix<T>, da: View<'_, T>) {
        match self {
            Self::Dense(x) => kernel::sum_of_outer_products(dw.data_mut(), true, da, *x),
            Self::Symbols(ids) => {
                // Whole rows of the transpose are added to, and it is turned round once.
                let mut by_symbol = BySymbol::default();
                by_symbol.clear(dw.cols(), dw.rows());
                by_symbol.add(ids, da);
                by_symbol.add_to(dw);
            }
        }
    }

    /// x_a · x_b for two rows.
    pub(crate) fn dot(&self, a: usize, b: usize) -> T {
        match self {
            Self::Dense(x) => kernel::dot(x.row(a), x.row(b)),
            Self::Symbols(ids) if ids[a] == ids[b] => T::one(),
            Self::Symbols(_) => T::zero(),
        }
    }
}

/// Σ da of each symbol, (I, G·H): the transpose of dW_ih for one-hot inputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct BySymbol<T> {
    sums: Matrix<T>,
}

impl<T: Real> BySymbol<T> {
    /// Zeros for `symbols` symbols and rows of `width` numbers.
    pub(crate) fn clear(&mut self, symbols: usize, width: usize) {
        self.sums.clear(symbols, width);
    }

    /// Adds each row of `da` to its symbol's.
    pub(crate) fn add(&mut self, ids: &[u32], da: View<'_, T>) {
        kernel::add_to_rows(self.sums.data_mut(), ids, da);
    }

    /// out ← out + the sum of all rows.
    pub(crate) fn add_rows_to(&self, out: &mut [T]) {
        kernel::add_rows(out, self.sums.view());
    }

    /// dW ← dW + their transpose.
    pub(crate) fn add_to(&self, dw: &mut Matrix<T>) {
        let mut transposed = Matrix::zeros(dw.rows(), dw.cols());
        kernel::transpose(transposed.data_mut(), dw.cols(), self.sums.view());
        kernel::add_scaled(dw.data_mut(), T::one(), transposed.data());
    }
}
