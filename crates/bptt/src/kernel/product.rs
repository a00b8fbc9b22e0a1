//! Products of matrices, a tile of the result in registers at a time.
//!
//! Every number of a result is one sum over k in ascending order, whatever the tile it falls into, so it does not depend on
//! how rows are split; only a single row is summed in two halves (even and odd k), because one chain of additions would
//! wait for itself.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::{Simd, WithSimd};

use super::lanes::{Columns, Lanes, Vector};
use super::packed::{Aligned, Packed, Panel};
use super::registers;
use crate::Real;
use crate::sequence::View;

/// Rows of a tile at most: six rows of four registers are 24 sums, which leaves registers for the operands.
const TILE_ROWS: usize = 6;

/// Steps of k that are unrolled.
const UNROLLED: usize = 4;

/// What the sums begin with.
#[derive(Clone, Copy)]
pub enum Start<'a, T> {
    /// Nothing.
    Zero,
    /// What stands in the result.
    Out,
    /// The same row for every row of the result.
    Row(&'a [T]),
    /// For each row of the result a row of a table: what a one-hot vector picks out of a matrix.
    Table(View<'a, T>, &'a [u32]),
}

/// The products of a number type: compiled here, once for each, and not in every crate that uses them.
pub trait Products: Sized {
    /// out ← start + a b, rows of `out` lying `stride` apart.
    fn multiply(out: &mut [Self], stride: usize, start: Start<'_, Self>, a: View<'_, Self>, b: &Packed<Self>);

    /// out ← out + aᵀ b, the sum of the outer products of their rows; out is (m, n) row-major.
    fn add_outer_products(out: &mut [Self], a: View<'_, Self>, b: View<'_, Self>);
}

macro_rules! products {
    ($($number:ty),*) => {
        $(impl Products for $number {
            fn multiply(
                out: &mut [Self],
                stride: usize,
                start: Start<'_, Self>,
                a: View<'_, Self>,
                b: &Packed<Self>,
            ) {
                multiply(out, stride, start, a, b);
            }

            fn add_outer_products(out: &mut [Self], a: View<'_, Self>, b: View<'_, Self>) {
                add_outer_products(out, a, b);
            }
        })*
    };
}

products!(f32, f64);

fn multiply<T: Real>(out: &mut [T], stride: usize, start: Start<'_, T>, a: View<'_, T>, b: &Packed<T>) {
    assert_eq!(a.cols(), b.rows(), "inner sizes of a product");
    if a.rows() == 0 || b.cols() == 0 {
        return;
    }
    assert!(out.len() >= (a.rows() - 1) * stride + b.cols(), "size of a product's result");
    registers::dispatch(Multiply { out, stride, start, a, b });
}

struct Multiply<'a, T> {
    out: &'a mut [T],
    stride: usize,
    start: Start<'a, T>,
    a: View<'a, T>,
    b: &'a Packed<T>,
}

/// Numbers of a's rows that a block of them has at most: they stay in the second-level cache while all panels pass.
const BLOCK: usize = 1 << 16;

/// Cuts `rows` into tiles of nearly the same number of rows.
#[inline(always)]
fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(TILE_ROWS);
    let mut first = 0;
    (0..count).map(move |i| {
        let size = rows / count + usize::from(i < rows % count);
        first += size;
        (first - size, size)
    })
}

/// Calls `$tile::<T, S, M, N>` for the number of rows and registers at hand.
macro_rules! for_shape {
    (($rows:expr, $registers:expr), $tile:ident $arguments:tt) => {
        match ($rows, $registers) {
            (1, 1) => for_shape!(@ $tile 1 1 $arguments),
            (2, 1) => for_shape!(@ $tile 2 1 $arguments),
            (3, 1) => for_shape!(@ $tile 3 1 $arguments),
            (4, 1) => for_shape!(@ $tile 4 1 $arguments),
            (5, 1) => for_shape!(@ $tile 5 1 $arguments),
            (6, 1) => for_shape!(@ $tile 6 1 $arguments),
            (1, 2) => for_shape!(@ $tile 1 2 $arguments),
            (2, 2) => for_shape!(@ $tile 2 2 $arguments),
            (3, 2) => for_shape!(@ $tile 3 2 $arguments),
            (4, 2) => for_shape!(@ $tile 4 2 $arguments),
            (5, 2) => for_shape!(@ $tile 5 2 $arguments),
            (6, 2) => for_shape!(@ $tile 6 2 $arguments),
            (1, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 1 3 $arguments),
            (2, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 2 3 $arguments),
            (3, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 3 3 $arguments),
            (4, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 4 3 $arguments),
            (5, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 5 3 $arguments),
            (6, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 6 3 $arguments),
            (1, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 1 4 $arguments),
            (2, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 2 4 $arguments),
            (3, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 3 4 $arguments),
            (4, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 4 4 $arguments),
            (5, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 5 4 $arguments),
            (6, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $tile 6 4 $arguments),
            _ => unreachable!("tiles have 1 to 6 rows, panels 1 to 4 registers"),
        }
    };
    (@ $tile:ident $m:literal $n:literal ($($argument:expr),*)) => {
        $tile::<T, S, $m, $n>($($argument),*)
    };
}

