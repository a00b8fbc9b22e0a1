//! Products of matrices, a tile of the result in registers at a time.
//!
//! Every number of a result is one sum over k in ascending order, whatever the tile it falls into, so it does not depend on
//! how rows are split; only a single row is summed in two halves (even and odd k), because one chain of additions would
//! wait for itself.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use aligned_vec::AVec;
use pulp::{Simd, WithSimd};
use std::cell::RefCell;
use std::ops::Range;

use super::lanes::{Lanes, Vector};
use super::packed::{Packed, Panel};
use super::prefetch::prefetch;
use super::range::Columns;
use super::registers;
use crate::array::{View, zeros};

/// Rows of a tile at most: six rows of four registers are 24 sums, which leaves registers for the operands.
pub(crate) const TILE_ROWS: usize = 6;

/// Steps of k that are unrolled.
const UNROLLED: usize = 4;

/// How many times the unrolled steps are done between two calls for what is needed next.
const BETWEEN_CALLS: usize = 16;

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
                thread_local! {
                    static MEMORY: RefCell<Memory<$number>> = RefCell::new(Memory::default());
                }
                MEMORY.with_borrow_mut(|memory| add_outer_products(out, a, b, memory));
            }
        })*
    };
}

products!(f32, f64);

fn multiply<T: Lanes>(out: &mut [T], stride: usize, start: Start<'_, T>, a: View<'_, T>, b: &Packed<T>) {
    assert_eq!(a.cols(), b.rows(), "inner sizes of a product");
    if a.rows() == 0 || b.cols() == 0 {
        return;
    }
    assert!(out.len() >= (a.rows() - 1) * stride + b.cols(), "size of a product's result");
    registers::dispatch_apart(Multiply { out, stride, start, a, b });
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

/// Cuts `rows` into tiles: as many of six as there can be when the others are to have four or five, which do best after them.
fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let size = match rows - first {
            0 => return None,
            4 | 7 | 8 => 4,
            5 | 9 => 5,
            left => left.min(TILE_ROWS),
        };
        first += size;
        Some((first - size, size))
    })
}

/// Runs `$tile::<T, M, N>` for the number of rows and registers at hand.
macro_rules! for_shape {
    ($simd:expr, ($rows:expr, $registers:expr), $tile:ident $fields:tt) => {
        match ($rows, $registers) {
            (1, 1) => for_shape!(@ $simd, $tile 1 1 $fields),
            (2, 1) => for_shape!(@ $simd, $tile 2 1 $fields),
            (3, 1) => for_shape!(@ $simd, $tile 3 1 $fields),
            (4, 1) => for_shape!(@ $simd, $tile 4 1 $fields),
            (5, 1) => for_shape!(@ $simd, $tile 5 1 $fields),
            (6, 1) => for_shape!(@ $simd, $tile 6 1 $fields),
            (1, 2) => for_shape!(@ $simd, $tile 1 2 $fields),
            (2, 2) => for_shape!(@ $simd, $tile 2 2 $fields),
            (3, 2) => for_shape!(@ $simd, $tile 3 2 $fields),
            (4, 2) => for_shape!(@ $simd, $tile 4 2 $fields),
            (5, 2) => for_shape!(@ $simd, $tile 5 2 $fields),
            (6, 2) => for_shape!(@ $simd, $tile 6 2 $fields),
            (1, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 1 3 $fields),
            (2, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 2 3 $fields),
            (3, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 3 3 $fields),
            (4, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 4 3 $fields),
            (5, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 5 3 $fields),
            (6, 3) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 6 3 $fields),
            (1, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 1 4 $fields),
            (2, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 2 4 $fields),
            (3, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 3 4 $fields),
            (4, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 4 4 $fields),
            (5, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 5 4 $fields),
            (6, 4) if S::REGISTER_COUNT >= 32 => for_shape!(@ $simd, $tile 6 4 $fields),
            _ => unreachable!("tiles have 1 to 6 rows, panels 1 to 4 registers"),
        }
    };
    (@ $simd:expr, $tile:ident $m:literal $n:literal { $($field:ident),* }) => {
        $simd.vectorize($tile::<T, $m, $n> { $($field),* })
    };
}

impl<T: Lanes> WithSimd for Multiply<'_, T> {
    type Output = ();

    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = (BLOCK / self.b.rows().max(1)).next_multiple_of(TILE_ROWS).max(TILE_ROWS);
        let job = &mut self;
        // What does not stay near from product to product is called for while the panel before it is at work.
        let far = size_of_val(job.b.numbers()) > NEAR;
        let count = job.b.panel_count();
        // The results of a scan; what starts from nothing goes round and round in the same memory.
        let far_ends = job.a.rows() > 1 && !matches!(job.start, Start::Zero);
        let mut block = 0;
        while block < job.a.rows() {
            let rows = rows.min(job.a.rows() - block);
            let back = job.b.turns_back();
            let in_turn = |i| job.b.panel(if back { count - 1 - i } else { i });
            for i in 0..count {
                let panel = in_turn(i);
                if far_ends && i + 1 < count {
                    job.call_for_ends::<S>(block..block + rows, in_turn(i + 1));
                }
                let next = if far && i + 1 < count { job.b.numbers_of(in_turn(i + 1)) } else { &[] };
                for (first, size) in tiles(rows) {
                    let ahead = &next[next.len() * first / rows..next.len() * (first + size) / rows];
                    let (job, first) = (&mut *job, block + first);
                    for_shape!(simd, (size, panel.width), RowTile { job, first, panel, ahead });
                }
            }
            block += rows;
        }
    }
}

