//! What is measured of one row at (k, t): the norms of its contributions and their shares of the update, without
//! forming a matrix.
//!
//! ```text
//! ‖Σ_b da_b x_bᵀ‖² = Σ_{b,b'} (da_b · da_b') (x_b · x_b')          ⟨da xᵀ, U⟩ = da · (U x)
//! ```

use rayon::prelude::*;

use super::entries::Parameter;
use crate::array::{Matrix, Sequence, View};
use crate::forward::{StepInput, Trace};
use crate::gradient::Gradient;
use crate::kernel;
use crate::kernel::{Packed, Real, Start};
use crate::kernel::{inner, to_unit_length};
use crate::model::{Place, Weights};

/// What is measured of a cell at every (k, t), in the order of a [`LossRow`]'s slots. Only the bottom layer has inputs
/// from outside, and they may not be asked for.
pub(crate) fn measured(splits: bool, place: Place, inputs: bool) -> &'static [Parameter] {
    let all: &[Parameter] = if splits {
        &[Parameter::WeightIh, Parameter::WeightHh, Parameter::BiasIh, Parameter::BiasHh, Parameter::Input]
    } else {
        &[Parameter::WeightIh, Parameter::WeightHh, Parameter::Bias, Parameter::Input]
    };
    if inputs && place.layer == 0 { all } else { &all[..all.len() - 1] }
}

/// What shares are measured against, laid out by step so that a share is an inner product of vectors.
pub(crate) struct Against<T> {
    /// U_ih x_{t,b}, (T, B, G·H).
    ih: Sequence<T>,
    /// U_hh h_{t-1,b}, (T, B, G·H); what was kept in place of h where a gate reads that.
    hh: Sequence<T>,
    /// U_b, (G·H): of both biases together, or one for each where the cell splits their gradients.
    biases: Vec<Vec<T>>,
    /// The direction of dL/dx (of unit length, so that no square can underflow), (T, B, I), in the bottom layer.
    x: Option<Sequence<T>>,
    /// The directions of dL/dh0 and, if there is a c, dL/dc0, (B, H).
    initial: Vec<Matrix<T>>,
    /// ⟨gradient, U⟩ for each of [`measured`].
    totals: Vec<f64>,
    /// ‖dL/dh0‖ and, if there is a c, ‖dL/dc0‖.
    initial_totals: Vec<f64>,
}

/// Rows (t, b) of U_hh h_{t-1} that are made by one thread.
const PART: usize = 240;

impl<T: Real> Against<T> {
    /// For cell `index`.
    pub(crate) fn new(
        trace: &Trace<T>,
        gradient: &Gradient<T>,
        update: &Weights<T>,
        index: usize,
        splits: bool,
    ) -> Self {
        let (steps, batch) = trace.inputs().shape();
        let (g, u) = (&gradient.weights.layers[index], &update.layers[index]);
        let layer = update.place(index).layer;
        let of_inputs = || {
            let mut ih = Sequence::zeros(steps, batch, u.w_ih.rows());
            trace.inputs_of(layer).all().times_transposed(ih.data_mut(), &u.w_ih);
            (ih, inner(g.w_ih.data(), u.w_ih.data()))
        };
        let of_states = || {
            let mut hh = Sequence::zeros(steps, batch, u.w_hh.rows());
            let width = hh.features();
            for (rows, v) in trace.layers()[index].recurrent_inputs(0..steps) {
                let of_rows = Packed::transposed(u.w_hh.view().some_rows(rows.clone()));
                let parts = hh.data_mut().par_chunks_mut(PART * width);
                parts.enumerate().for_each(|(i, part)| {
                    let v = v.some_rows(i * PART..v.rows().min((i + 1) * PART));
                    T::multiply(&mut part[rows.start..], width, Start::Zero, v, &of_rows);
                });
            }
            (hh, inner(g.w_hh.data(), u.w_hh.data()))
        };
        let ((ih, inner_ih), (hh, inner_hh)) = rayon::join(of_inputs, of_states);
        let mut x = gradient.inputs.clone().filter(|_| layer == 0);
        let mut biases = vec![u.b_ih.data().to_vec()];
        if splits {
            biases.push(u.b_hh.data().to_vec());
        } else {
            kernel::add_scaled(&mut biases[0], T::one(), u.b_hh.data());
        }
        let mut totals = vec![inner_ih, inner_hh];
        totals.extend(biases.iter().zip([&g.b_ih, &g.b_hh]).map(|(u, g)| inner(g.data(), u)));
        totals.extend(x.iter_mut().map(|x| to_unit_length(x.data_mut())));
        let states = [&gradient.initial.h[index], &gradient.initial.c[index]];
        let mut initial: Vec<_> = states.into_iter().filter(|state| state.cols() > 0).cloned().collect();
        let initial_totals = initial.iter_mut().map(|state| to_unit_length(state.data_mut())).collect();
        Self { ih, hh, biases, x, initial, totals, initial_totals }
    }

