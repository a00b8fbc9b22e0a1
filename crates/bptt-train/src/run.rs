//! A run on disk: a folder with `config.toml`, `vocabulary.json` (for a text), `model.safetensors`, `metrics.jsonl`, in
//! `snapshots` the network after some of the updates, in `checkpoints` what an unfinished training continues from, and in
//! `run.json` the digests of these files.

pub mod checkpoints;
mod lock;
mod manifest;
pub mod metrics;
mod sealed;

use std::path::{Path, PathBuf};

use bptt::{Network, Readout, cell_by_name};
use bptt_io::{files, model};

use crate::vocabulary::Unknown;
use crate::{Config, Corpus, Error, Vocabulary, cue_sentences, task_by_name, text};

pub use lock::{Lock, lock};
pub use manifest::{Verified, ended, finish, has_digests, verify};

/// The file name of the settings of a run.
pub const CONFIG: &str = "config.toml";
const VOCABULARY: &str = "vocabulary.json";
const MODEL: &str = "model.safetensors";
/// The file name of the metrics of a training, one JSON object per line.
pub const METRICS: &str = "metrics.jsonl";
const SNAPSHOTS: &str = "snapshots";

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
        let config = read_config(&folder.join(CONFIG))?;
        manifest::check(folder)?;
        if let Some(name) = &config.task {
            let task = task_by_name(name)?;
            let network = last_network(folder, &config, task.inputs(), task.outputs())?;
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
        let network = last_network(folder, &config, vocabulary.len(), vocabulary.len())?;
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

    /// Writes the network of a run whose folder [`begin`] created, and replaces an earlier one atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_model(folder: &Path, network: &Network<f32>) -> Result<(), Error> {
        Ok(model::save(network, &folder.join(MODEL))?)
    }

    /// Writes the network after `step` updates as a snapshot.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_snapshot(folder: &Path, step: u64, network: &Network<f32>) -> Result<(), Error> {
        let folder = folder.join(SNAPSHOTS);
        files::create_folder(&folder)?;
        Ok(model::save(network, &folder.join(format!("{step:08}.safetensors")))?)
    }
}

/// The snapshots of the run in `folder`, each with its number of updates, earliest first.
///
/// # Errors
/// If a snapshot cannot be read.
pub fn snapshots(folder: &Path) -> Result<Vec<(u64, Network<f32>)>, Error> {
    let files = snapshot_files(folder)?;
    files.iter().map(|(step, path)| Ok((*step, model::load(path)?))).collect()
}

/// The files of the snapshots, earliest first.
fn snapshot_files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut found: Vec<(u64, PathBuf)> = files::list(&folder.join(SNAPSHOTS))?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors") && path.is_file())
        .filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path)))
        .collect();
    found.sort();
    Ok(found)
}

/// The network at the end of the training or, if that has not ended, of the newest checkpoint.
fn last_network(
    folder: &Path,
    config: &Config,
    inputs: usize,
    outputs: usize,
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
    match checkpoints::newest(folder)?.0 {
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

/// Removes the files of the run in `folder`, and nothing else.
///
/// # Errors
/// If a file cannot be removed.
pub fn remove(folder: &Path) -> Result<(), Error> {
    for (_, snapshot) in snapshot_files(folder)? {
        files::remove(&snapshot)?;
    }
    checkpoints::remove(folder)?;
    Ok(paths(folder).iter().try_for_each(|path| files::remove(path))?)
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

/// Whether `folder` is empty, or has nothing but what a process that ended in [`begin`] left.
fn is_beginning(folder: &Path) -> Result<bool, Error> {
    let there = files::list(folder)?;
    let locked = there.iter().any(|path| lock::is_lock(path));
    let ours = |path: &PathBuf| {
        let names = [METRICS, VOCABULARY, CONFIG, manifest::FILE, SNAPSHOTS, checkpoints::FOLDER, REPORT];
        let written = names.iter().any(|name| path.file_name().is_some_and(|given| given == *name));
        lock::is_lock(path) || locked && (written || files::is_temporary(path))
    };
    Ok(there.iter().all(ours))
}

/// What to do with a run that is already in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Return an error.
    Refuse,
    /// Replace it.
    Replace,
}

/// Creates the folder of a run and writes its settings and, for a text, its vocabulary. Returns the path of the metrics, and a
/// lock that keeps other trainings out of the folder.
///
/// # Errors
/// If the folder already contains a run that is not to be replaced, or anything else; if another training writes into it; or
/// if a file cannot be written.
pub fn begin(
    folder: &Path,
    config: &Config,
    text: Option<(&Vocabulary, &Corpus)>,
    existing: Existing,
) -> Result<(PathBuf, Lock), Error> {
    let there = exists(folder);
    if there && existing == Existing::Refuse {
        return Err(Error::RunExists { folder: folder.into() });
    }
    // Only what has the settings of a run is one that may be replaced.
    let strange = there && read_config(&folder.join(CONFIG)).is_err();
    if strange || !there && folder.exists() && !is_beginning(folder)? {
        return Err(Error::FolderTaken { folder: folder.into() });
    }
    files::create_folder(folder)?;
    let lock = lock(folder)?;
    if there {
        remove(folder)?;
    }
    // The settings come last: with them and the metrics it is a run.
    files::write(&folder.join(METRICS), b"")?;
    if let Some((vocabulary, _)) = text {
        let vocabulary = serde_json::to_vec_pretty(vocabulary).expect("symbols are JSON");
        files::write(&folder.join(VOCABULARY), &vocabulary)?;
    }
    let path = || config.text.clone().unwrap_or_default();
    let config = toml::to_string(config).map_err(|_| Error::PathNotUtf8 { path: path() })?;
    files::write(&folder.join(CONFIG), config.as_bytes())?;
    manifest::begin(folder, text.map(|(_, corpus)| digest(corpus)))?;
    Ok((folder.join(METRICS), lock))
}

/// Prepares the folder of an interrupted run to be continued: a network of the interruption is removed, since the checkpoint
/// has it.
///
/// # Errors
/// If a file cannot be removed or written.
pub fn reopen(folder: &Path) -> Result<(), Error> {
    let text = manifest::text(folder)?;
    manifest::check(folder)?;
    metrics::read(folder)?;
    checkpoints::remove_damaged(folder)?;
    files::remove(&folder.join(MODEL))?;
    manifest::begin(folder, text)
}

/// Refuses to continue a run with another text than the one it began with.
///
/// # Errors
/// If the text is another, or a file cannot be read.
pub fn check_text(folder: &Path, config: &Config, text: &Corpus) -> Result<(), Error> {
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
