//! A run on disk: a folder with `config.toml`, `vocabulary.json` (of a text), `model.safetensors`, `metrics.jsonl` and, in
//! `snapshots`, the network as it was at some updates.

use std::path::{Path, PathBuf};

use bptt::{Network, Readout};
use bptt_io::{files, model};

use crate::{Config, Corpus, Error, Vocabulary, pantry, task_by_name, text};

/// The name of the file with a run's settings.
pub const CONFIG: &str = "config.toml";
const VOCABULARY: &str = "vocabulary.json";
const MODEL: &str = "model.safetensors";
/// The name of the file with what was measured in training, a JSON object a line.
pub const METRICS: &str = "metrics.jsonl";
const SNAPSHOTS: &str = "snapshots";

/// A trained network with everything needed to use it again.
#[derive(Debug)]
pub struct Run {
    /// How it was made.
    pub config: Config,
    /// Its symbols, if it learned a text.
    vocabulary: Option<Vocabulary>,
    /// The network.
    pub network: Network<f32>,
}

impl Run {
    /// Reads a run.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the files do not belong together.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let config = read_config(&folder.join(CONFIG))?;
        let network = model::load(&folder.join(MODEL))?;
        if let Some(name) = &config.task {
            let task = task_by_name(name)?;
            let given = (network.inputs(), network.weights().readout.as_ref().map_or(0, Readout::outputs));
            if given != (task.inputs(), task.outputs()) {
                let problem = format!(
                    "a task of (I, V) = {:?} for a model of {given:?}",
                    (task.inputs(), task.outputs())
                );
                return Err(Error::RunFile { path: folder.join(CONFIG), problem });
            }
            return Ok(Self { config, vocabulary: None, network });
        }
        let path = folder.join(VOCABULARY);
        let problem = |problem: String| Error::RunFile { path: path.clone(), problem };
        let vocabulary: Vocabulary =
            serde_json::from_slice(&files::read(&path)?).map_err(|error| problem(error.to_string()))?;
        if network.inputs() != vocabulary.len() {
            let sizes = format!("{} symbols for a model of {}", vocabulary.len(), network.inputs());
            return Err(problem(sizes));
        }
        Ok(Self { config, vocabulary: Some(vocabulary), network })
    }

    /// The network as it was before training.
    ///
    /// # Errors
    /// If the settings make no network.
    pub fn untrained(&self) -> Result<Network<f32>, Error> {
        let outputs = self.network.weights().readout.as_ref().map_or(0, Readout::outputs);
        self.config.network(self.network.inputs(), outputs)
    }

    /// Its symbols.
    ///
    /// # Errors
    /// If it learned a task and no text.
    pub fn vocabulary(&self) -> Result<&Vocabulary, Error> {
        self.vocabulary.as_ref().ok_or_else(|| Error::Option {
            option: "run".into(),
            given: format!("a run of the task {}", self.config.task.as_deref().unwrap_or("?")),
            expected: "a run of a text".into(),
        })
    }

    /// Writes the network of a run whose folder [`begin`] made; the one before it, if any, is replaced whole.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_model(folder: &Path, network: &Network<f32>) -> Result<(), Error> {
        Ok(model::save(network, &folder.join(MODEL))?)
    }

    /// Writes the network as it is after `step` updates, besides the one at the end.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_snapshot(folder: &Path, step: u64, network: &Network<f32>) -> Result<(), Error> {
        let folder = folder.join(SNAPSHOTS);
        files::create_folder(&folder)?;
        Ok(model::save(network, &folder.join(format!("{step:08}.safetensors")))?)
    }
}

/// The snapshots of the run in `folder`, each with the updates made before it, earliest first.
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
        .filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path)))
        .collect();
    found.sort();
    Ok(found)
}

/// Whether there is a run in `folder`.
pub fn exists(folder: &Path) -> bool {
    folder.join(MODEL).exists()
}

/// Removes the run in `folder`, not the folder or what else is in it.
///
/// # Errors
/// If a file cannot be removed.
pub fn remove(folder: &Path) -> Result<(), Error> {
    for (_, snapshot) in snapshot_files(folder)? {
        files::remove(&snapshot)?;
    }
    Ok([MODEL, METRICS, VOCABULARY, CONFIG].iter().try_for_each(|file| files::remove(&folder.join(file)))?)
}

/// The model of the run in `path`, if that is a folder; otherwise the file itself.
pub fn model_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(MODEL) } else { path.into() }
}

/// Makes a run's folder and writes what is known before training, with the vocabulary if it is of a text. Returns where its metrics go.
///
/// # Errors
/// If the folder holds a run already and `replace` is not set, or something cannot be written.
pub fn begin(
    folder: &Path,
    config: &Config,
    vocabulary: Option<&Vocabulary>,
    replace: bool,
) -> Result<PathBuf, Error> {
    if exists(folder) && !replace {
        return Err(Error::RunExists { folder: folder.into() });
    }
    files::create_folder(folder)?;
    for (_, snapshot) in snapshot_files(folder)? {
        files::remove(&snapshot)?;
    }
    let config = toml::to_string(config).map_err(|_| Error::Option {
        option: "text".into(),
        given: config.text.as_ref().map_or(String::new(), |path| path.to_string_lossy().into_owned()),
        expected: "a path in UTF-8".into(),
    })?;
    files::write(&folder.join(CONFIG), config.as_bytes())?;
    if let Some(vocabulary) = vocabulary {
        let vocabulary = serde_json::to_vec_pretty(vocabulary).expect("symbols are JSON");
        files::write(&folder.join(VOCABULARY), &vocabulary)?;
    }
    Ok(folder.join(METRICS))
}

/// Reads settings.
///
/// # Errors
/// If the file cannot be read or holds something else; the message has line and column.
pub fn read_config(path: &Path) -> Result<Config, Error> {
    toml::from_str(&text::read_utf8(path)?).map_err(|error| Error::RunFile {
        path: path.into(),
        // Its own rendering begins with line and column and points at the place.
        problem: error.to_string().trim_end().into(),
    })
}

/// The text that `config` names, or the generated one.
///
/// # Errors
/// If the text cannot be read.
pub fn load_text(config: &Config) -> Result<String, Error> {
    match &config.text {
        Some(path) => text::read_text(path),
        None => Ok(pantry::pantry_text(config.seed, config.sentences).0),
    }
}

/// The vocabulary of a text and the text in it, split into what is learned and what is held out.
///
/// # Errors
/// If the text is empty or the settings do not fit it.
pub fn prepare(config: &Config, text: &str) -> Result<(Vocabulary, Corpus), Error> {
    let vocabulary = Vocabulary::build(text, config.level, config.unk, config.min_count)?;
    let corpus = Corpus::split(vocabulary.encode(text)?, config.held_out)?;
    Ok((vocabulary, corpus))
}
