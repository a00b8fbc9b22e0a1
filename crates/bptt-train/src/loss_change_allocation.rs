//! Loss change allocation for one prediction (Lan et al. 2019, "LCA: Loss Change Allocation for Neural Network Training"):
//! by how much the components of one loss, step by step, decreased it over the training.
//!
//! Along an update U from the weights θ, the loss L changes by ∫ ⟨∇L(θ + s U), U⟩ ds over s from 0 to 1. The ledger splits the
//! gradient by past step, and so the integral, which the rule of Gauss and Legendre takes from two points (Lan et al. use that of
//! Runge and Kutta, with three); an update for which it is not accurate is halved. Summed over the training, the parts add up to
//! the decrease of the loss, up to a remainder.
//!
//! The loss may be that of telling the symbol from some others, the softmax cross-entropy among them alone: what is learned
//! about when such a symbol comes at all then does not count. Its mean over several texts may be taken.

use bptt::in_f64;
use bptt::{
    ForwardCache, Inputs, ItemizeOptions, Ledger, Losses, Network, Parameter, Readout, Sequence, Symbols,
    Weights, kernel,
};

use crate::Error;

/// The points of the rule of Gauss and Legendre, 1/2 ± √3/6, which has the order of Simpson's with one point less. Their weights
/// are equal.
const POINTS: [f64; 2] = [0.211_324_865_405_187_1, 0.788_675_134_594_812_9];

/// The largest error of an update's parts, in nats, and how often an update is halved to come below it.
const ACCURATE: f64 = 1e-3;
const MOST_HALVINGS: u32 = 5;

/// The loss change allocation of one loss of one text, or of its mean over several, updated during training.
#[derive(Clone, Debug)]
pub struct LossChangeAllocation {
    inputs: Symbols,
    /// Of each text, (B).
    targets: Vec<u32>,
    /// The symbols that the target is told from, itself included.
    among: Vec<u32>,
    k: usize,
    network: Network<f64>,
    first_loss: f64,
    last_loss: f64,
    /// By how much the components at each step of W_ih of the bottom layer, of all other weights, and of the biases
    /// decreased the loss, nats.
    steps: Vec<[f64; 3]>,
    /// By how much the components of the readout decreased it, nats.
    readout: f64,
}

/// The gradient along an update.
struct Along {
    ledger: Ledger,
    /// ⟨gradient of the readout, update⟩.
    readout: f64,
}

fn readout(weights: &Weights<f64>) -> &Readout<f64> {
    weights.readout.as_ref().expect("`new` has found outputs")
}

impl LossChangeAllocation {
    /// An allocation for the prediction of symbol k + 1 of each of `texts` from the symbols before it, starting at `network`: of
    /// the mean over the texts of the loss of telling it from the symbols `among`, or from all symbols. In texts that differ in
    /// one word and the symbol to predict, what is common to them cannot tell the symbols apart.
    ///
    /// # Errors
    /// If there is no text, the ids do not fit the network, k + 1 is not among them, `among` lacks a symbol to predict, or the
    /// network has no readout or reads in both directions.
    pub fn new(
        network: &Network<f32>,
        texts: &[Vec<u32>],
        k: usize,
        among: Option<&[u32]>,
    ) -> Result<Self, Error> {
        let shortest = texts.iter().map(Vec::len).min().unwrap_or(0);
        if k + 1 >= shortest {
            return Err(Error::setting("k", k, format!("below {}", shortest.saturating_sub(1))));
        }
        if network.directions() == 2 {
            return Err(Error::Bidirectional);
        }
        let outputs = network.weights().readout.as_ref().map_or(0, Readout::outputs);
        let all: Vec<u32> = (0..u32::try_from(outputs).unwrap_or(u32::MAX)).collect();
        let targets: Vec<u32> = texts.iter().map(|ids| ids[k + 1]).collect();
        let among = among.map_or(all, <[u32]>::to_vec);
        if targets.iter().any(|id| !among.contains(id)) || among.iter().any(|&id| id as usize >= outputs) {
            let expected = format!("symbols below {outputs}, {targets:?} among them");
            return Err(Error::setting("among", format!("{among:?}"), expected));
        }
        let inputs = (0..=k).flat_map(|t| texts.iter().map(move |ids| ids[t])).collect();
        let mut allocation = Self {
            inputs: Symbols::new(k + 1, texts.len(), inputs)?,
            targets,
            among,
            k,
            network: network.cast::<f64>()?,
            first_loss: 0.0,
            last_loss: 0.0,
            steps: vec![[0.0; 3]; k + 1],
            readout: 0.0,
        };
        allocation.first_loss = allocation.loss(&allocation.network)?;
        allocation.last_loss = allocation.first_loss;
        Ok(allocation)
    }

