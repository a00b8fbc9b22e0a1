//! Optimizers with the formulas, defaults and state of PyTorch.

use std::fmt;
use std::str::FromStr;

use bptt::{Matrix, Network, Real, Weights};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::clip::{Clipped, Clipping};
use crate::options::Options;

/// An optimizer with its constants. g is the gradient, p the parameter, n the step counted from 1.
///
/// Written, on the command line and in files, as `sgd`, `sgd:momentum=0.9`, `adagrad`, `rmsprop`, `adam`,
/// `adam:beta2=0.99`, `adamw:weight_decay=0.1` and so on; constants that are not given have the default of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OptimizerKind {
    /// m ← momentum · m + g;  p ← p − lr · m  (`torch.optim.SGD`; no dampening, not Nesterov's).
    Sgd {
        /// 0 by default: p ← p − lr · g, without state.
        momentum: f64,
    },
    /// s ← s + g²;  p ← p − lr · g / (√s + eps)  (`torch.optim.Adagrad`, Duchi et al. 2011).
    Adagrad {
        /// 1e-10 by default.
        eps: f64,
    },
    /// v ← α · v + (1 − α) · g²;  p ← p − lr · g / (√v + eps)  (`torch.optim.RMSprop`, not centered).
    RmsProp {
        /// 0.99 by default.
        alpha: f64,
        /// 1e-8 by default.
        eps: f64,
    },
    /// m ← β₁ · m + (1 − β₁) · g;  v ← β₂ · v + (1 − β₂) · g²;
    /// p ← p − lr / (1 − β₁ⁿ) · m / (√v / √(1 − β₂ⁿ) + eps)  (`torch.optim.Adam`, Kingma and Ba 2015).
    Adam {
        /// 0.9 by default.
        beta1: f64,
        /// 0.999 by default.
        beta2: f64,
        /// 1e-8 by default.
        eps: f64,
    },
    /// p ← p · (1 − lr · `weight_decay`), then Adam  (`torch.optim.AdamW`, Loshchilov and Hutter 2019).
    AdamW {
        /// 0.9 by default.
        beta1: f64,
        /// 0.999 by default.
        beta2: f64,
        /// 1e-8 by default.
        eps: f64,
        /// 0.01 by default.
        weight_decay: f64,
    },
}

impl OptimizerKind {
    /// a and b of m ← a · m + b · g; `None` without momentum.
    pub(crate) fn momentum(self) -> Option<(f64, f64)> {
        self.rule::<f64>(1, 1.0).momentum
    }

    /// The rule of step `step`, counted from 1, with learning rate `lr`.
    fn rule<T: Real>(self, step: u64, lr: f64) -> Rule<T> {
        let plain = Rule { rate: T::of(lr), momentum: None, squares: None, keep: None };
        let squares = |old: f64, new: f64, root: f64, eps: f64| {
            Some(Squares { old: T::of(old), new: T::of(new), root: T::of(root), eps: T::of(eps) })
        };
        // The powers are computed in f64: 1 − β₂ⁿ would lose most of its digits in f32.
        let adam = |beta1: f64, beta2: f64, eps: f64| Rule {
            rate: T::of(lr / (1.0 - beta1.powf(step as f64))),
            momentum: Some((T::of(beta1), T::of(1.0 - beta1))),
            squares: squares(beta2, 1.0 - beta2, (1.0 - beta2.powf(step as f64)).sqrt(), eps),
            keep: None,
        };
        match self {
            Self::Sgd { momentum: 0.0 } => plain,
            Self::Sgd { momentum } => Rule { momentum: Some((T::of(momentum), T::one())), ..plain },
            Self::Adagrad { eps } => Rule { squares: squares(1.0, 1.0, 1.0, eps), ..plain },
            Self::RmsProp { alpha, eps } => Rule { squares: squares(alpha, 1.0 - alpha, 1.0, eps), ..plain },
            Self::Adam { beta1, beta2, eps } => adam(beta1, beta2, eps),
            Self::AdamW { beta1, beta2, eps, weight_decay } => {
                Rule { keep: Some(T::of(1.0 - lr * weight_decay)), ..adam(beta1, beta2, eps) }
            }
        }
    }
}

