//! The LSTM (Hochreiter and Schmidhuber 1997, with forget gate: Gers et al. 2000; PyTorch's `nn.LSTM`):
//!
//! ```text
//! [i f g o] = [σ σ tanh σ](W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
//! c_t = f ∘ c_{t-1} + i ∘ g                              h_t = o ∘ tanh(c_t)
//! ```
//!
//! Its backward step, for gradients dh and dc with respect to h_t and c_t:
//!
//! ```text
//! dc += dh ∘ o ∘ (1 − tanh² c_t)                         da_o = dh ∘ tanh(c_t) ∘ o(1 − o)
//! da_i = dc ∘ g ∘ i(1 − i)      da_f = dc ∘ c_{t-1} ∘ f(1 − f)      da_g = dc ∘ i ∘ (1 − g²)
//! dc ← dc ∘ f                                            dh ← da W_hh
//! ```
//!
//! In its form of 1997 it has no forget gate: f = 1, so c is a sum and dc passes unchanged. It squashed with scaled logistic
//! functions where this one has tanh.

use std::sync::Arc;

use super::{
    Activation, AdjointSpec, Backward, Cell, CellParams, CellSpec, Forward, GateRole, GateSpec, Paths,
    SavedSpec, Stage, StateSpec, StepCache, StepWeights, Width, usual_params,
};
use crate::array::View;
use crate::kernel::activation::{sigmoid, tanh};
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};

/// The LSTM cell.
#[derive(Clone, Debug)]
pub struct Lstm {
    /// Whether there is a forget gate; without one f = 1.
    forgets: bool,
    spec: Arc<CellSpec>,
}

/// The ways through a cell with a cell state, whose last gate is the output gate. Along the cell state: by the product of
/// forget gates, from where it entered the layer to step t + 1, whose other gates take it into h_t. Through the gates: in
/// the same way into h_t, but it has passed a gate before. Through h: from h_{t+1}, by the output gate.
pub(super) fn cell_state_paths(gates: usize) -> Paths {
    let output = gates - 1;
    Paths::new(&["along_c", "through_gates", "through_h"], gates, |passed, gate| match (passed, gate) {
        (_, Some(gate)) if gate == output => 2,
        (None, _) => 0,
        _ => 1,
    })
}

/// The equations of a forward step with φ for the gates, ψ for the candidate and χ for the cell state.
pub(super) fn equations(phi: Activation, psi: Activation, chi: Activation) -> Vec<String> {
    let [phi, psi, chi] = [phi, psi, chi].map(Activation::symbol);
    vec![
        format!("i, f, o = {phi}(…),  g = {psi}(…),  … = W_{{ih}} x_t + W_{{hh}} h_{{t−1}} + b"),
        format!("c_t = f ∘ c_{{t−1}} + i ∘ g,  h_t = o ∘ {chi}(c_t)"),
    ]
}

/// i, f, g and o.
pub(super) fn gates(gate: Activation, candidate: Activation) -> Vec<GateSpec> {
    vec![
        GateSpec { name: "i", activation: gate, role: GateRole::Write },
        GateSpec { name: "f", activation: gate, role: GateRole::Keep },
        GateSpec { name: "g", activation: candidate, role: GateRole::Candidate },
        GateSpec { name: "o", activation: gate, role: GateRole::Read },
    ]
}

impl Lstm {
    /// The LSTM with a forget gate.
    pub fn new() -> Self {
        Self::of("lstm", "LSTM", true)
    }

    /// The LSTM of 1997, without one.
    pub fn without_forget_gate() -> Self {
        Self::of("lstm_1997", "LSTM of 1997, without forget gate", false)
    }

    fn of(name: &str, title: &str, forgets: bool) -> Self {
        let mut gates = gates(Activation::Sigmoid, Activation::Tanh);
        gates.retain(|gate| forgets || gate.name != "f");
        let spec = CellSpec {
            name: name.into(),
            title: title.into(),
            states: vec![StateSpec::h(false), StateSpec::c()],
            adjoints: vec![AdjointSpec::da()],
            params: usual_params(gates.len()),
            saved: vec![SavedSpec { name: "tanh c", width: Width::Hidden, passes_to: None }],
            backward: vec![Stage::Local(0)],
            paths: cell_state_paths(gates.len()),
            gates,
            vanilla: None,
            equations: if forgets {
                equations(Activation::Sigmoid, Activation::Tanh, Activation::Tanh)
            } else {
                vec![
                    "i, o = σ(…),  g = tanh(…),  … = W_{ih} x_t + W_{hh} h_{t−1} + b".into(),
                    "c_t = c_{t−1} + i ∘ g,  h_t = o ∘ tanh(c_t)".into(),
                ]
            },
        };
        Self { forgets, spec: Arc::new(spec) }
    }
}

