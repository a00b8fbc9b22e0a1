//! Sums of outer products, whose factors are both packed.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::{Simd, WithSimd};

use super::lanes::{Lanes, Vector};
use super::packed::{Packed, Panel};
use super::prefetch::prefetch;
use super::registers;
use super::tile::{TILE_ROWS, Tile, UNROLLED, add_products, for_shape, tiles};
use crate::array::{Aligned, View};

/// Rows whose outer products are added up at a time: their panels stay in the second-level cache.
const OUTER_ROWS: usize = 512;

/// Where factors are packed, which serves from call to call.
pub(super) struct Memory<T> {
    left: Aligned<T>,
    right: Packed<T>,
}

impl<T: Lanes> Default for Memory<T> {
    fn default() -> Self {
        Self { left: Aligned::default(), right: Packed::shaped(0, 0) }
    }
}

/// out ← out + aᵀ b.
pub(super) fn add_outer_products<T: Lanes>(
    out: &mut [T],
    a: View<'_, T>,
    b: View<'_, T>,
    memory: &mut Memory<T>,
) {
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
