//! The LSTM with layer normalization of its two products (Ba, Kiros and Hinton 2016), each over all 4·H numbers, with a scale
//! and a shift of its own (`torch.nn.LayerNorm`):
//!
//! ```text
//! n_x = norm(W_ih x_t)      n_h = norm(W_hh h_{t-1})      norm(v) = (v − mean v) / sqrt(var v + ε)
//! [i f g o] = [σ σ tanh σ](γ_ih ∘ n_x + β_ih + γ_hh ∘ n_h + β_hh)
//! c_t = f ∘ c_{t-1} + i ∘ g                               h_t = o ∘ tanh(c_t)
//! ```
//!
//! Its backward step: da from dh and dc as in the LSTM. What the products see is da sent back through the normalization, with
//! d = da ∘ γ, r = 1 / sqrt(var v + ε) and the mean over all 4·H numbers,
//!
//! ```text
//! d_x = r_x (d − mean d − n_x mean(d ∘ n_x))              d_h likewise                dh ← d_h W_hh
//! ```
//!
//! so W_ih and W_hh have adjoints of their own, and γ and β have da.

use std::sync::Arc;

use super::lstm::{activate, cell_state_paths, gates, through_gates};
use super::{
    Activation, AdjointSpec, Backward, Cell, CellParams, CellSpec, Forward, Operand, ParamSpec, Role,
    SavedSpec, Stage, StateSpec, StepCache, StepWeights, Width,
};
use crate::Error;
use crate::kernel::Real;

/// The LSTM cell with layer normalization.
#[derive(Clone, Debug)]
pub struct LstmLayerNorm {
    epsilon: f64,
    spec: Arc<CellSpec>,
}

/// Where the parameters are.
const WEIGHT_HH: usize = 1;
const SCALES: [usize; 2] = [2, 4];
const SHIFTS: [usize; 2] = [3, 5];

impl LstmLayerNorm {
    /// ε without a number in the name, PyTorch's.
    pub const DEFAULT_EPSILON: f64 = 1e-5;

    /// The cell with ε, a positive number as text; without one ε = 1e-5.
    ///
    /// # Errors
    /// If it is another.
    pub fn by_name(epsilon: Option<&str>) -> Result<Self, Error> {
        let Some(text) = epsilon else {
            return Ok(Self::new(Self::DEFAULT_EPSILON, "lstm_layer_norm".into()));
        };
        let possible = |epsilon: &f64| *epsilon > 0.0 && epsilon.is_finite();
        match text.parse().ok().filter(possible) {
            Some(epsilon) => Ok(Self::new(epsilon, format!("lstm_layer_norm:{epsilon:?}"))),
            None => Err(Error::UnknownCell {
                given: format!("lstm_layer_norm:{text}"),
                expected: "a positive ε, as in lstm_layer_norm:1e-5".into(),
            }),
        }
    }

    fn new(epsilon: f64, name: String) -> Self {
        let of_gates = |name| SavedSpec { name, width: Width::Gates, passes_to: None };
        let one = |name| SavedSpec { name, width: Width::One, passes_to: None };
        let scale =
            |name, saved| ParamSpec::elementwise(name, Role::Scale, &[(0..4, Operand::Saved(saved), 0)]);
        let shift = |name| ParamSpec::bias(name, Role::Shift, &[(0..4, 0)]);
        let spec = CellSpec {
            name,
            title: "LSTM with layer normalization".into(),
            states: vec![StateSpec::h(false), StateSpec::c()],
            gates: gates(Activation::Sigmoid, Activation::Tanh),
            adjoints: vec![
                AdjointSpec::da(),
                AdjointSpec::gates("d_x", None),
                AdjointSpec::gates("d_h", None),
            ],
            params: vec![
                ParamSpec::matrix("weight_ih", Role::Input, &[(0..4, Operand::X, 1)]),
                ParamSpec::matrix("weight_hh", Role::Recurrent, &[(0..4, Operand::Prev(0), 2)]),
                scale("gamma_ih", 1),
                shift("beta_ih"),
                scale("gamma_hh", 2),
                shift("beta_hh"),
            ],
            saved: vec![
                SavedSpec { name: "tanh c", width: Width::Hidden, passes_to: None },
                of_gates("n_x"),
                of_gates("n_h"),
                one("r_x"),
                one("r_h"),
            ],
            backward: vec![Stage::Local(0)],
            paths: cell_state_paths(4),
            vanilla: None,
            equations: vec![
                "n_x = norm(W_{ih} x_t),  n_h = norm(W_{hh} h_{t−1}),  norm(v) = (v − mean v) / √(var v + ε)"
                    .into(),
                "i, f, o = σ(…),  g = tanh(…),  … = γ_{ih} ∘ n_x + β_{ih} + γ_{hh} ∘ n_h + β_{hh}".into(),
                "c_t = f ∘ c_{t−1} + i ∘ g,  h_t = o ∘ tanh(c_t)".into(),
            ],
        };
        Self { epsilon, spec: Arc::new(spec) }
    }
}

