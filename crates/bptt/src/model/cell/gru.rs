//! The GRU (Cho et al. 2014) in PyTorch's form, `nn.GRU`: the reset gate is applied after the product, b_hn inside it.
//!
//! ```text
//! r = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)           z = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
//! q = W_hn h_{t-1} + b_hn                                n = tanh(W_in x_t + b_in + r ∘ q)
//! h_t = (1 − z) ∘ n + z ∘ h_{t-1}
//! ```
//!
//! Its backward step, for a gradient dh with respect to h_t:
//!
//! ```text
//! da_n = dh ∘ (1 − z) ∘ (1 − n²)      da_z = dh ∘ (h_{t-1} − n) ∘ z(1 − z)      da_r = da_n ∘ q ∘ r(1 − r)
//! da_hh = [da_r, da_z, da_n ∘ r], what the recurrent side sees                 dh ← dh ∘ z + da_hh W_hh
//! ```

use std::sync::Arc;

use super::{
    Activation, AdjointSpec, Backward, Cell, CellParams, CellSpec, Forward, GateRole, GateSpec, Operand,
    ParamSpec, Paths, Role, SavedSpec, Stage, StateSpec, StepCache, StepWeights, Width, usual_params,
};
use crate::array::View;
use crate::kernel::activation::{sigmoid, tanh};
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};

/// The GRU cell, the reset gate applied after the product.
#[derive(Clone, Debug)]
pub struct Gru {
    spec: Arc<CellSpec>,
}

/// The equations of a forward step with φ for the gates and ψ for the candidate.
pub(super) fn equations(phi: Activation, psi: Activation, reset_before: bool) -> Vec<String> {
    let [phi, psi] = [phi, psi].map(Activation::symbol);
    let recurrent = if reset_before {
        "W_{hn}(r ∘ h_{t−1}) + b_n"
    } else {
        "b_{in} + r ∘ (W_{hn} h_{t−1} + b_{hn})"
    };
    vec![
        format!(
            "r, z = {phi}(W_{{ih}} x_t + W_{{hh}} h_{{t−1}} + b),  n = {psi}(W_{{in}} x_t + {recurrent})"
        ),
        "h_t = (1 − z) ∘ n + z ∘ h_{t−1}".into(),
    ]
}

/// r, z and n.
pub(super) fn gates(gate: Activation, candidate: Activation) -> Vec<GateSpec> {
    vec![
        GateSpec { name: "r", activation: gate, role: GateRole::Reset },
        GateSpec { name: "z", activation: gate, role: GateRole::Keep },
        GateSpec { name: "n", activation: candidate, role: GateRole::Candidate },
    ]
}

/// Along z: by the product of update gates alone. Through r, z or n: that is the pre-activation it last passed.
pub(super) fn paths() -> Paths {
    Paths::new(&["along_z", "through_r", "through_z", "through_n"], 3, |passed, gate| {
        gate.or(passed).map_or(0, |gate| 1 + gate)
    })
}

/// The parameters of a GRU whose reset gate is applied after the product: the rows of n of the recurrent side have an
/// adjoint of their own, number 1.
pub(super) fn reset_after_params() -> Vec<ParamSpec> {
    vec![
        ParamSpec::matrix("weight_ih", Role::Input, &[(0..3, Operand::X, 0)]),
        ParamSpec::matrix(
            "weight_hh",
            Role::Recurrent,
            &[(0..2, Operand::Prev(0), 0), (2..3, Operand::Prev(0), 1)],
        ),
        ParamSpec::bias("bias_ih", Role::InputBias, &[(0..3, 0)]),
        ParamSpec::bias("bias_hh", Role::RecurrentBias, &[(0..2, 0), (2..3, 1)]),
    ]
}

/// W_hh and b_hh among the parameters.
const WEIGHT_HH: usize = 1;
const BIAS_HH: usize = 3;

