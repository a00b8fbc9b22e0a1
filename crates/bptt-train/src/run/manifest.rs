//! `run.json`: the digests of the files of a run.

use std::collections::BTreeMap;
use std::path::Path;

use bptt_io::files;
use serde::{Deserialize, Serialize};

use super::{CONFIG, METRICS, MODEL, SNAPSHOTS, VOCABULARY, checkpoints, sealed, snapshot_files};
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

/// Writes the digests of settings and vocabulary, and that of the text.
pub(super) fn begin(folder: &Path, text: Option<String>) -> Result<(), Error> {
    write(folder, [CONFIG, VOCABULARY].map(String::from).into_iter(), text, false)
}

/// What the run in `folder` has recorded; `None` if it is one of the first version.
fn read(folder: &Path) -> Result<Option<Manifest>, Error> {
    if !has_digests(folder) {
        return Ok(None);
    }
    let path = folder.join(FILE);
    let manifest: Manifest = sealed::read(&path)?;
    if manifest.schema != SCHEMA {
        let problem = format!("its schema is {:?}, expected {SCHEMA:?}", manifest.schema);
        return Err(Error::RunFile { path, problem });
    }
    Ok(Some(manifest))
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

/// Writes the digests of a run whose training has `ended`, or was stopped and can be continued.
///
/// # Errors
/// If a file cannot be read or written.
pub fn finish(folder: &Path, ended: bool) -> Result<(), Error> {
    let snapshots = snapshot_files(folder)?
        .into_iter()
        .filter_map(|(_, path)| Some(format!("{SNAPSHOTS}/{}", path.file_name()?.to_str()?)));
    let names = [CONFIG, VOCABULARY, METRICS, MODEL].map(String::from);
    write(folder, names.into_iter().chain(snapshots), text(folder)?, ended)
}

fn write(
    folder: &Path,
    names: impl Iterator<Item = String>,
    text: Option<String>,
    ended: bool,
) -> Result<(), Error> {
    let mut digests = BTreeMap::new();
    for name in names {
        let path = folder.join(&name);
        if path.exists() {
            digests.insert(name, sealed::digest(&files::read(&path)?));
        }
    }
    let (schema, program) = (SCHEMA.into(), env!("CARGO_PKG_VERSION").into());
    sealed::write(&folder.join(FILE), &Manifest { schema, program, files: digests, text, ended })
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
    let finished = ended(folder)?;
    match super::Run::open(folder) {
        Ok(_) | Err(Error::NoNetworkYet { .. }) => {}
        Err(error) => return Err(error),
    }
    for (_, snapshot) in snapshot_files(folder)? {
        bptt_io::model::load(&snapshot)?;
    }
    let checkpoint = checkpoints::newest(folder)?.0.map(|checkpoint| checkpoint.step());
    let mut notes = checkpoints::damaged(folder)?;
    if !has_digests(folder) {
        notes.push(
            "it has no checksums of its settings, vocabulary and metrics, as runs of the first version"
                .into(),
        );
    }
    Ok(Verified { files: compare(folder, |_| true)?, checkpoint, finished, notes })
}
