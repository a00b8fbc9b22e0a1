//! What an update costs.

use bptt::cell_by_name;

use crate::material::held_out_batch;
use crate::tasks::Task;
use crate::{Config, Error};

/// What of a task decides the cost of learning it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// T.
    steps: u64,
    /// Steps that have a loss in some sequence of a batch.
    loss_steps: u64,
    /// I; 0 for symbols, which are looked up and not multiplied.
    features: u64,
    /// V.
    outputs: u64,
}

impl Load {
    /// That of `task` at length `length`.
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

    /// Multiplications and additions in the matrix products of one update, forward and back: with H units and G gates, for
    /// each step of each sequence
    ///
    /// ```text
    /// W_hh h       6·G·H²      forward 2·G·H², back to h and to W_hh the same again
    /// W_ih x       4·G·H·I     likewise, but nothing goes back to inputs from outside; none for symbols
    /// W_hy h       4·V·H       and 2·V·H more for each loss
    /// Ω            4·H²        for the vanilla cells that have it
    /// ```
    ///
    /// What is done entry by entry (activations, the optimizer) is left out.
    pub fn flops(&self, config: &Config) -> Result<u64, Error> {
        let cell = cell_by_name(&config.cell)?;
        let gates = cell.spec().gate_count() as u64;
        let recurrent_gates = if cell.spec().recurrent_weights().is_some() { gates } else { 0 };
        let hidden = config.hidden as u64;
        let directions = if config.bidirectional { 2 } else { 1 };
        let width = directions * hidden;
        let above = (config.layers as u64 - 1) * directions * 6 * gates * hidden * width;
        let bottom = directions * 4 * gates * hidden * self.features;
        let omega = if config.omega > 0.0 { 4 } else { 0 };
        let recurrent = config.layers as u64 * directions * (6 * recurrent_gates + omega) * hidden * hidden;
        let per_step = recurrent + bottom + above + 4 * self.outputs * width;
        let per_sequence = self.steps * per_step + self.loss_steps * 2 * self.outputs * width;
        Ok(config.batch as u64 * per_sequence)
    }

    /// That of a whole training: its updates, and those that floss before. For each step of each sequence, one that flosses
    /// k exponents has
    ///
    /// ```text
    /// J Q and the way back of it    6·H²·k
    /// QR                            9·H·k²
    /// W_hh h, and back through it   6·H²,  W_ih x 4·H·I
    /// ```
    pub fn whole(&self, config: &Config) -> Result<u64, Error> {
        let hidden = config.hidden as u64;
        let k = config.floss_exponents.map_or(hidden, |count| count as u64);
        let of_step = hidden * (6 * hidden * k + 9 * k * k + 6 * hidden + 4 * self.features);
        let flossing = config.batch as u64 * self.steps * of_step;
        Ok(config.steps * self.flops(config)? + config.floss * flossing)
    }

    /// The most hidden units with which a training of `config` costs no more than `flops`; at least 1.
    pub fn units_within(&self, config: &Config, flops: u64) -> Result<usize, Error> {
        let within = |hidden: usize| -> Result<bool, Error> {
            Ok(self.whole(&Config { hidden, ..config.clone() })? <= flops)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task_by_name;

    #[test]
    fn products_are_counted() {
        let config = Config { hidden: 10, batch: 3, ..Config::default() };
        // Symbols, four classes, one loss in 20 steps.
        let load = Load::of(&*task_by_name("temporal_order").unwrap(), 20).unwrap();
        assert_eq!(load.flops(&config).unwrap(), 3 * (20 * (600 + 160) + 80));
        let omega = Config { omega: 1.0, ..config.clone() };
        assert_eq!(load.flops(&omega).unwrap(), 3 * (20 * (1000 + 160) + 80));
        let lstm = Config { cell: "lstm".into(), layers: 2, ..config.clone() };
        assert_eq!(load.flops(&lstm).unwrap(), 3 * (20 * (3 * 2400 + 160) + 80));
        // Two features, one output.
        let load = Load::of(&*task_by_name("adding").unwrap(), 20).unwrap();
        assert_eq!(load.flops(&config).unwrap(), 3 * (20 * (600 + 80 + 40) + 20));
        let both = Config { bidirectional: true, ..config };
        assert_eq!(load.flops(&both).unwrap(), 3 * (20 * (1200 + 160 + 80) + 40));
    }

    #[test]
    fn units_are_those_that_cost_no_more() {
        let load = Load::of(&*task_by_name("temporal_order").unwrap(), 20).unwrap();
        let config = Config { hidden: 40, ..Config::default() };
        let flops = load.whole(&config).unwrap();
        assert_eq!(flops, 2_000 * load.flops(&config).unwrap());
        assert_eq!(load.units_within(&config, flops).unwrap(), 40);
        let lstm = Config { cell: "lstm".into(), ..config.clone() };
        let hidden = load.units_within(&lstm, flops).unwrap();
        let cost = |hidden| load.whole(&Config { hidden, ..lstm.clone() }).unwrap();
        assert!(hidden == 20 && cost(hidden) <= flops && cost(hidden + 1) > flops, "{hidden}");
        assert_eq!(load.units_within(&lstm, 0).unwrap(), 1);
        let flossing = Config { floss: 3, floss_exponents: Some(10), batch: 2, ..config };
        let of_step = 6 * 1_600 * 10 + 9 * 40 * 100 + 6 * 1_600;
        let expected = 2_000 * load.flops(&flossing).unwrap() + 3 * 2 * 20 * of_step;
        assert_eq!(load.whole(&flossing).unwrap(), expected);
    }
}
