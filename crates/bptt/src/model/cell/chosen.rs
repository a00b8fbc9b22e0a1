//! LSTM and GRU with chosen activations: hard sigmoids, relu and others in place of σ and tanh.
//!
//! The equations are those of the LSTM and the GRU (`lstm.rs`, `gru.rs`) with φ for σ, ψ for tanh of the candidate and, in the
//! LSTM, χ for tanh of the cell state:
//!
//! ```text
//! i, f, o = φ(·)      g = ψ(·)      c_t = f ∘ c_{t-1} + i ∘ g      h_t = o ∘ χ(c_t)
//! r, z = φ(·)         n = ψ(·)      h_t = (1 − z) ∘ n + z ∘ h_{t-1}
//! ```
//!
//! Keras calls φ `recurrent_activation` and ψ = χ `activation`; ONNX calls them f, g and h.

use std::sync::Arc;

use super::gru::{paths, reset_after_params};
use super::lstm::cell_state_paths;
use super::{
    Activation, AdjointSpec, Backward, Cell, CellParams, CellSpec, Forward, Operand, ParamSpec, Role,
    SavedSpec, Stage, StateSpec, StepCache, StepWeights, Width, gru, lstm, usual_params,
};
use crate::Error;
use crate::array::View;
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};

/// Where the recurrent parameters are.
const WEIGHT_HH: usize = 1;
const BIAS_HH: usize = 3;

/// The activations in a cell's name, `hard_sigmoid,tanh`: φ, ψ and, where there is a cell state, χ, which is ψ if it is not
/// named.
fn activations(cell: &str, given: Option<&str>, most: usize) -> Result<Vec<Activation>, Error> {
    let names: Vec<&str> = given.map(|given| given.split(',').collect()).unwrap_or_default();
    let known: Option<Vec<Activation>> = names.iter().map(|name| Activation::by_name(name.trim())).collect();
    match known {
        Some(known) if (2..=most).contains(&known.len()) => Ok(known),
        _ => Err(Error::UnknownCell {
            given: format!("{cell}:{}", given.unwrap_or_default()),
            expected: format!(
                "2{} activations separated by commas, as in {cell}:hard_sigmoid,tanh, from {}",
                if most > 2 { " or 3" } else { "" },
                Activation::ALL.map(Activation::as_str).join(", ")
            ),
        }),
    }
}

/// The name with its activations.
fn name(cell: &str, activations: &[Activation]) -> String {
    let names: Vec<&str> = activations.iter().map(|activation| activation.as_str()).collect();
    format!("{cell}:{}", names.join(","))
}

/// The LSTM cell with chosen activations.
#[derive(Clone, Debug)]
pub struct LstmWith {
    /// φ, ψ, χ.
    activations: [Activation; 3],
    spec: Arc<CellSpec>,
}

impl LstmWith {
    /// From the activations in the cell's name.
    ///
    /// # Errors
    /// If they are not two or three of those that are known.
    pub fn by_name(given: Option<&str>) -> Result<Self, Error> {
        let chosen = activations("lstm_with", given, 3)?;
        let (phi, psi) = (chosen[0], chosen[1]);
        let chi = *chosen.get(2).unwrap_or(&psi);
        let spec = CellSpec {
            name: name("lstm_with", &chosen),
            title: format!("LSTM with {} and {}", phi.as_str(), psi.as_str()),
            states: vec![StateSpec::h(false), StateSpec::c()],
            gates: lstm::gates(phi, psi),
            adjoints: vec![AdjointSpec::da()],
            params: usual_params(4),
            saved: vec![SavedSpec { name: "χ(c)", width: Width::Hidden, passes_to: None }],
            backward: vec![Stage::Local(0)],
            paths: cell_state_paths(4),
            vanilla: None,
            equations: lstm::equations(phi, psi, chi),
        };
        Ok(Self { activations: [phi, psi, chi], spec: Arc::new(spec) })
    }
}

