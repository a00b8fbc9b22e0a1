//! Gradient flossing (Engelken 2023, "Gradient flossing: improving gradient descent through dynamic control of
//! Jacobians", NeurIPS): a loss that pulls the leading Lyapunov exponents to 0, and its exact gradient.
//!
//! ```text
//! A_t = J_t Q_{t−1} = Q_t R_t         λ_i = 1/n Σ_t ln |R_t,ii| over the n steps after the warm-up
//! L = 1/(k B) Σ_b Σ_{i≤k} λ_{b,i}²
//! ```
//!
//! The backward pass of a QR decomposition is dA = (dQ + Q M) R^−ᵀ with M = copyltu(R dRᵀ − dQᵀ Q) (Walter and Lehmann
//! 2010). L asks for the diagonals of R alone, through g_i = dL/d ln |R_ii|. Then QᵀdQ is lower triangular, because what a
//! later vector does changes no earlier one's growth, and M is 0 but where g changes, at the end of the warm-up:
//!
//! ```text
//! dA_t = dQ_t R_t^−ᵀ                  dQ_{t−1} = J_tᵀ dA_t                  diag(Q_tᵀ dQ_t) = g
//! ```
//!
//! Rounding above the diagonal of QᵀdQ would grow in the backward pass by e^{λ_i − λ_j} a step, so there its zeros and the
//! diagonal's g are put back in before every R^−ᵀ: M, in floating point. With J_t = diag(φ'_t) W_hh and
//! dφ'_t,i = Σ_j dA_t,ij A_t,ij / φ'_t,i,
//!
//! ```text
//! dW_hh += diag(φ'_t) dA_t Q_{t−1}ᵀ                      dh_t = dφ'_t ∘ (dφ'/dh)_t, seeds of the ordinary backward pass
//! ```

use rayon::prelude::*;

use super::exponents::{factors, start};
use super::jacobian::{check_trajectory, steps_of};
use super::lyapunov::LyapunovOptions;
use super::qr::Qr;
use crate::array::{Aligned, Sequence, View};
use crate::forward::{ForwardCache, Losses};
use crate::gradient::{GradientOptions, gradient};
use crate::kernel::Products;
use crate::kernel::{Packed, Real, Start};
use crate::model::{Activation, Backward, CellId, Direction, Network, Weights};
use crate::{Error, kernel};

/// Rows of a triangular solve that are solved one by one.
const BLOCK: usize = 16;

/// The flossing loss of a batch and what it asks of the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Flossing<T> {
    /// L, the mean over sequences of the mean of the squared exponents, in (nats per step)².
    pub loss: f64,
    /// λ_1, …, λ_k, the mean over sequences, in nats per step.
    pub exponents: Vec<f64>,
    /// dL/d of every parameter, exact: through the decompositions and through the states; zeros for a readout.
    pub gradient: Weights<T>,
}

/// The flossing loss and its gradient, see [`Network::flossing`].
pub(crate) fn flossing<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    options: &LyapunovOptions,
) -> Result<Flossing<T>, Error> {
    let activation = check_flossing(network, cache)?;
    let (steps, batch) = cache.inputs().shape();
    let hidden = network.hidden();
    let lengths: Vec<usize> = (0..batch).map(|b| steps_of(cache, Direction::Forward, b).len()).collect();
    let count = options.check(hidden, lengths.iter().copied().min().unwrap_or(0))?;
    let w_hh = network.weights().cells[0]["weight_hh"].cast::<f64>();
    let mut transposed = Packed::shaped(hidden, hidden);
    transposed.fill_transposed(w_hh.view());
    let weights = [Packed::new(w_hh.view()), transposed];
    let task = Task { network, cache, activation, options, count, weights: &weights };
    let of_sequences: Vec<OfSequence> = (0..batch)
        .into_par_iter()
        .map_init(|| Memory::new(hidden, count), |memory, b| task.of_sequence(b, lengths[b], memory))
        .collect::<Result<_, Error>>()?;

    let mut exponents = vec![0.0; count];
    let mut dw_hh = vec![0.0; hidden * hidden];
    let mut seeds = Sequence::zeros(steps, batch, hidden);
    let mut loss = 0.0;
    for (b, of) in of_sequences.iter().enumerate() {
        kernel::add_scaled(&mut exponents, 1.0 / batch as f64, &of.exponents);
        kernel::add_scaled(&mut dw_hh, 1.0, &of.dw_hh);
        loss += kernel::dot(&of.exponents, &of.exponents) / (count * batch) as f64;
        for (t, seed) in of.seeds.chunks_exact(hidden).enumerate() {
            seeds.at_mut(t, b).iter_mut().zip(seed).for_each(|(to, &from)| *to = T::of(from));
        }
    }
    let mut gradient =
        gradient(network, cache, &Losses::from_seeds(seeds), GradientOptions::default())?.weights;
    let direct = dw_hh.iter().map(|&dw| T::of(dw));
    gradient.cells[0]["weight_hh"].data_mut().iter_mut().zip(direct).for_each(|(to, from)| *to += from);
    Ok(Flossing { loss, exponents, gradient })
}

