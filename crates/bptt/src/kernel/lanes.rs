//! Numbers side by side in a vector register, for f32 and f64 alike.
//!
//! What is generic over the number type cannot name pulp's methods, which have the type in their names; [`Lanes`] does, and
//! [`Vector`] gives them back as operators, so that a formula stays one.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::Simd;
use pulp::bytemuck::{self, Pod};
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::number::Number;
use super::range::Columns;

/// A number type and its vectors on any registers.
pub trait Lanes: Number + Pod {
    /// 0, 1, 2, …, as many as the widest register holds.
    const PLACES: &[Self];

    /// As many numbers as a register of `S` holds.
    type Register<S: Simd>: Pod;

    fn splat<S: Simd>(simd: S, number: Self) -> Self::Register<S>;
    fn add<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>) -> Self::Register<S>;
    fn sub<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>) -> Self::Register<S>;
    fn mul<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>) -> Self::Register<S>;
    fn div<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>) -> Self::Register<S>;
    fn neg<S: Simd>(simd: S, a: Self::Register<S>) -> Self::Register<S>;
    fn abs<S: Simd>(simd: S, a: Self::Register<S>) -> Self::Register<S>;
    /// a ≥ 0 with the sign of b.
    fn with_sign_of<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>) -> Self::Register<S>;
    /// a · b + c, rounded once where the registers can.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Register<S>,
        b: Self::Register<S>,
        c: Self::Register<S>,
    ) -> Self::Register<S>;
    /// Where a > b, `yes`, elsewhere `no`; a NaN is not greater.
    fn if_greater<S: Simd>(
        simd: S,
        a: Self::Register<S>,
        b: Self::Register<S>,
        yes: Self::Register<S>,
        no: Self::Register<S>,
    ) -> Self::Register<S>;
    /// All numbers added up: halves meet, then halves of these.
    fn total<S: Simd>(simd: S, register: Self::Register<S>) -> Self;
    /// The largest of all numbers, none of which is NaN.
    fn largest<S: Simd>(simd: S, register: Self::Register<S>) -> Self;
    /// Every number by itself.
    fn each<S: Simd>(register: Self::Register<S>, function: impl Fn(Self) -> Self) -> Self::Register<S>;
    /// At most as many numbers as a register holds; zeros behind them.
    fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Register<S>;
    /// As many numbers as `to` has room for.
    fn store<S: Simd>(simd: S, register: Self::Register<S>, to: &mut [Self]);
    /// Whole registers, without what is left over.
    fn whole<S: Simd>(numbers: &[Self]) -> &[Self::Register<S>];
    /// Whole registers to write, without what is left over.
    fn whole_mut<S: Simd>(numbers: &mut [Self]) -> &mut [Self::Register<S>];
}

