//! Remedies compared: one task learned with each of them, from the same seeds, on the same sequences, within the same
//! budget.
//!
//! A [`Comparison`] is what is asked for, a [`Plan`] the trainings it takes. Each training runs on one thread, as many side
//! by side as there may be, so its result depends on nothing but its settings; it is written into a [`Folder`] as soon as
//! it is there. A plan that was interrupted goes on with what is missing. A [`Report`] is made of the written results.

mod flops;
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
use crate::{Config, Ending, Error, Event, Flow, Material, Reach, task_by_name, train};
use flops::Load;

/// What is compared. Together with the program it determines every number but the times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The settings before any remedy, with a task. Seeds are counted from its seed on.
    pub base: Config,
    /// The remedies, see [`remedied`].
    pub remedies: Vec<String>,
    /// How many seeds each is tried with.
    pub seeds: u64,
    /// What is kept equal.
    pub budget: Budget,
    /// The fraction of sequences from which on a task counts as solved.
    pub solved_at: f64,
}

/// A comparison that can be made: its task, and the settings of every training.
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
    /// As it was given.
    name: String,
    /// The settings with it, at the first seed.
    config: Config,
    /// What a training costs, see [`Row::flops`].
    flops: u64,
}

/// One training of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The remedy as it was given.
    pub remedy: String,
    /// All settings, with the seed.
    pub config: Config,
}

impl Training {
    /// The updates it makes, with those that floss before.
    pub fn updates(&self) -> u64 {
        self.config.floss + self.config.steps
    }
}

/// What one training reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// Its seed.
    pub seed: u64,
    /// Updates it made: all, unless [`Reached::not_finite`] says why not.
    pub updates: u64,
    /// What was not finite, if training ended with that.
    pub not_finite: Option<String>,
    /// After how many updates an evaluation first found the task solved.
    pub solved_after: Option<u64>,
    /// The fraction of held-out sequences that are solved at the end.
    pub solved: f64,
    /// Their mean loss at the end; `None` if it is not finite.
    pub loss: Option<f64>,
    /// Before the first update.
    pub before: Reach,
    /// After the last.
    pub after: Reach,
    /// How long training took, by [`Overseer::seconds`].
    pub seconds: f64,
}

/// Whoever watches a comparison, from several threads at once.
pub trait Overseer: Sync {
    /// Seconds since any moment that stays the same. The library reads no clock of its own.
    fn seconds(&self) -> f64;

    /// A training made an update, or one that flosses. [`Flow::Stop`] ends the comparison; trainings that are not finished
    /// are lost.
    fn update(&self, training: &Training) -> Flow;

    /// A training has finished, and its result is written.
    fn finished(&self, training: &Training, reached: &Reached);
}

impl Plan {
    /// The trainings that `comparison` takes.
    ///
    /// # Errors
    /// If a setting is impossible, a remedy unknown or given twice, or one does not go with the settings.
    pub fn new(comparison: Comparison) -> Result<Self, Error> {
        let refuse = |option: &str, given: String, expected: &str| {
            Err(Error::Option { option: option.into(), given, expected: expected.into() })
        };
        let Comparison { base, remedies, seeds, budget, solved_at } = &comparison;
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
        if remedies.is_empty() {
            return refuse("remedy", "none".into(), "at least one");
        }
        if let Some(twice) = remedies.iter().enumerate().find(|(i, name)| remedies[..*i].contains(name)) {
            return refuse("remedy", format!("{} twice", twice.1), "each once");
        }
        let task = task_by_name(name)?;
        let length = base.length.unwrap_or_else(|| task.usual_length());
        let load = Load::of(&*task, length)?;
        let whole = load.whole(base)?;
        let planned = |name: &String| -> Result<Planned, Error> {
            let mut config = remedied(base, name, task.steps(length))?;
            if *budget == Budget::Flops {
                config.hidden = load.units_within(&config, whole)?;
            }
            config.check()?;
            // What cannot begin is refused now and not after an hour.
            config.network(task.inputs(), task.outputs())?;
            Ok(Planned { name: name.clone(), flops: load.whole(&config)?, config })
        };
        let remedies = remedies.iter().map(planned).collect::<Result<_, _>>()?;
        Ok(Self { comparison, task, length, remedies })
    }

    /// What was asked for.
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

    /// Every training: one seed with each remedy, then the next seed.
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

    /// Runs every training that `folder` has no result of, up to `threads` at a time, and returns all results in the order
    /// of [`Plan::trainings`]; `None` if the overseer stopped it before.
    ///
    /// # Errors
    /// If a result cannot be read or written, or a thread cannot be started.
    pub fn run(
        &self,
        folder: &Folder,
        threads: usize,
        overseer: &dyn Overseer,
    ) -> Result<Option<Vec<Reached>>, Error> {
        let missing = folder.missing(self)?;
        let (next, halted) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<(), Error> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
            while let Some(training) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let reached = pool.install(|| self.learn(training, &halted, overseer))?;
                let Some(reached) = reached else { break };
                folder.write(training, &reached)?;
                overseer.finished(training, &reached);
            }
            Ok(())
        };
        // A thread that fails stops the others.
        let work = || work().inspect_err(|_| halted.store(true, Ordering::Relaxed));
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads.clamp(1, missing.len().max(1))).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let results: Vec<Option<Reached>> =
            self.trainings().iter().map(|training| folder.read(training)).collect::<Result<_, _>>()?;
        Ok(results.into_iter().collect())
    }

    /// Trains once; `None` if it was stopped.
    fn learn(
        &self,
        training: &Training,
        halted: &AtomicBool,
        overseer: &dyn Overseer,
    ) -> Result<Option<Reached>, Error> {
        let config = &training.config;
        let material = Material::task(&*self.task, config);
        let network = config.network(material.inputs(), material.outputs())?;
        let before = Reach::measure(&network, &*self.task, self.length, config)?;
        let solved_at = self.comparison.solved_at;
        let mut solved_after = None;
        let mut notice = |event: &Event<'_>| match *event {
            Event::Step { .. } | Event::Flossing { .. } if halted.load(Ordering::Relaxed) => Flow::Stop,
            Event::Step { .. } | Event::Flossing { .. } => overseer.update(training),
            Event::Evaluation { step, solved: Some(solved), .. } if solved >= solved_at => {
                solved_after.get_or_insert(step);
                Flow::Continue
            }
            Event::Evaluation { .. } | Event::Trace { .. } => Flow::Continue,
        };
        let start = overseer.seconds();
        let outcome = train(config, &material, &mut notice)?;
        let seconds = overseer.seconds() - start;
        let not_finite = match outcome.ending {
            Ending::Stopped => {
                halted.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Ending::NotFinite { what, .. } => Some(what),
            Ending::Finished => None,
        };
        let held_out = outcome.held_out.expect("a task always has more sequences");
        let solved = held_out.solved.unwrap_or(0.0);
        if solved >= solved_at {
            solved_after.get_or_insert(outcome.steps);
        }
        Ok(Some(Reached {
            seed: config.seed,
            updates: outcome.steps,
            not_finite,
            solved_after,
            solved,
            loss: Some(held_out.loss).filter(|loss| loss.is_finite()),
            before,
            after: Reach::measure(&outcome.network, &*self.task, self.length, config)?,
            seconds,
        }))
    }
}
