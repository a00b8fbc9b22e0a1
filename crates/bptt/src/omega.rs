//! The regularizer against vanishing gradients of Pascanu, Mikolov and Bengio (2013, section 3.3):
//!
//! ```text
//! Ω = mean over t of (r_t − 1)²          r_t = ‖(da_t W_hh) ∘ φ'(a_{t-1})‖ / ‖da_t‖
//! ```
//!
//! da_t being the gradient of all losses with respect to the pre-activation a_t, as the ordinary way back leaves it: Ω asks
//! that it keep its length on its way from a_t to a_{t-1}.
//!
//! As in the paper only the *immediate* derivative with respect to W_hh is taken. da_t and φ'(a_{t-1}) depend on W_hh too, but
//! are held fixed: with d = da_t / ‖da_t‖ and v = (d W_hh) ∘ φ'(a_{t-1}), so that r_t = ‖v‖,
//!
//! ```text
//! ∂Ω/∂W_hh = mean over t of 2 (r_t − 1) dᵀ (v / ‖v‖ ∘ φ'(a_{t-1}))
//! ```

use crate::bptt::Reverse;
use crate::cell::Backward;
use crate::kernel::{self, Start};
use crate::learner::Learner;
use crate::network::{Direction, Network};
use crate::sequence::{Matrix, View};
use crate::{Error, Real};

/// Ω of a batch as a sum, for whoever has the batch in parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Omega<T> {
    /// Σ (r − 1)² over the steps, sequences and cells whose gradient is not zero and goes on; Ω is it divided by `count`.
    pub sum: f64,
    /// How many these are.
    pub count: usize,
    /// The immediate derivative of `sum` with respect to W_hh of each cell, (H, H).
    pub w_hh: Vec<Matrix<T>>,
}

impl<T: Real> Learner<T> {
    /// Ω of the last batch, whose gradient [`Learner::backward`] has found.
    ///
    /// # Errors
    /// If the network's cell is another than a vanilla one, or no gradient has been found.
    pub fn omega(&self, network: &Network<T>) -> Result<Omega<T>, Error> {
        let cell = network.cell();
        if !cell.gate_is_state() {
            return Err(Error::Option {
                option: "omega".into(),
                given: format!("cell {}", cell.name()),
                expected: "a vanilla one: rnn, rnn_relu or rnn_identity".into(),
            });
        }
        let hidden = network.hidden();
        let cells = self.reverse();
        if cells.len() != network.weights().layers.len() {
            return Err(Error::Option {
                option: "omega".into(),
                given: "no gradient".into(),
                expected: "the gradient of a batch before it".into(),
            });
        }
        let w_hh = vec![Matrix::zeros(hidden, hidden); cells.len()];
        let mut omega = Omega { sum: 0.0, count: 0, w_hh };
        // Without a loss nothing came back.
        for (index, reverse) in cells.iter().enumerate().filter(|(_, reverse)| !reverse.da.is_empty()) {
            self.add_cell(&mut omega, network, index, reverse);
        }
        Ok(omega)
    }

    fn add_cell(&self, omega: &mut Omega<T>, network: &Network<T>, index: usize, reverse: &Reverse<T>) {
        let trace = self.trace();
        let (steps, batch) = trace.inputs().shape();
        let (cell, hidden) = (network.cell(), network.hidden());
        let params = &network.weights().layers[index];
        let weights = network.layouts().recurrent_back(index, params, cell);
        let layer = &trace.layers()[index];
        let size = batch * hidden;
        let [mut d, mut u, mut v] = [(); 3].map(|()| vec![T::zero(); size]);
        // The step read before t, if there is one.
        let before = |t: usize| match layer.direction() {
            Direction::Forward => t.checked_sub(1),
            Direction::Reverse => Some(t + 1).filter(|&t| t < steps),
        };
        for (t, before) in (0..steps).filter_map(|t| Some((t, before(t)?))) {
            d.copy_from_slice(&reverse.da[t * size..(t + 1) * size]);
            for b in trace.bounds().cuts_at(layer.direction(), t) {
                d[b * hidden..(b + 1) * hidden].fill(T::zero());
            }
            for d in d.chunks_exact_mut(hidden) {
                scale_to_one(d);
            }
            // φ'(a_{t-1}) is what the cell's own way back multiplies with.
            let cache = layer.cache(before);
            let through = |dh: &mut [T], da: &mut [T]| {
                cell.step_vjp(&cache, Backward { dh, dc: &mut [], da, da_hh: &mut [] });
            };
            T::multiply(&mut u, hidden, Start::Zero, View::new(batch, hidden, &d), &weights[0]);
            through(&mut u, &mut v);
            for (d, v) in d.chunks_exact(hidden).zip(v.chunks_exact_mut(hidden)) {
                if d.iter().all(|d| *d == T::zero()) {
                    v.fill(T::zero());
                    continue;
                }
                let ratio = scale_to_one(v);
                omega.sum += (ratio - 1.0).powi(2);
                omega.count += 1;
                let factor = T::of(2.0 * (ratio - 1.0));
                for v in v {
                    *v *= factor;
                }
            }
            through(&mut v, &mut u);
            let (d, u) = (View::new(batch, hidden, &d), View::new(batch, hidden, &u));
            kernel::sum_of_outer_products(omega.w_hh[index].data_mut(), true, d, u);
        }
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
