//! Round numbers along an axis.

/// Numbers that are read easily, of which about `wanted` lie from `low` to `high`.
pub(super) fn between(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let Some((mantissa, exponent)) = step(low, high, wanted) else { return vec![low] };
    let size = 10f64.powi(exponent.abs());
    // In tenths of the power of ten, so that a number is a whole one times or through another and has no digits of rounding.
    let number = |i: f64| {
        let tenths = i * mantissa * 10.0;
        (if exponent < 0 { tenths / size } else { tenths * size }) / 10.0
    };
    let unit = number(1.0);
    let (mut i, mut ticks) = ((low / unit - 1e-9).ceil(), Vec::new());
    while i <= high / unit + 1e-9 {
        ticks.push(number(i) + 0.0); // no −0
        i += 1.0;
    }
    ticks
}

/// The distance between such numbers.
pub(super) fn distance(low: f64, high: f64, wanted: usize) -> f64 {
    step(low, high, wanted).map_or(1.0, |(mantissa, exponent)| mantissa * 10f64.powi(exponent))
}

/// The distance as 1, 2, 2.5 or 5 times a power of ten; nothing where there is no distance.
fn step(low: f64, high: f64, wanted: usize) -> Option<(f64, i32)> {
    let rough = (high - low) / wanted as f64;
    if !rough.is_normal() || rough < 0.0 {
        return None;
    }
    #[allow(clippy::cast_possible_truncation)] // an exponent of f64
    let exponent = rough.log10().floor() as i32;
    Some(match rough / 10f64.powi(exponent) {
        r if r < 1.5 => (1.0, exponent),
        r if r < 2.25 => (2.0, exponent),
        r if r < 3.5 => (2.5, exponent),
        r if r < 7.5 => (5.0, exponent),
        _ => (1.0, exponent + 1),
    })
}

/// 1, 2 and 5 times powers of ten from `low` to `high`; the powers alone where those are many.
pub(super) fn logarithmic(low: f64, high: f64) -> Vec<f64> {
    let factors: &[f64] = if high / low > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    #[allow(clippy::cast_possible_truncation)] // exponents of f64
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all = (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    all.filter(|tick| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(tick)).collect()
}

/// A number as it stands on an axis.
pub(super) fn shown(tick: f64) -> String {
    format!("{tick}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(between(0.0, 1.45, 6), [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]);
        assert_eq!(between(-0.31, 0.05, 6), [-0.3, -0.25, -0.2, -0.15, -0.1, -0.05, 0.0, 0.05]);
        assert_eq!(between(0.0, 6000.0, 8), [0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0]);
        assert_eq!(between(0.0, 3e-8, 3), [0.0, 1e-8, 2e-8, 3e-8]);
        assert_eq!(between(2.0, 2.0, 5), [2.0]);
        assert_eq!((distance(0.0, 29.0, 8), distance(0.0, 1.0, 8)), (5.0, 0.1));
    }

    #[test]
    fn logarithmic_ticks_are_few() {
        assert_eq!(logarithmic(1.0, 12.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(logarithmic(3.0, 5000.0), [10.0, 100.0, 1000.0]);
    }

    #[test]
    fn numbers_have_no_digits_of_rounding() {
        for tick in between(0.0, 0.7, 7).into_iter().chain(between(-3.0, 3.0, 20)) {
            assert!(shown(tick).chars().count() <= 5, "{tick}");
        }
    }
}