impl<T: Real> Cell<T> for LstmWith {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights, WEIGHT_HH, 0);
        let hidden = step.prev[1].cols();
        let ([h, c, ..], [chi_c, ..]) = (step.next, step.saved);
        for (b, gates) in step.gates.chunks_exact_mut(4 * hidden).enumerate() {
            let row = b * hidden..(b + 1) * hidden;
            let states = [&mut c[row.clone()], &mut chi_c[row.clone()], &mut h[row]];
            lstm(self.activations, gates, step.prev[1].row(b), states);
        }
    }

    fn vjp(&self, _: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, dc, ..], [da, ..]) = (rows.states, rows.adjoints);
        let (batch, hidden) = (cache.prev(1).rows(), cache.prev(1).cols());
        let rows =
            dh.chunks_exact(hidden).zip(dc.chunks_exact_mut(hidden)).zip(da.chunks_exact_mut(4 * hidden));
        for (r, ((dh, dc), da)) in rows.enumerate() {
            let b = r % batch;
            let saved = [cache.gates().row(b), cache.saved(0).row(b), cache.prev(1).row(b)];
            through_lstm(self.activations, saved, dh, dc, da);
        }
    }
}

/// The GRU cell with chosen activations, the reset gate applied after the product or before it.
#[derive(Clone, Debug)]
pub struct GruWith {
    /// φ, ψ.
    activations: [Activation; 2],
    reset_before: bool,
    spec: Arc<CellSpec>,
}

impl GruWith {
    /// `gru_with`, the reset gate applied after the product, from the activations in the cell's name.
    ///
    /// # Errors
    /// If they are not two of those that are known.
    pub fn reset_after(given: Option<&str>) -> Result<Self, Error> {
        Self::of("gru_with", given, false)
    }

    /// `gru_reset_before_with`, likewise.
    ///
    /// # Errors
    /// As above.
    pub fn reset_before(given: Option<&str>) -> Result<Self, Error> {
        Self::of("gru_reset_before_with", given, true)
    }

    fn of(cell: &str, given: Option<&str>, reset_before: bool) -> Result<Self, Error> {
        let chosen = activations(cell, given, 2)?;
        let (phi, psi) = (chosen[0], chosen[1]);
        let (mut params, mut adjoints) = (reset_after_params(), vec![AdjointSpec::da()]);
        let mut backward = vec![Stage::Local(0)];
        if reset_before {
            params = usual_params(3);
            let blocks = [(0..2, Operand::Prev(0), 0), (2..3, Operand::Saved(0), 0)];
            params[WEIGHT_HH] = ParamSpec::matrix("weight_hh", Role::Recurrent, &blocks);
            backward.extend([Stage::Through { param: WEIGHT_HH, block: 1 }, Stage::Local(1)]);
        } else {
            adjoints.push(AdjointSpec::gates("da_hh", Some(2..3)));
        }
        let spec = CellSpec {
            name: name(cell, &chosen),
            title: format!(
                "GRU{} with {} and {}",
                if reset_before { ", reset before the product," } else { "" },
                phi.as_str(),
                psi.as_str()
            ),
            states: vec![StateSpec::h(true)],
            gates: gru::gates(phi, psi),
            adjoints,
            params,
            saved: vec![SavedSpec {
                name: if reset_before { "s" } else { "q" },
                width: Width::Hidden,
                passes_to: reset_before.then_some(0),
            }],
            backward,
            paths: paths(),
            vanilla: None,
            equations: gru::equations(phi, psi, reset_before),
        };
        Ok(Self { activations: [phi, psi], reset_before, spec: Arc::new(spec) })
    }
}