    /// U_ih x at step `t`, (B, G·H).
    pub(crate) fn ih(&self, t: usize) -> View<'_, T> {
        self.ih.step(t)
    }

    /// U_hh h_{t-1} at step `t`, (B, G·H).
    pub(crate) fn hh(&self, t: usize) -> View<'_, T> {
        self.hh.step(t)
    }

    /// U_b, (G·H): of both biases together, or of the n-th.
    pub(crate) fn bias(&self, n: usize) -> &[T] {
        &self.biases[n]
    }

    /// The direction of dL/dx at step `t`, (B, I).
    pub(crate) fn x(&self, t: usize) -> Option<View<'_, T>> {
        self.x.as_ref().map(|x| x.step(t))
    }

    /// The directions of dL/dh0 and, if there is a c, dL/dc0, (B, H).
    pub(crate) fn initial(&self) -> &[Matrix<T>] {
        &self.initial
    }

    /// ⟨gradient, U⟩ for each of [`measured`].
    pub(crate) fn totals(&self) -> &[f64] {
        &self.totals
    }

    /// ‖dL/dh0‖ and, if there is a c, ‖dL/dc0‖.
    pub(crate) fn initial_totals(&self) -> &[f64] {
        &self.initial_totals
    }
}

/// x_b · x_b' and h_{t-1,b} · h_{t-1,b'} for all pairs of sequences (b' ≤ b) at one step, B·B numbers each.
#[derive(Default)]
pub(crate) struct StepProducts {
    x: Vec<f64>,
    h: Vec<f64>,
    /// Of what was kept, if the last gate reads that.
    kept: Vec<f64>,
}

impl StepProducts {
    /// Finds those of step `t` of cell `index` in layer `layer`.
    pub(crate) fn find<T: Real>(&mut self, trace: &Trace<T>, layer: usize, index: usize, t: usize) {
        let (_, batch) = trace.inputs().shape();
        self.x.resize(batch * batch, 0.0);
        match trace.inputs_of(layer).step(t) {
            StepInput::Dense(x) => gram_of(x, &mut self.x),
            StepInput::Symbols(ids) => {
                for (a, &id) in ids.iter().enumerate() {
                    for (same, &other) in self.x[a * batch..].iter_mut().zip(&ids[..=a]) {
                        *same = f64::from(id == other);
                    }
                }
            }
        }
        for ((_, v), gram) in
            trace.layers()[index].recurrent_inputs(t..t + 1).into_iter().zip([&mut self.h, &mut self.kept])
        {
            gram.resize(batch * batch, 0.0);
            gram_of(v, gram);
        }
    }

    /// x_b · x_b'.
    pub(crate) fn x(&self) -> &[f64] {
        &self.x
    }

    /// The products that block `block` of `blocks` of W_hh's rows meets.
    pub(crate) fn recurrent(&self, block: usize, blocks: usize) -> &[f64] {
        if self.kept.is_empty() || block + 1 < blocks { &self.h } else { &self.kept }
    }

    /// ‖kept_b‖² / ‖h_{t-1,b}‖², which the last gate's rows have in place of 1 if they read what was kept.
    pub(crate) fn kept_over_h(&self, b: usize) -> f64 {
        let place = b * (1 + self.x.len().isqrt());
        match self.kept.get(place) {
            Some(kept) if self.h[place] > 0.0 => kept / self.h[place],
            _ => 1.0,
        }
    }
}

/// Inner products of all pairs of rows (b' ≤ b).
fn gram_of<T: Real>(rows: View<'_, T>, gram: &mut [f64]) {
    for a in 0..rows.rows() {
        for b in 0..=a {
            gram[a * rows.rows() + b] = kernel::dot(rows.row(a), rows.row(b)).f64();
        }
    }
}

/// sqrt(Σ_{a,b} inner(a, b)) for a symmetric `inner`: the norm of a sum from the inner products of its terms.
pub(crate) fn gram_norm(terms: usize, inner: impl Fn(usize, usize) -> f64) -> f64 {
    let mut sum = 0.0;
    for a in 0..terms {
        sum += inner(a, a) + 2.0 * (0..a).map(|b| inner(a, b)).sum::<f64>();
    }
    // Terms that cancel may leave a rounding error below zero.
    sum.max(0.0).sqrt()
}
