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
use crate::kernel;
use crate::sequence::View;

/// The GRU cell, the reset gate applied after the product.
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
            let (r_z, n) = a.split_at_mut(2 * hidden);
            let (s_r_z, q) = s.split_at(2 * hidden);
            kernel::add_scaled(r_z, T::one(), s_r_z);
            kernel::sigmoid(r_z);
            let (r, z) = r_z.split_at(hidden);
            for ((n, &r), &q) in n.iter_mut().zip(r).zip(q) {
                *n += r * q;
            }
            kernel::tanh(n);
            step.kept[b * hidden..(b + 1) * hidden].copy_from_slice(q);
            new_h(&mut step.h[b * hidden..(b + 1) * hidden], n, z, step.h_prev.row(b));
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

/// h ← (1 − z) ∘ n + z ∘ h_prev.
fn new_h<T: Real>(h: &mut [T], n: &[T], z: &[T], h_prev: &[T]) {
    for (((h, &n), &z), &h_prev) in h.iter_mut().zip(n).zip(z).zip(h_prev) {
        *h = (T::one() - z) * n + z * h_prev;
    }
}

/// The GRU cell as Cho et al. (2014) wrote it, the reset gate applied to h before the product (Keras' `reset_after=False`):
///
/// ```text
/// r, z as above                                          n = tanh(W_in x_t + b_in + W_hn (r ∘ h_{t-1}) + b_hn)
/// h_t = (1 − z) ∘ n + z ∘ h_{t-1}
/// ```
///
/// Its way back: da_n and da_z as above; with ds = da_n W_hn, the gradient with respect to r ∘ h_{t-1},
///
/// ```text
/// da_r = ds ∘ h_{t-1} ∘ r(1 − r)                         dh ← dh ∘ z + ds ∘ r + [da_r, da_z] [W_hr, W_hz]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GruResetBefore;

impl<T: Real> Cell<T> for GruResetBefore {
    fn name(&self) -> &'static str {
        "gru_reset_before"
    }

    fn gates(&self) -> &'static [&'static str] {
        Cell::<T>::gates(&Gru)
    }

    /// Keeps r ∘ h_{t-1}.
    fn keeps_more(&self) -> bool {
        true
    }

    fn reads_kept(&self) -> bool {
        true
    }

    fn range(&self, gate: usize) -> (f64, f64) {
        Cell::<T>::range(&Gru, gate)
    }

    fn paths(&self) -> &'static [&'static str] {
        Cell::<T>::paths(&Gru)
    }

    fn path(&self, passed: Option<usize>, gate: Option<usize>) -> usize {
        Cell::<T>::path(&Gru, passed, gate)
    }

    fn step(&self, params: &CellParams<T>, step: Forward<'_, T>) {
        let (hidden, batch) = (params.hidden(), step.h_prev.rows());
        let (w_hh, b_hh) = (params.w_hh.data(), params.b_hh.data());
        let (of_gates, of_n) = w_hh.split_at(2 * hidden * hidden);
        let mut recurrent = vec![T::zero(); batch * 2 * hidden];
        kernel::product_transposed(
            &mut recurrent,
            false,
            step.h_prev,
            View::new(2 * hidden, hidden, of_gates),
        );
        let rows = step.gates.chunks_exact_mut(3 * hidden).zip(recurrent.chunks_exact(2 * hidden));
        for (b, (a, s)) in rows.enumerate() {
            let r_z = &mut a[..2 * hidden];
            kernel::add_scaled(r_z, T::one(), s);
            kernel::add_scaled(r_z, T::one(), &b_hh[..2 * hidden]);
            kernel::sigmoid(r_z);
            let kept = step.kept[b * hidden..(b + 1) * hidden].iter_mut();
            for ((kept, &r), &h_prev) in kept.zip(&*a).zip(step.h_prev.row(b)) {
                *kept = r * h_prev;
            }
        }
        let recurrent = &mut recurrent[..batch * hidden];
        let kept = View::new(batch, hidden, step.kept);
        kernel::product_transposed(recurrent, false, kept, View::new(hidden, hidden, of_n));
        let rows = step.gates.chunks_exact_mut(3 * hidden).zip(recurrent.chunks_exact(hidden));
        for (b, (a, s)) in rows.enumerate() {
            let (r_z, n) = a.split_at_mut(2 * hidden);
            kernel::add_scaled(n, T::one(), s);
            kernel::add_scaled(n, T::one(), &b_hh[2 * hidden..]);
            kernel::tanh(n);
            new_h(&mut step.h[b * hidden..(b + 1) * hidden], n, &r_z[hidden..], step.h_prev.row(b));
        }
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let (hidden, batch) = (cache.h_prev.cols(), cache.h_prev.rows());
        let Backward { dh, da, .. } = rows;
        let one = T::one();
        for (row, (da, dh)) in da.chunks_exact_mut(3 * hidden).zip(dh.chunks_exact_mut(hidden)).enumerate() {
            let (gates, h_prev) = (cache.gates.row(row % batch), cache.h_prev.row(row % batch));
            for j in 0..hidden {
                let (z, n) = (gates[hidden + j], gates[2 * hidden + j]);
                da[j] = T::zero();
                da[hidden + j] = dh[j] * (h_prev[j] - n) * z * (one - z);
                da[2 * hidden + j] = dh[j] * (one - z) * (one - n * n);
                dh[j] *= z;
            }
        }
    }

    fn kept_vjp(&self, cache: &StepCache<'_, T>, dkept: &mut [T], da: &mut [T]) {
        let (hidden, batch) = (cache.h_prev.cols(), cache.h_prev.rows());
        let rows = da.chunks_exact_mut(3 * hidden).zip(dkept.chunks_exact_mut(hidden));
        for (row, (da, dkept)) in rows.enumerate() {
            let (gates, h_prev) = (cache.gates.row(row % batch), cache.h_prev.row(row % batch));
            for j in 0..hidden {
                let r = gates[j];
                da[j] = dkept[j] * h_prev[j] * r * (T::one() - r);
                dkept[j] *= r;
            }
        }
    }
}