impl Default for Lstm {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Cell<T> for Lstm {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights, 1, 0);
        let ([h, c, ..], [tanh_c, ..]) = (step.next, step.saved);
        activate(self.forgets, step.gates, step.prev[1], c, tanh_c, h);
    }

    fn vjp(&self, _: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, dc, ..], [da, ..]) = (rows.states, rows.adjoints);
        through_gates(self.forgets, cache, dh, dc, da);
    }
}

on_registers! {
    /// From the pre-activations to c, tanh c and o ∘ tanh c.
    pub(super) fn activate<'a, T: Real>(
        simd,
        forgets: bool,
        gates: &'a mut [T],
        c_prev: View<'a, T>,
        c: &'a mut [T],
        tanh_c: &'a mut [T],
        h: &'a mut [T],
    ) -> () {
        let hidden = c_prev.cols();
        let states = c.chunks_exact_mut(hidden).zip(tanh_c.chunks_exact_mut(hidden)).zip(h.chunks_exact_mut(hidden));
        // Of a gate that is not there the slice is empty, and is not looked at.
        let forget = if forgets { hidden } else { 0 };
        let one = Vector::splat(simd, T::one());
        for (b, (gates, ((c, tanh_c), h))) in gates.chunks_exact_mut(3 * hidden + forget).zip(states).enumerate() {
            let (i_f, g_o) = gates.split_at_mut(hidden + forget);
            let ((i, f), (g, o)) = (i_f.split_at_mut(hidden), g_o.split_at_mut(hidden));
            let c_prev = c_prev.row(b);
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let i_t = sigmoid(Vector::load(simd, i, at));
                let f_t = if forgets { sigmoid(Vector::load(simd, f, at)) } else { one };
                let g_t = tanh(Vector::load(simd, g, at));
                let o_t = sigmoid(Vector::load(simd, o, at));
                let c_t = f_t.mul_add(Vector::load(simd, c_prev, at), i_t * g_t);
                let tanh_c_t = tanh(c_t);
                i_t.store(i, at);
                if forgets {
                    f_t.store(f, at);
                }
                g_t.store(g, at);
                o_t.store(o, at);
                c_t.store(c, at);
                tanh_c_t.store(tanh_c, at);
                (o_t * tanh_c_t).store(h, at);
            });
        }
    }

    /// From the gradients of o ∘ tanh c and of c to da, and dc to the step before.
    pub(super) fn through_gates<'a, T: Real>(
        simd,
        forgets: bool,
        cache: &'a StepCache<'a, T>,
        dh: &'a [T],
        dc: &'a mut [T],
        da: &'a mut [T],
    ) -> () {
        let (hidden, batch) = (cache.prev(1).cols(), cache.prev(1).rows());
        let forget = if forgets { hidden } else { 0 };
        let one = Vector::splat(simd, T::one());
        let da = da.chunks_exact_mut(3 * hidden + forget);
        let rows = dh.chunks_exact(hidden).zip(dc.chunks_exact_mut(hidden)).zip(da);
        for (r, ((dh, dc), da)) in rows.enumerate() {
            let b = r % batch;
            let (gates, tanh_c, c_prev) = (cache.gates().row(b), cache.saved(0).row(b), cache.prev(1).row(b));
            let ((i, f), (g, o)) = {
                let (i_f, g_o) = gates.split_at(hidden + forget);
                (i_f.split_at(hidden), g_o.split_at(hidden))
            };
            let (da_i_f, da_g_o) = da.split_at_mut(hidden + forget);
            let ((da_i, da_f), (da_g, da_o)) = (da_i_f.split_at_mut(hidden), da_g_o.split_at_mut(hidden));
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let (i, f) = (Vector::load(simd, i, at), if forgets { Vector::load(simd, f, at) } else { one });
                let (g, o) = (Vector::load(simd, g, at), Vector::load(simd, o, at));
                let (tanh_c, dh) = (Vector::load(simd, tanh_c, at), Vector::load(simd, dh, at));
                let dc_t = (dh * o).mul_add(one - tanh_c * tanh_c, Vector::load(simd, dc, at));
                (dc_t * g * (i * (one - i))).store(da_i, at);
                if forgets {
                    (dc_t * Vector::load(simd, c_prev, at) * (f * (one - f))).store(da_f, at);
                }
                (dc_t * i * (one - g * g)).store(da_g, at);
                (dh * tanh_c * (o * (one - o))).store(da_o, at);
                (dc_t * f).store(dc, at);
            });
        }
    }
}
