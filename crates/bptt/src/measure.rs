//! What is measured of one row at (k, t): the norms of its contributions and their shares of the update, without
//! forming a matrix.
//!
//! ```text
//! ‖Σ_b da_b x_bᵀ‖² = Σ_{b,b'} (da_b · da_b') (x_b · x_b')          ⟨da xᵀ, U⟩ = da · (U x)
//! ```

use crate::bptt::{Gradient, Rows};
use crate::ledger::Parameter;
use crate::network::Weights;
use crate::scan::Trace;
use crate::sequence::{Sequence, View};
use crate::{Real, kernel};

/// What shares are measured against, laid out by step so that a share is an inner product of vectors. Beside each
/// stands ⟨gradient, U⟩, which the shares are fractions of.
pub(crate) struct Against<T> {
    /// U_ih x_{t,b}, (T, B, G·H).
    ih: (Sequence<T>, f64),
    /// U_hh h_{t-1,b}, (T, B, G·H).
    hh: (Sequence<T>, f64),
    /// U_b of both biases together, (G·H).
    bias: (Vec<T>, f64),
    /// dL/dx, (T, B, I).
    x: (Sequence<T>, f64),
    /// dL/dh0, (B, H).
    h0: (Vec<T>, f64),
}

impl<T: Real> Against<T> {
    pub(crate) fn new(trace: &Trace<T>, gradient: &Gradient<T>, update: &Weights<T>) -> Self {
        let (steps, batch) = trace.inputs().shape();
        let (g, u) = (&gradient.weights.layers[0], &update.layers[0]);
        let inner = |a: &[T], b: &[T]| kernel::dot(a, b).f64();
        let mut ih = Sequence::zeros(steps, batch, u.w_ih.rows());
        trace.inputs().all().times_transposed(ih.data_mut(), &u.w_ih);
        let mut hh = Sequence::zeros(steps, batch, u.w_hh.rows());
        kernel::product_transposed(hh.data_mut(), false, trace.layers()[0].h_prev(), u.w_hh.view());
        let bias: Vec<T> = u.b_ih.data().iter().zip(u.b_hh.data()).map(|(&a, &b)| a + b).collect();
        let bias_total = inner(g.b_ih.data(), &bias);
        let x = gradient.inputs.clone().expect("itemizing asks for the inputs' gradient");
        let x_total = inner(x.data(), x.data());
        let h0 = gradient.initial.h[0].data().to_vec();
        let h0_total = inner(&h0, &h0);
        Self {
            ih: (ih, inner(g.w_ih.data(), u.w_ih.data())),
            hh: (hh, inner(g.w_hh.data(), u.w_hh.data())),
            bias: (bias, bias_total),
            x: (x, x_total),
            h0: (h0, h0_total),
        }
    }
}

impl<T> Against<T> {
    /// ⟨gradient, U⟩ in the order of [`MEASURED`].
    pub(crate) fn totals(&self) -> [f64; 4] {
        [self.ih.1, self.hh.1, self.bias.1, self.x.1]
    }

    /// ‖dL/dh0‖².
    pub(crate) fn h0_total(&self) -> f64 {
        self.h0.1
    }
}

/// x_b · x_b' and h_{t-1,b} · h_{t-1,b'} for all pairs of sequences at one step.
pub(crate) struct StepProducts {
    x: Vec<f64>,
    h_prev: Vec<f64>,
}

impl StepProducts {
    pub(crate) fn new<T: Real>(trace: &Trace<T>, t: usize) -> Self {
        let (_, batch) = trace.inputs().shape();
        let (x, h) = (trace.inputs().step(t), trace.layers()[0].h().step(t));
        let pairs = (0..batch * batch).map(|i| (i / batch, i % batch));
        let (x, h_prev) =
            pairs.map(|(a, b)| (x.dot(a, b).f64(), kernel::dot(h.row(a), h.row(b)).f64())).unzip();
        Self { x, h_prev }
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
    /// (B, I).
    pub(crate) dx: View<'a, T>,
    pub(crate) exponents: &'a [i32],
}

/// The order of [`LossRow`]'s norms and inner products.
pub(crate) const MEASURED: [Parameter; 4] =
    [Parameter::WeightIh, Parameter::WeightHh, Parameter::Bias, Parameter::Input];

/// Everything measured of one loss k, at steps 0 to k.
pub(crate) struct LossRow {
    /// The power of two that the step's norms are to be multiplied with.
    pub(crate) exponent: Vec<i32>,
    pub(crate) norm: [Vec<f64>; 4],
    /// ⟨component, U⟩, in full.
    pub(crate) inner: [Vec<f64>; 4],
    /// ‖da‖ and ‖dx‖ of each sequence, B numbers a step, in full.
    pub(crate) sequences: Option<[Vec<f64>; 2]>,
    pub(crate) initial: InitialMeasure,
}

/// dL_k/dh0.
#[derive(Clone, Copy, Default)]
pub(crate) struct InitialMeasure {
    pub(crate) norm: f64,
    pub(crate) log10_norm: f64,
    pub(crate) inner: f64,
}

impl LossRow {
    pub(crate) fn new(steps: usize, batch: usize, sequences: bool) -> Self {
        Self {
            exponent: vec![0; steps],
            norm: std::array::from_fn(|_| vec![0.0; steps]),
            inner: std::array::from_fn(|_| vec![0.0; steps]),
            sequences: sequences.then(|| std::array::from_fn(|_| vec![0.0; steps * batch])),
            initial: InitialMeasure::default(),
        }
    }

