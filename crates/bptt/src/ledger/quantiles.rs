//! Quantiles of a list of numbers.

/// The median, `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    (!values.is_empty()).then(|| quantile(&values, 0.5))
}

/// The `q`-quantile of ascending values, linear between neighbors (NumPy's default).
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let low = floor_index(position);
    let fraction = position - low as f64;
    // Where the left neighbor is −∞ so is everything up to the right one; at a whole position the right one must not
    // count at all.
    if fraction == 0.0 || sorted[low] == f64::NEG_INFINITY {
        return sorted[low];
    }
    sorted[low] + (sorted[low + 1] - sorted[low]) * fraction
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a position inside a slice
fn floor_index(position: f64) -> usize {
    position.floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_linear_between_neighbors() {
        let values = [1.0, 2.0, 4.0, 8.0, 16.0];
        assert_eq!([0.1, 0.25, 0.5, 0.75, 0.9].map(|q| quantile(&values, q)), [1.4, 2.0, 4.0, 8.0, 12.8]);
        assert_eq!(quantile(&[f64::NEG_INFINITY, 3.0], 1.0), 3.0);
        assert_eq!(quantile(&[f64::NEG_INFINITY; 2], 0.5), f64::NEG_INFINITY);
        assert_eq!(quantile(&[f64::NEG_INFINITY, 3.0], 0.5), f64::NEG_INFINITY);
        assert_eq!(quantile(&[7.0], 0.9), 7.0);
    }
}
