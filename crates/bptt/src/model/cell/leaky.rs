//! Leaky units (Jaeger et al. 2007; a continuous-time network in steps of dt, α = dt/τ):
//!
//! ```text
//! n_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)      h_t = (1 − α) h_{t-1} + α n_t
//! ```
//!
//! The backward step, for a gradient dh with respect to h_t:
//!
//! ```text
//! da = α dh ∘ (1 − n_t²)                                 dh ← (1 − α) dh + da W_hh
//! ```

use std::sync::Arc;

use super::{
    Activation, AdjointSpec, Backward, Cell, CellParams, CellSpec, Forward, GateRole, GateSpec, Paths, Stage,
    StateSpec, StepCache, StepWeights, usual_params,
};
use crate::Error;
use crate::array::View;
use crate::kernel::activation::tanh;
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};

/// The leaky cell. α is fixed, the same for all units, and a part of the cell's name: `rnn_leaky:0.25`.
#[derive(Clone, Debug)]
pub struct Leaky {
    alpha: f64,
    spec: Arc<CellSpec>,
}

impl Leaky {
    /// α of `rnn_leaky` without a number.
    pub const DEFAULT_ALPHA: f64 = 0.1;

    /// The cell with the leak `alpha`, a number above 0 and at most 1 as text; without one α = 0.1.
    ///
    /// # Errors
    /// If it is another.
    pub fn by_name(alpha: Option<&str>) -> Result<Self, Error> {
        let Some(text) = alpha else { return Ok(Self::new(Self::DEFAULT_ALPHA, "rnn_leaky".into())) };
        let possible = |alpha: &f64| *alpha > 0.0 && *alpha <= 1.0;
        match text.parse().ok().filter(possible) {
            Some(alpha) => Ok(Self::new(alpha, format!("rnn_leaky:{alpha:?}"))),
            None => Err(Error::UnknownCell {
                given: format!("rnn_leaky:{text}"),
                expected: "a leak above 0 and at most 1, as in rnn_leaky:0.25".into(),
            }),
        }
    }

    fn new(alpha: f64, name: String) -> Self {
        let spec = CellSpec {
            title: format!("leaky RNN, tanh, α = {alpha}"),
            name,
            states: vec![StateSpec::h(true)],
            gates: vec![GateSpec { name: "n", activation: Activation::Tanh, role: GateRole::Candidate }],
            adjoints: vec![AdjointSpec::da()],
            params: usual_params(1),
            saved: Vec::new(),
            backward: vec![Stage::Local(0)],
            // Along h: by the factors 1 − α alone. Through n: it has passed a pre-activation.
            paths: Paths::new(&["along_h", "through_n"], 1, |passed, gate| {
                gate.or(passed).map_or(0, |gate| 1 + gate)
            }),
            vanilla: None,
            equations: vec![
                "n_t = tanh(W_{ih} x_t + W_{hh} h_{t−1} + b)".into(),
                format!("h_t = (1 − {alpha}) h_{{t−1}} + {alpha} n_t"),
            ],
        };
        Self { alpha, spec: Arc::new(spec) }
    }

    /// α, how much of a step's state is new.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }
}

impl<T: Real> Cell<T> for Leaky {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights, 1, 0);
        let [h, ..] = step.next;
        activate(T::of(self.alpha), step.gates, step.prev[0], h);
    }

    fn vjp(&self, _: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, ..], [da, ..]) = (rows.states, rows.adjoints);
        through_tanh(T::of(self.alpha), cache, dh, da);
    }
}

on_registers! {
    /// From the pre-activations to n and h.
    fn activate<'a, T: Real>(simd, alpha: T, n: &'a mut [T], h_prev: View<'a, T>, h: &'a mut [T]) -> () {
        let (alpha, rest) = (Vector::splat(simd, alpha), Vector::splat(simd, T::one() - alpha));
        let h_prev = h_prev.data();
        columns::<T, S>(n.len(), #[inline(always)] |at| {
            let n_t = tanh(Vector::load(simd, n, at));
            n_t.store(n, at);
            alpha.mul_add(n_t, rest * Vector::load(simd, h_prev, at)).store(h, at);
        });
    }

    /// From dh to da, and the part of dh that goes to h_{t-1} without W_hh.
    fn through_tanh<'a, T: Real>(
        simd,
        alpha: T,
        cache: &'a StepCache<'a, T>,
        dh: &'a mut [T],
        da: &'a mut [T],
    ) -> () {
        let n = cache.gates().data();
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
    use crate::model::{CellKind, cell_by_name};

    #[test]
    fn the_leak_is_part_of_the_name_by_whatever_spelling() {
        let quarter = Leaky::by_name(Some("25e-2")).unwrap();
        assert_eq!((quarter.alpha(), CellKind::spec(&quarter).name.as_str()), (0.25, "rnn_leaky:0.25"));
        assert_eq!(cell_by_name("rnn_leaky:2.5e-1").unwrap().spec().name, "rnn_leaky:0.25");
        for alpha in ["0", "1.5", "nan", "", "a"] {
            let message = Leaky::by_name(Some(alpha)).unwrap_err().to_string();
            let expected = "is not possible; expected a leak above 0 and at most 1, as in rnn_leaky:0.25";
            assert_eq!(message, format!("cell: rnn_leaky:{alpha} {expected}"));
        }
    }
}
