//! The products and small vector operations that cells, scans and itemizing call.
//!
//! Every function works on one thread and adds up in an order that depends on the shapes alone, so a result never
//! depends on the number of threads that call it. This is the only file in which `unsafe` may stand.

pub(crate) mod activation;

use crate::Real;
use crate::sequence::View;

/// out ← a b, or out ← out + a b with `accumulate`; a is (m, k), b is (k, n), out is (m, n) row-major.
pub fn product<T: Real>(out: &mut [T], accumulate: bool, a: View<'_, T>, b: View<'_, T>) {
    assert_eq!(a.cols(), b.rows(), "inner sizes of a product");
    let shape = (a.rows(), b.cols(), a.cols());
    gemm_strided(out, accumulate, shape, (a.data(), a.stride(), 1), (b.data(), b.stride(), 1));
}

/// out ← a bᵀ, or out ← out + a bᵀ with `accumulate`; a is (m, k), b is (n, k), out is (m, n) row-major.
pub fn product_transposed<T: Real>(out: &mut [T], accumulate: bool, a: View<'_, T>, b: View<'_, T>) {
    assert_eq!(a.cols(), b.cols(), "inner sizes of a product with a transpose on the right");
    let shape = (a.rows(), b.rows(), a.cols());
    gemm_strided(out, accumulate, shape, (a.data(), a.stride(), 1), (b.data(), 1, b.stride()));
}

/// out ← aᵀ b, or out ← out + aᵀ b with `accumulate`; a is (r, m), b is (r, n), out is (m, n) row-major: the sum
/// over rows of outer products, which is what a weight gradient is.
pub fn sum_of_outer_products<T: Real>(out: &mut [T], accumulate: bool, a: View<'_, T>, b: View<'_, T>) {
    assert_eq!(a.rows(), b.rows(), "as many left factors as right factors");
    let shape = (a.cols(), b.cols(), a.rows());
    gemm_strided(out, accumulate, shape, (a.data(), 1, a.stride()), (b.data(), b.stride(), 1));
}

/// out[i, j] ← (accumulate ? out[i, j] : 0) + Σ_l a(i, l) b(l, j); an operand is (data, row stride, column stride).
fn gemm_strided<T: Real>(
    out: &mut [T],
    accumulate: bool,
    (m, n, k): (usize, usize, usize),
    (a, a_row, a_col): (&[T], usize, usize),
    (b, b_row, b_col): (&[T], usize, usize),
) {
    assert_eq!(out.len(), m * n, "size of a product's result");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            out.fill(T::zero());
        }
        return;
    }
    assert!(a.len() > (m - 1) * a_row + (k - 1) * a_col, "left operand of a product covers its shape");
    assert!(b.len() > (k - 1) * b_row + (n - 1) * b_col, "right operand of a product covers its shape");
    let stride = |s: usize| isize::try_from(s).expect("a stride fits isize");
    let beta = if accumulate { T::one() } else { T::zero() };
    // SAFETY: the three assertions above bound every address that `gemm` reads or writes: out is exactly m·n numbers
    // of a row-major matrix, and the largest index into a and b lies inside their slices. `out` is borrowed mutably,
    // so it overlaps neither operand.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride(n),
            accumulate,
            a.as_ptr(),
            stride(a_col),
            stride(a_row),
            b.as_ptr(),
            stride(b_col),
            stride(b_row),
            beta,
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// x ← tanh x for all numbers; see `activation.rs` for how near.
pub fn tanh<T: Real>(numbers: &mut [T]) {
    T::tanh_all(numbers);
}

/// x ← σ(x) = 1 / (1 + e^−x) for all numbers.
pub fn sigmoid<T: Real>(numbers: &mut [T]) {
    T::sigmoid_all(numbers);
}

/// x ← e^x for all numbers.
pub fn exp<T: Real>(numbers: &mut [T]) {
    T::exp_all(numbers);
}

/// Numbers added side by side in [`dot`]: enough for two AVX-512 registers of f32, and a fixed order of summation.
const LANES: usize = 32;

/// Σ_i a_i b_i.
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    assert_eq!(a.len(), b.len(), "lengths of a dot product");
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [T::zero(); LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    let rest: T = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * b).sum();
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            let other = lanes[i + width];
            lanes[i] += other;
        }
        width /= 2;
    }
    lanes[0] + rest
}

/// out_i ← out_i + factor · a_i.
pub fn add_scaled<T: Real>(out: &mut [T], factor: T, a: &[T]) {
    for (out, &a) in out.iter_mut().zip(a) {
        *out += factor * a;
    }
}

/// out_i ← out_i · a_i.
pub fn multiply<T: Real>(out: &mut [T], a: &[T]) {
    for (out, &a) in out.iter_mut().zip(a) {
        *out *= a;
    }
}

/// out ← out + the sum of the rows of `a`.
pub fn add_rows<T: Real>(out: &mut [T], a: View<'_, T>) {
    for i in 0..a.rows() {
        add_scaled(out, T::one(), a.row(i));
    }
}

/// The largest absolute value, NaN-blind; zero for an empty slice.
pub fn largest<T: Real>(a: &[T]) -> T {
    a.iter().fold(T::zero(), |m, &v| if v.abs() > m { v.abs() } else { m })
}

/// 2^exponent; zero or infinity where that is out of range.
pub fn power_of_two<T: Real>(exponent: i32) -> T {
    // A power of two is exact in f64 down to 2^-1074 and in any case rounds to the right zero or infinity.
    T::of(2f64.powi(exponent.clamp(-2_000, 2_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0).collect()
    }

    /// Every product against three loops, over shapes that meet gemm's vector and matrix paths.
    #[test]
    fn products_equal_three_loops() {
        for (m, n, k) in [(1, 1, 1), (1, 7, 5), (5, 1, 3), (3, 4, 0), (17, 9, 33), (64, 65, 66)] {
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