    pub(crate) fn measure<T: Real>(
        &mut self,
        at: &LossAtStep<'_, T>,
        products: &StepProducts,
        against: &Against<T>,
    ) {
        let (t, batch) = (at.t, at.da.rows());
        let largest = largest(at.exponents);
        let relative: Vec<f64> = at.exponents.iter().map(|&e| kernel::power_of_two(e - largest)).collect();
        let gram = |rows: View<'_, T>, a: usize, b: usize| {
            kernel::dot(rows.row(a), rows.row(b)).f64() * relative[a] * relative[b]
        };
        let da: Vec<f64> = (0..batch * batch)
            .map(|i| (i / batch, i % batch))
            .map(|(a, b)| if b <= a { gram(at.da, a, b) } else { 0.0 })
            .collect();
        let with = |other: &[f64]| gram_norm(batch, |a, b| da[a * batch + b] * other[a * batch + b]);
        let mut summed = vec![T::zero(); at.da.cols()];
        for (b, &relative) in relative.iter().enumerate() {
            kernel::add_scaled(&mut summed, T::of(relative), at.da.row(b));
        }
        let dx: Vec<f64> = (0..batch).map(|b| gram(at.dx, b, b)).collect();
        self.exponent[t] = largest;
        self.norm[0][t] = with(&products.x);
        self.norm[1][t] = with(&products.h_prev);
        self.norm[2][t] = kernel::dot(&summed, &summed).f64().sqrt();
        self.norm[3][t] = dx.iter().sum::<f64>().sqrt();

        self.inner[0][t] = inner(at.da, at.exponents, |b| against.ih.0.at(t, b));
        self.inner[1][t] = inner(at.da, at.exponents, |b| against.hh.0.at(t, b));
        self.inner[2][t] = inner(at.da, at.exponents, |_| &against.bias.0);
        self.inner[3][t] = inner(at.dx, at.exponents, |b| against.x.0.at(t, b));

        if let Some([da_norms, dx_norms]) = &mut self.sequences {
            let scale: f64 = kernel::power_of_two(largest);
            for b in 0..batch {
                da_norms[t * batch + b] = da[b * batch + b].sqrt() * scale;
                dx_norms[t * batch + b] = dx[b].sqrt() * scale;
            }
        }
    }

    /// Measures row `i` of the gradients with respect to h0.
    pub(crate) fn measure_initial<T: Real>(&mut self, end: &Rows<T>, i: usize, against: &Against<T>) {
        let (batch, hidden) = (end.batch(), against.h0.0.len() / end.batch());
        let exponents = &end.exponents[i * batch..(i + 1) * batch];
        let largest = largest(exponents);
        let (mut square, mut inner) = (0.0, 0.0);
        for (b, &exponent) in exponents.iter().enumerate() {
            let dh = end.row(i * batch + b);
            square += kernel::dot(dh, dh).f64() * kernel::power_of_two::<f64>(2 * (exponent - largest));
            let with = &against.h0.0[b * hidden..(b + 1) * hidden];
            inner += kernel::dot(dh, with).f64() * kernel::power_of_two::<f64>(exponent);
        }
        self.initial = InitialMeasure {
            norm: square.sqrt() * kernel::power_of_two::<f64>(largest),
            log10_norm: square.sqrt().log10() + f64::from(largest) * std::f64::consts::LOG10_2,
            inner,
        };
    }
}

/// Σ_b row_b · with(b), in full.
fn inner<'a, T: Real>(rows: View<'_, T>, exponents: &[i32], with: impl Fn(usize) -> &'a [T]) -> f64 {
    let full = exponents.iter().map(|&e| kernel::power_of_two::<f64>(e));
    full.enumerate().map(|(b, full)| kernel::dot(rows.row(b), with(b)).f64() * full).sum()
}

/// The largest exponent, which norms are taken relative to: rows of one loss may carry different ones.
fn largest(exponents: &[i32]) -> i32 {
    exponents.iter().copied().max().expect("a batch has a sequence")
}
