//! A head of several maps with activations between them.

use bptt::{Activation, Matrix, Objective, Readout, Sequence, SequenceView, Targets, View};

use crate::Error;
use crate::linear::map;
use crate::module::Module;
use crate::tensors::Tensors;

/// Maps and activations that follow a module, one after another: `fc1,relu,fc2`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadChain {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Map(Readout<f64>),
    Activation(Activation),
}

/// The activations between maps.
const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Tanh, Activation::Sigmoid];

/// The losses of a chain's outputs, and what they send back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChainLosses {
    /// The loss of each (t, b), time-major; 0 where masked.
    pub values: Vec<f64>,
    /// The reduced loss.
    pub total: f64,
    /// dL/dh, (T, B, D·P), of `total`.
    pub seeds: Sequence<f64>,
}

impl From<Readout<f64>> for HeadChain {
    /// The chain of one map.
    fn from(readout: Readout<f64>) -> Self {
        Self { parts: vec![Part::Map(readout)] }
    }
}

impl HeadChain {
    /// Reads the chain of these parts, names of maps and of activations (relu, tanh, sigmoid), which follows `module`.
    ///
    /// # Errors
    /// If a part is neither, a map does not fit what stands before it, or a tensor has the wrong type or numbers.
    pub fn read(tensors: &Tensors, module: &Module, parts: &[&str]) -> Result<Self, Error> {
        let mut width = module.width();
        let mut chain = Self { parts: Vec::new() };
        for &part in parts {
            let activation = ACTIVATIONS.into_iter().find(|activation| activation.as_str() == part);
            chain.parts.push(if let Some(activation) = activation {
                Part::Activation(activation)
            } else {
                let readout = map(tensors, part, width)?;
                width = readout.outputs();
                Part::Map(readout)
            });
        }
        Ok(chain)
    }

    /// V, the number of its outputs for a module of this width.
    pub fn outputs(&self, width: usize) -> usize {
        let last = self.parts.iter().rev().find_map(|part| match part {
            Part::Map(readout) => Some(readout.outputs()),
            Part::Activation(_) => None,
        });
        last.unwrap_or(width)
    }

    /// What stands before each part and behind the last, for rows `h`, (R, width).
    fn forward(&self, h: View<'_, f64>) -> Result<Vec<Matrix<f64>>, Error> {
        let mut values = vec![h.to_matrix()];
        for part in &self.parts {
            let before = &values[values.len() - 1];
            let after = match part {
                Part::Map(readout) => {
                    let row = |r: usize| {
                        let of =
                            move |v: usize| dot(readout.w_hy.row(v), before.row(r)) + readout.b_y.data()[v];
                        (0..readout.outputs()).map(of)
                    };
                    let numbers = (0..before.rows()).flat_map(row).collect();
                    Matrix::new(before.rows(), readout.outputs(), numbers)?
                }
                Part::Activation(activation) => {
                    let numbers = before.data().iter().map(|&a| value(*activation, a)).collect();
                    Matrix::new(before.rows(), before.cols(), numbers)?
                }
            };
            values.push(after);
        }
        Ok(values)
    }

    /// dL/dh from dL/dy and what [`forward`](Self::forward) gave.
    fn backward(&self, values: &[Matrix<f64>], dy: Matrix<f64>) -> Result<Matrix<f64>, Error> {
        let mut d = dy;
        for (part, after) in self.parts.iter().zip(&values[1..]).rev() {
            d = match part {
                Part::Map(readout) => {
                    let (w, width) = (&readout.w_hy, readout.w_hy.cols());
                    let row = |r: usize| {
                        let d = d.row(r);
                        (0..width)
                            .map(move |i| d.iter().enumerate().map(|(v, d)| d * w.row(v)[i]).sum::<f64>())
                    };
                    Matrix::new(d.rows(), width, (0..d.rows()).flat_map(row).collect())?
                }
                Part::Activation(activation) => {
                    let slopes = after.data().iter().map(|&y| activation.slope_of(y));
                    let numbers = d.data().iter().zip(slopes).map(|(d, slope)| d * slope).collect();
                    Matrix::new(d.rows(), d.cols(), numbers)?
                }
            };
        }
        Ok(d)
    }

