//! The vanilla recurrent cell (Elman 1990, PyTorch's `nn.RNN`):
//!
//! ```text
//! a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh        h_t = φ(a_t)
//! ```
//!
//! Its backward step, for a gradient dh with respect to h_t:
//!
//! ```text
//! da = dh ∘ φ'(a_t)                                  dh ← da W_hh
//! ```

use std::sync::Arc;

use super::{
    Activation, AdjointSpec, Backward, Cell, CellParams, CellSpec, Forward, GateRole, GateSpec, Paths, Stage,
    StateSpec, StepCache, StepWeights, usual_params,
};
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{self, Real, on_registers};

/// The vanilla cell with activation φ.
#[derive(Clone, Debug)]
pub struct Rnn {
    activation: Activation,
    spec: Arc<CellSpec>,
}

impl Rnn {
    /// With φ = tanh, relu or the identity.
    pub fn new(activation: Activation) -> Self {
        let (name, title) = match activation {
            Activation::Tanh => ("rnn".to_owned(), "vanilla RNN, tanh".to_owned()),
            Activation::Identity => ("rnn_identity".to_owned(), "vanilla RNN, linear".to_owned()),
            other => (format!("rnn_{}", other.as_str()), format!("vanilla RNN, {}", other.as_str())),
        };
        let output = match activation {
            Activation::Identity => "a_t".to_owned(),
            other => format!("{}(a_t)", other.symbol()),
        };
        let spec = CellSpec {
            name,
            title,
            states: vec![StateSpec::h(false)],
            gates: vec![GateSpec { name: "h", activation, role: GateRole::Candidate }],
            adjoints: vec![AdjointSpec::da()],
            params: usual_params(1),
            saved: Vec::new(),
            backward: vec![Stage::Local(0)],
            paths: Paths::new(&["through_h"], 1, |_, _| 0),
            vanilla: Some(activation),
            equations: vec![format!("a_t = W_{{ih}} x_t + W_{{hh}} h_{{t−1}} + b,  h_t = {output}")],
        };
        Self { activation, spec: Arc::new(spec) }
    }
}

impl<T: Real> Cell<T> for Rnn {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.spec
    }

    fn step(&self, weights: &StepWeights<'_, T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights, WEIGHT_HH, 0);
        let a = &mut *step.gates;
        match self.activation {
            Activation::Tanh => kernel::tanh(a),
            Activation::Relu => a.iter_mut().for_each(|a| *a = a.max(T::zero())),
            Activation::Identity => {}
            other => activate(a, other),
        }
        let h = &mut *step.next[0];
        if !h.is_empty() {
            h.copy_from_slice(step.gates);
        }
    }

    fn vjp(&self, _: usize, _: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let h = cache.gates().data();
        let ([dh, ..], [da, ..]) = (rows.states, rows.adjoints);
        for (da, dh) in da.chunks_exact_mut(h.len()).zip(dh.chunks_exact(h.len())) {
            match self.activation {
                Activation::Tanh => through_tanh(da, dh, h),
                Activation::Relu => through_relu(da, dh, h),
                Activation::Identity => da.copy_from_slice(dh),
                other => through(da, dh, h, other),
            }
        }
    }
}

/// W_hh among the parameters.
const WEIGHT_HH: usize = 1;

on_registers! {
    /// da ← dh ∘ (1 − h²).
    fn through_tanh<'a, T: Real>(simd, da: &'a mut [T], dh: &'a [T], h: &'a [T]) -> () {
        let one = Vector::splat(simd, T::one());
        columns::<T, S>(da.len(), #[inline(always)] |at| {
            let h = Vector::load(simd, h, at);
            (Vector::load(simd, dh, at) * (one - h * h)).store(da, at);
        });
    }

    /// da ← dh where h > 0, elsewhere 0.
    fn through_relu<'a, T: Real>(simd, da: &'a mut [T], dh: &'a [T], h: &'a [T]) -> () {
        let zero = Vector::splat(simd, T::zero());
        columns::<T, S>(da.len(), #[inline(always)] |at| {
            Vector::load(simd, h, at).if_greater(zero, Vector::load(simd, dh, at), zero).store(da, at);
        });
    }

    /// a ← φ(a).
    fn activate<'a, T: Real>(simd, a: &'a mut [T], activation: Activation) -> () {
        columns::<T, S>(a.len(), #[inline(always)] |at| {
            activation.value(Vector::load(simd, a, at)).store(a, at);
        });
    }

    /// da ← dh ∘ φ'.
    fn through<'a, T: Real>(simd, da: &'a mut [T], dh: &'a [T], h: &'a [T], activation: Activation) -> () {
        columns::<T, S>(da.len(), #[inline(always)] |at| {
            (Vector::load(simd, dh, at) * activation.slope(Vector::load(simd, h, at))).store(da, at);
        });
    }
}
