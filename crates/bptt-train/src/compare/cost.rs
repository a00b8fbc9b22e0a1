//! The cost of an update.

use bptt::cell_by_name;

use crate::data_source::held_out_batch;
use crate::tasks::Task;
use crate::{Config, Error};

/// The sizes of a task that determine the cost of training on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// T.
    steps: u64,
    /// Steps with a loss in some sequence of a batch.
    loss_steps: u64,
    /// I; 0 for symbols, whose product is a lookup.
    features: u64,
    /// V.
    outputs: u64,
}

impl Cost {
    /// The sizes of `task` at length `length`.
    pub fn of(task: &dyn Task, length: usize) -> Result<Self, Error> {
        let drawn = held_out_batch(task, length, 1, 0)?.batch;
        let features = if let bptt::Inputs::Dense(x) = &drawn.inputs { x.features() } else { 0 };
        Ok(Self {
            steps: task.steps(length) as u64,
            loss_steps: drawn.losses() as u64,
            features: features as u64,
            outputs: task.outputs() as u64,
        })
    }

    /// Multiplications and additions in the matrix products of one update, forward and backward: with H units and G gates,
    /// for each step of each sequence
    ///
    /// ```text
    /// W_hh h       6·G·H²      forward 2·G·H², and as many for each of the gradients of h and W_hh
    /// W_ih x       4·G·H·I     likewise, but without a gradient of the inputs; none for symbols
    /// W_hy h       4·V·H       plus 2·V·H for each loss
    /// Ω            4·H²        for the vanilla cells that support it
    /// ```
    ///
    /// Elementwise work (activations, the optimizer) is not counted. Counts end at 2⁶⁴ − 1.
    pub fn of_update(&self, config: &Config) -> Result<u64, Error> {
        let cell = cell_by_name(&config.cell)?;
        let gates = cell.spec().gate_count() as u64;
        let recurrent_gates = if cell.spec().recurrent_weights().is_some() { gates } else { 0 };
        let hidden = config.hidden as u64;
        let directions = if config.bidirectional { 2 } else { 1 };
        let width = directions * hidden;
        let layers = config.layers as u64;
        let above = product(&[layers - 1, directions, 6 * gates, hidden, width]);
        let bottom = product(&[directions, 4 * gates, hidden, self.features]);
        let omega = if config.omega > 0.0 { 4 } else { 0 };
        let recurrent = product(&[layers, directions, 6 * recurrent_gates + omega, hidden, hidden]);
        let per_step = sum(&[recurrent, bottom, above, product(&[4, self.outputs, width])]);
        let of_losses = product(&[self.loss_steps, 2, self.outputs, width]);
        let per_sequence = sum(&[product(&[self.steps, per_step]), of_losses]);
        Ok(product(&[config.batch as u64, per_sequence]))
    }

    /// Multiplications and additions of a whole training, including flossing. Per step of each sequence, flossing of k
    /// exponents costs
    ///
    /// ```text
    /// J Q and its backward pass      6·H²·k
    /// QR                             9·H·k²
    /// W_hh h, forward and backward   6·H²,  W_ih x 4·H·I
    /// ```
    pub fn of_training(&self, config: &Config) -> Result<u64, Error> {
        let hidden = config.hidden as u64;
        let k = config.floss_exponents.map_or(hidden, |count| count as u64);
        let of_unit = sum(&[
            product(&[6, hidden, k]),
            product(&[9, k, k]),
            product(&[6, hidden]),
            product(&[4, self.features]),
        ]);
        let flossing = product(&[config.floss, config.batch as u64, self.steps, hidden, of_unit]);
        Ok(sum(&[product(&[config.steps, self.of_update(config)?]), flossing]))
    }

    /// The most hidden units with which a training of `config` costs no more than `flops`, which is below 2⁶⁴ − 1; at least 1.
    pub fn most_units_within(&self, config: &Config, flops: u64) -> Result<usize, Error> {
        let within = |hidden: usize| -> Result<bool, Error> {
            Ok(self.of_training(&Config { hidden, ..config.clone() })? <= flops)
        };
        let (mut fits, mut too_many) = (1, 2);
        while within(too_many)? {
            (fits, too_many) = (too_many, 2 * too_many);
        }
        while too_many - fits > 1 {
            let between = usize::midpoint(fits, too_many);
            if within(between)? {
                fits = between;
            } else {
                too_many = between;
            }
        }
        Ok(fits)
    }
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, factor| product.saturating_mul(*factor))
}

fn sum(terms: &[u64]) -> u64 {
    terms.iter().fold(0, |sum, term| sum.saturating_add(*term))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task_by_name;

    #[test]
    fn products_are_counted() {
        let config = Config { hidden: 10, batch: 3, ..Config::default() };
        // Symbols, four classes, one loss in 20 steps.
        let cost = Cost::of(&*task_by_name("temporal_order").unwrap(), 20).unwrap();
        assert_eq!(cost.of_update(&config).unwrap(), 3 * (20 * (600 + 160) + 80));
        let omega = Config { omega: 1.0, ..config.clone() };
        assert_eq!(cost.of_update(&omega).unwrap(), 3 * (20 * (1000 + 160) + 80));
        let lstm = Config { cell: "lstm".into(), layers: 2, ..config.clone() };
        assert_eq!(cost.of_update(&lstm).unwrap(), 3 * (20 * (3 * 2400 + 160) + 80));
        // Two features, one output.
        let cost = Cost::of(&*task_by_name("adding").unwrap(), 20).unwrap();
        assert_eq!(cost.of_update(&config).unwrap(), 3 * (20 * (600 + 80 + 40) + 20));
        let both = Config { bidirectional: true, ..config };
        assert_eq!(cost.of_update(&both).unwrap(), 3 * (20 * (1200 + 160 + 80) + 40));
    }

    #[test]
    fn units_are_those_that_cost_no_more() {
        let cost = Cost::of(&*task_by_name("temporal_order").unwrap(), 20).unwrap();
        let config = Config { hidden: 40, ..Config::default() };
        let flops = cost.of_training(&config).unwrap();
        assert_eq!(flops, 2_000 * cost.of_update(&config).unwrap());
        assert_eq!(cost.most_units_within(&config, flops).unwrap(), 40);
        let lstm = Config { cell: "lstm".into(), ..config.clone() };
        let hidden = cost.most_units_within(&lstm, flops).unwrap();
        let flops_of = |hidden| cost.of_training(&Config { hidden, ..lstm.clone() }).unwrap();
        assert!(hidden == 20 && flops_of(hidden) <= flops && flops_of(hidden + 1) > flops, "{hidden}");
        assert_eq!(cost.most_units_within(&lstm, 0).unwrap(), 1);
        let flossing = Config { floss: 3, floss_exponents: Some(10), batch: 2, ..config };
        let of_step = 6 * 1_600 * 10 + 9 * 40 * 100 + 6 * 1_600;
        let expected = 2_000 * cost.of_update(&flossing).unwrap() + 3 * 2 * 20 * of_step;
        assert_eq!(cost.of_training(&flossing).unwrap(), expected);
    }
}
