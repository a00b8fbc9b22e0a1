//! The training loop: one update per batch of a text or a task.

use std::sync::Arc;

use bptt::dynamics::LyapunovOptions;
use bptt::{Entry, Flossing, Network, Real};

use crate::clip::Clipping;
use crate::config::{Config, Keep};
use crate::data_source::{Batches, DataSource, Evaluation, evaluate};
use crate::horizon::BatchLedger;
use crate::observer::{Event, Flow, Observer};
use crate::optim::apply_update;
use crate::shards::Shards;
use crate::{Error, Optimizer};

/// How a training ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All updates were made.
    Finished,
    /// The observer stopped it.
    Stopped,
    /// The held-out loss had not become smaller in as many evaluations as the settings allow.
    Early,
    /// A loss or a gradient was infinite or NaN.
    NotFinite {
        /// The number of the update.
        step: u64,
        /// What was not finite, at which step of the window and in which sequence or loss.
        what: String,
    },
}

/// The result of a training.
#[derive(Debug)]
pub struct Outcome {
    /// The network after the last update, or that of the best evaluation, as the settings say; after
    /// [`Ending::NotFinite`], the last one whose loss and gradient were finite.
    pub network: Network<f32>,
    /// Number of updates of that network.
    pub steps: u64,
    /// Its evaluation on held-out data; `None` if nothing is held out.
    pub held_out: Option<Evaluation>,
    /// How the training ended.
    pub ending: Ending,
}

/// Trains a new network on `data` and reports events to `observer`.
///
/// # Errors
/// If the settings are impossible or do not fit the data.
pub fn train(config: &Config, data: &DataSource<'_>, observer: &mut dyn Observer) -> Result<Outcome, Error> {
    let mut training = Training::new(config, data)?;
    if let Some(outcome) = training.begin(observer)? {
        return Ok(outcome);
    }
    training.go_on(observer)
}

/// A training between two updates.
pub struct Training<'a, 'd> {
    config: &'a Config,
    data: &'a DataSource<'d>,
    pub(crate) network: Network<f32>,
    /// The network before the last update: the last one whose loss and gradient were finite.
    pub(crate) good: Network<f32>,
    pub(crate) optimizer: Optimizer<f32>,
    pub(crate) shards: Shards,
    pub(crate) batches: Batches<'d>,
    /// The learning rate before its schedule.
    pub(crate) base_rate: f64,
    pub(crate) best: Best,
    /// Updates made.
    pub(crate) steps: u64,
}

impl std::fmt::Debug for Training<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Training {{ steps: {}, … }}", self.steps)
    }
}

impl<'a, 'd> Training<'a, 'd> {
    /// Before the first update.
    ///
    /// # Errors
    /// If the settings are impossible or do not fit the data.
    pub fn new(config: &'a Config, data: &'a DataSource<'d>) -> Result<Self, Error> {
        config.check()?;
        let network = config.network(data.inputs(), data.outputs())?;
        Ok(Self {
            config,
            data,
            good: network.clone(),
            optimizer: config.optimizer(&network),
            shards: Shards::new(&network, config),
            batches: data.batches(config)?,
            network,
            base_rate: config.learning_rate,
            best: Best::default(),
            steps: 0,
        })
    }

    /// Updates made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The network after them.
    pub fn network(&self) -> &Network<f32> {
        &self.network
    }

    /// What comes before the first update; the outcome if that ends the training.
    ///
    /// # Errors
    /// If the data do not fit the network.
    pub fn begin(&mut self, observer: &mut dyn Observer) -> Result<Option<Outcome>, Error> {
        let (flow, what) = floss(self.config, self.data, &mut self.network, &mut self.base_rate, observer)?;
        if flow == Flow::Stop {
            let ending = what.map_or(Ending::Stopped, |what| Ending::NotFinite { step: 1, what });
            let held_out = evaluate(&self.network, self.data, self.config.seed)?;
            return Ok(Some(Outcome { network: self.network.clone(), steps: 0, held_out, ending }));
        }
        copy(&self.network, &mut self.good);
        Ok(None)
    }