impl<T: Real> Cell<T> for LstmLayerNorm {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, step: Forward<'_, T>) {
        let hidden = step.prev[1].cols();
        let width = 4 * hidden;
        step.input.put(0..width, step.gates, width);
        let ([h, c, ..], [tanh_c, n_x, n_h, r_x, r_h, ..]) = (step.next, step.saved);
        n_x.copy_from_slice(step.gates);
        weights.product(WEIGHT_HH, 0, None, step.prev[0], n_h);
        let [gamma_x, gamma_h] = SCALES.map(|scale| weights.vector(scale, 0));
        let [beta_x, beta_h] = SHIFTS.map(|shift| weights.vector(shift, 0));
        for (b, gates) in step.gates.chunks_exact_mut(width).enumerate() {
            let (n_x, n_h) = (&mut n_x[b * width..(b + 1) * width], &mut n_h[b * width..(b + 1) * width]);
            r_x[b] = normalize(n_x, self.epsilon);
            r_h[b] = normalize(n_h, self.epsilon);
            for (j, a) in gates.iter_mut().enumerate() {
                *a = gamma_x[j] * n_x[j] + beta_x[j] + gamma_h[j] * n_h[j] + beta_h[j];
            }
        }
        activate(true, step.gates, step.prev[1], c, tanh_c, h);
    }

    fn vjp(&self, _: usize, params: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, dc, ..], [da, d_x, d_h, ..]) = (rows.states, rows.adjoints);
        through_gates(true, cache, dh, dc, da);
        let (batch, width) = (cache.gates().rows(), cache.gates().cols());
        for (i, d) in [d_x, d_h].into_iter().enumerate() {
            let gamma = params.tensors()[SCALES[i]].data();
            for (r, (d, da)) in d.chunks_exact_mut(width).zip(da.chunks_exact(width)).enumerate() {
                let (n, r) = (cache.saved(1 + i).row(r % batch), cache.saved(3 + i).row(r % batch)[0]);
                through_norm(d, da, gamma, n, r);
            }
        }
    }
}

/// v ← (v − mean v) / sqrt(var v + ε); returns 1 / sqrt(var v + ε). The variance is that of the numbers themselves, over their
/// count.
fn normalize<T: Real>(v: &mut [T], epsilon: f64) -> T {
    let count = T::of(v.len() as f64);
    let mean = v.iter().copied().sum::<T>() / count;
    let variance = v.iter().map(|&v| (v - mean) * (v - mean)).sum::<T>() / count;
    let scale = (variance + T::of(epsilon)).sqrt().recip();
    for v in v {
        *v = (*v - mean) * scale;
    }
    scale
}

/// d ← r (da ∘ γ − mean(da ∘ γ) − n mean(da ∘ γ ∘ n)).
fn through_norm<T: Real>(d: &mut [T], da: &[T], gamma: &[T], n: &[T], r: T) {
    let count = T::of(d.len() as f64);
    for ((d, &da), &gamma) in d.iter_mut().zip(da).zip(gamma) {
        *d = da * gamma;
    }
    let mean = d.iter().copied().sum::<T>() / count;
    let along = d.iter().zip(n).map(|(&d, &n)| d * n).sum::<T>() / count;
    for (d, &n) in d.iter_mut().zip(n) {
        *d = r * (*d - mean - n * along);
    }
}