    fn scan(&self, network: &Network<f64>) -> Result<ForwardCache<f64>, Error> {
        let inputs = Inputs::Symbols(self.inputs.clone());
        Ok(in_f64::scan(network, inputs, &network.zero_state(self.targets.len()))?)
    }

    /// For text `b`: h of step k, and ln p of each of the symbols among which the target is told.
    fn told<'a>(
        &self,
        trace: &'a ForwardCache<f64>,
        readout: &Readout<f64>,
        b: usize,
    ) -> (&'a [f64], Vec<f64>) {
        let h = trace.cells().last().expect("a network has a cell").h().at(self.k + 1, b);
        let output =
            |&id: &u32| kernel::dot(readout.w_hy.row(id as usize), h) + readout.b_y.data()[id as usize];
        let mut outputs: Vec<f64> = self.among.iter().map(output).collect();
        let largest = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = largest + outputs.iter().map(|y| (y - largest).exp()).sum::<f64>().ln();
        for y in &mut outputs {
            *y -= log_sum;
        }
        (h, outputs)
    }

    /// The mean loss of `network`.
    fn loss(&self, network: &Network<f64>) -> Result<f64, Error> {
        let (trace, readout) = (self.scan(network)?, readout(network.weights()));
        let of_text = |(b, target): (usize, &u32)| {
            let (_, logs) = self.told(&trace, readout, b);
            self.among.iter().zip(logs).filter(|(id, _)| *id == target).map(|(_, log)| -log).sum::<f64>()
        };
        Ok(self.targets.iter().enumerate().map(of_text).sum::<f64>() / self.targets.len() as f64)
    }

    /// The ledger of `network` with inner products with `update`.
    fn along(&self, network: &Network<f64>, update: &Weights<f64>) -> Result<Along, Error> {
        let (readout, change) = (readout(network.weights()), readout(update));
        let trace = self.scan(network)?;
        let (batch, width) = (self.targets.len(), readout.w_hy.cols());
        let (mut seeds, mut inner) = (vec![0.0; self.k * batch * width], 0.0);
        for (b, target) in self.targets.iter().enumerate() {
            let (h, logs) = self.told(&trace, readout, b);
            let mut dh = vec![0.0; width];
            for (id, log) in self.among.iter().zip(&logs) {
                let hit = f64::from(u8::from(id == target));
                let dy = (log.exp() - hit) / batch as f64;
                let row = *id as usize;
                kernel::add_scaled(&mut dh, dy, readout.w_hy.row(row));
                inner += dy * (kernel::dot(change.w_hy.row(row), h) + change.b_y.data()[row]);
            }
            seeds.extend(dh);
        }
        let mut losses = Losses::from_seeds(Sequence::new(self.k + 1, batch, width, &seeds)?);
        losses.present = (0..=self.k).map(|t| t == self.k).collect();
        let options = ItemizeOptions {
            sequences: false,
            inputs: false,
            update: Some(update),
            ..ItemizeOptions::default()
        };
        Ok(Along { ledger: in_f64::itemize(network, &trace, &losses, &options)?, readout: inner })
    }

    /// Adds the update, or several updates as one, that led to `network`.
    ///
    /// # Errors
    /// If `network` has other shapes, or is not finite.
    pub fn add_update(&mut self, network: &Network<f32>) -> Result<(), Error> {
        let (before, after) = (self.network.clone(), network.cast::<f64>()?);
        self.add_segment(&before, &after, MOST_HALVINGS)?;
        self.network = after;
        Ok(())
    }

    /// Adds the straight line between two networks, in halves where the rule is not accurate.
    fn add_segment(&mut self, from: &Network<f64>, to: &Network<f64>, halvings: u32) -> Result<(), Error> {
        let mut update = to.weights().clone();
        for (update, (_, before)) in update.tensors_mut().into_iter().zip(from.weights().tensors()) {
            kernel::add_scaled(update.data_mut(), -1.0, before.data());
        }
        let at = |point: f64| {
            let mut between = from.clone();
            for (tensor, (_, update)) in between.tensors_mut().into_iter().zip(update.tensors()) {
                kernel::add_scaled(tensor.data_mut(), point, update.data());
            }
            between
        };
        let [first, second] = POINTS;
        let (first, second) =
            rayon::join(|| self.along(&at(first), &update), || self.along(&at(second), &update));
        let (points, weight) = ([first?, second?], 0.5);
        let (mut steps, mut readout) = (vec![[0.0; 3]; self.steps.len()], 0.0);
        for along in &points {
            for entry in along.ledger.entries() {
                let i = match entry.parameter {
                    Parameter::WEIGHT_IH if entry.cell.layer == 0 => 0,
                    Parameter::WEIGHT_IH | Parameter::WEIGHT_HH => 1,
                    Parameter::BIAS | Parameter::BIAS_IH | Parameter::BIAS_HH => 2,
                    _ => continue,
                };
                for (t, decrease) in steps.iter_mut().enumerate() {
                    decrease[i] -= weight * entry.inner(self.k, t).unwrap_or(0.0);
                }
            }
            readout -= weight * along.readout;
        }
        let last_loss = self.loss(to)?;
        let missing = self.last_loss - last_loss - steps.iter().flatten().sum::<f64>() - readout;
        if missing.abs() > ACCURATE && halvings > 0 {
            let middle = at(0.5);
            self.add_segment(from, &middle, halvings - 1)?;
            return self.add_segment(&middle, to, halvings - 1);
        }
        self.last_loss = last_loss;
        for (sum, part) in self.steps.iter_mut().flatten().zip(steps.into_iter().flatten()) {
            *sum += part;
        }
        self.readout += readout;
        Ok(())
    }

    /// The loss before the first and after the last update, nats.
    pub fn losses(&self) -> (f64, f64) {
        (self.first_loss, self.last_loss)
    }

    /// By how much the components at each step 0 to k of W_ih of the bottom layer, of all other weights of the cells, and
    /// of their biases decreased the loss, nats.
    pub fn steps(&self) -> &[[f64; 3]] {
        &self.steps
    }

    /// By how much the components of the readout decreased the loss, nats.
    pub fn readout(&self) -> f64 {
        self.readout
    }

    /// The total decrease of the loss minus all parts, nats: the error of the rule.
    pub fn remainder(&self) -> f64 {
        self.first_loss - self.last_loss - self.steps.iter().flatten().sum::<f64>() - self.readout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Rng};

    /// A network after some random changes of its weights, in several updates.
    fn allocated(among: Option<&[u32]>, updates: usize) -> LossChangeAllocation {
        let config = Config { cell: "lstm".into(), hidden: 6, ..Config::default() };
        let mut network = config.network(5, 5).unwrap();
        let texts = [vec![0, 1, 2, 3, 4], vec![2, 1, 2, 3, 0]];
        let mut allocation = LossChangeAllocation::new(&network, &texts, 3, among).unwrap();
        let mut rng = Rng::new(1, 2);
        let whole: Vec<Vec<f64>> = network
            .tensors_mut()
            .iter()
            .map(|t| t.data().iter().map(|_| 0.5 * rng.normal()).collect())
            .collect();
        for _ in 0..updates {
            for (tensor, change) in network.tensors_mut().into_iter().zip(&whole) {
                for (weight, change) in tensor.data_mut().iter_mut().zip(change) {
                    #[allow(clippy::cast_possible_truncation)]
                    let part = (change / updates as f64) as f32;
                    *weight += part;
                }
            }
            allocation.add_update(&network).unwrap();
        }
        allocation
    }

    #[test]
    fn the_parts_add_up_and_the_remainder_falls_with_the_fourth_power() {
        for among in [None, Some(&[0, 4][..])] {
            let remainder = |updates| allocated(among, updates).remainder().abs();
            let (few, many) = (remainder(4), remainder(16));
            assert!(few < 1e-2 && many < few / 50.0, "{among:?}: {few} {many}");
        }
    }

    #[test]
    fn the_loss_is_that_of_telling_the_symbols_apart() {
        let allocation = allocated(Some(&[0, 4]), 1);
        // Two symbols: guessing costs ln 2, and an untrained network hardly knows more.
        assert!((allocation.losses().0 - std::f64::consts::LN_2).abs() < 0.5);
        let config = Config { hidden: 6, ..Config::default() };
        let network = config.network(5, 5).unwrap();
        assert!(LossChangeAllocation::new(&network, &[vec![0, 1, 2]], 1, Some(&[0, 1])).is_err());
        assert!(LossChangeAllocation::new(&network, &[vec![0, 1, 2]], 2, None).is_err());
    }
}