/// What one step of any optimizer does with an entry p, its gradient g, and the state m and v that the optimizer has:
///
/// ```text
/// m ← a · m + b · g      v ← old · v + new · g²      p ← keep · p − rate · m / (√v / root + eps)
/// ```
///
/// Without momentum g stands for m, without squares 1 for the divisor.
#[derive(Clone, Copy, Debug)]
struct Rule<T> {
    rate: T,
    /// a and b.
    momentum: Option<(T, T)>,
    squares: Option<Squares<T>>,
    keep: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct Squares<T> {
    old: T,
    new: T,
    root: T,
    eps: T,
}

impl<T: Real> Squares<T> {
    fn next(self, v: T, g: T) -> T {
        self.old * v + self.new * g * g
    }

    fn divisor(self, v: T) -> T {
        v.sqrt() / self.root + self.eps
    }
}

impl<T: Real> Rule<T> {
    /// Number of state buffers per parameter tensor: of m, then of v.
    fn buffers(&self) -> usize {
        usize::from(self.momentum.is_some()) + usize::from(self.squares.is_some())
    }

    fn step_tensor(&self, parameter: &mut [T], gradient: &[T], state: &mut [Vec<T>]) {
        if let Some(keep) = self.keep {
            for p in parameter.iter_mut() {
                *p *= keep;
            }
        }
        let rate = self.rate;
        let entries = parameter.iter_mut().zip(gradient);
        match (self.momentum, self.squares, state) {
            (None, None, []) => {
                for (p, &g) in entries {
                    *p -= rate * g;
                }
            }
            (Some((a, b)), None, [momenta]) => {
                for ((p, &g), m) in entries.zip(momenta) {
                    *m = a * *m + b * g;
                    *p -= rate * *m;
                }
            }
            (None, Some(squares), [sums]) => {
                for ((p, &g), v) in entries.zip(sums) {
                    *v = squares.next(*v, g);
                    *p -= rate * g / squares.divisor(*v);
                }
            }
            (Some((a, b)), Some(squares), [momenta, sums]) => {
                for (((p, &g), m), v) in entries.zip(momenta).zip(sums) {
                    *m = a * *m + b * g;
                    *v = squares.next(*v, g);
                    *p -= rate * *m / squares.divisor(*v);
                }
            }
            _ => unreachable!("every rule has the buffers that `buffers` counts"),
        }
    }
}

/// One entry of an update: `scale` · gradient + `carried` + `decay`, where `carried` is `momentum` · m.
pub(crate) struct Terms {
    pub(crate) scale: f64,
    pub(crate) momentum: f64,
    pub(crate) carried: f64,
    pub(crate) decay: f64,
}

/// An optimizer of a list of parameter tensors, whose order is fixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer<T> {
    kind: OptimizerKind,
    steps: u64,
    sizes: Vec<usize>,
    state: Vec<Vec<T>>,
}

impl<T: Real> Optimizer<T> {
    /// An optimizer before its first step; `sizes` are the numbers of entries of the parameter tensors.
    pub fn new(kind: OptimizerKind, sizes: &[usize]) -> Self {
        let buffers = kind.rule::<T>(1, 0.0).buffers();
        let state = sizes.iter().flat_map(|&size| vec![vec![T::zero(); size]; buffers]).collect();
        Self { kind, steps: 0, sizes: sizes.to_vec(), state }
    }

    /// The numbers of entries of the parameter tensors.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The number of steps made, and the buffers of all tensors.
    pub(crate) fn saved(&self) -> (u64, &[Vec<T>]) {
        (self.steps, &self.state)
    }

    /// The same, to be filled in.
    pub(crate) fn restored(&mut self) -> (&mut u64, &mut [Vec<T>]) {
        (&mut self.steps, &mut self.state)
    }

    /// Moves the parameters by one step with learning rate `lr`.
    ///
    /// # Panics
    /// If the sizes of parameters or gradients differ from those of the optimizer.
    pub fn step(&mut self, lr: f64, parameters: &mut [&mut [T]], gradients: &[&[T]]) {
        assert!(
            parameters.iter().map(|p| p.len()).eq(self.sizes.iter().copied())
                && gradients.iter().map(|g| g.len()).eq(self.sizes.iter().copied()),
            "parameters and gradients must have the optimizer's sizes {:?}",
            self.sizes
        );
        self.steps += 1;
        let rule = self.kind.rule(self.steps, lr);
        let buffers = rule.buffers();
        for (tensor, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            rule.step_tensor(parameter, gradient, &mut self.state[tensor * buffers..(tensor + 1) * buffers]);
        }
    }