fn check_flossing<T: Real>(network: &Network<T>, cache: &ForwardCache<T>) -> Result<Activation, Error> {
    let refuse = |given: String, expected: &str| {
        Err(Error::Unsupported { what: "flossing".into(), given, expected: expected.into() })
    };
    let name = &network.spec().name;
    let Some(activation) = network.spec().vanilla else {
        return refuse(format!("the cell {name}"), "rnn, rnn_relu or rnn_identity");
    };
    if network.weights().cells.len() > 1 {
        let given = format!("{} layers in {} directions", network.depth(), network.directions());
        return refuse(given, "one layer that reads forward");
    }
    check_trajectory(network, cache, CellId { layer: 0, direction: Direction::Forward })?;
    let (steps, _) = cache.inputs().shape();
    let cut = (0..steps).find(|&t| cache.boundaries().cuts_at(Direction::Forward, t).next().is_some());
    match cut {
        Some(t) => {
            refuse(format!("a state detached at step {t}"), "none: the gradient is that of whole sequences")
        }
        None => Ok(activation),
    }
}

/// What is common to the sequences.
struct Task<'a, T: Real> {
    network: &'a Network<T>,
    cache: &'a ForwardCache<T>,
    activation: Activation,
    options: &'a LyapunovOptions,
    count: usize,
    /// W_hh and its transpose.
    weights: &'a [Packed<f64>; 2],
}

/// What one sequence contributes.
struct OfSequence {
    exponents: Vec<f64>,
    /// (N, N), by way of the Jacobians' W_hh alone.
    dw_hh: Vec<f64>,
    /// dL/dh_t by way of step t's own Jacobian, (T, N).
    seeds: Vec<f64>,
}

/// What a sequence is worked on in; it serves the next one again.
struct Memory {
    qr: Qr,
    /// The k vectors after every step, orthonormal where they were made so; in front those to begin with: (T + 1, k, N).
    vectors: Aligned<f64>,
    /// Rᵀ of every decomposition, (k, k) each.
    r: Vec<f64>,
    /// φ' of every step, (T, N).
    slopes: Vec<f64>,
    /// Gradients of the vectors at hand, (k, N).
    gradients: Aligned<f64>,
    /// Those of the step before, (k, N).
    earlier: Aligned<f64>,
    /// Their products with the vectors, (k, k).
    products: Vec<f64>,
    packed: Packed<f64>,
    packed_transposed: Packed<f64>,
}

impl Memory {
    fn new(hidden: usize, count: usize) -> Self {
        Self {
            qr: Qr::new(),
            vectors: Aligned::default(),
            r: Vec::new(),
            slopes: Vec::new(),
            gradients: Aligned::zeros(count * hidden),
            earlier: Aligned::zeros(count * hidden),
            products: vec![0.0; count * count],
            packed: Packed::shaped(count, hidden),
            packed_transposed: Packed::shaped(hidden, count),
        }
    }
}

