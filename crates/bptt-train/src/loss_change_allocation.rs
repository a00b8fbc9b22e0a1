//! Loss change allocation for one prediction (Lan et al. 2019, "LCA: Loss Change Allocation for Neural Network Training"):
//! by how much the components of one loss, step by step, decreased it over the training.
//!
//! To first order, an update U changes the loss L_k by ⟨∇L_k, U⟩. The ledger splits this by past step. Summed over the
//! training, with the gradient in the middle of each update (the mean of the gradients before and after it, the trapezoidal
//! rule), the parts add up to the total decrease of the loss, up to a remainder.

use bptt::in_f64;
use bptt::{
    Inputs, ItemizeOptions, Ledger, Network, Objective, Parameter, Reduction, Symbols, Targets, Weights,
    kernel,
};

use crate::Error;

/// The loss change allocation of one loss of one text, updated during training.
#[derive(Clone, Debug)]
pub struct LossChangeAllocation {
    inputs: Symbols,
    objective: Objective<f64>,
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

impl LossChangeAllocation {
    /// An allocation for the prediction of symbol k + 1 of `ids` from the symbols before it, starting at `network`.
    ///
    /// # Errors
    /// If the ids do not fit the network, or k + 1 is not among them.
    pub fn new(network: &Network<f32>, ids: &[u32], k: usize) -> Result<Self, Error> {
        if k + 1 >= ids.len() {
            return Err(Error::setting("k", k, format!("below {}", ids.len().saturating_sub(1))));
        }
        let inputs = Symbols::new(k + 1, 1, ids[..=k].to_vec())?;
        let objective = Objective {
            targets: Targets::CrossEntropy(Symbols::new(k + 1, 1, ids[1..=k + 1].to_vec())?),
            mask: Some((0..=k).map(|t| t == k).collect()),
            reduction: Reduction::Sum,
        };
        let network = network.cast::<f64>()?;
        let mut allocation = Self {
            inputs,
            objective,
            k,
            network,
            first_loss: 0.0,
            last_loss: 0.0,
            steps: vec![[0.0; 3]; k + 1],
            readout: 0.0,
        };
        let no_update = allocation.network.weights().zeros_like();
        allocation.first_loss = allocation.ledger_along(&allocation.network, &no_update)?.0;
        allocation.last_loss = allocation.first_loss;
        Ok(allocation)
    }

    /// The loss of `network`, and its ledger with inner products with `update`.
    fn ledger_along(&self, network: &Network<f64>, update: &Weights<f64>) -> Result<(f64, Ledger), Error> {
        let inputs = Inputs::Symbols(self.inputs.clone());
        let trace = in_f64::scan(network, inputs, &network.zero_state(1))?;
        let losses = in_f64::losses(network, &trace, &self.objective)?;
        let options = ItemizeOptions {
            sequences: false,
            inputs: false,
            update: Some(update),
            ..ItemizeOptions::default()
        };
        Ok((losses.total, in_f64::itemize(network, &trace, &losses, &options)?))
    }

    /// Adds the update that led to `network`.
    ///
    /// # Errors
    /// If `network` has other shapes, or is not finite.
    pub fn add_update(&mut self, network: &Network<f32>) -> Result<(), Error> {
        let after = network.cast::<f64>()?;
        let mut update = after.weights().clone();
        for (update, (_, before)) in update.tensors_mut().into_iter().zip(self.network.weights().tensors()) {
            kernel::add_scaled(update.data_mut(), -1.0, before.data());
        }
        let (before, now) =
            rayon::join(|| self.ledger_along(&self.network, &update), || self.ledger_along(&after, &update));
        let ((_, before), (loss, now)) = (before?, now?);
        self.network = after;
        self.last_loss = loss;
        for ledger in [before, now] {
            for entry in ledger.entries() {
                let i = match entry.parameter {
                    Parameter::WEIGHT_IH if entry.cell.layer == 0 => 0,
                    Parameter::WEIGHT_IH | Parameter::WEIGHT_HH => 1,
                    Parameter::BIAS | Parameter::BIAS_IH | Parameter::BIAS_HH => 2,
                    _ => continue,
                };
                for (t, decrease) in self.steps.iter_mut().enumerate() {
                    decrease[i] -= 0.5 * entry.inner(self.k, t).unwrap_or(0.0);
                }
            }
            let readout = [Parameter::HEAD_WEIGHT, Parameter::HEAD_BIAS];
            for measured in ledger.per_loss().iter().filter(|m| readout.contains(&m.parameter)) {
                self.readout -= 0.5 * measured.inner[self.k].unwrap_or(0.0);
            }
        }
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

    /// The total decrease of the loss minus all parts, nats: the error of the trapezoidal rule.
    pub fn remainder(&self) -> f64 {
        self.first_loss - self.last_loss - self.steps.iter().flatten().sum::<f64>() - self.readout
    }
}
