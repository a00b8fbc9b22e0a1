//! The regularizer against vanishing gradients of Pascanu, Mikolov and Bengio (2013, section 3.3):
//!
//! ```text
//! Ω = mean over t of (r_t − 1)²          r_t = ‖(da_t W_hh) ∘ φ'(a_{t-1})‖ / ‖da_t‖
//! ```
//!
//! da_t being the gradient of all losses with respect to the pre-activation a_t, as the ordinary backward pass leaves it: Ω asks
//! that it keep its length on its way from a_t to a_{t-1}.
//!
//! As in the paper only the *immediate* derivative with respect to W_hh is taken. da_t and φ'(a_{t-1}) depend on W_hh too, but
//! are held fixed: with d = da_t / ‖da_t‖ and v = (d W_hh) ∘ φ'(a_{t-1}), so that r_t = ‖v‖,
//!
//! ```text
//! ∂Ω/∂W_hh = mean over t of 2 (r_t − 1) dᵀ (v / ‖v‖ ∘ φ'(a_{t-1}))
//! ```

use crate::array::{Matrix, View};
use crate::forward::ForwardCache;
use crate::gradient::TrainStep;
use crate::kernel::{Real, Start};
use crate::model::{Backward, Direction, Network};
use crate::reverse::Step;
use crate::{Error, kernel};

/// Ω of a batch as a sum and a count, so that the parts of a batch can be added.
#[derive(Clone, Debug, PartialEq)]
pub struct Omega<T> {
    /// Σ (r − 1)² over the steps, sequences and cells whose gradient is not zero and goes on; Ω is it divided by `count`.
    pub sum: f64,
    /// How many these are.
    pub count: usize,
    /// The immediate derivative of `sum` with respect to W_hh of each cell, (H, H).
    pub w_hh: Vec<Matrix<T>>,
}

impl<T: Real> TrainStep<T> {
    /// What [`TrainStep::backward`] does, and Ω of the same batch.
    ///
    /// # Errors
    /// As of [`TrainStep::backward`], and if the network's cell is another than a vanilla one.
    pub fn backward_with_omega(&mut self, network: &Network<T>) -> Result<Omega<T>, Error> {
        if network.spec().vanilla.is_none() {
            return Err(Error::Unsupported {
                what: "omega".into(),
                given: format!("cell {}", network.spec().name),
                expected: "a vanilla one: rnn, rnn_relu or rnn_identity".into(),
            });
        }
        let hidden = network.hidden();
        let w_hh = vec![Matrix::zeros(hidden, hidden); network.weights().cells.len()];
        let mut omega = Omega { sum: 0.0, count: 0, w_hh };
        let mut memory = Memory::default();
        self.backward_seen(network, |cache, index, step| {
            omega.add(network, cache, index, step, &mut memory);
        })?;
        Ok(omega)
    }
}

/// Buffers of one step, (B, H) each.
#[derive(Default)]
struct Memory<T> {
    d: Vec<T>,
    u: Vec<T>,
    v: Vec<T>,
}

impl<T: Real> Omega<T> {
    /// Adds the terms of one step of cell `index`, whose gradient is `step.da`.
    fn add(
        &mut self,
        network: &Network<T>,
        cache: &ForwardCache<T>,
        index: usize,
        step: &Step<'_, T>,
        Memory { d, u, v }: &mut Memory<T>,
    ) {
        let (steps, batch) = cache.inputs().shape();
        let (cell, hidden) = (network.cell(), network.hidden());
        let layer = &cache.cells()[index];
        // The step read before, if there is one.
        let before = match layer.direction() {
            Direction::Forward => step.t.checked_sub(1),
            Direction::Reverse => Some(step.t + 1).filter(|&t| t < steps),
        };
        let Some(before) = before else { return };
        let params = &network.weights().cells[index];
        let weights = network.packed().back(index, params);
        d.clear();
        d.extend_from_slice(step.da().data());
        u.resize(batch * hidden, T::zero());
        v.resize(batch * hidden, T::zero());
        for b in cache.boundaries().cuts_at(layer.direction(), step.t) {
            d[b * hidden..(b + 1) * hidden].fill(T::zero());
        }
        for d in d.chunks_exact_mut(hidden) {
            scale_to_one(d);
        }
        // φ'(a_{t-1}) is what the cell's own backward step multiplies with.
        let saved = layer.step(before);
        let through = |dh: &mut [T], da: &mut [T]| {
            cell.vjp(0, params, &saved, Backward::of_output(dh, da));
        };
        T::multiply(u, hidden, Start::Zero, View::new(batch, hidden, d), &weights[0]);
        through(u, v);
        for (d, v) in d.chunks_exact(hidden).zip(v.chunks_exact_mut(hidden)) {
            if d.iter().all(|d| *d == T::zero()) {
                v.fill(T::zero());
                continue;
            }
            let ratio = scale_to_one(v);
            self.sum += (ratio - 1.0).powi(2);
            self.count += 1;
            let factor = T::of(2.0 * (ratio - 1.0));
            for v in v {
                *v *= factor;
            }
        }
        through(v, u);
        let (d, u) = (View::new(batch, hidden, d), View::new(batch, hidden, u));
        kernel::sum_of_outer_products(self.w_hh[index].data_mut(), true, d, u);
    }
}

/// Divides a vector by its norm, which is returned; one without a normal number becomes zero.
fn scale_to_one<T: Real>(vector: &mut [T]) -> f64 {
    let largest = vector.iter().fold(T::zero(), |largest, v| largest.max(v.abs()));
    if largest < T::min_positive_value() {
        vector.fill(T::zero());
        return 0.0;
    }
    // Squares of what is near the format's ends would leave it.
    let norm = vector.iter().map(|v| (*v / largest).f64().powi(2)).sum::<f64>().sqrt();
    for v in vector {
        *v = T::of((*v / largest).f64() / norm);
    }
    largest.f64() * norm
}
