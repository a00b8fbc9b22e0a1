//! Tasks with known dependencies: their lag, the loss of a model without memory, and a criterion for a solution. Every
//! sequence is generated from a seed, at any length.

mod latch;
mod memory;
mod numbers;
mod order;
mod sentences;
mod streams;
mod strings;

use std::fmt;
use std::ops::RangeInclusive;

use bptt::{Inputs, Sequence, Symbols, Targets};

use crate::batch::Batch;
use crate::options::Options;
use crate::{Error, Rng};

/// A task. Its *length* L is the measure that its source uses, see [`Task::about`].
pub trait Task: fmt::Debug + Send + Sync {
    /// Its name, with its options if it has any: `adding`, `delayed_xor:delay=10`.
    fn name(&self) -> String;

    /// A description, with the meaning of L and the source.
    fn about(&self) -> &'static str;

    /// I, input features or symbols.
    fn inputs(&self) -> usize;

    /// V, output features or classes.
    fn outputs(&self) -> usize;

    /// The length in its source.
    fn usual_length(&self) -> usize;

    /// The smallest possible length.
    fn least_length(&self) -> usize;

    /// T, the number of steps of a sequence of length L.
    fn steps(&self, length: usize) -> usize {
        length
    }

    /// The lag of the dependency in steps, from the smallest to the largest possible.
    fn lag(&self, length: usize) -> RangeInclusive<usize>;

    /// The mean loss, in nats or squared error, of a model that knows the task but has no memory of what lies [`Task::lag`]
    /// steps back.
    fn baseline_loss(&self, length: usize) -> f64;

    /// For squared errors: the largest error of a correct output.
    fn tolerance(&self) -> f64 {
        0.5
    }

    /// One sequence.
    fn example(&self, length: usize, rng: &mut Rng) -> Example;
}

/// One sequence of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The inputs of the T steps.
    pub inputs: Values,
    /// The targets of the steps; arbitrary at steps without a loss.
    pub targets: Values,
    /// Whether a step has a loss.
    pub has_loss: Vec<bool>,
    /// Whether the output of a step must be correct for the sequence to be solved.
    pub judged: Vec<bool>,
}

impl Example {
    /// With a loss at the last step only.
    fn of_last(inputs: Values, targets: Values, steps: usize) -> Self {
        let last: Vec<bool> = (1..=steps).map(|t| t == steps).collect();
        Self { inputs, targets, has_loss: last.clone(), judged: last }
    }
}

/// The symbols of one sequence, T of them, or its numbers, T times the number of features.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Symbols: one-hot inputs, or target classes.
    Symbols(Vec<u32>),
    /// Features of each step, or target values.
    Numbers(Vec<f32>),
}

/// A batch of sequences of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskBatch {
    /// Inputs and targets.
    pub batch: Batch,
    /// (T, B) time-major: where the output must be correct.
    pub judged: Vec<bool>,
}

impl TaskBatch {
    /// The next `batch` sequences of length `length`. They do not depend on the batch size.
    ///
    /// # Errors
    /// If the length is less than [`Task::least_length`], or `batch` is 0.
    pub fn draw(task: &dyn Task, length: usize, batch: usize, rng: &mut Rng) -> Result<Self, Error> {
        check_length(task, length)?;
        if batch == 0 {
            return Err(Error::setting("batch", 0, "at least 1"));
        }
        let examples: Vec<Example> = (0..batch).map(|_| task.example(length, rng)).collect();
        let steps = task.steps(length);
        let symbols = |of: fn(&Example) -> &Values| {
            let id = |t: usize, example: &Example| match of(example) {
                Values::Symbols(ids) => ids[t],
                Values::Numbers(_) => unreachable!("a task has either symbols or numbers"),
            };
            let id = &id;
            let ids = (0..steps).flat_map(|t| examples.iter().map(move |example| id(t, example))).collect();
            Symbols::new(steps, batch, ids)
        };
        let numbers = |of: fn(&Example) -> &Values, features: usize| {
            let mut all = Sequence::zeros(steps, batch, features);
            for (b, example) in examples.iter().enumerate() {
                let Values::Numbers(numbers) = of(example) else { continue };
                for (t, step) in numbers.chunks_exact(features).enumerate() {
                    all.at_mut(t, b).copy_from_slice(step);
                }
            }
            all
        };
        let marks = |of: fn(&Example) -> &[bool]| -> Vec<bool> {
            (0..steps).flat_map(|t| examples.iter().map(move |example| of(example)[t])).collect()
        };
        let inputs = match &examples[0].inputs {
            Values::Symbols(_) => Inputs::Symbols(symbols(|example| &example.inputs)?),
            Values::Numbers(_) => Inputs::Dense(numbers(|example| &example.inputs, task.inputs())),
        };
        let targets = match &examples[0].targets {
            Values::Symbols(_) => Targets::CrossEntropy(symbols(|example| &example.targets)?),
            Values::Numbers(_) => Targets::SquaredError(numbers(|example| &example.targets, task.outputs())),
        };
        let mask = marks(|example| &example.has_loss);
        let mask = mask.contains(&false).then_some(mask);
        let judged = marks(|example| &example.judged);
        Ok(Self { batch: Batch { inputs, targets, mask }, judged })
    }

