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

use super::{Backward, Cell, Forward, StepCache};
use crate::array::View;
use crate::kernel::activation::{sigmoid, tanh};
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};
use crate::model::Recurrent;

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

    fn passes_by(&self) -> bool {
        true
    }

    fn step(&self, weights: &Recurrent<T>, mut step: Forward<'_, T>) {
        let hidden = weights.hidden();
        step.add_recurrent(weights);
        step.input.put(2 * hidden..3 * hidden, step.gates, 3 * hidden);
        weights.of_last(step.h_prev, step.kept);
        activate(step.gates, step.kept, step.h_prev, step.h);
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        through_gates(cache, rows.dh, rows.da, rows.da_hh);
    }
}

on_registers! {
    /// From the pre-activations, that of n without its recurrent part q, to h.
    fn activate<'a, T>(simd, gates: &'a mut [T], q: &'a [T], h_prev: View<'a, T>, h: &'a mut [T]) -> () {
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

    /// From dh to da and da_hh, and the part of dh that passes by z.
    fn through_gates<'a, T>(
        simd,
        cache: &'a StepCache<'a, T>,
        dh: &'a mut [T],
        da: &'a mut [T],
        da_hh: &'a mut [T],
    ) -> () {
        let (hidden, batch) = (cache.h_prev.cols(), cache.h_prev.rows());
        let one = Vector::splat(simd, T::one());
        let sides = da.chunks_exact_mut(3 * hidden).zip(da_hh.chunks_exact_mut(3 * hidden));
        for (row, ((da, da_hh), dh)) in sides.zip(dh.chunks_exact_mut(hidden)).enumerate() {
            let b = row % batch;
            let (gates, q, h_prev) = (cache.gates.row(b), cache.kept.row(b), cache.h_prev.row(b));
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

    fn passes_by(&self) -> bool {
        true
    }

    fn step(&self, weights: &Recurrent<T>, mut step: Forward<'_, T>) {
        let (hidden, batch) = (weights.hidden(), step.h_prev.rows());
        step.add_recurrent(weights);
        reset(step.gates, step.h_prev, step.kept);
        let kept = View::new(batch, hidden, step.kept);
        weights.add_last(&step.input, kept, step.gates, 3 * hidden);
        activate_after_reset(step.gates, step.h_prev, step.h);
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        through_z_and_n(cache, rows.dh, rows.da);
    }

    fn kept_vjp(&self, cache: &StepCache<'_, T>, dkept: &mut [T], da: &mut [T]) {
        through_reset(cache, dkept, da);
    }
}

on_registers! {
    /// σ of the first two gates, and r ∘ h_prev.
    fn reset<'a, T>(simd, gates: &'a mut [T], h_prev: View<'a, T>, kept: &'a mut [T]) -> () {
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
    fn activate_after_reset<'a, T>(simd, gates: &'a mut [T], h_prev: View<'a, T>, h: &'a mut [T]) -> () {
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

    /// From dh to da_z and da_n, and the part of dh that passes by z; da_r is left at 0.
    fn through_z_and_n<'a, T>(simd, cache: &'a StepCache<'a, T>, dh: &'a mut [T], da: &'a mut [T]) -> () {
        let (hidden, batch) = (cache.h_prev.cols(), cache.h_prev.rows());
        let (zero, one) = (Vector::splat(simd, T::zero()), Vector::splat(simd, T::one()));
        for (row, (da, dh)) in da.chunks_exact_mut(3 * hidden).zip(dh.chunks_exact_mut(hidden)).enumerate() {
            let (gates, h_prev) = (cache.gates.row(row % batch), cache.h_prev.row(row % batch));
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
    fn through_reset<'a, T>(simd, cache: &'a StepCache<'a, T>, dkept: &'a mut [T], da: &'a mut [T]) -> () {
        let (hidden, batch) = (cache.h_prev.cols(), cache.h_prev.rows());
        let one = Vector::splat(simd, T::one());
        for (row, (da, dkept)) in da.chunks_exact_mut(3 * hidden).zip(dkept.chunks_exact_mut(hidden)).enumerate() {
            let (r, h_prev) = (&cache.gates.row(row % batch)[..hidden], cache.h_prev.row(row % batch));
            columns::<T, S>(hidden, #[inline(always)] |at| {
                let (r, ds) = (Vector::load(simd, r, at), Vector::load(simd, dkept, at));
                (ds * Vector::load(simd, h_prev, at) * (r * (one - r))).store(da, at);
                (ds * r).store(dkept, at);
            });
        }
    }
}
