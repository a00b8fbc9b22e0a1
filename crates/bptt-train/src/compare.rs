//! Comparisons of remedies: networks trained on one task with each of them, from the same seeds, on the same sequences and
//! with the same budget.
//!
//! A [`Comparison`] is the request, a [`Plan`] the trainings it needs. Each training runs on one thread, several in
//! parallel, so its result depends on its settings alone; it is written into a [`Folder`] as soon as it is finished. An
//! interrupted plan continues with the missing trainings. A [`Report`] is made from the written results.

mod cost;
mod folder;
mod remedy;
mod report;
mod statistics;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

pub use folder::Folder;
pub use remedy::{Budget, REMEDIES, Remedy, remedied};
pub use report::{Median, Report, Row};
pub use statistics::wilson;

use crate::tasks::Task;
use crate::{Config, DataSource, Ending, Error, Event, Flow, GradientHorizon, task_by_name, train};
use cost::Cost;

/// A comparison. Together with the program version it determines every number except the times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The settings before any remedy, with a task. Its seed is the first seed.
    pub base: Config,
    /// The remedies, see [`remedied`].
    pub remedies: Vec<String>,
    /// Number of seeds per remedy.
    pub seeds: u64,
    /// What is kept equal.
    pub budget: Budget,
    /// Fraction of solved sequences at which a task counts as solved.
    pub solved_at: f64,
}

/// A checked comparison: its task, and the settings of every training.
#[derive(Debug)]
pub struct Plan {
    comparison: Comparison,
    task: Box<dyn Task>,
    length: usize,
    remedies: Vec<Planned>,
}

/// One remedy of a plan.
#[derive(Clone, Debug)]
struct Planned {
    /// The name as given.
    name: String,
    /// The settings with the remedy, at the first seed.
    config: Config,
    /// Cost of a training, see [`Row::flops`].
    flops: u64,
}

/// One training of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The name of the remedy as given.
    pub remedy: String,
    /// All settings, with the seed.
    pub config: Config,
}

impl Training {
    /// Number of updates, including those of flossing.
    pub fn updates(&self) -> u64 {
        self.config.floss + self.config.steps
    }
}

/// The result of one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingResult {
    /// Its seed.
    pub seed: u64,
    /// Number of updates: all, unless [`TrainingResult::not_finite`] says why not.
    pub updates: u64,
    /// What was not finite, if that ended the training.
    pub not_finite: Option<String>,
    /// Number of updates after which an evaluation first found the task solved.
    pub solved_after: Option<u64>,
    /// Fraction of solved held-out sequences at the end.
    pub solved: f64,
    /// Mean held-out loss at the end; `None` if it is not finite.
    pub loss: Option<f64>,
    /// Before the first update.
    pub before: GradientHorizon,
    /// After the last.
    pub after: GradientHorizon,
    /// Duration of the training, by [`ComparisonObserver::seconds`].
    pub seconds: f64,
}

/// Observes a comparison, from several threads at once.
pub trait ComparisonObserver: Sync {
    /// Seconds since a fixed moment. The library reads no clock.
    fn seconds(&self) -> f64;

    /// A training made an update, or an update of flossing. [`Flow::Stop`] ends the comparison and loses the trainings that
    /// are not finished.
    fn update(&self, training: &Training) -> Flow;

    /// A training has finished, and its result is written.
    fn finished(&self, training: &Training, reached: &TrainingResult);
}

/// The most trainings of a comparison.
const MOST_TRAININGS: u64 = 1 << 20;

impl Plan {
    /// The trainings that `comparison` needs.
    ///
    /// # Errors
    /// If a setting is impossible, or a remedy is unknown, repeated or does not apply to the settings.
    pub fn new(comparison: Comparison) -> Result<Self, Error> {
        let refuse =
            |setting: &str, given: String, expected: &str| Err(Error::setting(setting, given, expected));
        let Comparison { base, remedies, seeds, budget, solved_at } = &comparison;
        let steps = base.steps;
        base.check()?;
        let Some(name) = &base.task else { return refuse("task", "none".into(), "the task to learn") };
        if *seeds == 0 || base.seed.checked_add(*seeds).is_none() {
            return refuse("seeds", seeds.to_string(), "at least 1, and none beyond 2⁶⁴");
        }
        if base.steps == 0 {
            return refuse("steps", "0".into(), "at least 1");
        }
        if !(*solved_at > 0.0 && *solved_at <= 1.0) {
            return refuse("solved", solved_at.to_string(), "a fraction above 0 and at most 1");
        }
        if (*seeds).saturating_mul(remedies.len() as u64) > MOST_TRAININGS {
            return refuse("seeds", seeds.to_string(), &format!("at most {MOST_TRAININGS} trainings"));
        }
        if remedies.is_empty() {
            return refuse("remedy", "none".into(), "at least one");
        }
        if let Some(twice) = remedies.iter().enumerate().find(|(i, name)| remedies[..*i].contains(name)) {
            return refuse("remedy", format!("{} twice", twice.1), "each once");
        }
        let task = task_by_name(name)?;
        let length = base.length_of(&*task);
        let cost = Cost::of(&*task, length)?;
        let whole = cost.of_training(base)?;
        if whole == u64::MAX {
            let expected = "a training of fewer than 2⁶⁴ floating-point operations";
            return refuse("steps", steps.to_string(), expected);
        }
        let planned = |name: &String| -> Result<Planned, Error> {
            let mut config = remedied(base, name, task.steps(length))?;
            if *budget == Budget::Flops {
                config.hidden = cost.most_units_within(&config, whole)?;
            }
            config.check()?;
            Ok(Planned { name: name.clone(), flops: cost.of_training(&config)?, config })
        };
        let remedies = remedies.iter().map(planned).collect::<Result<_, _>>()?;
        Ok(Self { comparison, task, length, remedies })
    }

