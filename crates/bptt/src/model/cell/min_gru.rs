//! The minimal GRU (Feng et al. 2024, "Were RNNs All We Needed?", section 3.1): gate and candidate come from the input alone, so
//! there is no W_hh and the recurrence is elementwise.
//!
//! ```text
//! z = σ(W_z x_t + b_z)            n = W_n x_t + b_n               h_t = (1 − z) ∘ h_{t-1} + z ∘ n
//! ```
//!
//! Its backward step, for a gradient dh with respect to h_t:
//!
//! ```text
//! da_z = dh ∘ (n − h_{t-1}) ∘ z(1 − z)      da_n = dh ∘ z         dh ← dh ∘ (1 − z)
//! ```

use std::sync::Arc;

use super::{
    Activation, AdjointSpec, Backward, Cell, CellParams, CellSpec, Forward, GateRole, GateSpec, Operand,
    ParamSpec, Paths, Role, Stage, StateSpec, StepCache, StepWeights,
};
use crate::kernel::Real;
use crate::kernel::activation::sigmoid;
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::on_registers;

/// The minimal GRU cell.
#[derive(Clone, Debug)]
pub struct MinGru {
    spec: Arc<CellSpec>,
}

impl MinGru {
    /// With gates z and n.
    pub fn new() -> Self {
        let spec = CellSpec {
            name: "min_gru".into(),
            title: "minimal GRU".into(),
            states: vec![StateSpec::h(true)],
            gates: vec![
                GateSpec { name: "z", activation: Activation::Sigmoid, role: GateRole::Replace },
                GateSpec { name: "n", activation: Activation::Identity, role: GateRole::Candidate },
            ],
            adjoints: vec![AdjointSpec::da()],
            params: vec![
                ParamSpec::matrix("weight_ih", Role::Input, &[(0..2, Operand::X, 0)]),
                ParamSpec::bias("bias_ih", Role::InputBias, &[(0..2, 0)]),
            ],
            saved: Vec::new(),
            backward: vec![Stage::Local(0)],
            paths: Paths::new(&["along_z"], 2, |_, _| 0),
            vanilla: None,
            equations: vec![
                "z = σ(W_z x_t + b_z),  n = W_n x_t + b_n".into(),
                "h_t = (1 − z) ∘ h_{t−1} + z ∘ n".into(),
            ],
        };
        Self { spec: Arc::new(spec) }
    }
}

impl Default for MinGru {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Cell<T> for MinGru {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, _: &StepWeights<'_, T>, step: Forward<'_, T>) {
        let hidden = step.prev[0].cols();
        step.input.put(0..2 * hidden, step.gates, 2 * hidden);
        let [h, ..] = step.next;
        let rows = step.gates.chunks_exact_mut(2 * hidden).zip(h.chunks_exact_mut(hidden));
        for (b, (gates, h)) in rows.enumerate() {
            activate(gates, step.prev[0].row(b), h);
        }
    }

    fn vjp(&self, _: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, ..], [da, ..]) = (rows.states, rows.adjoints);
        let (batch, hidden) = (cache.prev(0).rows(), cache.prev(0).cols());
        let rows = dh.chunks_exact_mut(hidden).zip(da.chunks_exact_mut(2 * hidden));
        for (r, (dh, da)) in rows.enumerate() {
            through_gates(cache.gates().row(r % batch), cache.prev(0).row(r % batch), dh, da);
        }
    }
}

on_registers! {
    /// From the pre-activations of one sequence to h.
    fn activate<'a, T: Real>(simd, gates: &'a mut [T], h_prev: &'a [T], h: &'a mut [T]) -> () {
        let hidden = h_prev.len();
        let (z, n) = gates.split_at_mut(hidden);
        let one = Vector::splat(simd, T::one());
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (z_t, n_t) = (sigmoid(Vector::load(simd, z, at)), Vector::load(simd, n, at));
            z_t.store(z, at);
            z_t.mul_add(n_t, (one - z_t) * Vector::load(simd, h_prev, at)).store(h, at);
        });
    }

    /// From dh to da, and the part of dh that passes.
    fn through_gates<'a, T: Real>(simd, gates: &'a [T], h_prev: &'a [T], dh: &'a mut [T], da: &'a mut [T]) -> () {
        let hidden = h_prev.len();
        let ((z, n), (da_z, da_n)) = (gates.split_at(hidden), da.split_at_mut(hidden));
        let one = Vector::splat(simd, T::one());
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (z, n, dh_t) = (Vector::load(simd, z, at), Vector::load(simd, n, at), Vector::load(simd, dh, at));
            (dh_t * (n - Vector::load(simd, h_prev, at)) * (z * (one - z))).store(da_z, at);
            (dh_t * z).store(da_n, at);
            (dh_t * (one - z)).store(dh, at);
        });
    }
}