impl<T: Real> Task<'_, T> {
    fn of_sequence(&self, b: usize, steps: usize, memory: &mut Memory) -> Result<OfSequence, Error> {
        let exponents = self.forward(b, steps, memory)?;
        let counted = (steps - self.options.warm_up) as f64;
        let (_, batch) = self.cache.inputs().shape();
        let scale = 2.0 / (counted * (self.count * batch) as f64);
        let growth: Vec<f64> = exponents.iter().map(|exponent| scale * exponent).collect();
        let (dw_hh, seeds) = self.backward(b, steps, &growth, memory);
        Ok(OfSequence { exponents, dw_hh, seeds })
    }

    /// Whether the vectors are made orthonormal after so many steps.
    fn is_orthonormal(&self, done: usize, steps: usize) -> bool {
        done == steps || done == self.options.warm_up || done.is_multiple_of(self.options.every)
    }

    /// Carries the vectors along; returns the exponents.
    fn forward(&self, b: usize, steps: usize, memory: &mut Memory) -> Result<Vec<f64>, Error> {
        let (hidden, count) = (self.network.hidden(), self.count);
        let size = count * hidden;
        let Memory { qr, vectors, r, slopes, products, .. } = memory;
        self.slopes(b, steps, slopes);
        vectors.resize((steps + 1) * size, 0.0);
        r.clear();
        vectors[..size].copy_from_slice(&start(hidden, count));
        qr.decompose(&mut vectors[..size], hidden, products);
        let mut sums = vec![0.0; count];
        for done in 1..=steps {
            let (before, after) = vectors.split_at_mut(done * size);
            let (before, after) = (&before[(done - 1) * size..], &mut after[..size]);
            let slope = &slopes[(done - 1) * hidden..done * hidden];
            f64::multiply(after, hidden, Start::Zero, View::new(count, hidden, before), &self.weights[1]);
            after.chunks_exact_mut(hidden).for_each(|row| kernel::multiply_by(row, slope));
            if !self.is_orthonormal(done, steps) {
                continue;
            }
            let from = r.len();
            r.resize(from + count * count, 0.0);
            qr.decompose(after, hidden, &mut r[from..]);
            for (i, (sum, factor)) in sums.iter_mut().zip(factors(&r[from..], count)).enumerate() {
                if factor == 0.0 {
                    return Err(Error::Singular {
                        given: count,
                        expected: format!(
                            "at most {i}: at step {} of sequence {b} exponent {} is −∞, the Jacobians are singular",
                            done - 1,
                            i + 1
                        ),
                    });
                }
                if done > self.options.warm_up {
                    *sum += factor.ln();
                }
            }
        }
        let counted = (steps - self.options.warm_up) as f64;
        Ok(sums.iter().map(|sum| sum / counted).collect())
    }

    /// φ' of every step of sequence `b`: what the step back makes of ones.
    fn slopes(&self, b: usize, steps: usize, slopes: &mut Vec<f64>) {
        let hidden = self.network.hidden();
        let (mut dh, mut da) = (vec![T::zero(); hidden], vec![T::zero(); hidden]);
        slopes.clear();
        for t in 0..steps {
            dh.fill(T::one());
            let cache = self.cache.cells()[0].step(t).of_sequence(b);
            let params = &self.network.weights().cells[0];
            self.network.cell().vjp(0, params, &cache, Backward::of_output(&mut dh, &mut da));
            slopes.extend(da.iter().map(|slope| slope.f64()));
        }
    }

    /// From dL/d ln |R_ii| of every decomposition after the warm-up to dW_hh and the seeds.
    fn backward(&self, b: usize, steps: usize, growth: &[f64], memory: &mut Memory) -> (Vec<f64>, Vec<f64>) {
        let (hidden, count) = (self.network.hidden(), self.count);
        let size = count * hidden;
        let (mut dw_hh, mut seeds) = (vec![0.0; hidden * hidden], vec![0.0; steps * hidden]);
        memory.gradients.fill(0.0);
        let mut decompositions = memory.r.len() / (count * count);
        for done in (1..=steps).rev() {
            let is_orthonormal = self.is_orthonormal(done, steps);
            if is_orthonormal {
                let growth = (done > self.options.warm_up).then_some(growth);
                memory.restore_triangle(done, growth, hidden);
            }
            let Memory { vectors, r, slopes, gradients, earlier, products, .. } = memory;
            let vectors = &vectors[(done - 1) * size..(done + 1) * size];
            let (before, after) = vectors.split_at(size);
            let slope = &slopes[(done - 1) * hidden..done * hidden];
            let seed = &mut seeds[(done - 1) * hidden..done * hidden];
            // Σ_j dA_ij A_ij, which is Σ_j dQ_ij Q_ij where A = Q R.
            let rows = gradients.chunks_exact(hidden).zip(after.chunks_exact(hidden));
            for (gradient, vector) in rows {
                seed.iter_mut().zip(gradient.iter().zip(vector)).for_each(|(sum, (d, v))| *sum += d * v);
            }
            let h = self.cache.cells()[0].h().at(done, b);
            for ((seed, &slope), h) in seed.iter_mut().zip(slope).zip(h) {
                // Where φ' is 0 nothing goes on from dh.
                *seed = if slope == 0.0 { 0.0 } else { *seed / slope * self.activation.slope_by_h(h.f64()) };
            }
            if is_orthonormal {
                decompositions -= 1;
                products.copy_from_slice(&r[decompositions * count * count..][..count * count]);
                solve(products, gradients, hidden);
            }
            gradients.chunks_exact_mut(hidden).for_each(|row| kernel::multiply_by(row, slope));
            let rows = View::new(count, hidden, gradients);
            kernel::sum_of_outer_products(&mut dw_hh, true, rows, View::new(count, hidden, before));
            f64::multiply(earlier, hidden, Start::Zero, rows, &self.weights[0]);
            std::mem::swap(gradients, earlier);
        }
        (dw_hh, seeds)
    }
}

