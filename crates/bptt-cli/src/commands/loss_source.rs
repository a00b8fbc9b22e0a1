//! Where the losses of a model from another program come from.

use bptt::in_f64;
use bptt::{ForwardCache, Losses, Network, Objective, Sequence};
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
    /// From their gradients with respect to the top layer's output; (T, B) says which positions have a loss.
    Gradients(Sequence<f64>, Vec<bool>),
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
            Self::Gradients(mut seeds, mask) => {
                let batch = seeds.batch();
                for (i, _) in mask.iter().enumerate().filter(|(_, has_loss)| !**has_loss) {
                    seeds.at_mut(i / batch, i % batch).fill(0.0);
                }
                let mut losses = Losses::from_seeds(seeds);
                losses.present = mask.chunks(batch).map(|step| step.contains(&true)).collect();
                Ok(losses)
            }
        }
    }
}
