//! What is measured of one row at (k, t): the norms of its contributions and their shares of the update, without
//! forming a matrix.
//!
//! ```text
//! ‖Σ_b da_b x_bᵀ‖² = Σ_{b,b'} (da_b · da_b') (x_b · x_b')          ⟨da xᵀ, U⟩ = da · (U x)
//! ```

use std::ops::Range;

use crate::gradient::Gradient;
use crate::ledger::Parameter;
use crate::network::{Place, Weights};
use crate::rows::Rows;
use crate::scan::Trace;
use crate::sequence::{Matrix, Sequence, View};
use crate::{Real, kernel};

/// What is measured of a cell at every (k, t), in the order of a [`LossRow`]'s slots. Only the bottom layer has inputs
/// from outside.
pub(crate) fn measured(splits: bool, place: Place) -> &'static [Parameter] {
    let all: &[Parameter] = if splits {
        &[Parameter::WeightIh, Parameter::WeightHh, Parameter::BiasIh, Parameter::BiasHh, Parameter::Input]
    } else {
        &[Parameter::WeightIh, Parameter::WeightHh, Parameter::Bias, Parameter::Input]
    };
    if place.layer == 0 { all } else { &all[..all.len() - 1] }
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
        let inner = |a: &[T], b: &[T]| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum::<f64>();
        let mut ih = Sequence::zeros(steps, batch, u.w_ih.rows());
        trace.inputs_of(layer).all().times_transposed(ih.data_mut(), &u.w_ih);
        let mut hh = Sequence::zeros(steps, batch, u.w_hh.rows());
        for (rows, v) in trace.layers()[index].recurrent_inputs(0..steps) {
            let of_rows =
                View::new(rows.len(), v.cols(), &u.w_hh.data()[rows.start * v.cols()..rows.end * v.cols()]);
            let mut product = vec![T::zero(); v.rows() * rows.len()];
            kernel::product_transposed(&mut product, false, v, of_rows);
            let width = hh.features();
            let to = hh.data_mut().chunks_exact_mut(width).zip(product.chunks_exact(rows.len()));
            for (to, from) in to {
                to[rows.clone()].copy_from_slice(from);
            }
        }
        let mut x = gradient.inputs.clone().filter(|_| layer == 0);
        let mut biases = vec![u.b_ih.data().to_vec()];
        if splits {
            biases.push(u.b_hh.data().to_vec());
        } else {
            kernel::add_scaled(&mut biases[0], T::one(), u.b_hh.data());
        }
        let mut totals = vec![inner(g.w_ih.data(), u.w_ih.data()), inner(g.w_hh.data(), u.w_hh.data())];
        totals.extend(biases.iter().zip([&g.b_ih, &g.b_hh]).map(|(u, g)| inner(g.data(), u)));
        totals.extend(x.iter_mut().map(|x| to_unit_length(x.data_mut())));
        let states = [&gradient.initial.h[index], &gradient.initial.c[index]];
        let mut initial: Vec<_> = states.into_iter().filter(|state| state.cols() > 0).cloned().collect();
        let initial_totals = initial.iter_mut().map(|state| to_unit_length(state.data_mut())).collect();
        Self { ih, hh, biases, x, initial, totals, initial_totals }
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

/// ‖v‖, without under- or overflow on the way.
pub(crate) fn norm<T: Real>(v: &[T]) -> f64 {
    let size = kernel::largest(v).f64();
    if size == 0.0 {
        return 0.0;
    }
    size * v.iter().map(|v| (v.f64() / size).powi(2)).sum::<f64>().sqrt()
}

/// Scales `v` to unit length and returns what its length was; zeros stay.
fn to_unit_length<T: Real>(v: &mut [T]) -> f64 {
    let length = norm(v);
    if length > 0.0 {
        for number in v.iter_mut() {
            *number = T::of(number.f64() / length);
        }
    }
    length
}

