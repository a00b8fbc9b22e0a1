//! Gradient clipping, with the norms before and after.
//!
//! A gradient that is not finite is left as it is, and its norm is reported as it is.

use bptt::Real;

/// The global norm before and after clipping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
}

/// Clipping by global norm, then entry by entry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clipping {
    /// The largest global norm; 0 for no limit.
    pub norm: f64,
    /// The largest absolute value of an entry; 0 for no limit.
    pub value: f64,
}

impl Clipping {
    /// Clips, and returns the norms before and after both.
    pub fn apply<T: Real>(self, gradients: &mut [&mut [T]]) -> Clipped {
        let by_norm = if self.norm > 0.0 { self.norm } else { f64::INFINITY };
        let mut clipped = clip_by_norm(gradients, by_norm);
        if self.value > 0.0 {
            clipped.after = clip_by_value(gradients, self.value).after;
        }
        clipped
    }
}

/// The Euclidean norm of all gradients as one vector, summed in f64 in order.
pub fn global_norm<T: Real>(gradients: &[&[T]]) -> f64 {
    norm(gradients.iter().copied())
}

/// Scales all gradients by max / norm if their global norm is above `max` (Pascanu et al. 2013).
///
/// Gradients whose norm is infinite or NaN are left unchanged.
pub fn clip_by_norm<T: Real>(gradients: &mut [&mut [T]], max: f64) -> Clipped {
    let before = norm(gradients.iter().map(|gradient| &**gradient));
    if !before.is_finite() || before <= max {
        return Clipped { before, after: before };
    }
    let scale = T::of(max / before);
    for gradient in gradients.iter_mut() {
        for g in gradient.iter_mut() {
            *g *= scale;
        }
    }
    Clipped { before, after: norm(gradients.iter().map(|gradient| &**gradient)) }
}

/// Clamps every entry to [−`limit`, `limit`]; NaN stays NaN.
pub fn clip_by_value<T: Real>(gradients: &mut [&mut [T]], limit: f64) -> Clipped {
    let before = norm(gradients.iter().map(|gradient| &**gradient));
    let limit = T::of(limit);
    for gradient in gradients.iter_mut() {
        for g in gradient.iter_mut().filter(|g| g.abs() > limit) {
            *g = limit * g.signum();
        }
    }
    Clipped { before, after: norm(gradients.iter().map(|gradient| &**gradient)) }
}

fn norm<'a, T: Real>(gradients: impl Iterator<Item = &'a [T]>) -> f64 {
    gradients.flatten().map(|g| g.f64() * g.f64()).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_gradient_keeps_its_direction() {
        let (mut a, mut b) = ([3.0_f64, 0.0], [-4.0_f64]);
        let clipped = clip_by_norm(&mut [&mut a, &mut b], 1.0);
        assert_eq!(clipped.before, 5.0);
        assert!((clipped.after - 1.0).abs() < 1e-15);
        assert!((a[0] - 0.6).abs() < 1e-15 && (b[0] + 0.8).abs() < 1e-15);
        assert_eq!(global_norm(&[&a, &b]), clipped.after);
    }

    #[test]
    fn a_short_gradient_is_left_alone() {
        let mut a = [3.0_f32, 4.0];
        assert_eq!(clip_by_norm(&mut [&mut a], 5.0), Clipped { before: 5.0, after: 5.0 });
        assert_eq!(a, [3.0, 4.0]);
    }

    #[test]
    fn entries_are_moved_into_the_limits() {
        let mut a = [0.5, -3.0, 4.0];
        let clipped = clip_by_value(&mut [&mut a], 1.0);
        assert_eq!(a, [0.5, -1.0, 1.0]);
        assert_eq!(clipped, Clipped { before: 25.25_f64.sqrt(), after: 1.5 });
    }

    #[test]
    fn a_gradient_that_is_not_finite_shows() {
        let mut a = [f32::NAN, 9.0];
        assert!(clip_by_norm(&mut [&mut a], 1.0).after.is_nan());
        assert!(clip_by_value(&mut [&mut a], 1.0).after.is_nan());
        assert!(a[0].is_nan());
        let mut a = [f64::INFINITY, 9.0];
        assert_eq!(clip_by_norm(&mut [&mut a], 1.0).before, f64::INFINITY);
        assert_eq!(a[1], 9.0);
    }
}
