//! Products of whole matrices, and functions of every number of a slice.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use super::activation::{self, Exponential};
use super::columns::{Sum, columns, parts};
use super::lanes::{Lanes, Vector};
use super::number::Number;
use super::packed::Packed;
use super::product::{Products, Start};
use crate::array::View;

/// out ← a b, or out ← out + a b with `accumulate`; a is (m, k), b is (k, n), out is (m, n) row-major.
pub fn product<T: Lanes + Products>(out: &mut [T], accumulate: bool, a: View<'_, T>, b: View<'_, T>) {
    product_packed(out, accumulate, a, &Packed::new(b));
}

/// out ← a bᵀ, or out ← out + a bᵀ with `accumulate`; a is (m, k), b is (n, k), out is (m, n) row-major.
pub fn product_transposed<T: Lanes + Products>(
    out: &mut [T],
    accumulate: bool,
    a: View<'_, T>,
    b: View<'_, T>,
) {
    product_packed(out, accumulate, a, &Packed::transposed(b));
}

/// The same with the right operand packed already.
pub fn product_packed<T: Lanes + Products>(out: &mut [T], accumulate: bool, a: View<'_, T>, b: &Packed<T>) {
    assert_eq!(out.len(), a.rows() * b.cols(), "size of a product's result");
    let start = if accumulate { Start::Out } else { Start::Zero };
    T::multiply(out, b.cols(), start, a, b);
}

/// out ← aᵀ b, or out ← out + aᵀ b with `accumulate`; a is (r, m), b is (r, n), out is (m, n) row-major: the sum
/// over rows of outer products, which is what a weight gradient is.
pub fn sum_of_outer_products<T: Lanes + Products>(
    out: &mut [T],
    accumulate: bool,
    a: View<'_, T>,
    b: View<'_, T>,
) {
    if !accumulate {
        out.fill(T::zero());
    }
    T::add_outer_products(out, a, b);
}

on_registers! {
    /// x ← tanh x for all numbers; see `activation.rs` for how near.
    pub fn tanh<'a, T: Exponential>(simd, numbers: &'a mut [T]) -> () {
        columns::<T, S>(numbers.len(), #[inline(always)] |at| {
            activation::tanh(Vector::load(simd, numbers, at)).store(numbers, at);
        });
    }

    /// x ← σ(x) = 1 / (1 + e^−x) for all numbers.
    pub fn sigmoid<'a, T: Exponential>(simd, numbers: &'a mut [T]) -> () {
        columns::<T, S>(numbers.len(), #[inline(always)] |at| {
            activation::sigmoid(Vector::load(simd, numbers, at)).store(numbers, at);
        });
    }

    /// x ← e^x for all numbers.
    pub fn exp<'a, T: Exponential>(simd, numbers: &'a mut [T]) -> () {
        columns::<T, S>(numbers.len(), #[inline(always)] |at| {
            activation::exp(Vector::load(simd, numbers, at)).store(numbers, at);
        });
    }

    /// out_i ← out_i + factor · a_i.
    pub fn add_scaled<'a, T: Lanes>(simd, out: &'a mut [T], factor: T, a: &'a [T]) -> () {
        let factor = Vector::splat(simd, factor);
        columns::<T, S>(out.len().min(a.len()), #[inline(always)] |at| {
            let sum = factor.mul_add(Vector::load(simd, a, at), Vector::load(simd, out, at));
            sum.store(out, at);
        });
    }

    /// out_i ← out_i · a_i.
    pub fn multiply_by<'a, T: Lanes>(simd, out: &'a mut [T], a: &'a [T]) -> () {
        columns::<T, S>(out.len().min(a.len()), #[inline(always)] |at| {
            (Vector::load(simd, out, at) * Vector::load(simd, a, at)).store(out, at);
        });
    }

    /// The largest absolute value, NaN-blind; zero for an empty slice.
    pub fn largest<'a, T: Lanes>(simd, a: &'a [T]) -> T {
        let mut largest = Vector::splat(simd, T::zero());
        columns::<T, S>(a.len(), #[inline(always)] |at| largest = Vector::load(simd, a, at).abs().max(largest));
        largest.largest()
    }

    /// out ← out + the sum of the rows of `a`.
    pub fn add_rows<'a, T: Lanes>(simd, out: &'a mut [T], a: View<'a, T>) -> () {
        for i in 0..a.rows() {
            columns::<T, S>(a.cols(), #[inline(always)] |at| {
                (Vector::load(simd, out, at) + Vector::load(simd, a.row(i), at)).store(out, at);
            });
        }
    }

    /// Row ids_i of `out` ← itself + row i of `a`.
    pub(crate) fn add_to_rows<'a, T: Lanes>(simd, out: &'a mut [T], ids: &'a [u32], a: View<'a, T>) -> () {
        let width = a.cols();
        for (i, &id) in ids.iter().enumerate() {
            let (out, a) = (&mut out[id as usize * width..][..width], a.row(i));
            columns::<T, S>(width, #[inline(always)] |at| {
                (Vector::load(simd, out, at) + Vector::load(simd, a, at)).store(out, at);
            });
        }
    }

    /// Σ_i |a_i|.
    pub fn sum_of_sizes<'a, T: Lanes>(simd, a: &'a [T]) -> T {
        let mut sum = Sum::new(simd);
        parts::<T, S>(a.len(), #[inline(always)] |at, part| sum.add(part, Vector::load(simd, a, at).abs()));
        sum.total()
    }

    /// Σ_i a_i b_i.
    pub fn dot<'a, T: Lanes>(simd, a: &'a [T], b: &'a [T]) -> T {
        assert_eq!(a.len(), b.len(), "lengths of a dot product");
        let mut sum = Sum::new(simd);
        parts::<T, S>(a.len(), #[inline(always)] |at, part| {
            sum.add_product(part, Vector::load(simd, a, at), Vector::load(simd, b, at));
        });
        sum.total()
    }
}