    /// Number of sequences that `outputs`, (T, B, V), solve: at every judged step the target class has the largest score,
    /// or every number is within the tolerance of the task.
    pub fn solved(&self, task: &dyn Task, outputs: &Sequence<f32>) -> usize {
        let (steps, batch) = self.batch.shape();
        let right = |t: usize, b: usize| {
            let y = outputs.at(t, b);
            match &self.batch.targets {
                Targets::CrossEntropy(ids) => {
                    let target = y[ids.step(t)[b] as usize];
                    y.iter().enumerate().all(|(v, &y)| v == ids.step(t)[b] as usize || y < target)
                }
                Targets::SquaredError(values) => {
                    let off = |(y, target): (&f32, &f32)| f64::from((y - target).abs());
                    y.iter().zip(values.at(t, b)).map(off).all(|off| off < task.tolerance())
                }
            }
        };
        let solved = |b: &usize| (0..steps).all(|t| !self.judged[t * batch + b] || right(t, *b));
        (0..batch).filter(solved).count()
    }
}

/// The longest sequences: numbers of steps and of bytes stay far below 2⁶³.
const LONGEST: usize = 1 << 30;

/// Refuses lengths that are too small.
///
/// # Errors
/// The message has the smallest length.
pub fn check_length(task: &dyn Task, length: usize) -> Result<(), Error> {
    let given = format!("{length} for {}", task.name());
    if length > LONGEST {
        return Err(Error::setting("length", given, format!("at most {LONGEST}")));
    }
    if length < task.least_length() {
        return Err(Error::setting("length", given, format!("at least {}", task.least_length())));
    }
    Ok(())
}

/// Every task, with default options.
pub fn tasks() -> Vec<Box<dyn Task>> {
    NAMES.iter().map(|name| task_by_name(name).expect("a task of this list")).collect()
}

const NAMES: [&str; 12] = [
    "adding",
    "multiplication",
    "copy_memory",
    "temporal_order",
    "temporal_order_3",
    "temporal_order_pascanu",
    "delayed_xor",
    "noisy_latch",
    "reber",
    "flip_flop",
    "parity",
    "cue_sentences",
];

/// The task called `name`, which may have options: `delayed_xor:delay=20`, `flip_flop:bits=2,pulse=0.05`.
///
/// # Errors
/// If it is unknown, or an option is impossible; the message lists the tasks.
pub fn task_by_name(name: &str) -> Result<Box<dyn Task>, Error> {
    let expected = format!(
        "{}; of these delayed_xor:delay=10 (even) and flip_flop:bits=3,pulse=0.1 have options",
        NAMES.join(", ")
    );
    let mut options = Options::parse("task", &expected, name);
    let task: Box<dyn Task> = match options.name() {
        "adding" => Box::new(numbers::TwoNumbers { multiplied: false }),
        "multiplication" => Box::new(numbers::TwoNumbers { multiplied: true }),
        "copy_memory" => Box::new(memory::CopyMemory),
        "temporal_order" => Box::new(order::TemporalOrder::TwoSymbols),
        "temporal_order_3" => Box::new(order::TemporalOrder::ThreeSymbols),
        "temporal_order_pascanu" => Box::new(order::TemporalOrder::Pascanu),
        "delayed_xor" => {
            let even = |delay: &usize| *delay >= 2 && delay.is_multiple_of(2);
            Box::new(streams::DelayedXor { delay: options.take("delay", even)?.unwrap_or(10) })
        }
        "noisy_latch" => Box::new(latch::NoisyLatch),
        "reber" => Box::new(strings::EmbeddedReber),
        "flip_flop" => {
            let probability = |p: &f64| *p > 0.0 && *p < 1.0;
            let bits = options.take("bits", |bits: &usize| (1..=64).contains(bits))?.unwrap_or(3);
            let pulse = options.take("pulse", probability)?.unwrap_or(0.1);
            Box::new(latch::FlipFlop { bits, pulse })
        }
        "parity" => Box::new(streams::Parity),
        // Its name in the first version.
        "cue_sentences" | "pantry" => Box::new(sentences::CueSentencesTask::new()),
        _ => return Err(options.error()),
    };
    options.finish(task)
}