impl Gru {
    /// PyTorch's GRU.
    pub fn new() -> Self {
        let spec = CellSpec {
            name: "gru".into(),
            title: "GRU".into(),
            states: vec![StateSpec::h(true)],
            gates: gates(Activation::Sigmoid, Activation::Tanh),
            adjoints: vec![AdjointSpec::da(), AdjointSpec::gates("da_hh", Some(2..3))],
            params: reset_after_params(),
            saved: vec![SavedSpec { name: "q", width: Width::Hidden, passes_to: None }],
            backward: vec![Stage::Local(0)],
            paths: paths(),
            vanilla: None,
            equations: equations(Activation::Sigmoid, Activation::Tanh, false),
        };
        Self { spec: Arc::new(spec) }
    }
}

impl Default for Gru {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Cell<T> for Gru {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        let hidden = step.prev[0].cols();
        step.add_recurrent(weights, WEIGHT_HH, 0);
        step.input.put(2 * hidden..3 * hidden, step.gates, 3 * hidden);
        let ([h, ..], [q, ..]) = (step.next, step.saved);
        weights.product(WEIGHT_HH, 1, Some(weights.vector(BIAS_HH, 1)), step.prev[0], q);
        activate(step.gates, q, step.prev[0], h);
    }

    fn vjp(&self, _: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, ..], [da, da_hh, ..]) = (rows.states, rows.adjoints);
        through_gates(cache, dh, da, da_hh);
    }
}

on_registers! {
    /// From the pre-activations, that of n without its recurrent part q, to h.
    fn activate<'a, T: Real>(simd, gates: &'a mut [T], q: &'a [T], h_prev: View<'a, T>, h: &'a mut [T]) -> () {
        let hidden = h_prev.cols();
        let rows = gates.chunks_exact_mut(3 * hidden).zip(q.chunks_exact(hidden)).zip(h.chunks_exact_mut(hidden));
        for (b, ((gates, q), h)) in rows.enumerate() {
            let (r_z, n) = gates.split_at_mut(2 * hidden);
            let (r, z) = r_z.split_at_mut(hidden);
            let h_prev = h_prev.row(b);
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let r_t = sigmoid(Vector::load(simd, r, at));
                let z_t = sigmoid(Vector::load(simd, z, at));
                let n_t = tanh(r_t.mul_add(Vector::load(simd, q, at), Vector::load(simd, n, at)));
                r_t.store(r, at);
                z_t.store(z, at);
                n_t.store(n, at);
                new_h(z_t, n_t, Vector::load(simd, h_prev, at)).store(h, at);
            });
        }
    }

    /// From dh to da and da_hh, and the part of dh that goes through z to h_{t-1}.
    fn through_gates<'a, T: Real>(
        simd,
        cache: &'a StepCache<'a, T>,
        dh: &'a mut [T],
        da: &'a mut [T],
        da_hh: &'a mut [T],
    ) -> () {
        let (hidden, batch) = (cache.prev(0).cols(), cache.prev(0).rows());
        let one = Vector::splat(simd, T::one());
        let sides = da.chunks_exact_mut(3 * hidden).zip(da_hh.chunks_exact_mut(3 * hidden));
        for (row, ((da, da_hh), dh)) in sides.zip(dh.chunks_exact_mut(hidden)).enumerate() {
            let b = row % batch;
            let (gates, q, h_prev) = (cache.gates().row(b), cache.saved(0).row(b), cache.prev(0).row(b));
            let (r_z, n) = gates.split_at(2 * hidden);
            let (r, z) = r_z.split_at(hidden);
            let (da_r_z, da_n) = da.split_at_mut(2 * hidden);
            let (da_r, da_z) = da_r_z.split_at_mut(hidden);
            let (hh_r_z, hh_n) = da_hh.split_at_mut(2 * hidden);
            let (hh_r, hh_z) = hh_r_z.split_at_mut(hidden);
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let (r, z) = (Vector::load(simd, r, at), Vector::load(simd, z, at));
                let (n, q) = (Vector::load(simd, n, at), Vector::load(simd, q, at));
                let dh_t = Vector::load(simd, dh, at);
                let n_t = dh_t * (one - z) * (one - n * n);
                let r_t = n_t * q * (r * (one - r));
                let z_t = dh_t * (Vector::load(simd, h_prev, at) - n) * (z * (one - z));
                r_t.store(da_r, at);
                z_t.store(da_z, at);
                n_t.store(da_n, at);
                r_t.store(hh_r, at);
                z_t.store(hh_z, at);
                (n_t * r).store(hh_n, at);
                (dh_t * z).store(dh, at);
            });
        }
    }
}

