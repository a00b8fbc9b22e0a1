//! Optimizers with the formulas, defaults and state of PyTorch.

use std::fmt;
use std::str::FromStr;

use bptt::Real;
use serde::{Deserialize, Serialize};

use crate::Error;
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
    /// Number of state buffers per parameter tensor.
    fn buffers(self) -> usize {
        match self {
            Self::Sgd { momentum: 0.0 } => 0,
            Self::Sgd { .. } | Self::Adagrad { .. } | Self::RmsProp { .. } => 1,
            Self::Adam { .. } | Self::AdamW { .. } => 2,
        }
    }
}

/// An optimizer of a list of parameter tensors, whose order is fixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer<T> {
    pub(crate) kind: OptimizerKind,
    pub(crate) steps: u64,
    pub(crate) sizes: Vec<usize>,
    pub(crate) state: Vec<Vec<T>>,
}

impl<T: Real> Optimizer<T> {
    /// An optimizer before its first step; `sizes` are the numbers of entries of the parameter tensors.
    pub fn new(kind: OptimizerKind, sizes: &[usize]) -> Self {
        let buffers = kind.buffers();
        let state = sizes.iter().flat_map(|&size| vec![vec![T::zero(); size]; buffers]).collect();
        Self { kind, steps: 0, sizes: sizes.to_vec(), state }
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
        let buffers = self.kind.buffers();
        for (tensor, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            let state = &mut self.state[tensor * buffers..(tensor + 1) * buffers];
            step_tensor(self.kind, self.steps, lr, parameter, gradient, state);
        }
    }
}

fn step_tensor<T: Real>(
    kind: OptimizerKind,
    steps: u64,
    lr: f64,
    parameter: &mut [T],
    gradient: &[T],
    state: &mut [Vec<T>],
) {
    match (kind, state) {
        (OptimizerKind::Sgd { .. }, []) => {
            let lr = T::of(lr);
            for (p, &g) in parameter.iter_mut().zip(gradient) {
                *p -= lr * g;
            }
        }
        (OptimizerKind::Sgd { momentum }, [momenta]) => {
            let (lr, momentum) = (T::of(lr), T::of(momentum));
            for ((p, &g), m) in parameter.iter_mut().zip(gradient).zip(momenta) {
                *m = momentum * *m + g;
                *p -= lr * *m;
            }
        }
        (OptimizerKind::Adagrad { eps }, [sums]) => {
            let (lr, eps) = (T::of(lr), T::of(eps));
            for ((p, &g), s) in parameter.iter_mut().zip(gradient).zip(sums) {
                *s += g * g;
                *p -= lr * g / (s.sqrt() + eps);
            }
        }
        (OptimizerKind::RmsProp { alpha, eps }, [squares]) => {
            let (lr, eps) = (T::of(lr), T::of(eps));
            let (old, new) = (T::of(alpha), T::of(1.0 - alpha));
            for ((p, &g), v) in parameter.iter_mut().zip(gradient).zip(squares) {
                *v = old * *v + new * g * g;
                *p -= lr * g / (v.sqrt() + eps);
            }
        }
        (OptimizerKind::Adam { beta1, beta2, eps }, [means, squares]) => {
            adam(Adam { lr, beta1, beta2, eps }, steps, parameter, gradient, means, squares);
        }
        (OptimizerKind::AdamW { beta1, beta2, eps, weight_decay }, [means, squares]) => {
            let keep = T::of(1.0 - lr * weight_decay);
            for p in parameter.iter_mut() {
                *p *= keep;
            }
            adam(Adam { lr, beta1, beta2, eps }, steps, parameter, gradient, means, squares);
        }
        _ => unreachable!("every kind has the buffers that `buffers` names"),
    }
}

struct Adam {
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
}

fn adam<T: Real>(
    Adam { lr, beta1, beta2, eps }: Adam,
    steps: u64,
    parameter: &mut [T],
    gradient: &[T],
    means: &mut [T],
    squares: &mut [T],
) {
    // The powers are computed in f64: 1 − β₂ⁿ would lose most of its digits in f32.
    let rate = T::of(lr / (1.0 - beta1.powf(steps as f64)));
    let root_correction = T::of((1.0 - beta2.powf(steps as f64)).sqrt());
    let (old_mean, new_mean) = (T::of(beta1), T::of(1.0 - beta1));
    let (old_square, new_square) = (T::of(beta2), T::of(1.0 - beta2));
    let eps = T::of(eps);
    for (((p, &g), m), v) in parameter.iter_mut().zip(gradient).zip(means).zip(squares) {
        *m = old_mean * *m + new_mean * g;
        *v = old_square * *v + new_square * g * g;
        *p -= rate * *m / (v.sqrt() / root_correction + eps);
    }
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
