//! A matrix laid out for many products with it: in panels of columns that are read from front to back.

use pulp::{Simd, WithSimd};
use std::cell::Cell;
use std::ops::Range;

use super::columns::columns;
use super::lanes::{Lanes, Vector};
use super::registers;
use crate::array::{Aligned, View};

/// The right operand of products, (k, n), in panels of at most `panel_registers` registers of columns. A panel has its
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

impl Panel {
    /// Its columns, those included that only fill up a register.
    pub(crate) fn columns(&self, lanes: usize) -> Range<usize> {
        self.column..self.column + self.width * lanes
    }
}

/// How many registers a panel is wide: so many that a tile of rows keeps its sums in registers.
pub(crate) const fn panel_registers<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 4 } else { 2 }
}

impl<T: Lanes> Packed<T> {
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

    /// To be filled.
    pub fn shaped(rows: usize, cols: usize) -> Self {
        let mut packed = Self { rows: 0, cols: 0, lanes: 1, width: 1, numbers: Aligned::default() };
        packed.reshape(rows, cols);
        packed
    }

    /// Makes it (k, n) in the memory it has, to be filled.
    pub(crate) fn reshape(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        (self.lanes, self.width) = registers::dispatch(Sizes(std::marker::PhantomData::<T>));
        self.numbers.resize(rows * cols.div_ceil(self.lanes) * self.lanes, T::zero());
    }

    /// k.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// n.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How many panels there are.
    pub fn panel_count(&self) -> usize {
        self.cols.div_ceil(self.lanes).div_ceil(self.width)
    }

    /// The `p`-th panel; all are of nearly the same width.
    pub fn panel(&self, p: usize) -> Panel {
        let (registers, count) = (self.cols.div_ceil(self.lanes), self.panel_count());
        let (width, wider) = (registers / count, registers % count);
        let column = (p * width + p.min(wider)) * self.lanes;
        Panel { start: column * self.rows, column, width: width + usize::from(p < wider) }
    }

    /// All panels, one behind another.
    pub(crate) fn numbers(&self) -> &[T] {
        &self.numbers
    }

    /// The numbers of a panel, rows · width registers.
    pub(crate) fn numbers_of(&self, panel: Panel) -> &[T] {
        &self.numbers[panel.start..][..self.rows * panel.width * self.lanes]
    }

    /// Whether to take the panels from the last to the first: every other time that a thread asks. The panel a thread had
    /// last is the one it has nearest.
    pub(crate) fn turns_back(&self) -> bool {
        thread_local! {
            /// For each operand, by where it lies; two that meet here only take wrong turns.
            static BACK: [Cell<bool>; 64] = const { [const { Cell::new(false) }; 64] };
        }
        let place = self.numbers.as_ptr().addr() / 64 % 64;
        BACK.with(|back| back[place].replace(!back[place].get()))
    }

    /// The numbers of a panel: rows · width registers.
    pub fn registers<S: Simd>(&self, panel: Panel) -> &[T::Register<S>] {
        assert_eq!(Vector::<T, S>::LANES, self.lanes, "packed for other registers");
        T::whole::<S>(self.numbers_of(panel))
    }

    /// Puts in another matrix of the same shape.
    pub fn fill(&mut self, matrix: View<'_, T>) {
        assert_eq!((matrix.rows(), matrix.cols()), (self.rows, self.cols), "shape of a packed matrix");
        for p in 0..self.panel_count() {
            let panel = self.panel(p);
            let width = panel.width * self.lanes;
            let columns = panel.column..(panel.column + width).min(self.cols);
            let numbers = &mut self.numbers[panel.start..][..self.rows * width];
            copy_columns(numbers, width, matrix, columns);
        }
    }

    /// Puts in the transpose of another matrix.
    pub fn fill_transposed(&mut self, matrix: View<'_, T>) {
        assert_eq!((matrix.cols(), matrix.rows()), (self.rows, self.cols), "shape of a packed matrix");
        if self.rows == 0 {
            return;
        }
        for p in 0..self.panel_count() {
            let panel = self.panel(p);
            let width = panel.width * self.lanes;
            let columns = panel.column..(panel.column + width).min(self.cols);
            let numbers = &mut self.numbers[panel.start..][..self.rows * width];
            transpose(numbers, width, matrix.some_rows(columns));
        }
    }
}

on_registers! {
    /// Row after row, these columns of `matrix` to rows of `width` numbers.
    fn copy_columns<'a, T: Lanes>(
        simd,
        to: &'a mut [T],
        width: usize,
        matrix: View<'a, T>,
        range: Range<usize>,
    ) -> () {
        for (k, to) in to.chunks_exact_mut(width).enumerate() {
            let from = &matrix.row(k)[range.clone()];
            columns::<T, S>(from.len(), #[inline(always)] |at| Vector::load(simd, from, at).store(to, at));
        }
    }
}

/// to_(k, j) ← matrix_(j, k), rows of `to` lying `width` apart.
pub(crate) fn transpose<T: Lanes>(to: &mut [T], width: usize, matrix: View<'_, T>) {
    /// Rows that are turned round at a time: what they leave side by side fills a part of a cache line.
    const TOGETHER: usize = 8;
    let mut first = 0;
    while first + TOGETHER <= matrix.rows() {
        let rows: [&[T]; TOGETHER] = std::array::from_fn(|i| matrix.row(first + i));
        for (k, to) in to.chunks_mut(width).enumerate().take(matrix.cols()) {
            if let Some(to) = to[first..].first_chunk_mut::<TOGETHER>() {
                *to = rows.map(|row| row[k]);
            }
        }
        first += TOGETHER;
    }
    for j in first..matrix.rows() {
        for (to, &from) in to[j..].iter_mut().step_by(width).zip(matrix.row(j)) {
            *to = from;
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