/// 2^exponent; zero or infinity where that is out of range.
pub fn power_of_two<T: Number>(exponent: i32) -> T {
    // A power of two is exact in f64 down to 2^-1074 and in any case rounds to the right zero or infinity.
    T::of(match exponent {
        0 => 1.0,
        -1_022..=1_023 => f64::from_bits(u64::from((exponent + 1_023).unsigned_abs()) << 52),
        _ => 2f64.powi(exponent.clamp(-2_000, 2_000)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0).collect()
    }

    /// Every product against three loops, over shapes that meet every kind of tile, more than one panel and more than one
    /// block.
    #[test]
    fn products_equal_three_loops() {
        let odd = [
            (1, 1, 1),
            (1, 7, 5),
            (5, 1, 3),
            (3, 4, 0),
            (17, 9, 33),
            (64, 65, 66),
            (7, 70, 300),
            (70, 7, 520),
        ];
        let tiles = (1..14).flat_map(|m| [9, 17, 25, 33, 41, 75].map(|n| (m, n, 6)));
        for (m, n, k) in odd.into_iter().chain(tiles) {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let start = numbers(m * n, 3);
            let mut expected = start.clone();
            for i in 0..m {
                for j in 0..n {
                    expected[i * n + j] += (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f64>();
                }
            }
            let transpose = |x: &[f64], rows: usize, cols: usize| -> Vec<f64> {
                (0..rows * cols).map(|i| x[(i % rows) * cols + i / rows]).collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            let mut results = [start.clone(), start.clone(), start];
            product(&mut results[0], true, View::new(m, k, &a), View::new(k, n, &b));
            product_transposed(&mut results[1], true, View::new(m, k, &a), View::new(n, k, &bt));
            sum_of_outer_products(&mut results[2], true, View::new(k, m, &at), View::new(k, n, &b));
            for result in results {
                for (r, e) in result.iter().zip(&expected) {
                    assert!((r - e).abs() < 1e-12, "({m}, {n}, {k}): {r} is not {e}");
                }
            }
        }
    }

    #[test]
    fn some_columns_are_a_matrix_of_their_own() {
        let (a, b) = (numbers(5 * 7, 4), numbers(3 * 2, 5));
        let columns = View::new(5, 7, &a).columns(3..6);
        let copy = columns.to_matrix();
        assert_eq!((copy.row(4), columns.row(1)), (&a[31..34], &a[10..13]));
        let (mut found, mut expected) = (vec![0.0; 10], vec![0.0; 10]);
        product(&mut found, false, columns, View::new(3, 2, &b));
        product(&mut expected, false, copy.view(), View::new(3, 2, &b));
        assert_eq!(found, expected);
        sum_of_outer_products(&mut found[..6], false, columns, View::new(5, 2, &a[..10]));
        sum_of_outer_products(&mut expected[..6], false, copy.view(), View::new(5, 2, &a[..10]));
        assert_eq!(found, expected);
    }

    #[test]
    fn without_accumulate_the_old_contents_do_not_matter() {
        let mut out = vec![f64::NAN; 1];
        product(&mut out, false, View::new(1, 2, &[1.0, 2.0]), View::new(2, 1, &[3.0, 4.0]));
        assert_eq!(out, [11.0]);
    }

    #[test]
    fn dot_adds_every_element_once() {
        for n in [0, 1, 31, 32, 33, 100] {
            let ones = vec![1.0f64; n];
            assert_eq!(dot(&ones, &ones), n as f64);
        }
    }

    #[test]
    fn powers_of_two_are_exact_and_saturate() {
        assert_eq!(power_of_two::<f32>(-3), 0.125);
        assert_eq!(power_of_two::<f32>(-149), f32::from_bits(1));
        assert_eq!(power_of_two::<f32>(-200), 0.0);
        assert_eq!(power_of_two::<f64>(-1074), f64::from_bits(1));
        assert_eq!(power_of_two::<f64>(5_000), f64::INFINITY);
    }
}
