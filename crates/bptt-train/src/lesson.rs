//! What taught a network one prediction: how much the components of one loss, step by step, lowered it over training.
//!
//! Every update U changes the loss L_k by ⟨∇L_k, U⟩ to first order, and the ledger says which past step's component
//! that came through. Added up over training, with the gradient taken in the middle of each update (the mean of before
//! and after, the trapezoidal rule), the pieces add up to how far the loss fell.

use bptt::{
    Inputs, ItemizeOptions, Ledger, Network, Objective, Parameter, Reduction, Symbols, Targets, Weights,
    kernel,
};

use crate::Error;

/// The running account of one loss of one text.
#[derive(Clone, Debug)]
pub struct Lesson {
    inputs: Symbols,
    objective: Objective<f64>,
    k: usize,
    network: Network<f64>,
    first_loss: f64,
    last_loss: f64,
    /// By how much each step's components of W_ih of the bottom layer, of all other weights, and of the biases lowered the
    /// loss, nats.
    steps: Vec<[f64; 3]>,
    /// By how much the readout's components lowered it, nats.
    readout: f64,
}

impl Lesson {
    /// Begins an account of how `network` learns to predict symbol k + 1 of `ids` from those before it.
    ///
    /// # Errors
    /// If the ids do not fit the network, or k + 1 is not among them.
    pub fn new(network: &Network<f32>, ids: &[u32], k: usize) -> Result<Self, Error> {
        if k + 1 >= ids.len() {
            return Err(Error::Option {
                option: "k".into(),
                given: k.to_string(),
                expected: format!("below {}", ids.len().saturating_sub(1)),
            });
        }
        let inputs = Symbols::new(k + 1, 1, ids[..=k].to_vec())?;
        let objective = Objective {
            targets: Targets::CrossEntropy(Symbols::new(k + 1, 1, ids[1..=k + 1].to_vec())?),
            mask: Some((0..=k).map(|t| t == k).collect()),
            reduction: Reduction::Sum,
        };
        let network = network.cast::<f64>()?;
        let mut lesson = Self {
            inputs,
            objective,
            k,
            network,
            first_loss: 0.0,
            last_loss: 0.0,
            steps: vec![[0.0; 3]; k + 1],
            readout: 0.0,
        };
        let none = lesson.network.weights().zeros_like();
        lesson.first_loss = lesson.take(&lesson.network, &none)?.0;
        lesson.last_loss = lesson.first_loss;
        Ok(lesson)
    }

    /// The loss with `network`, and its ledger against `update`.
    fn take(&self, network: &Network<f64>, update: &Weights<f64>) -> Result<(f64, Ledger), Error> {
        let inputs = Inputs::Symbols(self.inputs.clone());
        let trace = network.scan(inputs, &network.zero_state(1))?;
        let losses = network.losses(&trace, &self.objective)?;
        let options = ItemizeOptions {
            sequences: false,
            inputs: false,
            update: Some(update),
            ..ItemizeOptions::default()
        };
        Ok((losses.total, network.itemize(&trace, &losses, &options)?))
    }

    /// Enters the update that led to `network`.
    ///
    /// # Errors
    /// If `network` is another one, or no longer finite.
    pub fn enter(&mut self, network: &Network<f32>) -> Result<(), Error> {
        let after = network.cast::<f64>()?;
        let mut update = after.weights().clone();
        for (update, (_, before)) in update.tensors_mut().into_iter().zip(self.network.weights().tensors()) {
            kernel::add_scaled(update.data_mut(), -1.0, before.data());
        }
        let (before, now) = rayon::join(|| self.take(&self.network, &update), || self.take(&after, &update));
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
                for (t, taught) in self.steps.iter_mut().enumerate() {
                    taught[i] -= 0.5 * entry.inner(self.k, t).unwrap_or(0.0);
                }
            }
            let readout = [Parameter::HEAD_WEIGHT, Parameter::HEAD_BIAS];
            for measured in ledger.per_loss().iter().filter(|m| readout.contains(&m.parameter)) {
                self.readout -= 0.5 * measured.inner[self.k].unwrap_or(0.0);
            }
        }
        Ok(())
    }

    /// The loss before the first and after the last update entered, nats.
    pub fn loss(&self) -> (f64, f64) {
        (self.first_loss, self.last_loss)
    }

    /// By how much the components at each step 0 to k of W_ih of the bottom layer, of all other weights of the cells, and of
    /// their biases lowered the loss, nats.
    pub fn steps(&self) -> &[[f64; 3]] {
        &self.steps
    }

    /// By how much the readout's components lowered the loss, nats.
    pub fn readout(&self) -> f64 {
        self.readout
    }

    /// What the pieces leave unexplained: the fall of the loss minus their sum, nats. It is the trapezoidal rule's error.
    pub fn remainder(&self) -> f64 {
        self.first_loss - self.last_loss - self.steps.iter().flatten().sum::<f64>() - self.readout
    }
}
