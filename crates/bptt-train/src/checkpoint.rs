//! Everything that a training needs to go on as if it had not been interrupted.

use bptt::{Matrix, Network};
use bptt_io::{Dtype, Tensor};
use serde::{Deserialize, Serialize};

use crate::data_source::Evaluation;
use crate::trainer::Training;

/// The numbers of a checkpoint that are not arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counters {
    /// Updates made.
    pub step: u64,
    /// The learning rate before its schedule, as bits, since someone may have changed it.
    base_rate: u64,
    /// Steps of the optimizer.
    optimizer_steps: u64,
    /// The next window of the text, or the position in the random numbers of a task.
    data: String,
    /// The position in the random numbers of each shard.
    dropout: Vec<String>,
    /// The best evaluation, if there was one.
    best: Option<BestSoFar>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BestSoFar {
    /// The bits of its loss and of the fraction solved.
    loss: u64,
    solved: Option<u64>,
    step: u64,
    /// Evaluations since.
    waited: u64,
}

/// How the names of arrays begin, by what they are.
pub(crate) const NETWORK: &str = "network.";
const PREVIOUS: &str = "previous.";
const BEST: &str = "best.";

impl Training<'_, '_> {
    /// The arrays and the numbers that [`restore`](Self::restore) needs.
    pub(crate) fn saved(&self) -> (Vec<Tensor>, Counters) {
        let mut arrays = named(NETWORK, &self.network);
        arrays.extend(named(PREVIOUS, &self.good));
        arrays.extend(self.best.network.iter().flat_map(|network| named(BEST, network)));
        let (optimizer_steps, buffers) = self.optimizer.saved();
        arrays.extend(
            buffers
                .iter()
                .enumerate()
                .map(|(i, buffer)| array(format!("optimizer.{i}"), vec![buffer.len()], buffer)),
        );
        let mut dropout = Vec::new();
        for (shard, (state, position)) in self.shards.saved().enumerate() {
            arrays.extend(
                state
                    .matrices()
                    .enumerate()
                    .map(|(i, matrix)| of_matrix(format!("state.{shard}.{i}"), matrix)),
            );
            dropout.push(position.to_string());
        }
        let best = self.best.evaluation.map(|(Evaluation { loss, solved }, step)| BestSoFar {
            loss: loss.to_bits(),
            solved: solved.map(f64::to_bits),
            step,
            waited: self.best.waited,
        });
        let (step, base_rate, data) =
            (self.steps, self.base_rate.to_bits(), self.batches.position().to_string());
        (arrays, Counters { step, base_rate, optimizer_steps, data, dropout, best })
    }

    /// Continues from what [`saved`](Self::saved) gave.
    ///
    /// # Errors
    /// In words, if an array is missing, has another shape, or is too many.
    pub(crate) fn restore(&mut self, arrays: &[Tensor], counters: &Counters) -> Result<(), String> {
        let mut given = Given { arrays, used: 0 };
        given.network(NETWORK, &mut self.network)?;
        given.network(PREVIOUS, &mut self.good)?;
        if arrays.iter().any(|array| array.name.starts_with(BEST)) {
            let mut best = self.network.clone();
            given.network(BEST, &mut best)?;
            self.best.network = Some(best);
        }
        let (steps, buffers) = self.optimizer.restored();
        *steps = counters.optimizer_steps;
        for (i, buffer) in buffers.iter_mut().enumerate() {
            given.fill(&format!("optimizer.{i}"), &[buffer.len()], buffer)?;
        }
        let position = |text: &str| text.parse::<u128>().map_err(|_| format!("{text:?} is no position"));
        let mut positions = counters.dropout.iter();
        for (shard, (state, rng)) in self.shards.restored().enumerate() {
            for (i, matrix) in state.matrices_mut().enumerate() {
                let shape = [matrix.rows(), matrix.cols()];
                given.fill(&format!("state.{shard}.{i}"), &shape, matrix.data_mut())?;
            }
            rng.set_position(position(positions.next().ok_or("there are too few shards")?)?);
        }
        if positions.next().is_some() || given.used != arrays.len() {
            return Err("there are arrays of another training".into());
        }
        if !self.batches.set_position(position(&counters.data)?) {
            return Err(format!("the text has no window {}", counters.data));
        }
        self.base_rate = f64::from_bits(counters.base_rate);
        if !(self.base_rate > 0.0 && self.base_rate.is_finite()) {
            return Err("the learning rate is not finite and above 0".into());
        }
        self.steps = counters.step;
        if let Some(best) = &counters.best {
            let evaluation =
                Evaluation { loss: f64::from_bits(best.loss), solved: best.solved.map(f64::from_bits) };
            self.best.evaluation = Some((evaluation, best.step));
            self.best.waited = best.waited;
        }
        Ok(())
    }
}

fn named(prefix: &str, network: &Network<f32>) -> Vec<Tensor> {
    network
        .weights()
        .tensors()
        .into_iter()
        .map(|(name, matrix)| of_matrix(format!("{prefix}{name}"), matrix))
        .collect()
}

fn of_matrix(name: String, matrix: &Matrix<f32>) -> Tensor {
    array(name, vec![matrix.rows(), matrix.cols()], matrix.data())
}

fn array(name: String, shape: Vec<usize>, numbers: &[f32]) -> Tensor {
    Tensor {
        name,
        dtype: Dtype::F32,
        shape,
        bytes: numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    }
}

/// The arrays of a file.
pub(crate) struct Given<'a> {
    pub arrays: &'a [Tensor],
    /// How many have been read.
    pub used: usize,
}

impl Given<'_> {
    /// Fills in the weights of a network.
    pub fn network(&mut self, prefix: &str, network: &mut Network<f32>) -> Result<(), String> {
        let names: Vec<String> =
            network.weights().tensors().into_iter().map(|(name, _)| format!("{prefix}{name}")).collect();
        for (name, matrix) in names.iter().zip(network.tensors_mut()) {
            let shape = [matrix.rows(), matrix.cols()];
            self.fill(name, &shape, matrix.data_mut())?;
        }
        Ok(())
    }

    fn fill(&mut self, name: &str, shape: &[usize], into: &mut [f32]) -> Result<(), String> {
        let array = self
            .arrays
            .iter()
            .find(|array| array.name == name)
            .ok_or_else(|| format!("{name} is missing"))?;
        if array.dtype != Dtype::F32 || array.shape != shape {
            return Err(format!("{name} is {:?} of {}, expected {shape:?} of F32", array.shape, array.dtype));
        }
        for (number, bytes) in into.iter_mut().zip(array.bytes.as_chunks().0) {
            *number = f32::from_le_bytes(*bytes);
        }
        self.used += 1;
        Ok(())
    }
}
