//! The LSTM with peepholes (Gers, Schraudolph and Schmidhuber 2002): the gates see the cell state, i and f the one before the
//! step, o the one after it, each unit its own.
//!
//! ```text
//! i = σ(a_i + p_i ∘ c_{t-1})      f = σ(a_f + p_f ∘ c_{t-1})      g = tanh(a_g)
//! c_t = f ∘ c_{t-1} + i ∘ g       o = σ(a_o + p_o ∘ c_t)          h_t = o ∘ tanh(c_t)
//! a = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh
//! ```
//!
//! Its backward step, for gradients dh and dc with respect to h_t and c_t:
//!
//! ```text
//! da_o = dh ∘ tanh(c_t) ∘ o(1 − o)                       dc += dh ∘ o ∘ (1 − tanh² c_t) + da_o ∘ p_o
//! da_i = dc ∘ g ∘ i(1 − i)      da_f = dc ∘ c_{t-1} ∘ f(1 − f)      da_g = dc ∘ i ∘ (1 − g²)
//! dc ← dc ∘ f + da_i ∘ p_i + da_f ∘ p_f                  dh ← da W_hh
//! ```

use std::sync::Arc;

use super::lstm::{cell_state_paths, gates};
use super::{
    Activation, AdjointSpec, Backward, Cell, CellParams, CellSpec, Forward, Operand, ParamSpec, Role,
    SavedSpec, Stage, StateSpec, StepCache, StepWeights, Width, usual_params,
};
use crate::kernel::activation::{sigmoid, tanh};
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};

/// The LSTM cell with peepholes.
#[derive(Clone, Debug)]
pub struct LstmPeephole {
    spec: Arc<CellSpec>,
}

/// p_i among the parameters; p_f and p_o follow.
const PEEPHOLE_I: usize = 4;

impl LstmPeephole {
    /// With peepholes of all three gates.
    pub fn new() -> Self {
        let peephole = |name, gate: usize, operand| {
            ParamSpec::elementwise(name, Role::Peephole, &[(gate..gate + 1, operand, 0)])
        };
        let mut params = usual_params(4);
        params.extend([
            peephole("peephole_i", 0, Operand::Prev(1)),
            peephole("peephole_f", 1, Operand::Prev(1)),
            peephole("peephole_o", 3, Operand::State(1)),
        ]);
        let spec = CellSpec {
            name: "lstm_peephole".into(),
            title: "LSTM with peepholes".into(),
            states: vec![StateSpec::h(false), StateSpec::c()],
            gates: gates(Activation::Sigmoid, Activation::Tanh),
            adjoints: vec![AdjointSpec::da()],
            params,
            saved: vec![SavedSpec { name: "tanh c", width: Width::Hidden, passes_to: None }],
            backward: vec![
                Stage::Local(0),
                Stage::Through { param: PEEPHOLE_I + 2, block: 0 },
                Stage::Local(1),
            ],
            paths: cell_state_paths(4),
            vanilla: None,
            equations: vec![
                "i = σ(a_i + p_i ∘ c_{t−1}),  f = σ(a_f + p_f ∘ c_{t−1}),  g = tanh(a_g),  a = W_{ih} x_t + W_{hh} h_{t−1} + b".into(),
                "c_t = f ∘ c_{t−1} + i ∘ g,  o = σ(a_o + p_o ∘ c_t),  h_t = o ∘ tanh(c_t)".into(),
            ],
        };
        Self { spec: Arc::new(spec) }
    }
}