impl<T: Lanes> Multiply<'_, T> {
    /// Calls for what a panel's sums begin with and for where they go. Stores to what is far away would hold up those after
    /// them.
    #[inline(always)]
    fn call_for_ends<S: Simd>(&self, rows: Range<usize>, panel: Panel) {
        let columns = panel.columns(Vector::<T, S>::LANES);
        for i in rows {
            if let Start::Table(table, ids) = self.start {
                prefetch(table.row(ids[i] as usize), columns.clone());
            }
            prefetch(&self.out[i * self.stride..], columns.clone());
        }
    }
}

/// A right operand of more bytes than this is not expected to be in the second-level cache when it is needed again.
const NEAR: usize = 1 << 20;

/// A tile whose left operand has its rows as they are.
struct RowTile<'a, 'b, T, const M: usize, const N: usize> {
    job: &'a mut Multiply<'b, T>,
    first: usize,
    panel: Panel,
    /// What is needed next.
    ahead: &'b [T],
}

impl<T: Lanes, const M: usize, const N: usize> WithSimd for RowTile<'_, '_, T, M, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { job, first, panel, ahead } = self;
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
        let registers = job.b.registers::<S>(panel);
        let at_a_time = ahead.len().div_ceil(whole.div_ceil(BETWEEN_CALLS).max(1));
        let sums = add_products(
            simd,
            sums,
            registers,
            |k, u, i| chunks[i][k][u],
            |k, i| rest[i][k],
            |k| prefetch(ahead, k * at_a_time..(k + 1) * at_a_time),
        );
        for (i, sums) in sums.into_iter().enumerate() {
            columns.store(sums, &mut out[(first + i) * stride..]);
        }
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
        Columns::new(self.first + j * self.lanes, self.lanes, self.first + self.count)
    }

    /// N whole registers from the tile's first column on; `None` if it has fewer columns.
    #[inline(always)]
    fn whole<T: Lanes, S: Simd, const N: usize>(self, row: &[T]) -> Option<&[T::Register<S>; N]> {
        if self.count < N * self.lanes {
            return None;
        }
        T::whole::<S>(row.get(self.first..self.first + N * self.lanes)?).first_chunk()
    }

    #[inline(always)]
    fn load<'a, T: Lanes, S: Simd, const M: usize, const N: usize>(
        self,
        simd: S,
        row: impl Fn(usize) -> &'a [T],
    ) -> [[Vector<T, S>; N]; M] {
        std::array::from_fn(|i| {
            let row = row(i);
            match self.whole::<T, S, N>(row) {
                Some(whole) => std::array::from_fn(|j| Vector::of(simd, whole[j])),
                None => std::array::from_fn(|j| Vector::load(simd, row, self.columns(j))),
            }
        })
    }

    #[inline(always)]
    fn store<T: Lanes, S: Simd, const N: usize>(self, sums: [Vector<T, S>; N], row: &mut [T]) {
        if self.count == N * self.lanes
            && let Some(row) = row.get_mut(self.first..self.first + N * self.lanes)
            && let Some(whole) = T::whole_mut::<S>(row).first_chunk_mut::<N>()
        {
            *whole = sums.map(Vector::register);
            return;
        }
        for (j, sum) in sums.into_iter().enumerate() {
            sum.store(row, self.columns(j));
        }
    }
}