    /// The losses of the outputs for the module's outputs `h`, (T, B, width).
    ///
    /// # Errors
    /// If the targets have another shape.
    pub fn losses(&self, h: SequenceView<'_, f64>, objective: &Objective<f64>) -> Result<ChainLosses, Error> {
        let (steps, batch) = (h.steps(), h.batch());
        let values = self.forward(h.rows(0..steps))?;
        let y = &values[values.len() - 1];
        let counts = |r: usize| objective.mask.as_ref().is_none_or(|mask| mask[r]);
        let has_loss: Vec<bool> = (0..y.rows()).map(counts).collect();
        let factors = objective.reduction.factors(&has_loss, batch);
        let (mut losses, mut dy) = (vec![0.0; y.rows()], Matrix::zeros(y.rows(), y.cols()));
        for r in (0..y.rows()).filter(|&r| counts(r)) {
            losses[r] = match &objective.targets {
                Targets::CrossEntropy(symbols) => {
                    cross_entropy(y.row(r), symbols.ids()[r] as usize, dy.row_mut(r))
                }
                Targets::SquaredError(targets) => {
                    squared_error(y.row(r), targets.at(r / batch, r % batch), dy.row_mut(r))
                }
            };
            dy.row_mut(r).iter_mut().for_each(|d| *d *= factors[r % batch]);
        }
        let total = losses.iter().enumerate().map(|(r, loss)| factors[r % batch] * loss).sum();
        let dh = self.backward(&values, dy)?;
        let seeds = Sequence::new(steps, batch, dh.cols(), dh.data())?;
        Ok(ChainLosses { values: losses, total, seeds })
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn value(activation: Activation, a: f64) -> f64 {
    match activation {
        Activation::Relu => a.max(0.0),
        Activation::Tanh => a.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-a).exp()),
        other => unreachable!("{other:?} is not between maps"),
    }
}

/// −ln softmax(y)\[target\]; `dy` ← softmax(y) − one-hot.
fn cross_entropy(y: &[f64], target: usize, dy: &mut [f64]) -> f64 {
    let largest = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = y.iter().map(|v| (v - largest).exp()).sum();
    dy.iter_mut().zip(y).for_each(|(d, v)| *d = (v - largest).exp() / sum);
    dy[target] -= 1.0;
    sum.ln() + largest - y[target]
}

/// Σ (y − target)²; `dy` ← 2 (y − target).
fn squared_error(y: &[f64], target: &[f64], dy: &mut [f64]) -> f64 {
    dy.iter_mut().zip(y.iter().zip(target)).for_each(|(d, (y, target))| *d = 2.0 * (y - target));
    y.iter().zip(target).map(|(y, target)| (y - target).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use bptt::{Reduction, Symbols};

    use super::*;

    fn numbers(seed: f64, count: usize) -> Vec<f64> {
        (0..count).map(|i| (seed + 1.7 * i as f64).sin()).collect()
    }

    fn map(outputs: usize, width: usize, seed: f64) -> Part {
        let w_hy = Matrix::new(outputs, width, numbers(seed, outputs * width)).unwrap();
        Part::Map(Readout { w_hy, b_y: Matrix::new(1, outputs, numbers(seed + 0.3, outputs)).unwrap() })
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (steps, batch, width) = (3, 2, 4);
        let targets = [
            Targets::CrossEntropy(Symbols::new(steps, batch, vec![0, 2, 1, 1, 0, 2]).unwrap()),
            Targets::SquaredError(Sequence::new(steps, batch, 3, &numbers(0.9, 18)).unwrap()),
        ];
        for activation in ACTIVATIONS {
            let parts = vec![map(5, width, 0.1), Part::Activation(activation), map(3, 5, 0.7)];
            let chain = HeadChain { parts };
            assert_eq!(chain.outputs(width), 3);
            for (targets, reduction) in
                targets.iter().zip([Reduction::MeanTokens, Reduction::MeanPerSequence])
            {
                let mask = Some(vec![true, true, false, true, true, true]);
                let objective = Objective { targets: targets.clone(), mask, reduction };
                let h = numbers(0.4, steps * batch * width);
                let of = |h: &[f64]| {
                    let h = Sequence::new(steps, batch, width, h).unwrap();
                    chain.losses(h.view(), &objective).unwrap()
                };
                let found = of(&h);
                assert_eq!(found.values[2], 0.0);
                for i in 0..h.len() {
                    let moved = |by: f64| {
                        let mut h = h.clone();
                        h[i] += by;
                        of(&h).total
                    };
                    let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                    let given = found.seeds.data()[i];
                    assert!((given - expected).abs() < 1e-8, "{activation:?} {i}: {given} is not {expected}");
                }
            }
        }
    }
}