impl Default for LstmPeephole {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Cell<T> for LstmPeephole {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights, 1, 0);
        let peepholes = [0, 1, 2].map(|i| weights.vector(PEEPHOLE_I + i, 0));
        let (hidden, c_prev) = (step.prev[1].cols(), step.prev[1]);
        let ([h, c, ..], [tanh_c, ..]) = (step.next, step.saved);
        for (b, gates) in step.gates.chunks_exact_mut(4 * hidden).enumerate() {
            let row = b * hidden..(b + 1) * hidden;
            let states = [&mut c[row.clone()], &mut tanh_c[row.clone()], &mut h[row]];
            activate(gates, peepholes, c_prev.row(b), states);
        }
    }

    fn vjp(&self, stage: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, dc, ..], [da, ..]) = (rows.states, rows.adjoints);
        let (batch, hidden) = (cache.prev(1).rows(), cache.prev(1).cols());
        let rows = dc.chunks_exact_mut(hidden).zip(da.chunks_exact_mut(4 * hidden));
        for (r, (dc, da)) in rows.enumerate() {
            let (gates, c_prev) = (cache.gates().row(r % batch), cache.prev(1).row(r % batch));
            match stage {
                0 => through_output(
                    gates,
                    cache.saved(0).row(r % batch),
                    &dh[r * hidden..(r + 1) * hidden],
                    dc,
                    da,
                ),
                _ => through_cell(gates, c_prev, dc, da),
            }
        }
    }
}

on_registers! {
    /// From the pre-activations of one sequence to c, tanh c and h.
    fn activate<'a, T: Real>(simd, gates: &'a mut [T], p: [&'a [T]; 3], c_prev: &'a [T], states: [&'a mut [T]; 3]) -> () {
        let hidden = c_prev.len();
        let (i_f, g_o) = gates.split_at_mut(2 * hidden);
        let ((i, f), (g, o)) = (i_f.split_at_mut(hidden), g_o.split_at_mut(hidden));
        let ([p_i, p_f, p_o], [c, tanh_c, h]) = (p, states);
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let c_0 = Vector::load(simd, c_prev, at);
            let i_t = sigmoid(Vector::load(simd, p_i, at).mul_add(c_0, Vector::load(simd, i, at)));
            let f_t = sigmoid(Vector::load(simd, p_f, at).mul_add(c_0, Vector::load(simd, f, at)));
            let g_t = tanh(Vector::load(simd, g, at));
            let c_t = f_t.mul_add(c_0, i_t * g_t);
            let o_t = sigmoid(Vector::load(simd, p_o, at).mul_add(c_t, Vector::load(simd, o, at)));
            let tanh_c_t = tanh(c_t);
            i_t.store(i, at);
            f_t.store(f, at);
            g_t.store(g, at);
            o_t.store(o, at);
            c_t.store(c, at);
            tanh_c_t.store(tanh_c, at);
            (o_t * tanh_c_t).store(h, at);
        });
    }

    /// da_o, and what comes from h to c.
    fn through_output<'a, T: Real>(simd, gates: &'a [T], tanh_c: &'a [T], dh: &'a [T], dc: &'a mut [T], da: &'a mut [T]) -> () {
        let hidden = tanh_c.len();
        let (o, da_o) = (&gates[3 * hidden..], &mut da[3 * hidden..]);
        let one = Vector::splat(simd, T::one());
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (o, tanh_c, dh) =
                (Vector::load(simd, o, at), Vector::load(simd, tanh_c, at), Vector::load(simd, dh, at));
            (dh * o).mul_add(one - tanh_c * tanh_c, Vector::load(simd, dc, at)).store(dc, at);
            (dh * tanh_c * (o * (one - o))).store(da_o, at);
        });
    }

    /// From dc to the other gates, and to the step before along c.
    fn through_cell<'a, T: Real>(simd, gates: &'a [T], c_prev: &'a [T], dc: &'a mut [T], da: &'a mut [T]) -> () {
        let hidden = c_prev.len();
        let (i, f, g) = (&gates[..hidden], &gates[hidden..2 * hidden], &gates[2 * hidden..3 * hidden]);
        let (da_i, rest) = da.split_at_mut(hidden);
        let (da_f, rest) = rest.split_at_mut(hidden);
        let da_g = &mut rest[..hidden];
        let one = Vector::splat(simd, T::one());
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (i, f, g) = (Vector::load(simd, i, at), Vector::load(simd, f, at), Vector::load(simd, g, at));
            let dc_t = Vector::load(simd, dc, at);
            (dc_t * g * (i * (one - i))).store(da_i, at);
            (dc_t * Vector::load(simd, c_prev, at) * (f * (one - f))).store(da_f, at);
            (dc_t * i * (one - g * g)).store(da_g, at);
            (dc_t * f).store(dc, at);
        });
    }
}