/// x_b · x_b' and h_{t-1,b} · h_{t-1,b'} for all pairs of sequences at one step.
pub(crate) struct StepProducts {
    x: Vec<f64>,
    /// Of h_{t-1}, and of what was kept if the last gate reads that.
    recurrent: Vec<Vec<f64>>,
}

impl StepProducts {
    /// For cell `index` of layer `layer`.
    pub(crate) fn new<T: Real>(trace: &Trace<T>, layer: usize, index: usize, t: usize) -> Self {
        let (_, batch) = trace.inputs().shape();
        let x = trace.inputs_of(layer).step(t);
        let pairs = || (0..batch * batch).map(|i| (i / batch, i % batch));
        let gram = |v: View<'_, T>| pairs().map(|(a, b)| kernel::dot(v.row(a), v.row(b)).f64()).collect();
        let recurrent = trace.layers()[index].recurrent_inputs(t..t + 1);
        Self {
            x: pairs().map(|(a, b)| x.dot(a, b).f64()).collect(),
            recurrent: recurrent.into_iter().map(|(_, v)| gram(v)).collect(),
        }
    }

    /// The products that block `block` of `blocks` of W_hh's rows meets.
    fn recurrent(&self, block: usize, blocks: usize) -> &[f64] {
        &self.recurrent[usize::from(self.recurrent.len() > 1 && block + 1 == blocks)]
    }