/// sums_ij + Σ_k a_ik b_kj, where `whole(k, u, i)` is a at row i and step UNROLLED · k + u, and `rest(k, i)` at the k-th of the
/// steps that are left. `call(n)` comes before the n-th BETWEEN_CALLS · UNROLLED of them.
#[inline(always)]
fn add_products<T: Lanes, S: Simd, const M: usize, const N: usize>(
    simd: S,
    mut sums: [[Vector<T, S>; N]; M],
    b: &[T::Register<S>],
    whole: impl Fn(usize, usize, usize) -> T,
    rest: impl Fn(usize, usize) -> T,
    call: impl Fn(usize),
) -> [[Vector<T, S>; N]; M] {
    let (b, _) = b.as_chunks::<N>();
    let (chunks, left) = b.as_chunks::<UNROLLED>();
    let mut odd = [[Vector::splat(simd, T::zero()); N]; M];
    for (n, chunks) in chunks.chunks(BETWEEN_CALLS).enumerate() {
        call(n);
        for (k, b) in chunks.iter().enumerate() {
            for (u, b) in b.iter().enumerate() {
                let to = if M == 1 && u % 2 == 1 { &mut odd } else { &mut sums };
                add_step(simd, to, b, std::array::from_fn(|i| whole(n * BETWEEN_CALLS + k, u, i)));
            }
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
fn add_step<T: Lanes, S: Simd, const M: usize, const N: usize>(
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
const OUTER_ROWS: usize = 512;

/// Where factors are packed, which serves from call to call.
struct Memory<T> {
    left: AVec<T>,
    right: Packed<T>,
}

impl<T: Lanes> Default for Memory<T> {
    fn default() -> Self {
        Self { left: zeros(0), right: Packed::shaped(0, 0) }
    }
}

fn add_outer_products<T: Lanes>(out: &mut [T], a: View<'_, T>, b: View<'_, T>, memory: &mut Memory<T>) {
    assert_eq!(a.rows(), b.rows(), "as many left factors as right factors");
    assert_eq!(out.len(), a.cols() * b.cols(), "size of a product's result");
    registers::dispatch_apart(Outer { out, a, b, memory });
}

struct Outer<'a, T> {
    out: &'a mut [T],
    a: View<'a, T>,
    b: View<'a, T>,
    memory: &'a mut Memory<T>,
}

impl<T: Lanes> WithSimd for Outer<'_, T> {
    type Output = ();

    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, a, b, memory: Memory { left, right } } = self;
        let (m, stride) = (a.cols(), b.cols());
        let depth = OUTER_ROWS.min(a.rows());
        // Tiles of a begin a little apart from a power of two: otherwise all of them would compete for the same lines.
        let apart = depth * TILE_ROWS + 16;
        left.resize(tiles(m).count() * apart, T::zero());
        let mut done = 0;
        while done < a.rows() {
            let depth = depth.min(a.rows() - done);
            let rows = done..done + depth;
            right.reshape(depth, stride);
            right.fill(b.some_rows(rows.clone()));
            pack_tiles(left, apart, a.some_rows(rows));
            let right = &*right;
            for panel in (0..right.panel_count()).map(|p| right.panel(p)) {
                for (t, (first, size)) in tiles(m).enumerate() {
                    let left = &left[t * apart..][..depth * size];
                    let out = &mut *out;
                    // The next tile's sums would be waited for.
                    for i in (first + size..m).take(TILE_ROWS) {
                        prefetch(&out[i * stride..], panel.columns(Vector::<T, S>::LANES));
                    }
                    for_shape!(
                        simd,
                        (size, panel.width),
                        OuterTile { out, stride, first, left, panel, right }
                    );
                }
            }
            done += depth;
        }
    }
}

on_registers! {
    /// Puts the columns of `a` tile by tile: of each tile the rows one behind another.
    fn pack_tiles<'a, T: Lanes>(_simd, to: &'a mut [T], apart: usize, a: View<'a, T>) -> () {
        let sixes = tiles(a.cols()).take_while(|&(_, size)| size == TILE_ROWS).count();
        for k in 0..a.rows() {
            let (row, _) = a.row(k).as_chunks::<TILE_ROWS>();
            for (t, from) in row.iter().enumerate().take(sixes) {
                if let Some(to) = to[t * apart + k * TILE_ROWS..].first_chunk_mut() {
                    *to = *from;
                }
            }
        }
        for (t, (column, size)) in tiles(a.cols()).enumerate().skip(sixes) {
            for (k, to) in to[t * apart..].chunks_exact_mut(size).enumerate().take(a.rows()) {
                to.copy_from_slice(&a.row(k)[column..column + size]);
            }
        }
    }
}

/// A tile whose left operand was packed by [`pack_tiles`].
struct OuterTile<'a, T, const M: usize, const N: usize> {
    out: &'a mut [T],
    stride: usize,
    first: usize,
    left: &'a [T],
    panel: Panel,
    right: &'a Packed<T>,
}

impl<T: Lanes, const M: usize, const N: usize> WithSimd for OuterTile<'_, T, M, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, stride, first, left, panel, right } = self;
        let (rows, _) = left.as_chunks::<M>();
        let (chunks, rest) = rows.as_chunks::<UNROLLED>();
        let columns = Tile::new::<N>(panel, Vector::<T, S>::LANES, stride);
        let sums: [[_; N]; M] = columns.load(simd, |i| &out[(first + i) * stride..]);
        let registers = right.registers::<S>(panel);
        let sums = add_products(simd, sums, registers, |k, u, i| chunks[k][u][i], |k, i| rest[k][i], |_| ());
        for (i, sums) in sums.into_iter().enumerate() {
            columns.store(sums, &mut out[(first + i) * stride..]);
        }
    }
}
