//! A training into the folder of a run.

use std::path::Path;

use bptt_io::model;
use bptt_train::run::{Existing, Writer, checkpoints, snapshots};
use bptt_train::{
    Baselines, Config, Corpus, DataSource, Ending, Event, Flow, Observer, Outcome, Task, Training, Vocabulary,
};

use super::super::report::facts::quoted;
use super::result::{end, end_of_task};
use super::saving::Saving;
use crate::progress::{Unit, Watch};
use crate::{Failure, in_full};

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

/// A training with the folder of its run.
struct Begun<'a> {
    config: &'a Config,
    writer: Writer,
    watch: Watch,
    saving: Saving,
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
        let writer = match start {
            Start::New(existing) => Writer::begin(folder, config, text, existing)?,
            Start::Resume => {
                let corpus = text.map(|(_, corpus)| corpus);
                let (writer, resumed) = Writer::resume(folder, config, corpus, &mut training)?;
                for problem in resumed.problems {
                    eprintln!("warning: {problem}");
                }
                eprintln!(
                    "continues {} after {} of {} updates",
                    folder.display(),
                    resumed.step,
                    config.steps
                );
                kept = resumed.metrics;
                writer
            }
        };
        let watch = Watch::new(name, &writer, kept, config.steps, unit, quiet)?;
        let saving = Saving::new(checkpoint_every);
        Ok((Self { config, writer, watch, saving }, training))
    }

    /// Trains, and writes checkpoints, snapshots and the network.
    fn run_through(
        &mut self,
        mut training: Training<'_, '_>,
        also: &mut [&mut dyn Observer],
    ) -> Result<Learned, Failure> {
        let Self { writer, watch, saving, .. } = self;
        let times = snapshots::times(self.config);
        let mut failed: Option<Failure> = None;
        let mut observer = |event: &Event<'_>| {
            let mut flow = watch.event(event);
            let done = match event {
                Event::Step { step, network, .. } if times.contains(step) => {
                    writer.save_snapshot(*step, network).map_err(Failure::from)
                }
                // A snapshot that could not be written would be missing for good.
                Event::Updated { training, ends } if failed.is_none() => {
                    saving.save(writer, training, *ends, watch)
                }
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
        let failed = failed.or_else(|| self.writer.save_model(&outcome.network).err().map(Failure::from));
        match failed {
            Some(failure) => Err(kept(&failure, &outcome, &self.writer)),
            None => Ok(Learned { outcome, baselines: None, seconds }),
        }
    }

    /// Writes the last line of the metrics, and the digests of all files.
    fn finish(mut self, end: &serde_json::Value, learned: &Learned) -> Result<(), Failure> {
        self.watch.write(end);
        let ended = learned.outcome.ending != Ending::Stopped;
        let finished = self.watch.finish().and_then(|()| Ok(self.writer.finish(ended)?));
        finished.map_err(|failure| kept(&failure, &learned.outcome, &self.writer))?;
        if ended && let Err(error) = checkpoints::remove(self.writer.folder()) {
            // They do no harm.
            eprintln!("warning: {}", in_full(&error));
        }
        Ok(())
    }
}

/// The failure of a training that cannot write its run, with where its network is: in the run if that is possible, otherwise in
/// the folder for temporary files.
fn kept(failure: &Failure, outcome: &Outcome, writer: &Writer) -> Failure {
    let (network, folder) = (&outcome.network, writer.folder());
    let elsewhere = || {
        let path = std::env::temp_dir().join(format!("bptt-network-{}.safetensors", std::process::id()));
        model::save(network, &path).map(|()| path)
    };
    let mut said = in_full(failure);
    let steps = outcome.steps;
    match writer.save_model(network).or_else(|_| elsewhere()) {
        Ok(path) => said += &format!("; the network after {steps} updates is kept in {}", path.display()),
        Err(error) => said += &format!("; the network cannot be kept either: {}", in_full(&error)),
    }
    if writer.check().is_ok() {
        let goes_on =
            if checkpoints::exist(folder) { "goes on from the newest checkpoint" } else { "begins again" };
        let folder = quoted(&folder.to_string_lossy());
        said += &format!("; when that is mended, bptt train --resume {folder} {goes_on}");
    }
    Failure::Other(said)
}
