//! The memory that a training needs, estimated from its settings.
//!
//! Everything is counted in f64, whatever the sizes are: no product overflows.

use bptt::cell_by_name;

use crate::data_source::EVALUATION_SEQUENCES;
use crate::shards::SHARD;
use crate::{Config, Error, task_by_name};

/// Bytes of an f32.
const SINGLE: f64 = 4.0;

/// Bytes of a generated sentence with its symbols by character and by word, while the vocabulary is built.
const SENTENCE: f64 = 900.0;

/// Bytes that a byte of a text takes, as text and as symbols, while the vocabulary is built.
const TEXT: f64 = 30.0;

/// Copies of the weights: the network, the one before the last update, the best one, and a checkpoint's.
const COPIES: f64 = 6.0;

/// What a training is about.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// T of a batch: the window, or the steps of a task.
    pub steps: f64,
    /// Features of an input; 0 for symbols.
    pub features: f64,
    /// V.
    pub outputs: f64,
    /// Bytes of the text, while it is prepared.
    pub text: f64,
}

impl Sizes {
    /// Of the task or of the text in the settings; a text has `bytes` bytes if it is a file. Vocabularies are taken to have 1,000
    /// symbols.
    ///
    /// # Errors
    /// If the task is unknown.
    pub fn of(config: &Config, bytes: Option<u64>) -> Result<Self, Error> {
        if let Some(name) = &config.task {
            let task = task_by_name(name)?;
            let length = config.length_of(&*task);
            // Lengths beyond what is possible are steps of their own.
            let steps = if length <= LONGEST { task.steps(length) as f64 } else { length as f64 };
            let features = task.inputs() as f64;
            return Ok(Self { steps, features, outputs: task.outputs() as f64, text: 0.0 });
        }
        let text = bytes.map_or(SENTENCE * config.sentences as f64, |bytes| TEXT * bytes as f64);
        Ok(Self { steps: config.window as f64, features: 0.0, outputs: 1_000.0, text })
    }
}

/// The largest L that tasks are asked about.
const LONGEST: usize = 1 << 40;

/// The bytes that a training needs, about: weights and optimizer, what a batch keeps for its backward pass, a batch of held-out
/// sequences, and the text.
///
/// # Errors
/// If the cell is unknown.
pub fn of_training(config: &Config, sizes: &Sizes) -> Result<f64, Error> {
    let cell = cell_by_name(&config.cell)?;
    let spec = cell.spec();
    let (gates, states) = (spec.gate_count() as f64, spec.states.len() as f64);
    let (batch, hidden, layers) = (config.batch as f64, config.hidden as f64, config.layers as f64);
    let directions = if config.bidirectional { 2.0 } else { 1.0 };
    let width = directions * hidden;
    let read = if sizes.features > 0.0 { sizes.features } else { sizes.outputs };
    let of_layer = |read: f64| directions * gates * hidden * (read + hidden + 2.0);
    let weights = of_layer(read) + (layers - 1.0).max(0.0) * of_layer(width) + sizes.outputs * (width + 1.0);
    let shards = (batch / SHARD as f64).ceil().max(1.0);
    // Gates and states of a step, their adjoints, and what is read of them.
    let kept =
        layers * directions * hidden * (2.0 * gates + 3.0 * states) + 3.0 * sizes.outputs + sizes.features;
    let held_out = if config.task.is_some() { EVALUATION_SEQUENCES as f64 } else { 0.0 };
    let sequences = sizes.steps * (batch * kept + held_out * (sizes.features + sizes.outputs));
    Ok(SINGLE * (weights * (COPIES + shards) + sequences) + sizes.text)
}

/// The bytes that one sequence of a task needs, about: its inputs and targets, drawn and put into arrays.
pub fn of_sequence(sizes: &Sizes) -> f64 {
    SINGLE * sizes.steps * 2.0 * (sizes.features + sizes.outputs + 2.0)
}

/// A setting that is smaller by as much as is needed for the training to fit into `limit` bytes, and its largest such value: the
/// first of the batch, the length or window, the generated sentences, the units, the layers that is enough alone.
///
/// # Errors
/// If the cell or the task is unknown.
pub fn what_fits(
    config: &Config,
    bytes: Option<u64>,
    limit: f64,
) -> Result<Option<(&'static str, usize)>, Error> {
    type Set = fn(&mut Config, usize);
    let length = config.task.as_deref().map(task_by_name).transpose()?.map(|task| config.length_of(&*task));
    let settings: [(&'static str, usize, Set); 5] = [
        ("batch", config.batch, |config, value| config.batch = value),
        match length {
            Some(length) => ("length", length, |config, value| config.length = Some(value)),
            None => ("window", config.window, |config, value| config.window = value),
        },
        ("sentences", config.sentences, |config, value| config.sentences = value),
        ("hidden", config.hidden, |config, value| config.hidden = value),
        ("layers", config.layers, |config, value| config.layers = value),
    ];
    for (name, given, set) in settings {
        let fits = |value: usize| -> Result<bool, Error> {
            let mut smaller = config.clone();
            set(&mut smaller, value);
            Ok(of_training(&smaller, &Sizes::of(&smaller, bytes)?)? <= limit)
        };
        if name == "sentences" && (config.task.is_some() || config.text.is_some()) || !fits(1)? {
            continue;
        }
        let (mut low, mut high) = (1, given);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if fits(middle)? { low = middle } else { high = middle }
        }
        return Ok(Some((name, low)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_have_an_estimate_and_something_smaller_that_fits() {
        let plain = Config { task: Some("adding".into()), ..Config::default() };
        let bytes = |config: &Config| of_training(config, &Sizes::of(config, None).unwrap()).unwrap();
        assert!((1e6..1e8).contains(&bytes(&plain)), "{}", bytes(&plain));
        let fits = |config: &Config| what_fits(config, None, 1e9).unwrap().unwrap();
        let large = [
            (Config { batch: 1 << 63, ..plain.clone() }, "batch"),
            (Config { length: Some(1 << 62), ..plain.clone() }, "length"),
            (Config { layers: 1_000_000, ..plain.clone() }, "layers"),
            (Config { hidden: 4_000_000_000, ..plain.clone() }, "hidden"),
            (Config { task: None, sentences: usize::MAX, ..plain.clone() }, "sentences"),
            (Config { task: None, window: 1 << 60, ..plain.clone() }, "window"),
        ];
        for (config, expected) in large {
            assert!(bytes(&config) > 1e12, "{expected}: {}", bytes(&config));
            let (name, value) = fits(&config);
            assert!(name == expected && value > 1, "{expected}: {name} {value}");
        }
    }
}
