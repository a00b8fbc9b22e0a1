//! The runs of the server. The name of a run in a request is looked up in the list of runs and never used as a path.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use bptt_io::files;
use bptt_train::run as runs;
use bptt_view::report;
use serde_json::{Value, json};

use crate::problem::Problem;

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

    /// The folder of the run with this name.
    pub fn find(&self, name: &str) -> Result<PathBuf, Problem> {
        let found = self.list().into_iter().find(|(known, _)| known == name);
        found
            .map(|(_, path)| path)
            .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no run with this name"))
    }
}

fn is_run(folder: &Path) -> bool {
    folder.join(runs::CONFIG).is_file()
}

/// The folders in `folder` that are inside `root`.
fn inside(folder: &Path, root: &Path) -> Vec<PathBuf> {
    let found = files::list(folder).unwrap_or_default().into_iter();
    found
        .filter_map(|path| path.canonicalize().ok())
        .filter(|path| path.starts_with(root) && path.is_dir())
        .collect()
}

/// The entry of a run in the list.
pub(crate) fn summary(name: &str, folder: &Path) -> Value {
    let config = runs::read_config(&folder.join(runs::CONFIG)).ok();
    json!({
        "name": name,
        "complete": runs::exists(folder),
        "cell": config.as_ref().map(|config| &config.cell),
        "hidden": config.as_ref().map(|config| config.hidden),
        "window": config.as_ref().map(|config| config.window),
    })
}

/// The curves of the metrics of a run. An incomplete line is skipped.
pub(crate) fn curves(folder: &Path) -> Result<Value, Problem> {
    let path = folder.join(runs::METRICS);
    let Ok(file) = path.metadata() else { return Ok(report::training(&[])) };
    if file.len() > METRICS {
        return Err(Problem::of_request("the metrics of this run are too large"));
    }
    let text = files::read(&path)?;
    let lines: Vec<Value> =
        text.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Ok(report::training(&lines))
}
