//! The functions between pre-activations and gates.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::Simd;

use crate::kernel::Real;
use crate::kernel::activation::{sigmoid, tanh};
use crate::kernel::lanes::Vector;

/// A function φ of a pre-activation. Its derivative follows from its value, so only that is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// tanh a; max φ' = 1, at 0.
    Tanh,
    /// σ(a) = 1 / (1 + e^−a); max φ' = 1/4, at 0.
    Sigmoid,
    /// max(a, 0); φ'(0) is taken to be 0, as PyTorch does.
    Relu,
    /// a itself.
    Identity,
    /// clip(0.2 a + 0.5, 0, 1): `hard_sigmoid` of Keras 1 and 2.
    HardSigmoidFifth,
    /// clip(a / 6 + 0.5, 0, 1): `hard_sigmoid` of Keras 3, `torch.nn.Hardsigmoid`.
    HardSigmoidSixth,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Tanh,
        Self::Sigmoid,
        Self::Relu,
        Self::Identity,
        Self::HardSigmoidFifth,
        Self::HardSigmoidSixth,
    ];

    /// The name in a cell's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Relu => "relu",
            Self::Identity => "identity",
            Self::HardSigmoidFifth => "hard_sigmoid_0.2",
            Self::HardSigmoidSixth => "hard_sigmoid",
        }
    }

    /// The sign in an equation.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Sigmoid => "σ",
            Self::HardSigmoidFifth => "hardσ_{0.2}",
            Self::HardSigmoidSixth => "hardσ",
            Self::Identity => "id",
            Self::Tanh | Self::Relu => self.as_str(),
        }
    }

    /// The one with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|activation| activation.as_str() == name)
    }

    /// The values between which φ lies.
    pub fn range(self) -> (f64, f64) {
        match self {
            Self::Tanh => (-1.0, 1.0),
            Self::Sigmoid | Self::HardSigmoidFifth | Self::HardSigmoidSixth => (0.0, 1.0),
            Self::Relu => (0.0, f64::INFINITY),
            Self::Identity => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// max φ', the largest slope.
    pub fn slope_bound(self) -> f64 {
        match self {
            Self::Sigmoid => 0.25,
            Self::Tanh | Self::Relu | Self::Identity => 1.0,
            Self::HardSigmoidFifth => 0.2,
            Self::HardSigmoidSixth => 1.0 / 6.0,
        }
    }

    /// φ' as a function of y = φ(a).
    pub fn slope_of(self, y: f64) -> f64 {
        match self {
            Self::Tanh => 1.0 - y * y,
            Self::Sigmoid => y * (1.0 - y),
            Self::Relu => f64::from(u8::from(y > 0.0)),
            Self::Identity => 1.0,
            Self::HardSigmoidFifth | Self::HardSigmoidSixth => {
                if y > 0.0 && y < 1.0 {
                    self.slope_bound()
                } else {
                    0.0
                }
            }
        }
    }

    /// dφ'(a)/dh as a function of h = φ(a): −2h for tanh, whose φ' is 1 − h²; 0 for piecewise linear ones.
    pub(crate) fn slope_by_h(self, h: f64) -> f64 {
        match self {
            Self::Tanh => -2.0 * h,
            Self::Sigmoid => 1.0 - 2.0 * h,
            _ => 0.0,
        }
    }

    /// φ(a).
    #[inline(always)]
    pub(crate) fn value<T: Real, S: Simd>(self, a: Vector<T, S>) -> Vector<T, S> {
        let hard = |slope: f64| {
            let linear = a.and(T::of(slope)).mul_add(a, a.and(T::of(0.5)));
            let (zero, one) = (a.and(T::zero()), a.and(T::one()));
            let above = linear.if_greater(zero, linear, zero);
            above.if_greater(one, one, above)
        };
        match self {
            Self::Tanh => tanh(a),
            Self::Sigmoid => sigmoid(a),
            Self::Relu => {
                let zero = a.and(T::zero());
                a.if_greater(zero, a, zero)
            }
            Self::Identity => a,
            Self::HardSigmoidFifth => hard(0.2),
            Self::HardSigmoidSixth => hard(1.0 / 6.0),
        }
    }

    /// φ'(a), from y = φ(a).
    #[inline(always)]
    pub(crate) fn slope<T: Real, S: Simd>(self, y: Vector<T, S>) -> Vector<T, S> {
        let (zero, one) = (y.and(T::zero()), y.and(T::one()));
        match self {
            Self::Tanh => one - y * y,
            Self::Sigmoid => y * (one - y),
            Self::Relu => y.if_greater(zero, one, zero),
            Self::Identity => one,
            Self::HardSigmoidFifth | Self::HardSigmoidSixth => {
                let inside = y.and(T::of(self.slope_bound()));
                y.if_greater(zero, one.if_greater(y, inside, zero), zero)
            }
        }
    }
}
