//! The checkpoints of a run: for each, `checkpoints/STEP.safetensors` with the arrays, and `STEP.json` with everything else
//! and the digests of the files it belongs to. The latter is written last: without it there is no checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bptt::Network;
use bptt_io::{arrays, files};
use serde::{Deserialize, Serialize};

use super::metrics::{Written, digest_of_first};
use super::{CONFIG, METRICS, VOCABULARY, sealed};
use crate::checkpoint::{Counters, Given, NETWORK};
use crate::{Config, Error, Training};

/// The folder in that of the run.
pub(super) const FOLDER: &str = "checkpoints";

const SCHEMA: &str = "bptt.checkpoint/1";

/// How many are kept.
const KEPT: usize = 2;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: String,
    /// The version that wrote it.
    program: String,
    counters: Counters,
    /// The number of bytes of the metrics that belong to it.
    metrics: u64,
    /// Digests of files, by their names in the folder of the run.
    files: BTreeMap<String, String>,
}

/// A checkpoint that has been read.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    manifest: Manifest,
    arrays: Vec<bptt_io::Tensor>,
}

/// Writes a checkpoint of `training`, to which these metrics and `snapshots` belong, and removes all but the newest two.
/// Returns its path.
///
/// # Errors
/// If a file cannot be written; earlier checkpoints are kept then.
pub(super) fn save(
    folder: &Path,
    training: &Training<'_, '_>,
    metrics: &Written,
    snapshots: &BTreeMap<String, String>,
) -> Result<PathBuf, Error> {
    let inside = folder.join(FOLDER);
    files::create_folder_inside(&inside)?;
    let (arrays, counters) = training.saved();
    let name = format!("{:08}", counters.step);
    let (data, path) = (inside.join(format!("{name}.safetensors")), inside.join(format!("{name}.json")));
    let bytes = arrays::to_safetensors(&arrays, &BTreeMap::new());
    files::write(&data, &bytes)?;
    let mut digests = snapshots.clone();
    digests.insert(METRICS.to_owned(), metrics.digest.clone());
    digests.insert(format!("{FOLDER}/{name}.safetensors"), sealed::digest(&bytes));
    for (file, path) in belonging(folder) {
        digests.insert(file, sealed::digest(&files::read(&path)?));
    }
    let (schema, program) = (SCHEMA.into(), env!("CARGO_PKG_VERSION").into());
    sealed::write(&path, &Manifest { schema, program, counters, metrics: metrics.bytes, files: digests })?;
    for (_, old) in manifests(folder)?.into_iter().rev().skip(KEPT) {
        files::remove(&old)?;
    }
    remove_orphans(&inside)?;
    Ok(path)
}