    /// All updates from here on.
    ///
    /// # Errors
    /// If the data do not fit the network.
    pub fn go_on(mut self, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        let config = self.config;
        let mut ending = Ending::Finished;
        let mut held_out = None;
        while self.steps < config.steps {
            let step = self.steps + 1;
            let (batch, fresh) = self.batches.next_batch()?;
            if fresh {
                self.shards.reset_state();
            }
            let traced = config.trace_every > 0 && step.is_multiple_of(config.trace_every);
            let state = traced.then(|| self.shards.first_state());
            let (loss, gradient) = match self.shards.learn(&self.network, &batch)? {
                Ok(learned) => learned,
                Err(what) => {
                    self.network = self.good;
                    self.steps = self.steps.saturating_sub(1);
                    held_out = None;
                    ending = Ending::NotFinite { step, what };
                    break;
                }
            };
            copy(&self.network, &mut self.good);
            let mut flow = Flow::Continue;
            if let Some(state) = state {
                // Without a ledger there is no horizon; the training continues.
                let ledger =
                    BatchLedger::take(&self.network, &state, batch.sequences(0..1), config.detach_every)
                        .ok()
                        .map(Arc::new);
                let entry = ledger.as_ref().and_then(|ledger| ledger.ledger.recurrent(0));
                let horizon = entry.and_then(|entry| entry.horizon(0.99));
                let decay = entry.and_then(Entry::decay);
                let event = Event::Ledger { step, horizon, decay, ledger: ledger.as_ref() };
                flow = flow.and(observer.event(&event));
            }
            let learning_rate = config.schedule.rate(self.base_rate, self.steps, config.steps);
            let clipped = apply_update(
                config.clipping(),
                &mut self.optimizer,
                learning_rate,
                &mut self.network,
                gradient,
            );
            if !is_finite(&self.network) {
                self.network = self.good;
                ending = Ending::NotFinite { step, what: "a weight is not finite after the update".into() };
                held_out = None;
                break;
            }
            self.shards.carry_state(&self.network);
            self.steps = step;

            let (window, sequences) = batch.shape();
            let symbols = step * (window * sequences) as u64;
            let update_ratio = (step % MEASURED == 1).then(|| change(&self.good, &self.network));
            let event = Event::Step {
                step,
                loss,
                learning_rate,
                gradient: clipped,
                update_ratio,
                symbols,
                network: &self.network,
            };
            flow = flow.and(observer.event(&event));
            held_out = None;
            if config.evaluate_every > 0 && step.is_multiple_of(config.evaluate_every) {
                held_out = evaluate(&self.network, self.data, config.seed)?;
                if let Some(evaluation @ Evaluation { loss, solved }) = held_out {
                    flow = flow.and(observer.event(&Event::Evaluation { step, loss, solved }));
                    self.best.add(evaluation, step, (config.keep == Keep::Best).then_some(&self.network));
                }
            }
            if config.patience > 0 && self.best.waited >= config.patience && flow != Flow::Stop {
                ending = Ending::Early;
                break;
            }
            if let Flow::LearningRate(rate) = flow {
                self.base_rate = rate;
            }
            let ends = flow == Flow::Stop;
            let saved = observer.event(&Event::Updated { training: &self, ends });
            if ends || saved == Flow::Stop {
                ending = Ending::Stopped;
                break;
            }
        }
        let Self { mut network, mut steps, best, data, .. } = self;
        if held_out.is_none() {
            held_out = evaluate(&network, data, config.seed)?;
        }
        if let Best { network: Some(kept), evaluation: Some((evaluation, then)), .. } = best
            && held_out.is_none_or(|last| evaluation.loss < last.loss)
        {
            (network, steps, held_out) = (kept, then, Some(evaluation));
        }
        Ok(Outcome { network, steps, held_out, ending })
    }
}

/// The evaluation with the smallest held-out loss so far, and its network if that is to be kept.
#[derive(Default)]
pub(crate) struct Best {
    pub network: Option<Network<f32>>,
    /// With its number of updates.
    pub evaluation: Option<(Evaluation, u64)>,
    /// Number of evaluations since.
    pub waited: u64,
}

impl Best {
    /// Adds an evaluation of a network, which is kept if it is given and the best.
    fn add(&mut self, evaluation: Evaluation, steps: u64, network: Option<&Network<f32>>) {
        self.waited += 1;
        if self.evaluation.is_none_or(|(best, _)| evaluation.loss < best.loss) {
            *self = Self { network: network.cloned(), evaluation: Some((evaluation, steps)), waited: 0 };
        }
    }
}

fn copy(from: &Network<f32>, to: &mut Network<f32>) {
    for (to, (_, from)) in to.tensors_mut().into_iter().zip(from.weights().tensors()) {
        to.data_mut().copy_from_slice(from.data());
    }
}