/// (1 − z) ∘ n + z ∘ h_prev.
#[inline(always)]
#[allow(clippy::inline_always)] // compiled for the registers of its caller
fn new_h<T: Real, S: pulp::Simd>(z: Vector<T, S>, n: Vector<T, S>, h_prev: Vector<T, S>) -> Vector<T, S> {
    z.mul_add(h_prev, (z.and(T::one()) - z) * n)
}

/// The GRU cell as Cho et al. (2014) wrote it, the reset gate applied to h before the product (Keras' `reset_after=False`):
///
/// ```text
/// r, z as above           s = r ∘ h_{t-1}                n = tanh(W_in x_t + b_in + W_hn s + b_hn)
/// h_t = (1 − z) ∘ n + z ∘ h_{t-1}
/// ```
///
/// Its backward step: da_n and da_z as above; with ds = da_n W_hn, the gradient with respect to s,
///
/// ```text
/// da_r = ds ∘ h_{t-1} ∘ r(1 − r)                         dh ← dh ∘ z + ds ∘ r + [da_r, da_z] [W_hr, W_hz]
/// ```
#[derive(Clone, Debug)]
pub struct GruResetBefore {
    spec: Arc<CellSpec>,
}

impl GruResetBefore {
    /// The GRU of Cho et al.
    pub fn new() -> Self {
        let mut params = usual_params(3);
        params[WEIGHT_HH] = ParamSpec::matrix(
            "weight_hh",
            Role::Recurrent,
            &[(0..2, Operand::Prev(0), 0), (2..3, Operand::Saved(0), 0)],
        );
        let spec = CellSpec {
            name: "gru_reset_before".into(),
            title: "GRU, reset before the product".into(),
            states: vec![StateSpec::h(true)],
            gates: gates(Activation::Sigmoid, Activation::Tanh),
            adjoints: vec![AdjointSpec::da()],
            params,
            saved: vec![SavedSpec { name: "s", width: Width::Hidden, passes_to: Some(0) }],
            backward: vec![Stage::Local(0), Stage::Through { param: WEIGHT_HH, block: 1 }, Stage::Local(1)],
            paths: paths(),
            vanilla: None,
            equations: equations(Activation::Sigmoid, Activation::Tanh, true),
        };
        Self { spec: Arc::new(spec) }
    }
}

impl Default for GruResetBefore {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Cell<T> for GruResetBefore {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        let (batch, hidden) = (step.prev[0].rows(), step.prev[0].cols());
        step.add_recurrent(weights, WEIGHT_HH, 0);
        let ([h, ..], [s, ..]) = (step.next, step.saved);
        reset(step.gates, step.prev[0], s);
        let s = View::new(batch, hidden, s);
        weights.add_product(WEIGHT_HH, 1, &step.input, s, step.gates);
        activate_after_reset(step.gates, step.prev[0], h);
    }

    fn vjp(&self, stage: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, ..], [da, ..], [ds, ..]) = (rows.states, rows.adjoints, rows.saved);
        match stage {
            0 => through_z_and_n(cache, dh, da),
            _ => through_reset(cache, ds, da),
        }
    }
}

