//! The vanilla recurrent cell (Elman 1990, PyTorch's `nn.RNN`):
//!
//! ```text
//! a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh        h_t = φ(a_t)
//! ```
//!
//! Its way back, for a gradient dh with respect to h_t:
//!
//! ```text
//! da = dh ∘ φ'(a_t)                                  nothing passes by the recurrent weights: dh ← da W_hh
//! ```

use super::{Backward, Cell, Forward, StepCache};
use crate::kernel;
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{Real, on_registers};
use crate::model::Recurrent;

/// φ, the function between pre-activation and hidden state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// tanh a; γ = max φ' = 1, reached at 0.
    Tanh,
    /// max(a, 0); φ'(0) is taken to be 0, as PyTorch does.
    Relu,
    /// a itself: a linear network, whose gradient is governed by W_hh alone.
    Identity,
}

impl Activation {
    /// dφ'(a)/dh as a function of h = φ(a): −2h for tanh, whose φ' is 1 − h²; 0 for the others.
    pub(crate) fn slope_by_h(self, h: f64) -> f64 {
        match self {
            Self::Tanh => -2.0 * h,
            Self::Relu | Self::Identity => 0.0,
        }
    }

    fn apply<T: Real>(self, a: &mut [T]) {
        match self {
            Self::Tanh => kernel::tanh(a),
            Self::Relu => a.iter_mut().for_each(|a| *a = a.max(T::zero())),
            Self::Identity => {}
        }
    }
}

/// The vanilla cell with activation φ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rnn {
    /// φ.
    pub activation: Activation,
}

impl<T: Real> Cell<T> for Rnn {
    fn name(&self) -> &'static str {
        match self.activation {
            Activation::Tanh => "rnn",
            Activation::Relu => "rnn_relu",
            Activation::Identity => "rnn_identity",
        }
    }

    fn gates(&self) -> &'static [&'static str] {
        &["h"]
    }

    fn range(&self, _: usize) -> (f64, f64) {
        match self.activation {
            Activation::Tanh => (-1.0, 1.0),
            Activation::Relu => (0.0, f64::INFINITY),
            Activation::Identity => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    fn paths(&self) -> &'static [&'static str] {
        &["through_h"]
    }

    fn path(&self, _: Option<usize>, _: Option<usize>) -> usize {
        0
    }

    fn gate_is_state(&self) -> bool {
        true
    }

    fn step(&self, weights: &Recurrent<T>, mut step: Forward<'_, T>) {
        step.add_recurrent(weights);
        self.activation.apply(step.gates);
        if !step.h.is_empty() {
            step.h.copy_from_slice(step.gates);
        }
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let h = cache.gates.data();
        for (da, dh) in rows.da.chunks_exact_mut(h.len()).zip(rows.dh.chunks_exact(h.len())) {
            match self.activation {
                Activation::Tanh => through_tanh(da, dh, h),
                Activation::Relu => through_relu(da, dh, h),
                Activation::Identity => da.copy_from_slice(dh),
            }
        }
    }
}

on_registers! {
    /// da ← dh ∘ (1 − h²).
    fn through_tanh<'a, T>(simd, da: &'a mut [T], dh: &'a [T], h: &'a [T]) -> () {
        let one = Vector::splat(simd, T::one());
        columns::<T, S>(da.len(), #[inline(always)] |at| {
            let h = Vector::load(simd, h, at);
            (Vector::load(simd, dh, at) * (one - h * h)).store(da, at);
        });
    }

    /// da ← dh where h > 0, elsewhere 0.
    fn through_relu<'a, T>(simd, da: &'a mut [T], dh: &'a [T], h: &'a [T]) -> () {
        let zero = Vector::splat(simd, T::zero());
        columns::<T, S>(da.len(), #[inline(always)] |at| {
            Vector::load(simd, h, at).if_greater(zero, Vector::load(simd, dh, at), zero).store(da, at);
        });
    }
}
