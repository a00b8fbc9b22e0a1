//! A run on disk: a folder with `config.toml`, `vocabulary.json` (for a text), `model.safetensors`, `metrics.jsonl`, in
//! `snapshots` the network after some of the updates, in `checkpoints` what an unfinished training continues from, and in
//! `run.json` the digests of these files.

pub mod checkpoints;
pub(crate) mod lock;
mod manifest;
pub mod metrics;
pub(crate) mod sealed;
pub mod snapshots;
mod writer;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bptt::{Network, Readout, cell_by_name};
use bptt_io::{files, model};

use crate::vocabulary::Unknown;
use crate::{Config, Corpus, Error, Vocabulary, cue_sentences, task_by_name, text};

pub use lock::is_locked;
pub use manifest::{Verified, ended, has_digests, not_ended, verify};
pub use writer::{Existing, Resumed, Writer};

/// The file name of the settings of a run.
pub const CONFIG: &str = "config.toml";
const VOCABULARY: &str = "vocabulary.json";
const MODEL: &str = "model.safetensors";
/// The file name of the metrics of a training, one JSON object per line.
pub const METRICS: &str = "metrics.jsonl";
const SNAPSHOTS: &str = "snapshots";
/// What a folder has that holds a comparison, see [`crate::compare`].
pub(crate) const COMPARISON: &str = "comparison.json";

/// The report that commands write into the folder of a run.
pub const REPORT: &str = "report.html";

/// A trained network with its settings and vocabulary.
#[derive(Debug)]
pub struct Run {
    /// The settings.
    pub config: Config,
    /// The symbols, if it learned a text.
    vocabulary: Option<Vocabulary>,
    /// The network.
    pub network: Network<f32>,
    /// The digest of the symbols of its text, if that is recorded.
    text: Option<String>,
}

impl Run {
    /// Reads a run.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the files do not match.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::with_checkpoint(folder, || Ok(checkpoints::newest(folder)?.0))
    }

    /// The same with the newest checkpoint, which is asked for if the training has not ended.
    fn with_checkpoint(
        folder: &Path,
        newest: impl FnOnce() -> Result<Option<checkpoints::Checkpoint>, Error>,
    ) -> Result<Self, Error> {
        let config = settings(folder)?;
        manifest::check(folder)?;
        if let Some(name) = &config.task {
            let task = task_by_name(name)?;
            let network = last_network(folder, &config, (task.inputs(), task.outputs()), newest)?;
            let given = (network.inputs(), network.weights().readout.as_ref().map_or(0, Readout::outputs));
            if given != (task.inputs(), task.outputs()) {
                let problem = format!(
                    "a task of (I, V) = {:?} for a model of {given:?}",
                    (task.inputs(), task.outputs())
                );
                return Err(Error::RunFile { path: folder.join(CONFIG), problem });
            }
            return Ok(Self { config, vocabulary: None, network, text: None });
        }
        let path = folder.join(VOCABULARY);
        let problem = |problem: String| Error::RunFile { path: path.clone(), problem };
        let vocabulary: Vocabulary =
            serde_json::from_slice(&files::read(&path)?).map_err(|error| problem(error.to_string()))?;
        let network = last_network(folder, &config, (vocabulary.len(), vocabulary.len()), newest)?;
        if network.inputs() != vocabulary.len() {
            let sizes = format!("{} symbols for a model of {}", vocabulary.len(), network.inputs());
            return Err(problem(sizes));
        }
        Ok(Self { config, vocabulary: Some(vocabulary), network, text: manifest::text(folder)? })
    }

    /// The network before training.
    ///
    /// # Errors
    /// If the settings are impossible.
    pub fn untrained(&self) -> Result<Network<f32>, Error> {
        let outputs = self.network.weights().readout.as_ref().map_or(0, Readout::outputs);
        self.config.network(self.network.inputs(), outputs)
    }

    /// The symbols.
    ///
    /// # Errors
    /// If it learned a task.
    pub fn vocabulary(&self) -> Result<&Vocabulary, Error> {
        let task = || self.config.task.clone().unwrap_or_default();
        self.vocabulary.as_ref().ok_or_else(|| Error::NotAText { task: task() })
    }

    /// Whether it is recorded which text it learned.
    pub fn knows_its_text(&self) -> bool {
        self.text.is_some()
    }

    /// Refuses a text that is not the one it learned; any text if that is not recorded.
    ///
    /// # Errors
    /// If it is another.
    pub fn check_text(&self, text: &Corpus) -> Result<(), Error> {
        check_digest(&self.config, self.text.as_deref(), text)
    }

    /// Writes the network of a run, and replaces an earlier one atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_model(folder: &Path, network: &Network<f32>) -> Result<(), Error> {
        Ok(model::save(network, &folder.join(MODEL))?)
    }
}

/// The network at the end of the training or, if that has not ended, of the newest checkpoint.
fn last_network(
    folder: &Path,
    config: &Config,
    (inputs, outputs): (usize, usize),
    newest: impl FnOnce() -> Result<Option<checkpoints::Checkpoint>, Error>,
) -> Result<Network<f32>, Error> {
    let path = folder.join(MODEL);
    if path.exists() {
        let network = model::load(&path)?;
        let cell = cell_by_name(&config.cell)?;
        let expected = (cell.spec().name.as_str(), config.hidden, config.layers, config.bidirectional);
        let of = &network;
        if (of.spec().name.as_str(), of.hidden(), of.depth(), of.directions() == 2) != expected {
            let problem = "its cell or its sizes are not those of the network in model.safetensors".into();
            return Err(Error::RunFile { path: folder.join(CONFIG), problem });
        }
        return Ok(network);
    }
    match newest()? {
        Some(checkpoint) => checkpoint.network(config, inputs, outputs),
        None => Err(Error::NoNetworkYet { folder: folder.into() }),
    }
}