on_registers! {
    /// σ of the first two gates, and r ∘ h_prev.
    fn reset<'a, T: Real>(simd, gates: &'a mut [T], h_prev: View<'a, T>, kept: &'a mut [T]) -> () {
        let hidden = h_prev.cols();
        for (b, (gates, kept)) in gates.chunks_exact_mut(3 * hidden).zip(kept.chunks_exact_mut(hidden)).enumerate() {
            let (r, rest) = gates.split_at_mut(hidden);
            let (z, h_prev) = (&mut rest[..hidden], h_prev.row(b));
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let r_t = sigmoid(Vector::load(simd, r, at));
                sigmoid(Vector::load(simd, z, at)).store(z, at);
                r_t.store(r, at);
                (r_t * Vector::load(simd, h_prev, at)).store(kept, at);
            });
        }
    }

    /// From the pre-activation of n and the other gates to h.
    fn activate_after_reset<'a, T: Real>(simd, gates: &'a mut [T], h_prev: View<'a, T>, h: &'a mut [T]) -> () {
        let hidden = h_prev.cols();
        for (b, (gates, h)) in gates.chunks_exact_mut(3 * hidden).zip(h.chunks_exact_mut(hidden)).enumerate() {
            let (r_z, n) = gates.split_at_mut(2 * hidden);
            let (z, h_prev) = (&r_z[hidden..], h_prev.row(b));
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let n_t = tanh(Vector::load(simd, n, at));
                n_t.store(n, at);
                new_h(Vector::load(simd, z, at), n_t, Vector::load(simd, h_prev, at)).store(h, at);
            });
        }
    }

    /// From dh to da_z and da_n, and the part of dh that goes through z to h_{t-1}; da_r is left at 0.
    fn through_z_and_n<'a, T: Real>(simd, cache: &'a StepCache<'a, T>, dh: &'a mut [T], da: &'a mut [T]) -> () {
        let (hidden, batch) = (cache.prev(0).cols(), cache.prev(0).rows());
        let (zero, one) = (Vector::splat(simd, T::zero()), Vector::splat(simd, T::one()));
        for (row, (da, dh)) in da.chunks_exact_mut(3 * hidden).zip(dh.chunks_exact_mut(hidden)).enumerate() {
            let (gates, h_prev) = (cache.gates().row(row % batch), cache.prev(0).row(row % batch));
            let (z, n) = (&gates[hidden..2 * hidden], &gates[2 * hidden..]);
            let (da_r, rest) = da.split_at_mut(hidden);
            let (da_z, da_n) = rest.split_at_mut(hidden);
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let (z, n) = (Vector::load(simd, z, at), Vector::load(simd, n, at));
                let dh_t = Vector::load(simd, dh, at);
                zero.store(da_r, at);
                (dh_t * (Vector::load(simd, h_prev, at) - n) * (z * (one - z))).store(da_z, at);
                (dh_t * (one - z) * (one - n * n)).store(da_n, at);
                (dh_t * z).store(dh, at);
            });
        }
    }

    /// From the gradient with respect to r ∘ h_prev to da_r, and what goes on to h_prev.
    fn through_reset<'a, T: Real>(simd, cache: &'a StepCache<'a, T>, ds: &'a mut [T], da: &'a mut [T]) -> () {
        let (hidden, batch) = (cache.prev(0).cols(), cache.prev(0).rows());
        let one = Vector::splat(simd, T::one());
        for (row, (da, ds)) in da.chunks_exact_mut(3 * hidden).zip(ds.chunks_exact_mut(hidden)).enumerate() {
            let (r, h_prev) = (&cache.gates().row(row % batch)[..hidden], cache.prev(0).row(row % batch));
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let (r, ds_t) = (Vector::load(simd, r, at), Vector::load(simd, ds, at));
                (ds_t * Vector::load(simd, h_prev, at) * (r * (one - r))).store(da, at);
                (ds_t * r).store(ds, at);
            });
        }
    }
}