    /// ‖kept_b‖² / ‖h_{t-1,b}‖², which the last gate's rows have in place of 1 if they read what was kept.
    fn kept_over_h(&self, b: usize) -> f64 {
        let square = |gram: &Vec<f64>| gram[b * (1 + gram.len().isqrt())];
        match &self.recurrent[..] {
            [h, kept] if square(h) > 0.0 => square(kept) / square(h),
            _ => 1.0,
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

/// One loss at one step: its gradient rows, one for each sequence, each standing for itself times 2^exponent.
pub(crate) struct LossAtStep<'a, T> {
    pub(crate) t: usize,
    /// (B, G·H).
    pub(crate) da: View<'a, T>,
    /// As the recurrent side sees it, if the cell splits.
    pub(crate) da_hh: Option<View<'a, T>>,
    /// (B, I), in the bottom layer.
    pub(crate) dx: Option<View<'a, T>>,
    pub(crate) exponents: &'a [i32],
}

/// Everything measured of one loss k in one cell, at the steps from which a path leads through the cell to the loss.
pub(crate) struct LossRow {
    /// How many blocks of rows are measured apart.
    blocks: usize,
    /// These steps.
    pub(crate) span: Range<usize>,
    /// The power of two that the step's norms are to be multiplied with.
    pub(crate) exponent: Vec<i32>,
    /// For each of [`measured`].
    pub(crate) slots: Vec<Slot>,
    /// ‖da‖, ‖da_hh‖ and ‖dx‖ of each sequence, B numbers a step, in full.
    pub(crate) sequences: Option<[Vec<f64>; 3]>,
    /// dL_k/dh0 and, if there is a c, dL_k/dc0.
    pub(crate) initial: Vec<InitialMeasure>,
}

/// One parameter's numbers, one for each step.
pub(crate) struct Slot {
    /// Without their powers of two.
    pub(crate) norm: Vec<f64>,
    /// ⟨component, U⟩, in full.
    pub(crate) inner: Vec<f64>,
    /// The norms of each gate's rows, G numbers a step, if asked for.
    pub(crate) by_gate: Vec<f64>,
}

/// A gradient with respect to an initial state.
pub(crate) struct InitialMeasure {
    pub(crate) norm: f64,
    pub(crate) log10_norm: f64,
    pub(crate) inner: f64,
}

/// Inner products da_b · da_b' of one side's rows (b' ≤ b), and ‖Σ_b da_b‖, for each of some blocks of columns.
struct Side {
    batch: usize,
    /// B·B numbers a block.
    gram: Vec<f64>,
    /// One number a block.
    sums: Vec<f64>,
}

impl Side {
    /// Rows are taken times their `relative` power of two.
    fn new<T: Real>(da: View<'_, T>, relative: &[f64], blocks: usize) -> Self {
        let (batch, width) = (da.rows(), da.cols() / blocks);
        let pair = |i: usize| {
            let (block, a, b) = (i / (batch * batch), i / batch % batch, i % batch);
            let columns = block * width..(block + 1) * width;
            let product = || kernel::dot(&da.row(a)[columns.clone()], &da.row(b)[columns.clone()]).f64();
            if b <= a { product() * relative[a] * relative[b] } else { 0.0 }
        };
        let mut summed = vec![T::zero(); da.cols()];
        for (b, &relative) in relative.iter().enumerate() {
            kernel::add_scaled(&mut summed, T::of(relative), da.row(b));
        }
        let sums = summed.chunks_exact(width).map(|sum| kernel::dot(sum, sum).f64().sqrt());
        Self { batch, gram: (0..blocks * batch * batch).map(pair).collect(), sums: sums.collect() }
    }

    /// ‖Σ_b da_b v_bᵀ‖ of each block, from the inner products of the block's v.
    fn norms_with<'a>(&self, v: impl Fn(usize) -> &'a [f64]) -> Vec<f64> {
        let norm = |(block, gram): (usize, &[f64])| {
            let v = v(block);
            gram_norm(self.batch, |a, b| gram[a * self.batch + b] * v[a * self.batch + b])
        };
        self.gram.chunks_exact(self.batch * self.batch).enumerate().map(norm).collect()
    }

    /// ‖da_b‖ over all blocks, the square of the last one's part taken times `last`.
    fn norm_of(&self, b: usize, last: f64) -> f64 {
        let blocks = self.gram.chunks_exact(self.batch * self.batch).rev();
        let squares = blocks.map(|gram| gram[b * self.batch + b]).enumerate();
        squares.map(|(i, square)| if i == 0 { square * last } else { square }).sum::<f64>().sqrt()
    }
}

/// The norm of what consists of blocks with these norms.
fn together(blocks: &[f64]) -> f64 {
    match blocks {
        [norm] => *norm,
        norms => norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt(),
    }
}

impl LossRow {
    /// For `batch` sequences, in `blocks` blocks of rows. `gates` asks for the norms of each of them.
    pub(crate) fn new(
        span: Range<usize>,
        batch: usize,
        parameters: &[Parameter],
        sequences: bool,
        (blocks, gates): (usize, bool),
    ) -> Self {
        let steps = span.len();
        let slot = |parameter: &Parameter| {
            let gates = if *parameter == Parameter::Input || !gates { 0 } else { blocks };
            Slot { norm: vec![0.0; steps], inner: vec![0.0; steps], by_gate: vec![0.0; steps * gates] }
        };
        Self {
            blocks,
            span,
            exponent: vec![0; steps],
            slots: parameters.iter().map(slot).collect(),
            sequences: sequences.then(|| std::array::from_fn(|_| vec![0.0; steps * batch])),
            initial: Vec::new(),
        }
    }

