//! Rows, a register's columns at a time, and what is added up over them.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::Simd;

use super::lanes::{Lanes, Vector};
use super::range::Columns;

/// Calls `body` for all columns of a row of `width` numbers of type T.
#[inline(always)]
pub(crate) fn columns<T: Lanes, S: Simd>(width: usize, mut body: impl FnMut(Columns)) {
    let count = Vector::<T, S>::LANES;
    let whole = width - width % count;
    // Two calls, each with its own copy of the body: in the first one every load and store is a whole register.
    let mut first = 0;
    while first < whole {
        body(Columns { first, count, width });
        first += count;
    }
    if whole < width {
        body(Columns { first: whole, count: width - whole, width });
    }
}

/// Numbers that a sum is added up in, side by side: the same count for registers of any width, so that the same numbers
/// meet in the same order.
const SIDE_BY_SIDE: usize = 32;

/// A sum over the columns of rows.
#[derive(Clone, Copy)]
pub(crate) struct Sum<T: Lanes, S: Simd>([Vector<T, S>; SIDE_BY_SIDE]);

impl<T: Lanes, S: Simd> Sum<T, S> {
    /// Registers that hold the numbers side by side; the others of the array are not used.
    const PARTS: usize = SIDE_BY_SIDE / Vector::<T, S>::LANES;

    #[inline(always)]
    pub fn new(simd: S) -> Self {
        Self([Vector::splat(simd, T::zero()); SIDE_BY_SIDE])
    }

    /// Adds `number` to part `part`, as [`parts`] gives it.
    #[inline(always)]
    pub fn add(&mut self, part: usize, number: Vector<T, S>) {
        self.0[part] = self.0[part] + number;
    }

    /// Adds a · b to part `part`.
    #[inline(always)]
    pub fn add_product(&mut self, part: usize, a: Vector<T, S>, b: Vector<T, S>) {
        self.0[part] = a.mul_add(b, self.0[part]);
    }

    /// Adds the upper COUNT of 2 · COUNT parts to the lower ones, if there are as many.
    #[inline(always)]
    fn halve<const COUNT: usize>(&mut self) {
        if Self::PARTS >= 2 * COUNT {
            for p in 0..COUNT {
                self.0[p] = self.0[p] + self.0[p + COUNT];
            }
        }
    }

    /// What was added up.
    #[inline(always)]
    pub fn total(mut self) -> T {
        // Written out, for the same reason as below.
        self.halve::<16>();
        self.halve::<8>();
        self.halve::<4>();
        self.halve::<2>();
        self.halve::<1>();
        self.0[0].total()
    }
}

/// Calls `body` for all columns of a row of `width` numbers, with the part of a [`Sum`] that they belong to.
#[inline(always)]
pub(crate) fn parts<T: Lanes, S: Simd>(width: usize, mut body: impl FnMut(Columns, usize)) {
    let mut first = 0;
    while first + SIDE_BY_SIDE <= width {
        each_part::<T, S>(
            #[inline(always)]
            |part, count| body(Columns { first: first + part * count, count, width }, part),
        );
        first += SIDE_BY_SIDE;
    }
    if first < width {
        each_part::<T, S>(
            #[inline(always)]
            |part, count| {
                let first = first + part * count;
                if first < width {
                    body(Columns { first, count: count.min(width - first), width }, part);
                }
            },
        );
    }
}

/// Calls `body` for every part of a sum, with the number of lanes. Written out, so that each call knows which part it is:
/// only then do the sums stay in registers.
#[inline(always)]
fn each_part<T: Lanes, S: Simd>(mut body: impl FnMut(usize, usize)) {
    let count = Vector::<T, S>::LANES;
    match Sum::<T, S>::PARTS {
        2 => {
            body(0, count);
            body(1, count);
        }
        4 => {
            body(0, count);
            body(1, count);
            body(2, count);
            body(3, count);
        }
        8 => {
            body(0, count);
            body(1, count);
            body(2, count);
            body(3, count);
            body(4, count);
            body(5, count);
            body(6, count);
            body(7, count);
        }
        parts => (0..parts).for_each(|part| body(part, count)),
    }
}
