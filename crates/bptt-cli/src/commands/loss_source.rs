//! Where the losses of a model from another program come from.

use bptt::in_f64;
use bptt::{ForwardCache, Losses, Network, Objective, Sequence, Symbols, Targets};
use bptt_io::HeadChain;

use crate::Failure;

/// The head by its name, and as a chain if it has several parts.
#[derive(Default)]
pub(super) struct Head {
    pub name: String,
    pub chain: Option<HeadChain>,
}

/// Where the losses come from.
#[derive(Clone)]
pub(super) enum LossSource {
    /// From an objective of the outputs.
    Objective(Objective<f64>),
    /// From an objective of the outputs of a head of several maps.
    Chain(HeadChain, Objective<f64>),
    /// From an objective of the final h of both directions.
    FinalState(FinalState),
    /// From their gradients with respect to the top layer's output and, if given, its cell state; (T, B) says which positions
    /// have a loss.
    Gradients(Sequence<f64>, Option<Sequence<f64>>, Vec<bool>),
}

/// An objective of the final h of both directions, side by side: PyTorch's `torch.cat([h_n[-2], h_n[-1]], 1)`.
#[derive(Clone)]
pub(super) struct FinalState {
    head: HeadChain,
    /// Of one step.
    objective: Objective<f64>,
    /// (B).
    lengths: Vec<usize>,
}

impl FinalState {
    /// `objective` has its targets at the last step of each sequence.
    pub fn new(head: HeadChain, objective: Objective<f64>, lengths: Vec<usize>) -> Result<Self, Failure> {
        let (batch, last) = (lengths.len(), |b: usize| lengths[b] - 1);
        let targets = match &objective.targets {
            Targets::CrossEntropy(classes) => {
                let of = |b: usize| classes.step(last(b))[b];
                Targets::CrossEntropy(Symbols::new(1, batch, (0..batch).map(of).collect())?)
            }
            Targets::SquaredError(values) => {
                let numbers: Vec<f64> = (0..batch).flat_map(|b| values.at(last(b), b).to_vec()).collect();
                Targets::SquaredError(Sequence::new(1, batch, values.features(), &numbers)?)
            }
        };
        let mask = objective.mask.map(|mask| (0..batch).map(|b| mask[last(b) * batch + b]).collect());
        Ok(Self { head, objective: Objective { targets, mask, reduction: objective.reduction }, lengths })
    }

    /// A gradient enters each direction where its final h is: the forward cell at a sequence's last step, the reverse cell at
    /// step 0.
    fn losses(&self, trace: &ForwardCache<f64>) -> Result<Losses<f64>, Failure> {
        let output = trace.output();
        let (steps, batch, width) = (output.steps(), output.batch(), output.features() / 2);
        let last = |b: usize| self.lengths[b] - 1;
        let final_h = |b: usize| [&output.at(last(b), b)[..width], &output.at(0, b)[width..]].concat();
        let h = Sequence::new(1, batch, 2 * width, &(0..batch).flat_map(final_h).collect::<Vec<_>>())?;
        let computed = self.head.losses(h.view(), &self.objective)?;
        let mut seeds = Sequence::zeros(steps, batch, 2 * width);
        let (mut present, mut values) = (vec![false; steps], vec![0.0; steps * batch]);
        for b in 0..batch {
            let dh = computed.seeds.at(0, b);
            seeds.at_mut(last(b), b)[..width].copy_from_slice(&dh[..width]);
            seeds.at_mut(0, b)[width..].copy_from_slice(&dh[width..]);
            values[last(b) * batch + b] = computed.values[b];
            if self.objective.mask.as_ref().is_none_or(|mask| mask[b]) {
                (present[0], present[last(b)]) = (true, true);
            }
        }
        let mut losses = Losses::from_seeds(seeds);
        (losses.present, losses.values, losses.total) = (present, values, computed.total);
        Ok(losses)
    }
}

impl LossSource {
    pub fn of(self, network: &Network<f64>, trace: &ForwardCache<f64>) -> Result<Losses<f64>, Failure> {
        match self {
            Self::Objective(objective) => Ok(in_f64::losses(network, trace, &objective)?),
            Self::Chain(chain, objective) => {
                let computed = chain.losses(trace.output(), &objective)?;
                let (batch, mask) = (computed.seeds.batch(), objective.mask.unwrap_or_default());
                let mut losses = Losses::from_seeds(computed.seeds);
                losses.present = mask.chunks(batch).map(|step| step.contains(&true)).collect();
                (losses.values, losses.total) = (computed.values, computed.total);
                Ok(losses)
            }
            Self::FinalState(of) => of.losses(trace),
            Self::Gradients(mut seeds, mut dc, mask) => {
                let batch = seeds.batch();
                for (i, _) in mask.iter().enumerate().filter(|(_, has_loss)| !**has_loss) {
                    seeds.at_mut(i / batch, i % batch).fill(0.0);
                    if let Some(dc) = &mut dc {
                        dc.at_mut(i / batch, i % batch).fill(0.0);
                    }
                }
                let mut losses = Losses::from_seeds(seeds);
                losses.present = mask.chunks(batch).map(|step| step.contains(&true)).collect();
                Ok(match dc {
                    Some(dc) => losses.with_cell_seeds(dc),
                    None => losses,
                })
            }
        }
    }
}
