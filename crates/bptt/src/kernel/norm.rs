//! Norms, distances and inner products in f64, without under- or overflow on the way.

use super::lanes::Lanes;
use super::vectors::{largest, power_of_two};

/// ‖v‖, without under- or overflow on the way.
pub(crate) fn norm<T: Lanes>(v: &[T]) -> f64 {
    let size = largest(v).f64();
    // Within these limits no square is out of f64's range, nor lost beside the largest. A power of two rounds nothing, and
    // has an inverse where the smallest numbers have none.
    let scale = match size {
        size if size < 1e-100 => power_of_two(600),
        size if size >= 1e100 => power_of_two(-600),
        _ => 1.0,
    };
    sum_of_pairs(v, v, |v, _| (v * scale).powi(2)).sqrt() / scale
}

/// ‖a − b‖, likewise.
pub(crate) fn distance<T: Lanes>(a: &[T], b: &[T]) -> f64 {
    /// Differences that are formed at a time.
    const TOGETHER: usize = 1024;
    let mut differences = [0.0; TOGETHER];
    let mut of_parts = Vec::with_capacity(a.len().div_ceil(TOGETHER));
    for (a, b) in a.chunks(TOGETHER).zip(b.chunks(TOGETHER)) {
        for ((difference, a), b) in differences.iter_mut().zip(a).zip(b) {
            *difference = a.f64() - b.f64();
        }
        of_parts.push(norm(&differences[..a.len()]));
    }
    norm(&of_parts)
}

/// Σ_i a_i b_i.
pub(crate) fn inner<T: Lanes>(a: &[T], b: &[T]) -> f64 {
    sum_of_pairs(a, b, |a, b| a * b)
}

/// Σ_i term(a_i, b_i), eight sums side by side: one chain of additions would wait for itself.
fn sum_of_pairs<T: Lanes>(a: &[T], b: &[T], term: impl Fn(f64, f64) -> f64) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(a.f64(), b.f64());
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| term(a.f64(), b.f64())).sum();
    sums.iter().sum::<f64>() + rest
}

/// Scales `v` to unit length and returns what its length was; zeros stay.
pub(crate) fn to_unit_length<T: Lanes>(v: &mut [T]) -> f64 {
    let length = norm(v);
    if length > 0.0 {
        for number in v.iter_mut() {
            *number = T::of(number.f64() / length);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_of_any_size_are_finite_and_exact() {
        assert_eq!(norm(&[0.0, 5e-324, 0.0]), 5e-324);
        assert_eq!(norm(&[3.0 * 2f64.powi(-1070), 4.0 * 2f64.powi(-1070)]), 5.0 * 2f64.powi(-1070));
        assert!((norm(&[3e-200, 4e-200]) / 5e-200 - 1.0).abs() < 1e-15);
        assert_eq!(norm(&[3.0, 4.0]), 5.0);
        assert_eq!(norm(&[f64::MAX, 0.0]), f64::MAX);
        assert!(norm(&[f64::NAN, 1.0]).is_nan() && norm(&[f64::NAN]).is_nan());
        assert_eq!(norm(&[0.0, 0.0]), 0.0);
        let (a, b) = (vec![2.0; 2500], vec![2.0 - 3e-200; 2500]);
        assert_eq!((distance(&a, &b), distance(&[5.0, 0.0], &[2.0, 4.0])), (0.0, 5.0));
        let (a, b) = (vec![3e-200; 2500], vec![0.0; 2500]);
        assert!((distance(&a, &b) / 1.5e-198 - 1.0).abs() < 1e-15);
        assert!(distance(&[f64::NAN, 1.0], &[1.0, 1.0]).is_nan());
    }
}