macro_rules! lanes {
    ($number:ty, $register:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $neg:ident, $abs:ident,
     $bits:ident, $splat_bits:ident, $and:ident, $or:ident, $mul_add:ident, $greater:ident, $select:ident, $total:ident, $largest:ident, $load:ident, $store:ident, $whole:ident, $whole_mut:ident) => {
        impl Lanes for $number {
            const PLACES: &[Self] =
                &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

            type Register<S: Simd> = S::$register;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, number: Self) -> S::$register {
                simd.$splat(number)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$register, b: S::$register) -> S::$register {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn sub<S: Simd>(simd: S, a: S::$register, b: S::$register) -> S::$register {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn mul<S: Simd>(simd: S, a: S::$register, b: S::$register) -> S::$register {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn div<S: Simd>(simd: S, a: S::$register, b: S::$register) -> S::$register {
                simd.$div(a, b)
            }
            #[inline(always)]
            fn neg<S: Simd>(simd: S, a: S::$register) -> S::$register {
                simd.$neg(a)
            }
            #[inline(always)]
            fn abs<S: Simd>(simd: S, a: S::$register) -> S::$register {
                simd.$abs(a)
            }
            #[inline(always)]
            fn with_sign_of<S: Simd>(simd: S, a: S::$register, b: S::$register) -> S::$register {
                let (a, b): (S::$bits, S::$bits) = (bytemuck::cast(a), bytemuck::cast(b));
                bytemuck::cast(simd.$or(a, simd.$and(b, simd.$splat_bits(Self::to_bits(-0.0)))))
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$register, b: S::$register, c: S::$register) -> S::$register {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn if_greater<S: Simd>(
                simd: S,
                a: S::$register,
                b: S::$register,
                yes: S::$register,
                no: S::$register,
            ) -> S::$register {
                simd.$select(simd.$greater(a, b), yes, no)
            }
            #[inline(always)]
            fn total<S: Simd>(simd: S, register: S::$register) -> Self {
                simd.$total(register)
            }
            #[inline(always)]
            fn largest<S: Simd>(simd: S, register: S::$register) -> Self {
                simd.$largest(register)
            }
            #[inline(always)]
            fn each<S: Simd>(mut register: S::$register, function: impl Fn(Self) -> Self) -> S::$register {
                let numbers: &mut [Self] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut register));
                for number in numbers {
                    *number = function(*number);
                }
                register
            }
            #[inline(always)]
            fn load<S: Simd>(simd: S, from: &[Self]) -> S::$register {
                match S::$whole(from) {
                    (&[register], []) => register,
                    _ => simd.$load(from),
                }
            }
            #[inline(always)]
            fn store<S: Simd>(simd: S, register: S::$register, to: &mut [Self]) {
                match S::$whole_mut(to) {
                    ([place], []) => *place = register,
                    _ => simd.$store(to, register),
                }
            }
            #[inline(always)]
            fn whole<S: Simd>(numbers: &[Self]) -> &[S::$register] {
                S::$whole(numbers).0
            }
            #[inline(always)]
            fn whole_mut<S: Simd>(numbers: &mut [Self]) -> &mut [S::$register] {
                S::$whole_mut(numbers).0
            }
        }
    };
}

lanes!(
    f32,
    f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    div_f32s,
    neg_f32s,
    abs_f32s,
    u32s,
    splat_u32s,
    and_u32s,
    or_u32s,
    mul_add_e_f32s,
    greater_than_f32s,
    select_f32s,
    reduce_sum_f32s,
    reduce_max_f32s,
    partial_load_f32s,
    partial_store_f32s,
    as_simd_f32s,
    as_mut_simd_f32s
);
lanes!(
    f64,
    f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    div_f64s,
    neg_f64s,
    abs_f64s,
    u64s,
    splat_u64s,
    and_u64s,
    or_u64s,
    mul_add_e_f64s,
    greater_than_f64s,
    select_f64s,
    reduce_sum_f64s,
    reduce_max_f64s,
    partial_load_f64s,
    partial_store_f64s,
    as_simd_f64s,
    as_mut_simd_f64s
);

/// A register's numbers as one number of a formula.
pub(crate) struct Vector<T: Lanes, S: Simd>(S, T::Register<S>);

// Derived, both would ask for T and S to be the same.
#[allow(clippy::expl_impl_clone_on_copy)]
impl<T: Lanes, S: Simd> Clone for Vector<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Lanes, S: Simd> Copy for Vector<T, S> {}

impl<T: Lanes, S: Simd> Vector<T, S> {
    /// How many numbers it has.
    pub const LANES: usize = size_of::<T::Register<S>>() / size_of::<T>();

    #[inline(always)]
    pub fn splat(simd: S, number: T) -> Self {
        Self(simd, T::splat(simd, number))
    }

    #[inline(always)]
    pub fn of(simd: S, register: T::Register<S>) -> Self {
        Self(simd, register)
    }

    #[inline(always)]
    pub fn register(self) -> T::Register<S> {
        self.1
    }

    /// The numbers of `from` at `columns`.
    #[inline(always)]
    pub fn load(simd: S, from: &[T], columns: Columns) -> Self {
        Self(simd, T::load(simd, columns.of(from)))
    }

    /// The numbers of `from` at `columns`, and `others` where the register has more.
    #[inline(always)]
    pub fn load_or(simd: S, from: &[T], columns: Columns, others: Self) -> Self {
        let numbers = Self::load(simd, from, columns);
        if columns.count == Self::LANES {
            return numbers;
        }
        let places = Self(simd, T::load(simd, &T::PLACES[..Self::LANES]));
        places.if_greater(numbers.and(T::of(columns.count as f64 - 0.5)), others, numbers)
    }

    /// Puts the numbers into `to` at `columns`.
    #[inline(always)]
    pub fn store(self, to: &mut [T], columns: Columns) {
        T::store(self.0, self.1, columns.of_mut(to));
    }

    /// The same number everywhere, beside this one.
    #[inline(always)]
    pub fn and(self, number: T) -> Self {
        Self::splat(self.0, number)
    }

    #[inline(always)]
    pub fn abs(self) -> Self {
        Self(self.0, <T as Lanes>::abs(self.0, self.1))
    }

    /// A number that is not negative, with the sign of `b`.
    #[inline(always)]
    pub fn with_sign_of(self, b: Self) -> Self {
        Self(self.0, T::with_sign_of(self.0, self.1, b.1))
    }

    /// self · b + c, rounded once where the registers can.
    #[inline(always)]
    pub fn mul_add(self, b: Self, c: Self) -> Self {
        Self(self.0, <T as Lanes>::mul_add(self.0, self.1, b.1, c.1))
    }

    /// `yes` where self > b, elsewhere `no`; a NaN is not greater.
    #[inline(always)]
    pub fn if_greater(self, b: Self, yes: Self, no: Self) -> Self {
        Self(self.0, T::if_greater(self.0, self.1, b.1, yes.1, no.1))
    }

    /// The larger of both; of a NaN and a number, `b`.
    #[inline(always)]
    pub fn max(self, b: Self) -> Self {
        self.if_greater(b, self, b)
    }

    /// The largest of its numbers, none of which is NaN.
    #[inline(always)]
    pub fn largest(self) -> T {
        T::largest(self.0, self.1)
    }

    /// The sum of its numbers.
    #[inline(always)]
    pub fn total(self) -> T {
        T::total(self.0, self.1)
    }

    /// Every number by itself.
    #[inline(always)]
    pub fn each(self, function: impl Fn(T) -> T) -> Self {
        Self(self.0, T::each::<S>(self.1, function))
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident),*) => {
        $(impl<T: Lanes, S: Simd> $operator for Vector<T, S> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.0, <T as Lanes>::$method(self.0, self.1, other.1))
            }
        })*
    };
}

operators!(Add add, Sub sub, Mul mul, Div div);

impl<T: Lanes, S: Simd> Neg for Vector<T, S> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0, <T as Lanes>::neg(self.0, self.1))
    }
}