/// Whether `folder` contains a run, finished or not.
pub fn exists(folder: &Path) -> bool {
    folder.join(CONFIG).exists() && [MODEL, METRICS].iter().any(|name| folder.join(name).exists())
}

/// Whether `folder` contains the network of a training that has ended or was stopped.
pub fn finished(folder: &Path) -> bool {
    folder.join(MODEL).exists()
}

/// Whether a training goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A process trains.
    Running,
    /// It was stopped or killed, and can be continued.
    Interrupted,
    /// It has ended.
    Ended,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Ended => "ended",
        }
    }
}

/// The state of the run in `folder`; `None` if its `run.json` is damaged or no file.
pub fn state(folder: &Path) -> Option<State> {
    if is_locked(folder) {
        return Some(State::Running);
    }
    let recorded = folder.join(manifest::FILE);
    if recorded.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return None;
    }
    Some(if ended(folder).ok()? { State::Ended } else { State::Interrupted })
}

/// Removes the files of the run in `folder` and its report, and nothing else.
///
/// # Errors
/// If a file cannot be removed.
pub fn remove(folder: &Path) -> Result<(), Error> {
    for (_, snapshot) in snapshots::files(folder)? {
        files::remove(&snapshot)?;
    }
    checkpoints::remove(folder)?;
    let report = folder.join(REPORT);
    if is_report(&report) {
        files::remove(&report)?;
    }
    Ok(paths(folder).iter().try_for_each(|path| files::remove(path))?)
}

/// How a page says that this project made it.
const GENERATOR: &str = r#"<meta name="generator" content="bptt">"#;

/// Whether a file is a page that this project made.
fn is_report(path: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1 << 10).read_to_end(&mut beginning));
    read.is_ok() && String::from_utf8_lossy(&beginning).contains(GENERATOR)
}

/// The files of the run in `folder` other than its snapshots and checkpoints; a run of a task has no vocabulary.
pub fn paths(folder: &Path) -> [PathBuf; 5] {
    [MODEL, METRICS, VOCABULARY, CONFIG, manifest::FILE].map(|file| folder.join(file))
}

/// The model file of the run in `path` if that is the folder of one, whether or not it has a model yet; otherwise `path`.
pub fn model_file(path: &Path) -> PathBuf {
    let is_run = [MODEL, CONFIG, METRICS].iter().any(|file| path.join(file).exists());
    if is_run { path.join(MODEL) } else { path.into() }
}

/// Refuses to continue a run with another text than the one it began with.
///
/// # Errors
/// If the text is another, or a file cannot be read.
fn check_text(folder: &Path, config: &Config, text: &Corpus) -> Result<(), Error> {
    check_digest(config, manifest::text(folder)?.as_deref(), text)
}

fn check_digest(config: &Config, expected: Option<&str>, text: &Corpus) -> Result<(), Error> {
    if expected.is_none_or(|expected| expected == digest(text)) {
        return Ok(());
    }
    let path = config.text.clone().unwrap_or_else(|| "the generated text".into());
    Err(Error::RunFile { path, problem: "it is not the text that the run learned: it was changed".into() })
}

/// The digest of a text's symbols, training and held-out ones.
fn digest(text: &Corpus) -> String {
    let bytes: Vec<u8> = text.train.iter().chain(&text.held_out).flat_map(|id| id.to_le_bytes()).collect();
    sealed::digest(&bytes)
}

/// The settings of the run in `folder`.
///
/// # Errors
/// If the file cannot be read or is invalid, or the folder holds a comparison.
pub fn settings(folder: &Path) -> Result<Config, Error> {
    let path = folder.join(CONFIG);
    if !path.exists() && folder.join(COMPARISON).exists() {
        return Err(Error::IsComparison { folder: folder.into() });
    }
    read_config(&path)
}

/// Reads settings.
///
/// # Errors
/// If the file cannot be read or is invalid; the message has line and column.
pub fn read_config(path: &Path) -> Result<Config, Error> {
    toml::from_str(&text::read_utf8(path)?).map_err(|error| Error::RunFile {
        path: path.into(),
        // The message of toml begins with line and column.
        problem: error.to_string().trim_end().into(),
    })
}

/// The text of `config`, or the generated one.
///
/// # Errors
/// If the text cannot be read.
pub fn load_text(config: &Config) -> Result<String, Error> {
    match &config.text {
        Some(path) => text::read_text(path),
        None => Ok(cue_sentences::generate(config.seed, config.sentences).0),
    }
}

/// The vocabulary of a text, and its ids split into training and held-out parts.
///
/// # Errors
/// If the text is empty or the settings do not fit it.
pub fn prepare(config: &Config, text: &str) -> Result<(Vocabulary, Corpus), Error> {
    let unknown = if config.unk { Unknown::Map } else { Unknown::Refuse };
    let vocabulary = Vocabulary::build(text, config.level, unknown, config.min_count)?;
    let corpus = Corpus::split(vocabulary.encode(text)?, config.held_out)?;
    Ok((vocabulary, corpus))
}