    /// Refuses settings without a network: an initial W_hh that cannot be scaled.
    fn check_networks(&self) -> Result<(), Error> {
        let (inputs, outputs) = (self.task.inputs(), self.task.outputs());
        self.remedies.iter().try_for_each(|planned| planned.config.network(inputs, outputs).map(drop))
    }

    /// The comparison.
    pub fn comparison(&self) -> &Comparison {
        &self.comparison
    }

    /// The task.
    pub fn task(&self) -> &dyn Task {
        &*self.task
    }

    /// L.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Every training: all remedies with the first seed, then with the next.
    pub fn trainings(&self) -> Vec<Training> {
        let first = self.comparison.base.seed;
        let of_seed = |seed: u64| {
            self.remedies.iter().map(move |Planned { name, config, .. }| Training {
                remedy: name.clone(),
                config: Config { seed, ..config.clone() },
            })
        };
        (first..first + self.comparison.seeds).flat_map(of_seed).collect()
    }

    /// Runs every training that has no result in `folder`, up to `threads` at a time, and returns all results in the order
    /// of [`Plan::trainings`]; `None` for those that have not finished because the observer stopped the comparison.
    ///
    /// # Errors
    /// If a result cannot be read or written, or a thread cannot be started.
    pub fn run(
        &self,
        folder: &Folder,
        threads: usize,
        observer: &dyn ComparisonObserver,
    ) -> Result<Vec<Option<TrainingResult>>, Error> {
        let missing = folder.missing(self)?;
        // Relaxed order is enough: `fetch_add` gives each training to one thread, `halted` says only that others may stop, and
        // what the threads have written is read after the scope has joined them.
        let (next, halted) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<(), Error> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
            while let Some(training) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let reached = pool.install(|| self.learn(training, &halted, observer))?;
                let Some(reached) = reached else { break };
                folder.write(training, &reached)?;
                observer.finished(training, &reached);
            }
            Ok(())
        };
        // An error in one thread stops the others.
        let work = || work().inspect_err(|_| halted.store(true, Ordering::Relaxed));
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads.clamp(1, missing.len().max(1))).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        folder.results(self)
    }

    /// Runs one training; `None` if it was stopped.
    fn learn(
        &self,
        training: &Training,
        halted: &AtomicBool,
        observer: &dyn ComparisonObserver,
    ) -> Result<Option<TrainingResult>, Error> {
        let config = &training.config;
        let data = DataSource::task(&*self.task, config);
        let network = config.network(data.inputs(), data.outputs())?;
        let before = GradientHorizon::measure(&network, &*self.task, self.length, config)?;
        let solved_at = self.comparison.solved_at;
        let mut solved_after = None;
        let mut notice = |event: &Event<'_>| match *event {
            Event::Step { .. } | Event::Flossing { .. } if halted.load(Ordering::Relaxed) => Flow::Stop,
            Event::Step { .. } | Event::Flossing { .. } => observer.update(training),
            Event::Evaluation { step, solved: Some(solved), .. } if solved >= solved_at => {
                solved_after.get_or_insert(step);
                Flow::Continue
            }
            Event::Evaluation { .. } | Event::Ledger { .. } | Event::Updated { .. } => Flow::Continue,
        };
        let start = observer.seconds();
        let outcome = train(config, &data, &mut notice)?;
        let seconds = observer.seconds() - start;
        let not_finite = match outcome.ending {
            Ending::Stopped => {
                halted.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Ending::NotFinite { what, .. } => Some(what),
            Ending::Finished | Ending::Early => None,
        };
        let held_out = outcome.held_out.expect("a task always has more sequences");
        let solved = held_out.solved.unwrap_or(0.0);
        if solved >= solved_at {
            solved_after.get_or_insert(outcome.steps);
        }
        Ok(Some(TrainingResult {
            seed: config.seed,
            updates: outcome.steps,
            not_finite,
            solved_after,
            solved,
            loss: Some(held_out.loss).filter(|loss| loss.is_finite()),
            before,
            after: GradientHorizon::measure(&outcome.network, &*self.task, self.length, config)?,
            seconds,
        }))
    }
}