impl<T: Real> Cell<T> for GruWith {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        let (batch, hidden) = (step.prev[0].rows(), step.prev[0].cols());
        let [phi, psi] = self.activations;
        step.add_recurrent(weights, WEIGHT_HH, 0);
        let ([h, ..], [saved, ..]) = (step.next, step.saved);
        if !self.reset_before {
            step.input.put(2 * hidden..3 * hidden, step.gates, 3 * hidden);
            weights.product(WEIGHT_HH, 1, Some(weights.vector(BIAS_HH, 1)), step.prev[0], saved);
        }
        for (b, gates) in step.gates.chunks_exact_mut(3 * hidden).enumerate() {
            let saved = &mut saved[b * hidden..(b + 1) * hidden];
            reset_and_update(phi, self.reset_before, gates, step.prev[0].row(b), saved);
        }
        if self.reset_before {
            let s = View::new(batch, hidden, saved);
            weights.add_product(WEIGHT_HH, 1, &step.input, s, step.gates);
        }
        let rows = step.gates.chunks_exact_mut(3 * hidden).zip(h.chunks_exact_mut(hidden));
        for (b, (gates, h)) in rows.enumerate() {
            candidate(psi, gates, step.prev[0].row(b), h);
        }
    }

    fn vjp(&self, stage: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, ..], [da, da_hh, ..], [ds, ..]) = (rows.states, rows.adjoints, rows.saved);
        let (batch, hidden) = (cache.prev(0).rows(), cache.prev(0).cols());
        let [phi, psi] = self.activations;
        for (r, da) in da.chunks_exact_mut(3 * hidden).enumerate() {
            let (gates, h_prev) = (cache.gates().row(r % batch), cache.prev(0).row(r % batch));
            let row = r * hidden..(r + 1) * hidden;
            if stage == 1 {
                through_reset(phi, gates, h_prev, &mut ds[row], da);
                continue;
            }
            through_candidate([phi, psi], gates, h_prev, &mut dh[row], da);
            if !self.reset_before {
                let q = cache.saved(0).row(r % batch);
                split(phi, gates, q, da, &mut da_hh[r * 3 * hidden..(r + 1) * 3 * hidden]);
            }
        }
    }
}

