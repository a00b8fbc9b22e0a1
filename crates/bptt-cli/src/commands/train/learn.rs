//! A training into the folder of a run.

use std::path::Path;

use bptt_train::run::{Existing, Lock, checkpoints};
use bptt_train::{
    Baselines, Config, Corpus, DataSource, Ending, Event, Flow, Observer, Outcome, Run, Task, Training,
    Vocabulary, run as runs,
};

use super::result::{end, end_of_task};
use super::saving::Saving;
use crate::Failure;
use crate::progress::{Unit, Watch};

/// How a training begins.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// From the first update, in a folder without a run or instead of the run there.
    New(Existing),
    /// From the newest checkpoint.
    Resume,
}

/// Where a training goes, and how it begins.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub folder: &'a Path,
    pub start: Start,
    /// Updates between checkpoints; by time if it is not given.
    pub checkpoint_every: Option<u64>,
    pub quiet: bool,
}

/// The result of a training.
pub(crate) struct Learned {
    pub outcome: Outcome,
    pub baselines: Option<Baselines>,
    pub seconds: f64,
}

/// Trains on a text, with `name` before the progress; `also` are further observers.
pub(crate) fn learn(
    name: &str,
    config: &Config,
    vocabulary: &Vocabulary,
    corpus: &Corpus,
    plan: &Plan<'_>,
    also: &mut [&mut dyn Observer],
) -> Result<Learned, Failure> {
    let data = DataSource::Text { corpus, symbols: vocabulary.len() };
    let held_out = &corpus.held_out[..corpus.held_out.len().min(bptt_train::data_source::EVALUATION_SYMBOLS)];
    let baselines = Baselines::measure(&corpus.train, held_out, vocabulary.len()).ok();
    // Impossible settings are refused before anything is written.
    config.check()?;
    data.batches(config)?;
    let (mut begun, training) =
        Begun::new(name, config, Some((vocabulary, corpus)), &data, plan, Unit::Bits)?;
    let mut learned = begun.run_through(training, also)?;
    learned.baselines = baselines;
    begun.finish(&end(&learned), &learned)?;
    Ok(learned)
}

/// Trains on a task.
pub(super) fn learn_task(
    config: &Config,
    task: &dyn Task,
    plan: &Plan<'_>,
    also: &mut [&mut dyn Observer],
) -> Result<Learned, Failure> {
    let data = DataSource::task(task, config);
    data.batches(config)?;
    let (mut begun, training) = Begun::new("", config, None, &data, plan, Unit::of(config)?)?;
    let learned = begun.run_through(training, also)?;
    begun.finish(&end_of_task(&learned, config, task), &learned)?;
    Ok(learned)
}

/// Refuses to continue a training that has ended.
pub(super) fn not_ended(folder: &Path) -> Result<(), Failure> {
    if runs::ended(folder)? {
        return Err(Failure::Usage(format!("--resume: the training in {} has ended", folder.display())));
    }
    Ok(())
}

/// A training with the folder of its run.
struct Begun<'a> {
    config: &'a Config,
    folder: &'a Path,
    watch: Watch,
    saving: Saving,
    /// Held until the end.
    _lock: Lock,
}

impl<'a> Begun<'a> {
    /// Begins a run, or continues one.
    fn new<'d>(
        name: &str,
        config: &'a Config,
        text: Option<(&Vocabulary, &Corpus)>,
        data: &'a DataSource<'d>,
        plan: &Plan<'a>,
        unit: Unit,
    ) -> Result<(Self, Training<'a, 'd>), Failure> {
        let Plan { folder, start, checkpoint_every, quiet } = *plan;
        let mut training = Training::new(config, data)?;
        let mut kept = 0;
        let (metrics, lock) = match start {
            Start::New(existing) => runs::begin(folder, config, text, existing)?,
            Start::Resume => {
                let lock = runs::lock(folder)?;
                // It may have ended while the text was read.
                not_ended(folder)?;
                if let Some((_, corpus)) = text {
                    runs::check_text(folder, config, corpus)?;
                }
                let (found, problems) = checkpoints::newest(folder)?;
                for problem in problems {
                    eprintln!("warning: {problem}");
                }
                let from = found.as_ref().map_or(0, checkpoints::Checkpoint::step);
                eprintln!("continues {} after {from} of {} updates", folder.display(), config.steps);
                if let Some(found) = found {
                    found.restore(&mut training)?;
                    kept = found.metrics();
                }
                runs::reopen(folder)?;
                (folder.join(runs::METRICS), lock)
            }
        };
        let watch = Watch::new(name, &metrics, kept, config.steps, unit, quiet)?;
        let saving = Saving::new(checkpoint_every);
        Ok((Self { config, folder, watch, saving, _lock: lock }, training))
    }

    /// Trains, and writes checkpoints, snapshots and the network.
    fn run_through(
        &mut self,
        mut training: Training<'_, '_>,
        also: &mut [&mut dyn Observer],
    ) -> Result<Learned, Failure> {
        let Self { folder, watch, saving, .. } = self;
        let kept = snapshot_times(self.config);
        let mut failed: Option<Failure> = None;
        let mut observer = |event: &Event<'_>| {
            let mut flow = watch.event(event);
            let done = match event {
                Event::Step { step, network, .. } if kept.contains(step) => {
                    Run::save_snapshot(folder, *step, network).map_err(Failure::from)
                }
                Event::Updated { training, ends } => saving.save(folder, training, *ends, watch),
                _ => Ok(()),
            };
            if let Err(error) = done {
                failed.get_or_insert(error);
                flow = Flow::Stop;
            }
            also.iter_mut().fold(flow, |flow, also| flow.and(also.event(event)))
        };
        let begun = if training.steps() == 0 { training.begin(&mut observer)? } else { None };
        let outcome = match begun {
            Some(outcome) => outcome,
            None => training.go_on(&mut observer)?,
        };
        let seconds = self.watch.seconds();
        let saved = Run::save_model(self.folder, &outcome.network);
        if let Some(error) = failed {
            return Err(error);
        }
        saved?;
        Ok(Learned { outcome, baselines: None, seconds })
    }

    /// Writes the last line of the metrics, and the digests of all files.
    fn finish(mut self, end: &serde_json::Value, learned: &Learned) -> Result<(), Failure> {
        self.watch.write(end);
        self.watch.finish()?;
        let ended = learned.outcome.ending != Ending::Stopped;
        runs::finish(self.folder, ended)?;
        if ended {
            checkpoints::remove(self.folder)?;
        }
        Ok(())
    }
}

/// Number of halvings of the updates at which snapshots are kept: most changes are early.
const HALVINGS: u32 = 6;

/// The updates after which a snapshot is kept, besides the last: half of all, a quarter, and so on. None if no ledgers are
/// made during the training.
fn snapshot_times(config: &Config) -> Vec<u64> {
    if config.trace_every == 0 {
        return Vec::new();
    }
    (1..=HALVINGS).map(|halving| config.steps >> halving).filter(|&step| step > 0).collect()
}
