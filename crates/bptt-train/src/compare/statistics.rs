//! Statistics of a small number of trainings.

/// z of a two-sided 95 % interval, Φ⁻¹(0.975).
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's (1927) 95 % interval of the probability of an event that happened `k` times out of `n`. In contrast to p ± 1.96
/// σ, it stays within 0 and 1, and has a width if all or none happened.
///
/// ```text
/// (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
/// ```
pub fn wilson(k: usize, n: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (p, n) = (k as f64 / n as f64, n as f64);
    let scale = 1.0 + Z * Z / n;
    let center = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // If all or none happened, one end is 1 or 0 up to rounding.
    let low = if k == 0 { 0.0 } else { center - half };
    let high = if p == 1.0 { 1.0 } else { center + half };
    (low, high)
}

/// The median; for an even number of values the mean of the middle two. `None` without values, or if it is not finite.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() {
        0 => return None,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    };
    median.is_finite().then_some(median)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compared with `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")`, SciPy 1.17.
    #[test]
    fn the_interval_is_scipys() {
        let expected = [
            (0, 5, 0.0, 0.434_482_464_783_174_76),
            (5, 5, 0.565_517_535_216_825_1, 1.0),
            (3, 5, 0.230_724_281_276_012_97, 0.882_379_225_767_352_1),
            (8, 10, 0.490_162_471_536_641_8, 0.943_317_848_545_624_8),
            (1, 1, 0.206_549_314_377_237_45, 1.0),
            (50, 100, 0.403_831_530_365_995_6, 0.596_168_469_634_004_4),
        ];
        for (k, n, low, high) in expected {
            let found = wilson(k, n);
            assert!((found.0 - low).abs() < 1e-14 && (found.1 - high).abs() < 1e-14, "{k}/{n}: {found:?}");
        }
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn medians_are_those_of_the_middle() {
        let of = |values: &[f64]| median(values.iter().copied());
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(of(&[f64::INFINITY, 1.0, 2.0]), Some(2.0));
        assert_eq!((of(&[]), of(&[1.0, f64::INFINITY])), (None, None));
    }
}