on_registers! {
    /// From the pre-activations of one sequence to c, χ(c) and h.
    fn lstm<'a, T: Real>(simd, act: [Activation; 3], gates: &'a mut [T], c_prev: &'a [T], states: [&'a mut [T]; 3]) -> () {
        let hidden = c_prev.len();
        let (i_f, g_o) = gates.split_at_mut(2 * hidden);
        let ((i, f), (g, o)) = (i_f.split_at_mut(hidden), g_o.split_at_mut(hidden));
        let ([phi, psi, chi], [c, chi_c, h]) = (act, states);
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (i_t, f_t) = (phi.value(Vector::load(simd, i, at)), phi.value(Vector::load(simd, f, at)));
            let (g_t, o_t) = (psi.value(Vector::load(simd, g, at)), phi.value(Vector::load(simd, o, at)));
            let c_t = f_t.mul_add(Vector::load(simd, c_prev, at), i_t * g_t);
            let chi_t = chi.value(c_t);
            i_t.store(i, at);
            f_t.store(f, at);
            g_t.store(g, at);
            o_t.store(o, at);
            c_t.store(c, at);
            chi_t.store(chi_c, at);
            (o_t * chi_t).store(h, at);
        });
    }

    /// From dh and dc of one row to da, and dc to the step before; `saved` is the gates, χ(c) and c before the step.
    fn through_lstm<'a, T: Real>(
        simd,
        act: [Activation; 3],
        saved: [&'a [T]; 3],
        dh: &'a [T],
        dc: &'a mut [T],
        da: &'a mut [T],
    ) -> () {
        let ([phi, psi, chi], [gates, chi_c, c_prev]) = (act, saved);
        let hidden = c_prev.len();
        let (i_f, g_o) = gates.split_at(2 * hidden);
        let ((i, f), (g, o)) = (i_f.split_at(hidden), g_o.split_at(hidden));
        let (da_i_f, da_g_o) = da.split_at_mut(2 * hidden);
        let ((da_i, da_f), (da_g, da_o)) = (da_i_f.split_at_mut(hidden), da_g_o.split_at_mut(hidden));
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (i, f) = (Vector::load(simd, i, at), Vector::load(simd, f, at));
            let (g, o) = (Vector::load(simd, g, at), Vector::load(simd, o, at));
            let (chi_t, dh) = (Vector::load(simd, chi_c, at), Vector::load(simd, dh, at));
            let dc_t = (dh * o).mul_add(chi.slope(chi_t), Vector::load(simd, dc, at));
            (dc_t * g * phi.slope(i)).store(da_i, at);
            (dc_t * Vector::load(simd, c_prev, at) * phi.slope(f)).store(da_f, at);
            (dc_t * i * psi.slope(g)).store(da_g, at);
            (dh * chi_t * phi.slope(o)).store(da_o, at);
            (dc_t * f).store(dc, at);
        });
    }

    /// r and z; then n's pre-activation with r ∘ q added, or, where r comes before the product, s = r ∘ h_prev.
    fn reset_and_update<'a, T: Real>(
        simd,
        phi: Activation,
        reset_before: bool,
        gates: &'a mut [T],
        h_prev: &'a [T],
        saved: &'a mut [T],
    ) -> () {
        let hidden = h_prev.len();
        let (r_z, n) = gates.split_at_mut(2 * hidden);
        let (r, z) = r_z.split_at_mut(hidden);
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let r_t = phi.value(Vector::load(simd, r, at));
            phi.value(Vector::load(simd, z, at)).store(z, at);
            r_t.store(r, at);
            if reset_before {
                (r_t * Vector::load(simd, h_prev, at)).store(saved, at);
            } else {
                r_t.mul_add(Vector::load(simd, saved, at), Vector::load(simd, n, at)).store(n, at);
            }
        });
    }

    /// n and h, from n's pre-activation.
    fn candidate<'a, T: Real>(simd, psi: Activation, gates: &'a mut [T], h_prev: &'a [T], h: &'a mut [T]) -> () {
        let hidden = h_prev.len();
        let (r_z, n) = gates.split_at_mut(2 * hidden);
        let z = &r_z[hidden..];
        let one = Vector::splat(simd, T::one());
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (n_t, z_t) = (psi.value(Vector::load(simd, n, at)), Vector::load(simd, z, at));
            n_t.store(n, at);
            z_t.mul_add(Vector::load(simd, h_prev, at), (one - z_t) * n_t).store(h, at);
        });
    }

    /// From dh of one row to da_z and da_n, and the part of dh that goes through z to h_{t-1}; da_r is left at 0.
    fn through_candidate<'a, T: Real>(
        simd,
        act: [Activation; 2],
        gates: &'a [T],
        h_prev: &'a [T],
        dh: &'a mut [T],
        da: &'a mut [T],
    ) -> () {
        let hidden = h_prev.len();
        let (z, n) = (&gates[hidden..2 * hidden], &gates[2 * hidden..]);
        let (da_r, rest) = da.split_at_mut(hidden);
        let (da_z, da_n) = rest.split_at_mut(hidden);
        let (zero, one) = (Vector::splat(simd, T::zero()), Vector::splat(simd, T::one()));
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (z, n, dh_t) = (Vector::load(simd, z, at), Vector::load(simd, n, at), Vector::load(simd, dh, at));
            zero.store(da_r, at);
            (dh_t * (Vector::load(simd, h_prev, at) - n) * act[0].slope(z)).store(da_z, at);
            (dh_t * (one - z) * act[1].slope(n)).store(da_n, at);
            (dh_t * z).store(dh, at);
        });
    }

    /// da_r = da_n ∘ q ∘ φ'(r), and what the recurrent side sees, with da_n ∘ r in place of da_n.
    fn split<'a, T: Real>(simd, phi: Activation, gates: &'a [T], q: &'a [T], da: &'a mut [T], da_hh: &'a mut [T]) -> () {
        let hidden = q.len();
        let r = &gates[..hidden];
        let (da_r, rest) = da.split_at_mut(hidden);
        let (da_z, da_n) = rest.split_at(hidden);
        let (hh_r, rest) = da_hh.split_at_mut(hidden);
        let (hh_z, hh_n) = rest.split_at_mut(hidden);
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (r, n) = (Vector::load(simd, r, at), Vector::load(simd, da_n, at));
            let r_t = n * Vector::load(simd, q, at) * phi.slope(r);
            r_t.store(da_r, at);
            r_t.store(hh_r, at);
            Vector::load(simd, da_z, at).store(hh_z, at);
            (n * r).store(hh_n, at);
        });
    }

    /// From the gradient with respect to r ∘ h_prev to da_r, and what goes on to h_prev.
    fn through_reset<'a, T: Real>(
        simd,
        phi: Activation,
        gates: &'a [T],
        h_prev: &'a [T],
        ds: &'a mut [T],
        da: &'a mut [T],
    ) -> () {
        let hidden = h_prev.len();
        let (r, da_r) = (&gates[..hidden], &mut da[..hidden]);
        columns::<T, S>(hidden, #[inline(always)] |at| {
            let (r, ds_t) = (Vector::load(simd, r, at), Vector::load(simd, ds, at));
            (ds_t * Vector::load(simd, h_prev, at) * phi.slope(r)).store(da_r, at);
            (ds_t * r).store(ds, at);
        });
    }
}
