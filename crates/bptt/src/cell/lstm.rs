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

use super::{Backward, Cell, CellParams, Forward, StepCache};
use crate::Real;
use crate::kernel;

/// The LSTM cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lstm;

impl<T: Real> Cell<T> for Lstm {
    fn name(&self) -> &'static str {
        "lstm"
    }

    fn gates(&self) -> &'static [&'static str] {
        &["i", "f", "g", "o"]
    }

    fn has_memory(&self) -> bool {
        true
    }

    /// Keeps tanh(c_t).
    fn keeps_more(&self) -> bool {
        true
    }

    fn range(&self, gate: usize) -> (f64, f64) {
        if gate == 2 { (-1.0, 1.0) } else { (0.0, 1.0) }
    }

    /// Along the cell state, by the product of forget gates, from where it entered the layer to step t + 1, whose gates i,
    /// f, g take it into h_t. Through the gates: in the same way into h_t, but it has passed a gate before. Through h:
    /// from h_{t+1}, by the output gate.
    fn paths(&self) -> &'static [&'static str] {
        &["along_c", "through_gates", "through_h"]
    }

    fn path(&self, passed: Option<usize>, gate: Option<usize>) -> usize {
        match (passed, gate) {
            (_, Some(3)) => 2,
            (None, _) => 0,
            _ => 1,
        }
    }

    fn step(&self, params: &CellParams<T>, step: Forward<'_, T>) {
        let hidden = params.hidden();
        let a = step.gates;
        kernel::product_transposed(a, true, step.h_prev, params.w_hh.view());
        for (b, a) in a.chunks_exact_mut(4 * hidden).enumerate() {
            kernel::add_scaled(a, T::one(), params.b_hh.data());
            let (i_f, rest) = a.split_at_mut(2 * hidden);
            let (g, o) = rest.split_at_mut(hidden);
            kernel::sigmoid(i_f);
            kernel::tanh(g);
            kernel::sigmoid(o);
            let (i, f) = i_f.split_at(hidden);
            let c = &mut step.c[b * hidden..(b + 1) * hidden];
            for (j, c) in c.iter_mut().enumerate() {
                *c = f[j] * step.c_prev.row(b)[j] + i[j] * g[j];
            }
            let tanh_c = &mut step.kept[b * hidden..(b + 1) * hidden];
            tanh_c.copy_from_slice(c);
            kernel::tanh(tanh_c);
            let h = &mut step.h[b * hidden..(b + 1) * hidden];
            for ((h, &o), &tanh_c) in h.iter_mut().zip(&*o).zip(&*tanh_c) {
                *h = o * tanh_c;
            }
        }
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let (hidden, batch) = (cache.h_prev.cols(), cache.h_prev.rows());
        let Backward { dh, dc, da, .. } = rows;
        let one = T::one();
        for (r, da) in da.chunks_exact_mut(4 * hidden).enumerate() {
            let b = r % batch;
            let (gates, tanh_c, c_prev) = (cache.gates.row(b), cache.kept.row(b), cache.c_prev.row(b));
            let (dh, dc) = (&dh[r * hidden..(r + 1) * hidden], &mut dc[r * hidden..(r + 1) * hidden]);
            for j in 0..hidden {
                let [i, f, g, o] = [0, 1, 2, 3].map(|gate| gates[gate * hidden + j]);
                let dc_j = dc[j] + dh[j] * o * (one - tanh_c[j] * tanh_c[j]);
                da[j] = dc_j * g * i * (one - i);
                da[hidden + j] = dc_j * c_prev[j] * f * (one - f);
                da[2 * hidden + j] = dc_j * i * (one - g * g);
                da[3 * hidden + j] = dh[j] * tanh_c[j] * o * (one - o);
                dc[j] = dc_j * f;
            }
        }
        dh.fill(T::zero());
    }
}
