//! Leaky units (Jaeger et al. 2007; a continuous-time network in steps of dt, α = dt/τ):
//!
//! ```text
//! n_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)      h_t = (1 − α) h_{t-1} + α n_t
//! ```
//!
//! Their way back, for a gradient dh with respect to h_t:
//!
//! ```text
//! da = α dh ∘ (1 − n_t²)                                 dh ← (1 − α) dh + da W_hh
//! ```

use std::sync::{Mutex, PoisonError};

use super::{Backward, Cell, Forward, StepCache};
use crate::Error;
use crate::array::View;
use crate::kernel::activation::tanh;
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};
use crate::model::Recurrent;

/// The leaky cell. α is fixed, the same for all units, and a part of the cell's name: `rnn_leaky:0.25`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaky {
    alpha: f64,
    name: &'static str,
}

/// The cells of every α that was asked for: a network's cell lives as long as the program.
static KNOWN: Mutex<Vec<&'static Leaky>> = Mutex::new(Vec::new());

impl Leaky {
    /// `rnn_leaky`, with α = 0.1.
    pub const DEFAULT: Self = Self { alpha: 0.1, name: "rnn_leaky" };

    /// The cell with the leak `alpha`, a number above 0 and at most 1 as text.
    ///
    /// # Errors
    /// If it is another.
    pub fn of(alpha: &str) -> Result<&'static Self, Error> {
        let possible = |alpha: &f64| *alpha > 0.0 && *alpha <= 1.0;
        let Some(alpha) = alpha.parse().ok().filter(possible) else {
            return Err(Error::Option {
                option: "cell".into(),
                given: format!("rnn_leaky:{alpha}"),
                expected: "a leak above 0 and at most 1, as in rnn_leaky:0.25".into(),
            });
        };
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().copied().find(|cell| cell.alpha.to_bits() == alpha.to_bits());
        Ok(found.unwrap_or_else(|| {
            let name = Box::leak(format!("rnn_leaky:{alpha:?}").into_boxed_str());
            let cell: &'static Self = Box::leak(Box::new(Self { alpha, name }));
            known.push(cell);
            cell
        }))
    }

    /// α, how much of a step's state is new.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }
}

impl<T: Real> Cell<T> for Leaky {
    fn name(&self) -> &'static str {
        self.name
    }

    fn gates(&self) -> &'static [&'static str] {
        &["n"]
    }

    fn range(&self, _: usize) -> (f64, f64) {
        (-1.0, 1.0)
    }

    fn passes_by(&self) -> bool {
        true
    }

    /// Along h: by the factors 1 − α alone. Through n: it has passed a pre-activation.
    fn paths(&self) -> &'static [&'static str] {
        &["along_h", "through_n"]
    }

    fn path(&self, passed: Option<usize>, gate: Option<usize>) -> usize {
        gate.or(passed).map_or(0, |gate| 1 + gate)
    }

    fn step(&self, weights: &Recurrent<T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights);
        activate(T::of(self.alpha), step.gates, step.h_prev, step.h);
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        through_tanh(T::of(self.alpha), cache, rows.dh, rows.da);
    }
}

on_registers! {
    /// From the pre-activations to n and h.
    fn activate<'a, T>(simd, alpha: T, n: &'a mut [T], h_prev: View<'a, T>, h: &'a mut [T]) -> () {
        let (alpha, rest) = (Vector::splat(simd, alpha), Vector::splat(simd, T::one() - alpha));
        let h_prev = h_prev.data();
        columns::<T, S>(n.len(), #[inline(always)] |at| {
            let n_t = tanh(Vector::load(simd, n, at));
            n_t.store(n, at);
            alpha.mul_add(n_t, rest * Vector::load(simd, h_prev, at)).store(h, at);
        });
    }

    /// From dh to da, and the part of dh that passes by.
    fn through_tanh<'a, T>(
        simd,
        alpha: T,
        cache: &'a StepCache<'a, T>,
        dh: &'a mut [T],
        da: &'a mut [T],
    ) -> () {
        let n = cache.gates.data();
        let (one, alpha) = (Vector::splat(simd, T::one()), Vector::splat(simd, alpha));
        for (da, dh) in da.chunks_exact_mut(n.len()).zip(dh.chunks_exact_mut(n.len())) {
            columns::<T, S>(n.len(), #[inline(always)] |at| {
                let (n, dh_t) = (Vector::load(simd, n, at), Vector::load(simd, dh, at));
                (alpha * dh_t * (one - n * n)).store(da, at);
                ((one - alpha) * dh_t).store(dh, at);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell_by_name;

    #[test]
    fn one_leak_is_one_cell_by_whatever_spelling() {
        let quarter = Leaky::of("0.25").unwrap();
        assert!(std::ptr::eq(quarter, Leaky::of("25e-2").unwrap()));
        assert_eq!((quarter.alpha(), Cell::<f32>::name(quarter)), (0.25, "rnn_leaky:0.25"));
        assert_eq!(cell_by_name::<f64>("rnn_leaky:2.5e-1").unwrap().name(), "rnn_leaky:0.25");
        for alpha in ["0", "1.5", "nan", "", "a"] {
            let message = Leaky::of(alpha).unwrap_err().to_string();
            let expected = "is not possible; expected a leak above 0 and at most 1, as in rnn_leaky:0.25";
            assert_eq!(message, format!("cell: rnn_leaky:{alpha} {expected}"));
        }
    }
}
