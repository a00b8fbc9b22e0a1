//! The runs of the server. The name of a run in a request is looked up in the list of runs and never used as a path.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use bptt_io::files;
use bptt_train::run as runs;
use bptt_view::report;
use serde_json::{Value, json};

use crate::MakeReport;
use crate::problem::Problem;
use crate::work::Cancelled;

/// The largest number of listed runs.
const MOST: usize = 1_000;

/// The largest number of bytes of metrics.
const METRICS: u64 = 64 << 20;

/// Folders that are runs or contain runs.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    roots: Vec<PathBuf>,
}

impl Runs {
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots }
    }

    /// All runs by name: in a folder and one level below. Links that leave the folder are ignored.
    pub fn list(&self) -> Vec<(String, PathBuf)> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for root in &self.roots {
            let Ok(whole) = root.canonicalize() else { continue };
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            if is_run(&whole) {
                found.extend(name(&whole).map(|name| (name, whole)));
                continue;
            }
            for child in inside(&whole, &whole) {
                let Some(outer) = name(&child) else { continue };
                if is_run(&child) {
                    found.push((outer, child));
                    continue;
                }
                let below = inside(&child, &whole).into_iter().filter(|path| is_run(path));
                found.extend(below.filter_map(|path| Some((format!("{outer}/{}", name(&path)?), path))));
            }
        }
        found.sort();
        found.dedup_by(|a, b| a.0 == b.0);
        found.truncate(MOST);
        found
    }

    /// The entries of all runs in the list, the newest first.
    pub fn newest_first(&self) -> Vec<Value> {
        let mut all: Vec<Value> = self.list().iter().map(|(name, folder)| summary(name, folder)).collect();
        all.sort_by_key(|run| std::cmp::Reverse(run["date"].as_u64()));
        all
    }

    /// The folder of the run with this name.
    pub fn find(&self, name: &str) -> Result<PathBuf, Problem> {
        let found = self.list().into_iter().find(|(known, _)| known == name);
        let folder = found
            .map(|(_, path)| path)
            .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no run with this name"))?;
        match strange_file(&folder) {
            Some(file) => {
                let file = file.strip_prefix(&folder).unwrap_or(&file).display();
                Err(Problem::of_request(format!("{file} in the folder of {name} is no regular file")))
            }
            None => Ok(folder),
        }
    }
}

fn is_run(folder: &Path) -> bool {
    folder.join(runs::CONFIG).is_file()
}

/// Something in the folder of a run that is neither a file nor a folder: a link, which may lead anywhere, or a FIFO or a device,
/// which may never end.
fn strange_file(folder: &Path) -> Option<PathBuf> {
    let kind = |path: &Path| path.symlink_metadata().map(|found| found.file_type());
    let inside = files::list(folder).unwrap_or_default();
    let folders = inside.iter().filter(|path| kind(path).is_ok_and(|kind| kind.is_dir()));
    let below: Vec<PathBuf> = folders.flat_map(|path| files::list(path).unwrap_or_default()).collect();
    // What has gone meanwhile is not read either.
    let is_strange = |path: &PathBuf| kind(path).is_ok_and(|kind| !kind.is_file() && !kind.is_dir());
    inside.into_iter().chain(below).find(is_strange)
}

/// The folders in `folder` that are inside `root`.
fn inside(folder: &Path, root: &Path) -> Vec<PathBuf> {
    let found = files::list(folder).unwrap_or_default().into_iter();
    found
        .filter_map(|path| path.canonicalize().ok())
        .filter(|path| path.starts_with(root) && path.is_dir())
        .collect()
}

/// The entry of a run in the list; that of a folder with something strange in it has its name alone.
fn summary(name: &str, folder: &Path) -> Value {
    let is_plain = strange_file(folder).is_none();
    let config = is_plain.then(|| runs::read_config(&folder.join(runs::CONFIG)).ok()).flatten();
    let events = if is_plain { last_events(&folder.join(runs::METRICS)) } else { Vec::new() };
    let training = report::training(&events);
    let of_last = |curve: &str, i: usize| training[curve].as_array()?.last().map(|point| point[i].clone());
    let end = &training["end"];
    let held_out = [&end["held_out_bits"], &end["held_out_loss"]].into_iter().find(|loss| loss.is_number());
    json!({
        "name": name,
        "complete": is_plain && runs::exists(folder),
        "cell": config.as_ref().map(|config| bptt::cell_by_name(&config.cell).map_or_else(|_| config.cell.clone(), |cell| cell.spec().title.clone())),
        "hidden": config.as_ref().map(|config| config.hidden),
        "layers": config.as_ref().map(|config| config.layers),
        "bidirectional": config.as_ref().map(|config| config.bidirectional),
        "updates": end["steps"].as_u64().map(Value::from).or_else(|| of_last("steps", 0)),
        "ending": end["ending"],
        "state": runs::state(folder).map(runs::State::name),
        "held_out": held_out.cloned().or_else(|| of_last("evaluations", 1)),
        "unit": training["unit"],
        "date": date(folder),
    })
}

/// When each of the files of a run was modified.
pub(crate) fn modified(folder: &Path) -> [Option<SystemTime>; 5] {
    runs::paths(folder).map(|path| path.metadata().and_then(|file| file.modified()).ok())
}

/// When the last of them was, in seconds since 1970.
fn date(folder: &Path) -> Option<u64> {
    let last = modified(folder).into_iter().flatten().max()?;
    last.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The largest number of bytes of metrics that are read for the list.
const LAST: u64 = 64 << 10;

/// The last events of a training. Incomplete lines are skipped.
fn last_events(path: &Path) -> Vec<Value> {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST)))?;
        let mut text = Vec::new();
        file.take(LAST).read_to_end(&mut text)?;
        std::io::Result::Ok(text)
    };
    events(&read().unwrap_or_default())
}

fn events(text: &[u8]) -> Vec<Value> {
    text.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The report of a run, on the beginning of its held-out data.
pub(crate) fn report(folder: &Path, make: MakeReport, cancelled: &Cancelled) -> Result<String, Problem> {
    let report = make(folder, None, None, &|| cancelled.is_set());
    let report = report.map_err(Problem::of_request)?;
    cancelled.check()?;
    Ok(report::html(&report)?)
}

/// The curves of the metrics of a run. An incomplete line is skipped.
pub(crate) fn curves(folder: &Path) -> Result<Value, Problem> {
    let path = folder.join(runs::METRICS);
    let Ok(file) = path.metadata() else { return Ok(report::training(&[])) };
    if file.len() > METRICS {
        return Err(Problem::of_request("the metrics of this run are too large"));
    }
    Ok(report::training(&events(&files::read(&path)?)))
}