/// Removes arrays without a manifest.
fn remove_orphans(inside: &Path) -> Result<(), Error> {
    for path in files::list(inside)? {
        if step_of(&path, "safetensors").is_some() && !path.with_extension("json").exists() {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// The newest checkpoint that is whole, and a sentence for each newer one that is not; no checkpoint if there never was one.
///
/// # Errors
/// If none is whole, the run's settings or vocabulary are not those it was made with, or a folder cannot be read.
pub fn newest(folder: &Path) -> Result<(Option<Checkpoint>, Vec<String>), Error> {
    let (found, problems) = read_until(folder, Option::is_some)?;
    let used = |problem: String| format!("{problem}; an earlier one is used");
    Ok((found, problems.into_iter().map(used).collect()))
}

/// The same, with a sentence for each checkpoint that is not whole, newer or older.
pub(super) fn all(folder: &Path) -> Result<(Option<Checkpoint>, Vec<String>), Error> {
    read_until(folder, |_| false)
}

/// Reads checkpoints, the newest first, until `enough` of the newest whole one.
fn read_until(
    folder: &Path,
    enough: impl Fn(&Option<Checkpoint>) -> bool,
) -> Result<(Option<Checkpoint>, Vec<String>), Error> {
    let (mut newest, mut problems, mut last) = (None, Vec::new(), None);
    for (_, path) in manifests(folder)?.into_iter().rev() {
        match read(folder, &path) {
            Ok(found) if newest.is_none() => {
                found.check(folder)?;
                newest = Some(found);
            }
            Ok(_) => {}
            Err(error) => {
                problems.push(format!("{} is damaged ({})", path.display(), error_in_words(&error)));
                last = Some(error);
            }
        }
        if enough(&newest) {
            break;
        }
    }
    match last {
        Some(error) if newest.is_none() => Err(error),
        _ => Ok((newest, problems)),
    }
}

/// Removes checkpoints that are not whole, so that they do not take the place of good ones; the newest whole one is after
/// `newest` updates.
pub(super) fn remove_damaged(folder: &Path, newest: u64) -> Result<(), Error> {
    for (step, path) in manifests(folder)? {
        if step > newest || step < newest && read(folder, &path).is_err() {
            files::remove(&path)?;
        }
    }
    remove_orphans(&folder.join(FOLDER))
}

/// Removes all checkpoints, and what interrupted writes left.
///
/// # Errors
/// If a file cannot be removed.
pub fn remove(folder: &Path) -> Result<(), Error> {
    let inside = folder.join(FOLDER);
    for (_, path) in manifests(folder)? {
        files::remove(&path)?;
    }
    remove_orphans(&inside)?;
    files::remove_temporaries(&inside)?;
    // Anything else in it is somebody else's.
    let _ = std::fs::remove_dir(&inside);
    Ok(())
}

/// Whether there is a checkpoint, whole or not.
pub fn exist(folder: &Path) -> bool {
    manifests(folder).is_ok_and(|found| !found.is_empty())
}

impl Checkpoint {
    /// Updates made.
    pub fn step(&self) -> u64 {
        self.manifest.counters.step
    }

    /// The number of bytes of the metrics that belong to it.
    pub fn metrics(&self) -> u64 {
        self.manifest.metrics
    }

    /// Digests of files, by their names in the folder of the run.
    pub(super) fn digests(&self) -> &BTreeMap<String, String> {
        &self.manifest.files
    }

    /// Sets a training to where this one was.
    ///
    /// # Errors
    /// If it has other settings.
    pub(super) fn restore(&self, training: &mut Training<'_, '_>) -> Result<(), Error> {
        training.restore(&self.arrays, &self.manifest.counters).map_err(|problem| self.problem(problem))
    }

    /// The network, for inputs and outputs of these sizes.
    ///
    /// # Errors
    /// If it has other settings.
    pub fn network(&self, config: &Config, inputs: usize, outputs: usize) -> Result<Network<f32>, Error> {
        config.check()?;
        // A network is made only if it can be in the file.
        let needed = config.weight_count(inputs, outputs)?;
        let given: u128 = self.arrays.iter().map(|array| array.bytes.len() as u128 / 4).sum();
        if needed > given {
            let problem = format!("the network of the settings has {needed} numbers, and there are {given}");
            return Err(self.problem(problem));
        }
        let mut network = config.network(inputs, outputs)?;
        let mut given = Given { arrays: &self.arrays, used: 0 };
        given.network(NETWORK, &mut network).map_err(|problem| self.problem(problem))?;
        Ok(network)
    }

    /// Whether the run's settings and vocabulary are those it was made with.
    fn check(&self, folder: &Path) -> Result<(), Error> {
        for (name, path) in belonging(folder) {
            if self.manifest.files.get(&name) != Some(&sealed::digest(&files::read(&path)?)) {
                let problem =
                    "it was changed after the training began; the checkpoints need it as it was".into();
                return Err(Error::RunFile { path, problem });
            }
        }
        if digest_of_first(folder, self.manifest.metrics)?.as_ref() != self.manifest.files.get(METRICS) {
            let problem = "its beginning is not what it was when the newest checkpoint was written".into();
            return Err(Error::RunFile { path: folder.join(METRICS), problem });
        }
        Ok(())
    }

    fn problem(&self, problem: String) -> Error {
        Error::RunFile { path: self.path.clone(), problem }
    }
}

/// The files of the run that a checkpoint depends on.
fn belonging(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    [CONFIG, VOCABULARY]
        .map(|name| (name.to_owned(), folder.join(name)))
        .into_iter()
        .filter(|(_, path)| path.exists())
}

fn read(folder: &Path, path: &Path) -> Result<Checkpoint, Error> {
    let manifest: Manifest = sealed::read(path, SCHEMA)?;
    let problem = |path: &Path, problem: String| Error::RunFile { path: path.into(), problem };
    let data = path.with_extension("safetensors");
    let name =
        data.strip_prefix(folder).map(|name| name.to_string_lossy().replace('\\', "/")).unwrap_or_default();
    let bytes = files::read(&data)?;
    if manifest.files.get(&name) != Some(&sealed::digest(&bytes)) {
        return Err(problem(&data, "its checksum is another".into()));
    }
    let (arrays, _) = arrays::of_safetensors(&bytes).map_err(|words| problem(&data, words))?;
    Ok(Checkpoint { path: path.into(), manifest, arrays })
}

/// The manifests, earliest first.
fn manifests(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let listed = files::list(&folder.join(FOLDER))?;
    let mut found: Vec<_> =
        listed.into_iter().filter_map(|path| Some((step_of(&path, "json")?, path))).collect();
    found.sort();
    Ok(found)
}

/// The number of updates in a file's name.
fn step_of(path: &Path, ending: &str) -> Option<u64> {
    (path.extension()? == ending).then_some(())?;
    path.file_stem()?.to_str()?.parse().ok()
}

fn error_in_words(error: &Error) -> String {
    match error {
        Error::RunFile { problem, .. } => problem.clone(),
        other => other.to_string(),
    }
}