    pub(crate) fn measure<T: Real>(
        &mut self,
        at: &LossAtStep<'_, T>,
        products: &StepProducts,
        against: &Against<T>,
    ) {
        if !self.span.contains(&at.t) {
            return;
        }
        let (t, i, batch) = (at.t, at.t - self.span.start, at.da.rows());
        let largest = largest(at.exponents, |b| at.da.row(b));
        let relative: Vec<f64> = at.exponents.iter().map(|&e| relative_to(largest, e)).collect();
        let side = Side::new(at.da, &relative, self.blocks);
        let split = at.da_hh.map(|da_hh| Side::new(da_hh, &relative, self.blocks));
        let recurrent = split.as_ref().unwrap_or(&side);
        let square =
            |dx: View<'_, T>, b: usize| kernel::dot(dx.row(b), dx.row(b)).f64() * relative[b] * relative[b];
        let dx: Vec<f64> = (0..batch).map(|b| at.dx.map_or(0.0, |dx| square(dx, b))).collect();

        let da_hh = at.da_hh.unwrap_or(at.da);
        let mut values = vec![
            (side.norms_with(|_| &products.x), inner(at.da, at.exponents, |b| against.ih.at(t, b))),
            (
                recurrent.norms_with(|block| products.recurrent(block, self.blocks)),
                inner(da_hh, at.exponents, |b| against.hh.at(t, b)),
            ),
        ];
        for (n, bias) in against.biases.iter().enumerate() {
            let (side, da) = if n == 0 { (&side, at.da) } else { (recurrent, da_hh) };
            values.push((side.sums.clone(), inner(da, at.exponents, |_| bias)));
        }
        if let (Some(rows), Some(x)) = (at.dx, &against.x) {
            values.push((vec![dx.iter().sum::<f64>().sqrt()], inner(rows, at.exponents, |b| x.at(t, b))));
        }
        self.exponent[i] = largest;
        for (slot, (norms, inner)) in self.slots.iter_mut().zip(values) {
            slot.norm[i] = together(&norms);
            slot.inner[i] = inner;
            if !slot.by_gate.is_empty() {
                slot.by_gate[i * norms.len()..(i + 1) * norms.len()].copy_from_slice(&norms);
            }
        }

        if let Some([da_norms, da_hh_norms, dx_norms]) = &mut self.sequences {
            let scale: f64 = kernel::power_of_two(largest);
            for b in 0..batch {
                da_norms[i * batch + b] = side.norm_of(b, 1.0) * scale;
                da_hh_norms[i * batch + b] = recurrent.norm_of(b, products.kept_over_h(b)) * scale;
                dx_norms[i * batch + b] = dx[b].sqrt() * scale;
            }
        }
    }

    /// Measures row `row` of the gradients with respect to the initial state.
    pub(crate) fn measure_initial<T: Real>(&mut self, end: &Rows<T>, row: usize, against: &Against<T>) {
        let batch = end.batch();
        let exponents = &end.exponents[row * batch..(row + 1) * batch];
        for (state, with) in against.initial.iter().enumerate() {
            let rows = if state == 0 { Rows::dh } else { Rows::dc };
            let largest = largest(exponents, |b| rows(end, row * batch + b));
            let (mut square, mut inner) = (0.0, 0.0);
            for (b, &exponent) in exponents.iter().enumerate() {
                square += kernel::dot(rows(end, row * batch + b), rows(end, row * batch + b)).f64()
                    * relative_to(largest, exponent).powi(2);
                inner += kernel::dot(rows(end, row * batch + b), with.row(b)).f64()
                    * kernel::power_of_two::<f64>(exponent);
            }
            self.initial.push(InitialMeasure {
                norm: square.sqrt() * kernel::power_of_two::<f64>(largest),
                log10_norm: square.sqrt().log10() + f64::from(largest) * std::f64::consts::LOG10_2,
                inner,
            });
        }
    }
}

/// Σ_b row_b · with(b), in full.
fn inner<'a, T: Real>(rows: View<'_, T>, exponents: &[i32], with: impl Fn(usize) -> &'a [T]) -> f64 {
    let full = exponents.iter().map(|&e| kernel::power_of_two::<f64>(e));
    full.enumerate().map(|(b, full)| kernel::dot(rows.row(b), with(b)).f64() * full).sum()
}

/// 2^(exponent − largest); 0 for a row of zeros, whose exponent may be the larger one.
fn relative_to(largest: i32, exponent: i32) -> f64 {
    if exponent > largest { 0.0 } else { kernel::power_of_two(exponent - largest) }
}

/// The largest exponent of a row that is not all zeros, which norms are taken relative to: rows of one loss may carry
/// different ones, and a masked sequence's row has one that means nothing.
fn largest<'a, T: Real>(exponents: &[i32], row: impl Fn(usize) -> &'a [T]) -> i32 {
    let counts = |&b: &usize| row(b).iter().any(|v| *v != T::zero());
    (0..exponents.len()).filter(counts).map(|b| exponents[b]).max().unwrap_or(0)
}
