//! `run.json`: the digests of the files of a run.

use std::collections::BTreeMap;
use std::path::Path;

use bptt_io::files;
use serde::{Deserialize, Serialize};

use super::{CONFIG, METRICS, MODEL, SNAPSHOTS, VOCABULARY, checkpoints, sealed, snapshots};
use crate::Error;

pub(super) const FILE: &str = "run.json";

const SCHEMA: &str = "bptt.run/1";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: String,
    /// The version that wrote it.
    program: String,
    /// Digests, by names in the folder: settings and vocabulary from the beginning, metrics and networks once the training has
    /// ended or was stopped. Networks also have digests of their own.
    files: BTreeMap<String, String>,
    /// That of the symbols of the text, if it learns one.
    #[serde(default)]
    text: Option<String>,
    /// Whether the training has ended, and not only been stopped.
    #[serde(default)]
    ended: bool,
}

/// Writes the digests of these settings, which need not be in the folder yet, of the vocabulary, and that of the text.
pub(super) fn begin(folder: &Path, config: &[u8], text: Option<String>) -> Result<(), Error> {
    let mut digests = digests(folder, [VOCABULARY.to_owned()])?;
    digests.insert(CONFIG.to_owned(), sealed::digest(config));
    write(folder, digests, text, false)
}

/// What the run in `folder` has recorded; `None` if it is one of the first version.
fn read(folder: &Path) -> Result<Option<Manifest>, Error> {
    if !has_digests(folder) {
        return Ok(None);
    }
    let path = folder.join(FILE);
    let manifest: Manifest = sealed::read(&path, SCHEMA)?;
    // Whoever wrote it may name any file of this machine.
    if let Some(name) = manifest.files.keys().find(|name| !is_own(name)) {
        let problem = format!("it has a digest of {name:?}, which is no file of a run");
        return Err(Error::RunFile { path, problem });
    }
    Ok(Some(manifest))
}

/// Whether a run has a file of this name.
fn is_own(name: &str) -> bool {
    let snapshot = name.strip_prefix(SNAPSHOTS).and_then(|rest| rest.strip_prefix('/'));
    let is_plain = |file: &str| file.ends_with(".safetensors") && !file.contains(['/', '\\', ':']);
    [CONFIG, VOCABULARY, METRICS, MODEL].contains(&name) || snapshot.is_some_and(is_plain)
}

/// The digest of the symbols of the text that the run in `folder` learns; `None` if none is recorded.
pub(super) fn text(folder: &Path) -> Result<Option<String>, Error> {
    Ok(read(folder)?.and_then(|manifest| manifest.text))
}

/// Whether the training of the run in `folder` has ended. One of the first version has, if it has a network.
///
/// # Errors
/// If the file is damaged.
pub fn ended(folder: &Path) -> Result<bool, Error> {
    Ok(read(folder)?.map_or_else(|| super::finished(folder), |manifest| manifest.ended))
}

/// Refuses to continue a training that has ended.
///
/// # Errors
/// If it has, or that cannot be read.
pub fn not_ended(folder: &Path) -> Result<(), Error> {
    if ended(folder)? { Err(Error::RunEnded { folder: folder.into() }) } else { Ok(()) }
}

/// Writes the digests of a run whose training has `ended`, or was stopped and can be continued.
pub(super) fn finish(folder: &Path, ended: bool) -> Result<(), Error> {
    let snapshots = snapshots::files(folder)?.into_iter().filter_map(|(_, path)| snapshots::name_of(&path));
    let names = [CONFIG, VOCABULARY, METRICS, MODEL].map(String::from);
    write(folder, digests(folder, names.into_iter().chain(snapshots))?, text(folder)?, ended)
}

/// The digests of those of the files that exist.
fn digests(
    folder: &Path,
    names: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut digests = BTreeMap::new();
    for name in names {
        let path = folder.join(&name);
        if path.exists() {
            digests.insert(name, sealed::digest(&files::read(&path)?));
        }
    }
    Ok(digests)
}

fn write(
    folder: &Path,
    files: BTreeMap<String, String>,
    text: Option<String>,
    ended: bool,
) -> Result<(), Error> {
    let (schema, program) = (SCHEMA.into(), env!("CARGO_PKG_VERSION").into());
    sealed::write(&folder.join(FILE), &Manifest { schema, program, files, text, ended })
}

/// Whether the run in `folder` has digests; those of the first version have none.
pub fn has_digests(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// Compares settings, vocabulary and metrics with their digests, if the run has digests.
pub(super) fn check(folder: &Path) -> Result<(), Error> {
    compare(folder, |name| !name.starts_with(SNAPSHOTS) && name != MODEL).map(drop)
}

/// Compares the files that are asked for with their digests; returns how many there are.
fn compare(folder: &Path, asked: impl Fn(&str) -> bool) -> Result<usize, Error> {
    let Some(manifest) = read(folder)? else { return Ok(0) };
    let files = manifest.files.iter().filter(|(name, _)| asked(name));
    let mut count = 0;
    for (name, digest) in files {
        let path = folder.join(name);
        if sealed::digest(&files::read(&path)?) != *digest {
            let problem = "it was changed after it was written: its checksum is not that in run.json".into();
            return Err(Error::RunFile { path, problem });
        }
        count += 1;
    }
    Ok(count)
}

/// What [`verify`] has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Files that are what was written.
    pub files: usize,
    /// The updates of the newest checkpoint, if there is one.
    pub checkpoint: Option<u64>,
    /// Whether the training has ended.
    pub finished: bool,
    /// What is not as it was written but does no harm.
    pub notes: Vec<String>,
}

/// Reads and compares every file of the run in `folder`.
///
/// # Errors
/// If one was changed, is missing or cannot be read.
pub fn verify(folder: &Path) -> Result<Verified, Error> {
    let manifest = read(folder)?;
    let finished = ended(folder)?;
    let (newest, mut notes) = checkpoints::all(folder)?;
    let checkpoint = newest.as_ref().map(checkpoints::Checkpoint::step);
    // Of a training that goes on, the newest checkpoint knows them.
    let digests = match (&manifest, &newest) {
        (Some(manifest), _) if manifest.files.contains_key(MODEL) => Some((manifest.files.clone(), u64::MAX)),
        (Some(_), Some(newest)) => Some((newest.digests().clone(), newest.step())),
        (Some(_), None) => Some((BTreeMap::new(), 0)),
        (None, _) => None,
    };
    match super::Run::with_checkpoint(folder, || Ok(newest)) {
        Ok(_) | Err(Error::NoNetworkYet { .. }) => {}
        Err(error) => return Err(error),
    }
    if let Some((digests, step)) = digests {
        let config = super::settings(folder)?;
        snapshots::check(folder, &config, &digests, step)?;
    }
    snapshots::read(folder)?;
    if manifest.is_none() {
        notes.push(
            "it has no checksums of its settings, vocabulary and metrics, as runs of the first version"
                .into(),
        );
    }
    Ok(Verified { files: compare(folder, |_| true)?, checkpoint, finished, notes })
}
