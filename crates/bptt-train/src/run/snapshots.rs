//! The networks after some of the updates of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bptt::Network;
use bptt_io::{files, model};

use super::{SNAPSHOTS, sealed};
use crate::{Config, Error};

/// Number of halvings of the updates at which snapshots are kept: most changes are early.
const HALVINGS: u32 = 6;

/// The updates after which a snapshot is kept, besides the last: half of all, a quarter, and so on. None if no ledgers are
/// made during the training.
pub fn times(config: &Config) -> Vec<u64> {
    if config.trace_every == 0 {
        return Vec::new();
    }
    (1..=HALVINGS).map(|halving| config.steps >> halving).filter(|&step| step > 0).collect()
}

/// The snapshots of the run in `folder`, each with its number of updates, earliest first.
///
/// # Errors
/// If a snapshot cannot be read.
pub fn read(folder: &Path) -> Result<Vec<(u64, Network<f32>)>, Error> {
    let files = files(folder)?;
    files.iter().map(|(step, path)| Ok((*step, model::load(path)?))).collect()
}

/// Writes the network after `step` updates; the file's name in the folder of the run, and its digest.
pub(super) fn write(folder: &Path, step: u64, network: &Network<f32>) -> Result<(String, String), Error> {
    files::create_folder_inside(&folder.join(SNAPSHOTS))?;
    let name = format!("{SNAPSHOTS}/{step:08}.safetensors");
    let path = folder.join(&name);
    model::save(network, &path)?;
    Ok((name, sealed::digest(&files::read(&path)?)))
}

/// The files of the snapshots, earliest first.
pub(super) fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut found: Vec<(u64, PathBuf)> = files::list(&folder.join(SNAPSHOTS))?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors") && path.is_file())
        .filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path)))
        .collect();
    found.sort();
    Ok(found)
}

/// The name of a snapshot in the folder of the run.
pub(super) fn name_of(path: &Path) -> Option<String> {
    Some(format!("{SNAPSHOTS}/{}", path.file_name()?.to_str()?))
}

/// Those of the digests that are of snapshots.
pub(super) fn among(digests: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    digests.iter().filter(|(name, _)| name.starts_with(SNAPSHOTS))
}

/// Refuses what was added, removed or changed since these digests were taken, after `step` updates. The training may have
/// written others since.
///
/// # Errors
/// If there is such a snapshot, or the folder cannot be read.
pub(super) fn check(
    folder: &Path,
    config: &Config,
    digests: &BTreeMap<String, String>,
    step: u64,
) -> Result<(), Error> {
    let problem = |path: PathBuf, problem: &str| Err(Error::RunFile { path, problem: problem.into() });
    for (name, digest) in among(digests) {
        let path = folder.join(name);
        if !path.exists() {
            return problem(path, "it was removed after the training wrote it");
        }
        if sealed::digest(&files::read(&path)?) != *digest {
            return problem(path, sealed::CHANGED);
        }
    }
    let times = times(config);
    for (at, path) in files(folder)? {
        let known = name_of(&path).is_some_and(|name| digests.contains_key(&name));
        if !known && (at <= step || !times.contains(&at)) {
            return problem(path, "it was added: the training did not write it");
        }
    }
    Ok(())
}

/// Removes the snapshots after `step` updates: the training will write them again.
pub(super) fn remove_after(folder: &Path, step: u64) -> Result<(), Error> {
    let mut later = files(folder)?.into_iter().filter(|&(at, _)| at > step);
    Ok(later.try_for_each(|(_, path)| files::remove(&path))?)
}
