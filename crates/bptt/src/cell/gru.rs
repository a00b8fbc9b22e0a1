//! The GRU (Cho et al. 2014) in PyTorch's form, `nn.GRU`: the reset gate is applied after the product, b_hn inside it.
//!
//! ```text
//! r = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)           z = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
//! q = W_hn h_{t-1} + b_hn                                n = tanh(W_in x_t + b_in + r ∘ q)
//! h_t = (1 − z) ∘ n + z ∘ h_{t-1}
//! ```
//!
//! Its way back, for a gradient dh with respect to h_t:
//!
//! ```text
//! da_n = dh ∘ (1 − z) ∘ (1 − n²)      da_z = dh ∘ (h_{t-1} − n) ∘ z(1 − z)      da_r = da_n ∘ q ∘ r(1 − r)
//! the recurrent side sees da_n ∘ r in place of da_n      dh ← dh ∘ z + [da_r, da_z, da_n ∘ r] W_hh
//! ```

use super::{Backward, Cell, CellParams, Forward, StepCache};
use crate::Real;
use crate::kernel::{self, sigmoid};

/// The GRU cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gru;

impl<T: Real> Cell<T> for Gru {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn gates(&self) -> &'static [&'static str] {
        &["r", "z", "n"]
    }

    /// Keeps q.
    fn keeps_more(&self) -> bool {
        true
    }

    fn splits(&self) -> bool {
        true
    }

    fn range(&self, gate: usize) -> (f64, f64) {
        if gate == 2 { (-1.0, 1.0) } else { (0.0, 1.0) }
    }

    /// Along z: by the product of update gates alone. Through r, z or n: that is the pre-activation it last passed.
    fn paths(&self) -> &'static [&'static str] {
        &["along_z", "through_r", "through_z", "through_n"]
    }

    fn path(&self, passed: Option<usize>, gate: Option<usize>) -> usize {
        gate.or(passed).map_or(0, |gate| 1 + gate)
    }

    fn step(&self, params: &CellParams<T>, step: Forward<'_, T>) {
        let hidden = params.hidden();
        let mut recurrent = vec![T::zero(); step.gates.len()];
        kernel::product_transposed(&mut recurrent, false, step.h_prev, params.w_hh.view());
        let rows = step.gates.chunks_exact_mut(3 * hidden).zip(recurrent.chunks_exact_mut(3 * hidden));
        for (b, (a, s)) in rows.enumerate() {
            kernel::add_scaled(s, T::one(), params.b_hh.data());
            for j in 0..hidden {
                let q = s[2 * hidden + j];
                let r = sigmoid(a[j] + s[j]);
                let z = sigmoid(a[hidden + j] + s[hidden + j]);
                let n = (a[2 * hidden + j] + r * q).tanh();
                (a[j], a[hidden + j], a[2 * hidden + j]) = (r, z, n);
                step.kept[b * hidden + j] = q;
                step.h[b * hidden + j] = (T::one() - z) * n + z * step.h_prev.row(b)[j];
            }
        }
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let (hidden, batch) = (cache.h_prev.cols(), cache.h_prev.rows());
        let Backward { dh, da, da_hh, .. } = rows;
        let one = T::one();
        let sides = da.chunks_exact_mut(3 * hidden).zip(da_hh.chunks_exact_mut(3 * hidden));
        for (row, ((da, da_hh), dh)) in sides.zip(dh.chunks_exact_mut(hidden)).enumerate() {
            let b = row % batch;
            let (gates, q, h_prev) = (cache.gates.row(b), cache.kept.row(b), cache.h_prev.row(b));
            for j in 0..hidden {
                let [r, z, n] = [0, 1, 2].map(|gate| gates[gate * hidden + j]);
                let da_n = dh[j] * (one - z) * (one - n * n);
                da[j] = da_n * q[j] * r * (one - r);
                da[hidden + j] = dh[j] * (h_prev[j] - n) * z * (one - z);
                da[2 * hidden + j] = da_n;
                dh[j] *= z;
            }
            da_hh[..2 * hidden].copy_from_slice(&da[..2 * hidden]);
            for j in 0..hidden {
                da_hh[2 * hidden + j] = da[2 * hidden + j] * gates[j];
            }
        }
    }
}