impl<T: Real> WithSimd for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = (BLOCK / self.b.rows().max(1)).next_multiple_of(TILE_ROWS).max(TILE_ROWS);
        let mut first = 0;
        while first < self.a.rows() {
            let count = rows.min(self.a.rows() - first);
            for panel in self.b.panels() {
                let registers = self.b.registers::<S>(panel);
                for (row, size) in tiles(count) {
                    let row = first + row;
                    for_shape!((size, panel.width), row_tile(simd, &mut self, row, panel, registers));
                }
            }
            first += count;
        }
    }
}

/// A tile whose left operand has its rows as they are.
#[inline(always)]
fn row_tile<T: Real, S: Simd, const M: usize, const N: usize>(
    simd: S,
    job: &mut Multiply<'_, T>,
    first: usize,
    panel: Panel,
    registers: &[T::Register<S>],
) {
    let depth = job.b.rows();
    let row = |i: usize| &job.a.data()[(first + i) * job.a.stride()..][..depth];
    let rows: [&[T]; M] = std::array::from_fn(row);
    let whole = depth / UNROLLED;
    let chunks: [&[[T; UNROLLED]]; M] = rows.map(|row| &row.as_chunks().0[..whole]);
    let rest: [&[T]; M] = rows.map(|row| &row[whole * UNROLLED..]);

    let columns = Tile::new::<N>(panel, Vector::<T, S>::LANES, job.b.cols());
    let (out, stride) = (&mut *job.out, job.stride);
    let sums = match job.start {
        Start::Zero => [[Vector::splat(simd, T::zero()); N]; M],
        Start::Out => columns.load(simd, |i| &out[(first + i) * stride..]),
        Start::Row(row) => columns.load(simd, |_| row),
        Start::Table(table, ids) => columns.load(simd, |i| table.row(ids[first + i] as usize)),
    };
    let sums = add_products(simd, sums, registers, |k, u, i| chunks[i][k][u], |k, i| rest[i][k]);
    for (i, sums) in sums.into_iter().enumerate() {
        columns.store(sums, &mut out[(first + i) * stride..]);
    }
}

/// The columns of a tile.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    lanes: usize,
    count: usize,
}

impl Tile {
    #[inline(always)]
    fn new<const N: usize>(panel: Panel, lanes: usize, cols: usize) -> Self {
        Self { first: panel.column, lanes, count: (N * lanes).min(cols - panel.column) }
    }

    /// The columns of register `j`.
    #[inline(always)]
    fn columns(self, j: usize) -> Columns {
        Columns { first: self.first + j * self.lanes, count: self.lanes.min(self.count - j * self.lanes) }
    }

    #[inline(always)]
    fn load<'a, T: Lanes, S: Simd, const M: usize, const N: usize>(
        self,
        simd: S,
        row: impl Fn(usize) -> &'a [T],
    ) -> [[Vector<T, S>; N]; M] {
        std::array::from_fn(|i| {
            let row = row(i);
            std::array::from_fn(|j| Vector::load(simd, row, self.columns(j)))
        })
    }

    #[inline(always)]
    fn store<T: Lanes, S: Simd, const N: usize>(self, sums: [Vector<T, S>; N], row: &mut [T]) {
        for (j, sum) in sums.into_iter().enumerate() {
            sum.store(row, self.columns(j));
        }
    }
}