    /// What the next step adds to each entry of tensor `tensor`, in f64, from its weight and its gradient.
    pub(crate) fn next_terms(
        &self,
        lr: f64,
        tensor: usize,
    ) -> impl Fn(usize, f64, f64) -> Terms + use<'_, T> {
        let rule: Rule<f64> = self.kind.rule(self.steps + 1, lr);
        let buffers = rule.buffers();
        let state = &self.state[tensor * buffers..(tensor + 1) * buffers];
        move |n, weight, gradient| {
            let of = |buffer: usize| state[buffer][n].f64();
            let divisor =
                rule.squares.map_or(1.0, |squares| squares.divisor(squares.next(of(buffers - 1), gradient)));
            let (kept, new) = rule.momentum.unwrap_or((0.0, 1.0));
            let old = rule.momentum.map_or(0.0, |_| of(0));
            let rate = -rule.rate / divisor;
            let decay = rule.keep.map_or(0.0, |keep| (keep - 1.0) * weight);
            Terms { scale: rate * new, momentum: rate * kept, carried: rate * kept * old, decay }
        }
    }
}

/// Clips the gradient and makes one step of the optimizer. Returns the norms of the gradient.
///
/// # Panics
/// If the optimizer was made for weights of other sizes.
pub(crate) fn apply_update<T: Real>(
    clipping: Clipping,
    optimizer: &mut Optimizer<T>,
    learning_rate: f64,
    network: &mut Network<T>,
    gradient: &mut Weights<T>,
) -> Clipped {
    let mut gradients: Vec<_> = gradient.tensors_mut().into_iter().map(Matrix::data_mut).collect();
    let clipped = clipping.apply(&mut gradients);
    let gradients: Vec<&[T]> = gradients.iter().map(|g| &**g).collect();
    let mut tensors: Vec<_> = network.tensors_mut().into_iter().map(Matrix::data_mut).collect();
    optimizer.step(learning_rate, &mut tensors, &gradients);
    clipped
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sgd { momentum } => write!(f, "sgd:momentum={momentum:?}"),
            Self::Adagrad { eps } => write!(f, "adagrad:eps={eps:?}"),
            Self::RmsProp { alpha, eps } => write!(f, "rmsprop:alpha={alpha:?},eps={eps:?}"),
            Self::Adam { beta1, beta2, eps } => write!(f, "adam:beta1={beta1:?},beta2={beta2:?},eps={eps:?}"),
            Self::AdamW { beta1, beta2, eps, weight_decay } => {
                write!(f, "adamw:beta1={beta1:?},beta2={beta2:?},eps={eps:?},weight_decay={weight_decay:?}")
            }
        }
    }
}

impl FromStr for OptimizerKind {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        let expected = "sgd:momentum=0, adagrad:eps=1e-10, rmsprop:alpha=0.99,eps=1e-8, \
                        adam:beta1=0.9,beta2=0.999,eps=1e-8 or adamw (as adam, and weight_decay=0.01)";
        let mut options = Options::parse("optimizer", expected, given);
        let name = options.name();
        let mut take = |key, default, possible: fn(&f64) -> bool| -> Result<f64, Error> {
            Ok(options.take(key, possible)?.unwrap_or(default))
        };
        let fraction = |value: &f64| (0.0..1.0).contains(value);
        let size = |value: &f64| *value >= 0.0 && value.is_finite();
        let kind = match name {
            "sgd" => Self::Sgd { momentum: take("momentum", 0.0, size)? },
            "adagrad" => Self::Adagrad { eps: take("eps", 1e-10, size)? },
            "rmsprop" => {
                Self::RmsProp { alpha: take("alpha", 0.99, fraction)?, eps: take("eps", 1e-8, size)? }
            }
            "adam" => Self::Adam {
                beta1: take("beta1", 0.9, fraction)?,
                beta2: take("beta2", 0.999, fraction)?,
                eps: take("eps", 1e-8, size)?,
            },
            "adamw" => Self::AdamW {
                beta1: take("beta1", 0.9, fraction)?,
                beta2: take("beta2", 0.999, fraction)?,
                eps: take("eps", 1e-8, size)?,
                weight_decay: take("weight_decay", 0.01, size)?,
            },
            _ => return Err(options.error()),
        };
        options.finish(kind)
    }
}

