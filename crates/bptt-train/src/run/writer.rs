//! The folder of a run while a training writes into it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bptt::Network;
use bptt_io::{files, model};

use super::lock::{Lock, is_lock, lock};
use super::metrics::{Log, Written};
use super::{
    CONFIG, METRICS, MODEL, REPORT, SNAPSHOTS, VOCABULARY, checkpoints, exists, manifest, read_config,
    remove, snapshots,
};
use crate::{Config, Corpus, Error, Training, Vocabulary};

/// The folders in that of a run.
const SUBFOLDERS: [&str; 2] = [SNAPSHOTS, checkpoints::FOLDER];

/// What to do with a run that is already in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Return an error.
    Refuse,
    /// Replace it.
    Replace,
}

/// The folder of a run, locked: other trainings stay out of it until this is dropped.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    lock: Lock,
    /// The digests of the snapshots, by names in the folder.
    snapshots: BTreeMap<String, String>,
}

/// Where a training goes on.
#[derive(Debug)]
pub struct Resumed {
    /// Updates made.
    pub step: u64,
    /// The number of bytes of the metrics that belong to them.
    pub metrics: u64,
    /// A sentence for each newer checkpoint that is not whole.
    pub problems: Vec<String>,
}

impl Writer {
    /// Creates the folder of a run and writes its settings and, for a text, its vocabulary.
    ///
    /// # Errors
    /// If the folder already contains a run that is not to be replaced, or anything else; if another training writes into it;
    /// or if a file cannot be written: nothing of the run is left then.
    pub fn begin(
        folder: &Path,
        config: &Config,
        text: Option<(&Vocabulary, &Corpus)>,
        existing: Existing,
    ) -> Result<Self, Error> {
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
        let writer =
            Self { folder: folder.into(), lock: lock(folder, &SUBFOLDERS)?, snapshots: BTreeMap::new() };
        if there {
            remove(folder)?;
        }
        let written = writer.write_settings(config, text);
        if written.is_err() {
            // What is left would be neither a run nor an empty folder.
            let _ = remove(folder);
        }
        written.map(|()| writer)
    }

    fn write_settings(&self, config: &Config, text: Option<(&Vocabulary, &Corpus)>) -> Result<(), Error> {
        let folder = &self.folder;
        files::write(&folder.join(METRICS), b"")?;
        if let Some((vocabulary, _)) = text {
            let vocabulary = serde_json::to_vec_pretty(vocabulary).expect("symbols are JSON");
            files::write(&folder.join(VOCABULARY), &vocabulary)?;
        }
        let path = || config.text.clone().unwrap_or_default();
        let config = toml::to_string(config).map_err(|_| Error::PathNotUtf8 { path: path() })?;
        manifest::begin(folder, config.as_bytes(), text.map(|(_, corpus)| super::digest(corpus)))?;
        // They come last: with them and the metrics it is a run.
        Ok(files::write(&folder.join(CONFIG), config.as_bytes())?)
    }

    /// Continues an interrupted run: sets `training` to where its newest whole checkpoint was, if it has one, and removes what
    /// was written later.
    ///
    /// # Errors
    /// If the training has ended; if another one writes into the folder; if a file was changed, cannot be read or cannot be
    /// written.
    pub fn resume(
        folder: &Path,
        config: &Config,
        text: Option<&Corpus>,
        training: &mut Training<'_, '_>,
    ) -> Result<(Self, Resumed), Error> {
        let lock = lock(folder, &SUBFOLDERS)?;
        manifest::not_ended(folder)?;
        manifest::check(folder)?;
        if let Some(corpus) = text {
            super::check_text(folder, config, corpus)?;
        }
        let (found, problems) = checkpoints::newest(folder)?;
        let none = BTreeMap::new();
        let digests = found.as_ref().map_or(&none, |found| found.digests());
        let (step, metrics) = found.as_ref().map_or((0, 0), |found| (found.step(), found.metrics()));
        if manifest::has_digests(folder) {
            snapshots::check(folder, config, digests, step)?;
        }
        let snapshots =
            snapshots::among(digests).map(|(name, digest)| (name.clone(), digest.clone())).collect();
        if let Some(found) = &found {
            found.restore(training)?;
        }
        let text = manifest::text(folder)?;
        manifest::begin(folder, &files::read(&folder.join(CONFIG))?, text)?;
        checkpoints::remove_damaged(folder, step)?;
        files::remove(&folder.join(MODEL))?;
        snapshots::remove_after(folder, step)?;
        Ok((Self { folder: folder.into(), lock, snapshots }, Resumed { step, metrics, problems }))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The metrics after their first `kept` bytes, and the last event in these.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn metrics(&self, kept: u64) -> Result<(Log, Option<serde_json::Value>), Error> {
        Log::open(&self.folder.join(METRICS), kept)
    }

    /// Whether the folder is still the one in which the training began.
    ///
    /// # Errors
    /// If it was removed, renamed or replaced by another.
    pub fn check(&self) -> Result<(), Error> {
        if self.lock.is_in_place() { Ok(()) } else { Err(Error::FolderLost { folder: self.folder.clone() }) }
    }

    /// Writes a checkpoint of `training`, to which these metrics belong, and removes all but the newest two. Returns its path.
    ///
    /// # Errors
    /// If a file cannot be written; earlier checkpoints are kept then.
    pub fn save_checkpoint(&self, training: &Training<'_, '_>, metrics: &Written) -> Result<PathBuf, Error> {
        self.within(|folder| checkpoints::save(folder, training, metrics, &self.snapshots))
    }

    /// Writes the network after `step` updates as a snapshot.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_snapshot(&mut self, step: u64, network: &Network<f32>) -> Result<(), Error> {
        let written = self.within(|folder| snapshots::write(folder, step, network))?;
        self.snapshots.extend([written]);
        Ok(())
    }

    /// Writes the network of the run, and replaces an earlier one atomically. Returns its path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_model(&self, network: &Network<f32>) -> Result<PathBuf, Error> {
        self.within(|folder| {
            let path = folder.join(MODEL);
            model::save(network, &path)?;
            Ok(path)
        })
    }

    /// Writes the digests of a run whose training has `ended`, or was stopped and can be continued.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn finish(&self, ended: bool) -> Result<(), Error> {
        self.within(|folder| manifest::finish(folder, ended))
    }

    /// Writes into the folder as long as it is the one in which the training began.
    fn within<W>(&self, write: impl FnOnce(&Path) -> Result<W, Error>) -> Result<W, Error> {
        self.check()?;
        // If it goes away in the meantime, that is the error.
        let written = write(&self.folder);
        self.check()?;
        written
    }
}

/// Whether `folder` is empty, or has nothing but what a process that ended in [`Writer::begin`] left.
fn is_beginning(folder: &Path) -> Result<bool, Error> {
    let there = files::list(folder)?;
    let locked = there.iter().any(|path| is_lock(path));
    let ours = |path: &PathBuf| {
        let names = [METRICS, VOCABULARY, CONFIG, manifest::FILE, SNAPSHOTS, checkpoints::FOLDER, REPORT];
        let written = names.iter().any(|name| path.file_name().is_some_and(|given| given == *name));
        is_lock(path) || locked && (written || files::is_temporary(path))
    };
    Ok(there.iter().all(ours))
}
