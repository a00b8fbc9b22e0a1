//! Products of matrices: rows with a packed right operand, and the trait that compiles all products for a number type.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::{Simd, WithSimd};
use std::cell::RefCell;
use std::ops::Range;

use super::lanes::{Lanes, Vector};
use super::outer_product::{Memory, add_outer_products};
use super::packed::{Packed, Panel};
use super::prefetch::prefetch;
use super::registers;
use super::tile::{BETWEEN_PREFETCHES, TILE_ROWS, Tile, UNROLLED, add_products, for_shape, tiles};
use crate::array::View;

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
                    // Borrowed by one call at a time: the product calls neither itself nor a thread pool, in which its thread
                    // could take up another product.
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
                    job.prefetch_ends::<S>(block..block + rows, in_turn(i + 1));
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
    /// Prefetches what a panel's sums begin with and where they go. Stores to what is not in cache would hold up those after
    /// them.
    #[inline(always)]
    fn prefetch_ends<S: Simd>(&self, rows: Range<usize>, panel: Panel) {
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
        let at_a_time = ahead.len().div_ceil(whole.div_ceil(BETWEEN_PREFETCHES).max(1));
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