impl TryFrom<String> for OptimizerKind {
    type Error = Error;

    fn try_from(given: String) -> Result<Self, Error> {
        given.parse()
    }
}

impl From<OptimizerKind> for String {
    fn from(kind: OptimizerKind) -> Self {
        kind.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRADIENTS: [[f64; 3]; 3] = [[0.1, -0.2, 3.0], [0.4, 0.0, -1.0], [-0.3, 0.5, 0.02]];

    /// Three steps with learning rate 0.1 from 0.5, −1, 2, in two tensors, compared with PyTorch 2.15:
    ///
    /// ```python
    /// p = torch.nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))
    /// optimizer = ...  # the line above each expectation
    /// for g in [[0.1, -0.2, 3.0], [0.4, 0.0, -1.0], [-0.3, 0.5, 0.02]]:
    ///     p.grad = torch.tensor(g, dtype=torch.float64)
    ///     optimizer.step()
    /// p.tolist()
    /// ```
    fn assert_three_steps<T: Real>(kind: &str, expected: [f64; 3], tolerance: f64) {
        let mut optimizer = Optimizer::new(kind.parse().unwrap(), &[1, 2]);
        let mut p = [0.5, -1.0, 2.0].map(T::of);
        for gradient in GRADIENTS {
            let g = gradient.map(T::of);
            let (first, rest) = p.split_at_mut(1);
            optimizer.step(0.1, &mut [first, rest], &[&g[..1], &g[1..]]);
        }
        for (p, expected) in p.iter().zip(expected) {
            assert!((p.f64() - expected).abs() < tolerance, "{kind}: {p} instead of {expected}");
        }
    }

    fn assert_pytorch(kind: &str, expected: [f64; 3]) {
        assert_three_steps::<f64>(kind, expected, 1e-14);
        assert_three_steps::<f32>(kind, expected, 1e-6);
    }

    #[test]
    fn sgd_is_pytorchs() {
        // torch.optim.SGD([p], lr=0.1)
        assert_pytorch("sgd", [0.480_000_000_000_000_04, -1.03, 1.798]);
        // torch.optim.SGD([p], lr=0.1, momentum=0.9)
        assert_pytorch("sgd:momentum=0.9", [0.4269, -0.9958, 1.375]);
    }

    #[test]
    fn adagrad_is_pytorchs() {
        // torch.optim.Adagrad([p], lr=0.1)
        assert_pytorch(
            "adagrad",
            [0.361_820_590_638_912_9, -0.992_847_669_121_284_5, 1.930_990_333_720_734_6],
        );
    }

    #[test]
    fn rmsprop_is_pytorchs() {
        // torch.optim.RMSprop([p], lr=0.1)
        assert_pytorch(
            "rmsprop",
            [-0.880_032_354_131_919_7, -0.929_753_901_434_594_5, 1.311_275_406_927_970_6],
        );
    }

    #[test]
    fn adam_is_pytorchs() {
        // torch.optim.Adam([p], lr=0.1)
        assert_pytorch("adam", [0.293_891_533_789_652_5, -0.873_094_862_871_943_3, 1.828_637_354_502_39]);
        // torch.optim.AdamW([p], lr=0.1)
        assert_pytorch(
            "adamw",
            [0.292_681_370_915_687_36, -0.870_364_767_682_622_7, 1.822_883_274_358_740_2],
        );
    }

    #[test]
    fn optimizers_are_read_as_they_are_shown() {
        for text in ["sgd", "sgd:0.9", "adagrad", "rmsprop:alpha=0.9", "adam:beta2=0.99,eps=1e-7", "adamw"] {
            let kind: OptimizerKind = text.parse().unwrap();
            assert_eq!(kind.to_string().parse::<OptimizerKind>().unwrap(), kind);
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<OptimizerKind>(&json).unwrap(), kind);
        }
        for text in ["adamax", "adam:beta1=1", "sgd:nesterov=1", "sgd:momentum=-1", "adagrad:eps="] {
            assert!(text.parse::<OptimizerKind>().is_err(), "{text}");
        }
    }
}