/// sums_ij + Σ_k a_ik b_kj, where `whole(k, u, i)` is a at row i and step UNROLLED · k + u, and `rest(k, i)` at the k-th of the
/// steps that are left.
#[inline(always)]
fn add_products<T: Real, S: Simd, const M: usize, const N: usize>(
    simd: S,
    mut sums: [[Vector<T, S>; N]; M],
    b: &[T::Register<S>],
    whole: impl Fn(usize, usize, usize) -> T,
    rest: impl Fn(usize, usize) -> T,
) -> [[Vector<T, S>; N]; M] {
    let (b, _) = b.as_chunks::<N>();
    let (chunks, left) = b.as_chunks::<UNROLLED>();
    let mut odd = [[Vector::splat(simd, T::zero()); N]; M];
    for (k, b) in chunks.iter().enumerate() {
        for (u, b) in b.iter().enumerate() {
            let to = if M == 1 && u % 2 == 1 { &mut odd } else { &mut sums };
            add_step(simd, to, b, std::array::from_fn(|i| whole(k, u, i)));
        }
    }
    for (k, b) in left.iter().enumerate() {
        add_step(simd, &mut sums, b, std::array::from_fn(|i| rest(k, i)));
    }
    if M == 1 {
        for j in 0..N {
            sums[0][j] = sums[0][j] + odd[0][j];
        }
    }
    sums
}

/// sums_ij + a_i b_j.
#[inline(always)]
fn add_step<T: Real, S: Simd, const M: usize, const N: usize>(
    simd: S,
    sums: &mut [[Vector<T, S>; N]; M],
    b: &[T::Register<S>; N],
    a: [T; M],
) {
    for i in 0..M {
        let a = Vector::splat(simd, a[i]);
        for j in 0..N {
            sums[i][j] = a.mul_add(Vector::of(simd, b[j]), sums[i][j]);
        }
    }
}

/// Rows whose outer products are added up at a time: their panels stay in the second-level cache.
const OUTER_ROWS: usize = 256;

fn add_outer_products<T: Real>(out: &mut [T], a: View<'_, T>, b: View<'_, T>) {
    assert_eq!(a.rows(), b.rows(), "as many left factors as right factors");
    assert_eq!(out.len(), a.cols() * b.cols(), "size of a product's result");
    registers::dispatch(Outer { out, a, b });
}

struct Outer<'a, T> {
    out: &'a mut [T],
    a: View<'a, T>,
    b: View<'a, T>,
}

impl<T: Real> WithSimd for Outer<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, a, b } = self;
        let (m, n) = (a.cols(), b.cols());
        let depth = OUTER_ROWS.min(a.rows());
        // Tiles of a begin a little apart from a power of two: otherwise all of them would compete for the same lines.
        let apart = depth * TILE_ROWS + 16;
        let mut left = Aligned::<T>::zeros(m.div_ceil(TILE_ROWS) * apart);
        let mut right = None;
        let mut first = 0;
        while first < a.rows() {
            let depth = depth.min(a.rows() - first);
            let rows = first..first + depth;
            let right = match &mut right {
                Some(right) if Packed::rows(right) == depth => right,
                right => right.insert(Packed::shaped(depth, n)),
            };
            right.fill(b.some_rows(rows.clone()));
            pack_tiles(left.get_mut(), apart, a.some_rows(rows));
            for panel in right.panels() {
                let registers = right.registers::<S>(panel);
                for (t, (column, size)) in tiles(m).enumerate() {
                    let tile = &left.get()[t * apart..][..depth * size];
                    for_shape!((size, panel.width), outer_tile(simd, out, n, column, tile, panel, registers));
                }
            }
            first += depth;
        }
    }
}

/// Puts the columns of `a` tile by tile: of each tile the rows one behind another.
#[inline(always)]
fn pack_tiles<T: Real>(to: &mut [T], apart: usize, a: View<'_, T>) {
    for k in 0..a.rows() {
        let row = a.row(k);
        for (t, (column, size)) in tiles(a.cols()).enumerate() {
            let place = t * apart + k * size;
            to[place..place + size].copy_from_slice(&row[column..column + size]);
        }
    }
}

/// A tile whose left operand was packed by [`pack_tiles`].
#[inline(always)]
fn outer_tile<T: Real, S: Simd, const M: usize, const N: usize>(
    simd: S,
    out: &mut [T],
    stride: usize,
    first: usize,
    left: &[T],
    panel: Panel,
    registers: &[T::Register<S>],
) {
    let (rows, _) = left.as_chunks::<M>();
    let (chunks, rest) = rows.as_chunks::<UNROLLED>();
    let columns = Tile::new::<N>(panel, Vector::<T, S>::LANES, stride);
    let sums: [[_; N]; M] = columns.load(simd, |i| &out[(first + i) * stride..]);
    let sums = add_products(simd, sums, registers, |k, u, i| chunks[k][u][i], |k, i| rest[k][i]);
    for (i, sums) in sums.into_iter().enumerate() {
        columns.store(sums, &mut out[(first + i) * stride..]);
    }
}
