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

use super::{Backward, Cell, CellParams, Forward, StepCache};
use crate::Real;
use crate::kernel;

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
    fn apply<T: Real>(self, a: &mut [T]) {
        match self {
            Self::Tanh => kernel::tanh(a),
            Self::Relu => a.iter_mut().for_each(|a| *a = a.max(T::zero())),
            Self::Identity => {}
        }
    }

    /// φ'(a), from h = φ(a).
    fn derivative<T: Real>(self, h: T) -> T {
        match self {
            Self::Tanh => T::one() - h * h,
            Self::Relu if h > T::zero() => T::one(),
            Self::Relu => T::zero(),
            Self::Identity => T::one(),
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

    fn step(&self, params: &CellParams<T>, step: Forward<'_, T>) {
        let a = step.gates;
        kernel::product_transposed(a, true, step.h_prev, params.w_hh.view());
        for a in a.chunks_exact_mut(params.hidden()) {
            kernel::add_scaled(a, T::one(), params.b_hh.data());
        }
        self.activation.apply(a);
        step.h.copy_from_slice(a);
    }

    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let Backward { dh, da, .. } = rows;
        let h = cache.gates.data();
        for (da, dh) in da.chunks_exact_mut(h.len()).zip(dh.chunks_exact(h.len())) {
            for ((da, &dh), &h) in da.iter_mut().zip(dh).zip(h) {
                *da = dh * self.activation.derivative(h);
            }
        }
        dh.fill(T::zero());
    }
}
