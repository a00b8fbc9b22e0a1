//! A tile of a product of matrices: its sums stay in registers.
//!
//! Every number of a result is one sum over k in ascending order, whatever the tile it falls into, so it does not depend on
//! how rows are split; only a single row is summed in two halves (even and odd k), because one chain of additions would
//! wait for itself.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::Simd;

use super::lanes::{Lanes, Vector};
use super::packed::Panel;
use super::range::Columns;

/// Rows of a tile at most: six rows of four registers are 24 sums, which leaves registers for the operands.
pub(crate) const TILE_ROWS: usize = 6;

/// Steps of k that are unrolled.
pub(super) const UNROLLED: usize = 4;

/// How many times the unrolled steps are done between two prefetches of what is needed next.
pub(super) const BETWEEN_PREFETCHES: usize = 16;

/// Cuts `rows` into tiles: as many of six as there can be when the others are to have four or five, which do best after them.
pub(super) fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> {
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

pub(super) use for_shape;

/// The columns of a tile.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    first: usize,
    lanes: usize,
    count: usize,
}

impl Tile {
    #[inline(always)]
    pub fn new<const N: usize>(panel: Panel, lanes: usize, cols: usize) -> Self {
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
    pub fn load<'a, T: Lanes, S: Simd, const M: usize, const N: usize>(
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
    pub fn store<T: Lanes, S: Simd, const N: usize>(self, sums: [Vector<T, S>; N], row: &mut [T]) {
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
/// steps that are left. `prefetch(n)` is called before the n-th BETWEEN_PREFETCHES · UNROLLED of them.
#[inline(always)]
pub(super) fn add_products<T: Lanes, S: Simd, const M: usize, const N: usize>(
    simd: S,
    mut sums: [[Vector<T, S>; N]; M],
    b: &[T::Register<S>],
    whole: impl Fn(usize, usize, usize) -> T,
    rest: impl Fn(usize, usize) -> T,
    prefetch: impl Fn(usize),
) -> [[Vector<T, S>; N]; M] {
    let (b, _) = b.as_chunks::<N>();
    let (chunks, left) = b.as_chunks::<UNROLLED>();
    let mut odd = [[Vector::splat(simd, T::zero()); N]; M];
    for (n, chunks) in chunks.chunks(BETWEEN_PREFETCHES).enumerate() {
        prefetch(n);
        for (k, b) in chunks.iter().enumerate() {
            for (u, b) in b.iter().enumerate() {
                let to = if M == 1 && u % 2 == 1 { &mut odd } else { &mut sums };
                add_step(simd, to, b, std::array::from_fn(|i| whole(n * BETWEEN_PREFETCHES + k, u, i)));
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
