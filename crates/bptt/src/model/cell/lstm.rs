//! The LSTM (Hochreiter and Schmidhuber 1997, with forget gate: Gers et al. 2000; PyTorch's `nn.LSTM`):
//!
//! ```text
//! [i f g o] = [σ σ tanh σ](W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
//! c_t = f ∘ c_{t-1} + i ∘ g                              h_t = o ∘ tanh(c_t)
//! ```
//!
//! Its way back, for gradients dh and dc with respect to h_t and c_t:
//!
//! ```text
//! dc += dh ∘ o ∘ (1 − tanh² c_t)                         da_o = dh ∘ tanh(c_t) ∘ o(1 − o)
//! da_i = dc ∘ g ∘ i(1 − i)      da_f = dc ∘ c_{t-1} ∘ f(1 − f)      da_g = dc ∘ i ∘ (1 − g²)
//! dc ← dc ∘ f                                            dh ← da W_hh
//! ```
//!
//! As it was in 1997 it has no forget gate: f = 1, so c is a sum and dc passes unchanged. It squashed with scaled logistic
//! functions where this one has tanh.

use super::{Backward, Cell, Forward, StepCache};
use crate::array::View;
use crate::kernel::activation::{sigmoid, tanh};
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};
use crate::model::Recurrent;

/// The LSTM cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lstm {
    /// Whether there is a forget gate; without one f = 1.
    pub forgets: bool,
}

impl<T: Real> Cell<T> for Lstm {
    fn name(&self) -> &'static str {
        if self.forgets { "lstm" } else { "lstm_1997" }
    }

    fn gates(&self) -> &'static [&'static str] {
        if self.forgets { &["i", "f", "g", "o"] } else { &["i", "g", "o"] }
    }

    fn has_memory(&self) -> bool {
        true
    }

    /// Keeps tanh(c_t).
    fn keeps_more(&self) -> bool {
        true
    }

    fn range(&self, gate: usize) -> (f64, f64) {
        if Cell::<T>::gates(self)[gate] == "g" { (-1.0, 1.0) } else { (0.0, 1.0) }
    }

    /// Along the cell state, by the product of forget gates, from where it entered the layer to step t + 1, whose gates i,
    /// f, g take it into h_t. Through the gates: in the same way into h_t, but it has passed a gate before. Through h:
    /// from h_{t+1}, by the output gate.
    fn paths(&self) -> &'static [&'static str] {
        &["along_c", "through_gates", "through_h"]
    }

    fn path(&self, passed: Option<usize>, gate: Option<usize>) -> usize {
        let output = Cell::<T>::gates(self).len() - 1;
        match (passed, gate) {
            (_, Some(gate)) if gate == output => 2,
            (None, _) => 0,
            _ => 1,
        }
    }

    fn step(&self, weights: &Recurrent<T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights);
        activate(self.forgets, step.gates, step.c_prev, step.c, step.kept, step.h);
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        through_gates(self.forgets, cache, rows.dh, rows.dc, rows.da);
    }
}

on_registers! {
    /// From the pre-activations to c, tanh c and h.
    fn activate<'a, T>(
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

    /// From dh and dc to da, and dc to the step before.
    fn through_gates<'a, T>(
        simd,
        forgets: bool,
        cache: &'a StepCache<'a, T>,
        dh: &'a [T],
        dc: &'a mut [T],
        da: &'a mut [T],
    ) -> () {
        let (hidden, batch) = (cache.h_prev.cols(), cache.h_prev.rows());
        let forget = if forgets { hidden } else { 0 };
        let one = Vector::splat(simd, T::one());
        let da = da.chunks_exact_mut(3 * hidden + forget);
        let rows = dh.chunks_exact(hidden).zip(dc.chunks_exact_mut(hidden)).zip(da);
        for (r, ((dh, dc), da)) in rows.enumerate() {
            let b = r % batch;
            let (gates, tanh_c, c_prev) = (cache.gates.row(b), cache.kept.row(b), cache.c_prev.row(b));
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