impl Memory {
    /// dQ ← dQ − Q triu(Qᵀ dQ) + Q diag(g): what belongs on and above the diagonal of QᵀdQ, g (or zeros) and zeros.
    fn restore_triangle(&mut self, done: usize, growth: Option<&[f64]>, hidden: usize) {
        let Self { vectors, gradients, products, packed, packed_transposed, .. } = self;
        let size = gradients.len();
        let count = size / hidden;
        let q = View::new(count, hidden, &vectors[done * size..(done + 1) * size]);
        packed.fill(q);
        packed_transposed.fill_transposed(q);
        // Row j: of dq_j along q_1, …, q_j.
        f64::multiply(products, count, Start::Zero, View::new(count, hidden, gradients), packed_transposed);
        for (j, row) in products.chunks_exact_mut(count).enumerate() {
            row[..=j].iter_mut().for_each(|number| *number = -*number);
            row[j] += growth.map_or(0.0, |growth| growth[j]);
            row[j + 1..].fill(0.0);
        }
        f64::multiply(gradients, hidden, Start::Out, View::new(count, count, products), packed);
    }
}

/// dQ ← dQ R^−ᵀ; a row of `gradients` is a column of dQ, `r` is Rᵀ and is used up. From the last row up,
/// dA_j = (dQ_j − Σ_{i>j} R_ji dA_i) / R_jj.
fn solve(r: &mut [f64], gradients: &mut [f64], hidden: usize) {
    let count = gradients.len() / hidden;
    for number in r.iter_mut() {
        *number = -*number;
    }
    for first in (0..count).step_by(BLOCK).rev() {
        let end = count.min(first + BLOCK);
        let (rows, solved) = gradients.split_at_mut(end * hidden);
        let rows = &mut rows[first * hidden..];
        let below = View::new(count - end, count, &r[end * count..]).columns(first..end);
        kernel::sum_of_outer_products(rows, true, below, View::new(count - end, hidden, solved));
        for j in (first..end).rev() {
            let (earlier, row) = rows.split_at_mut((j - first) * hidden);
            let row = &mut row[..hidden];
            let inverse = -1.0 / r[j * count + j];
            for number in row.iter_mut() {
                *number *= inverse;
            }
            for (i, earlier) in (first..j).zip(earlier.chunks_exact_mut(hidden)) {
                kernel::add_scaled(earlier, r[j * count + i], row);
            }
        }
    }
}