/// How often the size of an update is measured: the first one and every so many after it.
const MEASURED: u64 = 10;

/// ‖after − before‖ / ‖before‖ over all weights.
fn change(before: &Network<f32>, after: &Network<f32>) -> f64 {
    let (mut moved, mut size) = (0.0, 0.0);
    for ((_, before), (_, after)) in before.weights().tensors().iter().zip(&after.weights().tensors()) {
        for (b, a) in before.data().iter().zip(after.data()) {
            moved += f64::from(a - b).powi(2);
            size += f64::from(*b).powi(2);
        }
    }
    (moved / size).sqrt()
}

/// The updates of gradient flossing before training, with an optimizer of their own; for a task, on other sequences than
/// those of the training. Returns stop if the observer does, or with a reason if there is no gradient; the network is then
/// the last one that had a gradient.
fn floss(
    config: &Config,
    data: &DataSource<'_>,
    network: &mut Network<f32>,
    base_rate: &mut f64,
    observer: &mut dyn Observer,
) -> Result<(Flow, Option<String>), Error> {
    if config.floss == 0 {
        return Ok((Flow::Continue, None));
    }
    let mut batches = data.batches(&Config { seed: !config.seed, ..config.clone() })?;
    let mut optimizer = config.optimizer(network);
    let options = LyapunovOptions { exponents: config.floss_exponents, ..LyapunovOptions::default() };
    for step in 1..=config.floss {
        let (batch, _) = batches.next_batch()?;
        let trace = network.scan(batch.inputs, &network.zero_state(config.batch))?;
        let Flossing { loss, exponents, mut gradient } = match network.flossing(&trace, &options) {
            Ok(flossing) => flossing,
            // Singular Jacobians, or states that are not finite.
            Err(error) if step > 1 => return Ok((Flow::Stop, Some(format!("flossing {step}: {error}")))),
            Err(error) => return Err(error.into()),
        };
        let before = network.clone();
        apply_update(config.clipping(), &mut optimizer, *base_rate, network, &mut gradient);
        if !is_finite(network) {
            *network = before;
            return Ok((Flow::Stop, Some(format!("flossing {step}: a weight is not finite"))));
        }
        match observer.event(&Event::Flossing { step, loss, exponents: &exponents }) {
            Flow::Continue => {}
            Flow::LearningRate(rate) => *base_rate = rate,
            Flow::Stop => return Ok((Flow::Stop, None)),
        }
    }
    Ok((Flow::Continue, None))
}

impl Config {
    /// A new optimizer for the weights of `network`.
    pub(crate) fn optimizer<T: Real>(&self, network: &Network<T>) -> Optimizer<T> {
        let sizes: Vec<usize> =
            network.weights().tensors().iter().map(|(_, tensor)| tensor.data().len()).collect();
        Optimizer::new(self.optimizer, &sizes)
    }

    /// The clipping of its gradients.
    pub(crate) fn clipping(&self) -> Clipping {
        Clipping { norm: self.clip_norm, value: self.clip_value }
    }
}

fn is_finite(network: &Network<f32>) -> bool {
    network.weights().tensors().iter().all(|(_, tensor)| tensor.data().iter().all(|w| w.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Init, task_by_name};

    #[test]
    fn flossing_before_training_pulls_the_exponents_to_zero() {
        let task = task_by_name("delayed_xor:delay=2").unwrap();
        let config = Config {
            task: Some(task.name()),
            length: Some(40),
            hidden: 8,
            init: Init::Normal { std: 0.2 },
            batch: 2,
            learning_rate: 1e-2,
            floss: 60,
            floss_exponents: Some(4),
            steps: 0,
            ..Config::default()
        };
        let mut seen: Vec<Vec<f64>> = Vec::new();
        let mut observer = |event: &Event<'_>| {
            if let Event::Flossing { exponents, .. } = event {
                seen.push(exponents.to_vec());
            }
            Flow::Continue
        };
        train(&config, &DataSource::task(&*task, &config), &mut observer).unwrap();
        let size = |exponents: &[f64]| exponents.iter().map(|l| l * l).sum::<f64>() / 4.0;
        assert_eq!(seen.len(), 60);
        assert!(size(&seen[0]) > 0.3 && size(&seen[59]) < 0.03, "{:?} {:?}", seen[0], seen[59]);
    }
}
