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
    /// Where each panel is: found once, for the divisions take longer than a product of one row.
    panels: Vec<Panel>,
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
        let mut packed = Self { rows: 0, cols: 0, lanes: 1, panels: Vec::new(), numbers: Aligned::default() };
        packed.reshape(rows, cols);
        packed
    }

    /// Makes it (k, n) in the memory it has, to be filled.
    pub(crate) fn reshape(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        let (lanes, width) = registers::dispatch(Sizes(std::marker::PhantomData::<T>));
        self.lanes = lanes;
        self.numbers.resize(rows * cols.div_ceil(lanes) * lanes, T::zero());
        // All panels are of nearly the same width.
        let registers = cols.div_ceil(lanes);
        let count = registers.div_ceil(width);
        self.panels.clear();
        self.panels.extend((0..count).map(|p| {
            let (width, wider) = (registers / count, registers % count);
            let column = (p * width + p.min(wider)) * lanes;
            Panel { start: column * rows, column, width: width + usize::from(p < wider) }
        }));
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
        self.panels.len()
    }

    /// The `p`-th panel.
    pub fn panel(&self, p: usize) -> Panel {
        self.panels[p]
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
            /// For each operand, by where it lies; two that meet here only take wrong turns. Of its own thread, and replaced
            /// as a whole; the order of the panels changes no result.
            static BACK: [Cell<bool>; 64] = const { [const { Cell::new(false) }; 64] };
        }
        let place = self.numbers.as_ptr().addr() / 64 % 64;
        BACK.with(|back| back[place].replace(!back[place].get()))
    }

    /// The numbers of a panel: rows · width registers.
    #[inline(always)]
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
    /// Rows and columns that are transposed at a time: what they leave side by side fills a part of a cache line.
    const TILE: usize = 8;
    let (whole_rows, whole_columns) = (matrix.rows() / TILE * TILE, matrix.cols() / TILE);
    for first in (0..whole_rows).step_by(TILE) {
        let rows: [&[[T; TILE]]; TILE] =
            std::array::from_fn(|i| &matrix.row(first + i).as_chunks::<TILE>().0[..whole_columns]);
        for c in 0..whole_columns {
            let tile = rows.map(|row| &row[c]);
            for k in 0..TILE {
                if let Some(to) = to[(c * TILE + k) * width + first..].first_chunk_mut::<TILE>() {
                    *to = tile.map(|row| row[k]);
                }
            }
        }
        for k in whole_columns * TILE..matrix.cols() {
            for j in first..first + TILE {
                to[k * width + j] = matrix.row(j)[k];
            }
        }
    }
    for j in whole_rows..matrix.rows() {
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
