//! A matrix laid out for many products with it: in panels of columns that are read from front to back.

use pulp::{Simd, WithSimd};

use super::lanes::{Lanes, Vector};
use super::registers;
use crate::Real;
use crate::sequence::View;

/// The right operand of products, (k, n), in panels of at most [`panel_registers`] registers of columns. A panel has its
/// rows one behind another, the last register filled up with zeros.
pub struct Packed<T> {
    rows: usize,
    cols: usize,
    /// Numbers in a register.
    lanes: usize,
    /// Registers of a panel at most.
    width: usize,
    numbers: Aligned<T>,
}

/// Numbers that begin where a cache line does.
pub struct Aligned<T> {
    numbers: Vec<T>,
    start: usize,
    length: usize,
}

/// A cache line, in bytes.
const LINE: usize = 64;

impl<T: Real> Aligned<T> {
    pub fn zeros(length: usize) -> Self {
        let spare = LINE / size_of::<T>();
        let numbers = vec![T::zero(); length + spare];
        let start = numbers.as_ptr().align_offset(LINE).min(spare);
        Self { numbers, start, length }
    }

    pub fn get(&self) -> &[T] {
        &self.numbers[self.start..self.start + self.length]
    }

    pub fn get_mut(&mut self) -> &mut [T] {
        &mut self.numbers[self.start..self.start + self.length]
    }
}

/// One panel of a [`Packed`].
#[derive(Clone, Copy)]
pub struct Panel {
    /// Where its numbers begin.
    pub start: usize,
    /// Its first column.
    pub column: usize,
    /// How many registers each of its rows has.
    pub width: usize,
}

/// How many registers a panel is wide: so many that a tile of rows keeps its sums in registers.
pub(crate) const fn panel_registers<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 4 } else { 2 }
}

impl<T: Real> Packed<T> {
    /// From a (k, n) matrix.
    pub fn new(matrix: View<'_, T>) -> Self {
        let mut packed = Self::shaped(matrix.rows(), matrix.cols());
        packed.fill(matrix);
        packed
    }

    /// From the transpose of an (n, k) matrix.
    pub fn transposed(matrix: View<'_, T>) -> Self {
        let mut packed = Self::shaped(matrix.cols(), matrix.rows());
        packed.fill_transposed(matrix);
        packed
    }

    /// Zeros, to be filled.
    pub fn shaped(rows: usize, cols: usize) -> Self {
        let (lanes, width) = registers::dispatch(Sizes(std::marker::PhantomData::<T>));
        let numbers = Aligned::zeros(rows * cols.div_ceil(lanes) * lanes);
        Self { rows, cols, lanes, width, numbers }
    }

    /// k.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// n.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The panels, of nearly the same width.
    pub fn panels(&self) -> impl Iterator<Item = Panel> + use<T> {
        let registers = self.cols.div_ceil(self.lanes);
        let count = registers.div_ceil(self.width);
        let (rows, lanes) = (self.rows, self.lanes);
        let mut first = 0;
        (0..count).map(move |p| {
            let width = registers / count + usize::from(p < registers % count);
            let panel = Panel { start: first * lanes * rows, column: first * lanes, width };
            first += width;
            panel
        })
    }

    /// The numbers of a panel: rows · width registers.
    pub fn registers<S: Simd>(&self, panel: Panel) -> &[T::Register<S>] {
        assert_eq!(Vector::<T, S>::LANES, self.lanes, "packed for other registers");
        let numbers = &self.numbers.get()[panel.start..][..self.rows * panel.width * self.lanes];
        T::whole::<S>(numbers).0
    }

    /// Puts in another matrix of the same shape.
    pub fn fill(&mut self, matrix: View<'_, T>) {
        assert_eq!((matrix.rows(), matrix.cols()), (self.rows, self.cols), "shape of a packed matrix");
        for panel in self.panels() {
            let width = panel.width * self.lanes;
            let columns = panel.column..(panel.column + width).min(self.cols);
            let numbers = &mut self.numbers.get_mut()[panel.start..][..self.rows * width];
            for (k, row) in numbers.chunks_exact_mut(width).enumerate() {
                row[..columns.len()].copy_from_slice(&matrix.row(k)[columns.clone()]);
            }
        }
    }

    /// Puts in the transpose of another matrix.
    pub fn fill_transposed(&mut self, matrix: View<'_, T>) {
        assert_eq!((matrix.cols(), matrix.rows()), (self.rows, self.cols), "shape of a packed matrix");
        if self.rows == 0 {
            return;
        }
        for panel in self.panels() {
            let width = panel.width * self.lanes;
            let columns = panel.column..(panel.column + width).min(self.cols);
            let numbers = &mut self.numbers.get_mut()[panel.start..][..self.rows * width];
            for (j, column) in columns.enumerate() {
                for (to, &from) in numbers[j..].iter_mut().step_by(width).zip(matrix.row(column)) {
                    *to = from;
                }
            }
        }
    }
}

/// Numbers in a register, and registers of a panel.
struct Sizes<T>(std::marker::PhantomData<T>);

impl<T: Lanes> WithSimd for Sizes<T> {
    type Output = (usize, usize);

    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        (Vector::<T, S>::LANES, panel_registers::<S>())
    }
}
