//! A comparison on disk: `comparison.json` with the comparison, and in `trainings` one small file for each finished
//! training. Both are one line of JSON with a checksum, as the metrics of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Comparison, Plan, Training, TrainingResult};
use bptt_io::files;

use crate::run::COMPARISON;
use crate::run::lock::{Lock, is_lock, lock};
use crate::run::metrics::{is_intact, line};
use crate::run::sealed::{CHANGED, of_schema};
use crate::{Config, Error, run};

const TRAININGS: &str = "trainings";

/// A kind of file.
struct Kind {
    /// Its schema, and that of the first version, which has no checksums.
    schema: &'static str,
    first: &'static str,
    /// What to do with a damaged one.
    way_out: &'static str,
}

const OF_COMPARISON: Kind = Kind {
    schema: "bptt.comparison-settings/2",
    first: "bptt.comparison-settings/1",
    way_out: "remove it, and the command that made the comparison continues it with the trainings that are there",
};
const OF_TRAINING: Kind = Kind {
    schema: "bptt.training/2",
    first: "bptt.training/1",
    way_out: "remove it, and the command that made the comparison trains it again",
};

/// The folder of the results of a comparison.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held by who writes into it.
    lock: Option<Arc<Lock>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComparisonFile {
    schema: String,
    comparison: Comparison,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainingFile {
    schema: String,
    remedy: String,
    config: Config,
    reached: TrainingResult,
}

impl Folder {
    /// The folder of the results of `plan`: created if it does not exist, continued if it contains the same comparison.
    ///
    /// # Errors
    /// If it contains another comparison, a run or anything else, another process writes into it, or it cannot be written.
    pub fn open(path: &Path, plan: &Plan) -> Result<Self, Error> {
        if run::exists(path) {
            return Err(Error::RunExists { folder: path.into() });
        }
        let file = path.join(COMPARISON);
        if !file.exists() && !files::list(path)?.iter().all(|path| is_beginning(path)) {
            return Err(Error::FolderTaken { folder: path.into() });
        }
        if !file.exists() {
            plan.check_networks()?;
        }
        files::create_folder(path)?;
        let folder = Self { path: path.into(), lock: Some(Arc::new(lock(path, &[TRAININGS])?)) };
        if file.exists() {
            let there: ComparisonFile = read_json(&file, &OF_COMPARISON)?;
            folder.refuse_difference(&there.comparison, plan.comparison())?;
        }
        files::create_folder_inside(&path.join(TRAININGS))?;
        if !file.exists() {
            let comparison = plan.comparison().clone();
            write_json(&file, &ComparisonFile { schema: OF_COMPARISON.schema.into(), comparison })?;
        }
        Ok(folder)
    }

    /// The comparison in a folder; `None` if the folder has none. Its [`Plan`] draws a sequence of its task, of any length: see
    /// [`memory::of_sequence`](crate::memory::of_sequence).
    ///
    /// # Errors
    /// If it is damaged.
    pub fn existing(path: &Path) -> Result<Option<(Self, Comparison)>, Error> {
        let file = path.join(COMPARISON);
        if !file.exists() {
            return Ok(None);
        }
        let there: ComparisonFile = read_json(&file, &OF_COMPARISON)?;
        Ok(Some((Self { path: path.into(), lock: None }, there.comparison)))
    }

    /// The results of the trainings of `plan`, in their order; `None` for those that have not finished.
    ///
    /// # Errors
    /// If a result cannot be used.
    pub fn results(&self, plan: &Plan) -> Result<Vec<Option<TrainingResult>>, Error> {
        plan.trainings().iter().map(|training| self.read(training)).collect()
    }

    /// An error that names the first setting in which two comparisons differ, if they do.
    fn refuse_difference(&self, there: &Comparison, given: &Comparison) -> Result<(), Error> {
        if there == given {
            return Ok(());
        }
        let (there, given) = (settings(there), settings(given));
        let keys = there.iter().chain(&given).map(|(key, _)| key);
        let value = |of: &[(String, Value)], key: &str| {
            let found = of.iter().find(|(name, _)| name == key);
            found.map_or_else(|| "unset".to_owned(), |(_, value)| value.to_string())
        };
        let differs = |key: &&String| value(&there, key) != value(&given, key);
        let setting = keys.into_iter().find(differs).map_or("settings", |key| key);
        Err(Error::ComparisonDiffers {
            folder: self.path.clone(),
            setting: setting.into(),
            there: value(&there, setting),
            given: value(&given, setting),
        })
    }

    /// The trainings of `plan` without a result.
    ///
    /// # Errors
    /// If a result cannot be used.
    pub fn missing(&self, plan: &Plan) -> Result<Vec<Training>, Error> {
        let results = plan.trainings().into_iter().zip(self.results(plan)?);
        Ok(results.filter(|(_, result)| result.is_none()).map(|(training, _)| training).collect())
    }

    /// The result of a training, if it has finished.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged or has other settings.
    pub(super) fn read(&self, training: &Training) -> Result<Option<TrainingResult>, Error> {
        let path = self.file(training);
        if !path.exists() {
            return Ok(None);
        }
        let file: TrainingFile = read_json(&path, &OF_TRAINING)?;
        if (&file.remedy, &file.config) != (&training.remedy, &training.config) {
            let problem = format!("it belongs to a training with other settings; {}", OF_TRAINING.way_out);
            return Err(Error::RunFile { path, problem });
        }
        Ok(Some(file.reached))
    }

    /// Writes the result of a training.
    pub(super) fn write(&self, training: &Training, reached: &TrainingResult) -> Result<(), Error> {
        if self.lock.as_ref().is_some_and(|lock| !lock.is_in_place()) {
            return Err(Error::FolderLost { folder: self.path.clone() });
        }
        let Training { remedy, config } = training.clone();
        let (schema, reached) = (OF_TRAINING.schema.into(), reached.clone());
        write_json(&self.file(training), &TrainingFile { schema, remedy, config, reached })
    }

    fn file(&self, training: &Training) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let name: String = training.remedy.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        self.path.join(TRAININGS).join(format!("{name}-seed-{}.json", training.config.seed))
    }
}

/// Every setting with its name: those of the comparison, and those of its base.
fn settings(comparison: &Comparison) -> Vec<(String, Value)> {
    let Ok(Value::Object(mut all)) = serde_json::to_value(comparison) else {
        unreachable!("a comparison is an object")
    };
    let base = all.shift_remove("base");
    let base = base.iter().filter_map(Value::as_object).flatten();
    let mut settings: Vec<_> = base.map(|(key, value)| (key.clone(), value.clone())).collect();
    settings.extend(all);
    settings
}

/// Whether a file may be in a folder that a comparison begins in.
fn is_beginning(path: &Path) -> bool {
    let named = path.file_name().is_some_and(|name| name == TRAININGS || name == run::REPORT);
    named || is_lock(path) || files::is_temporary(path)
}

fn read_json<F: DeserializeOwned>(path: &Path, kind: &Kind) -> Result<F, Error> {
    let bytes = files::read(path)?;
    parse(&bytes, kind).map_err(|problem| Error::RunFile {
        path: path.into(),
        problem: format!("{problem}; {}", kind.way_out),
    })
}

fn parse<F: DeserializeOwned>(bytes: &[u8], kind: &Kind) -> Result<F, String> {
    let text = str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value["schema"] == kind.first {
        return of_schema(value, kind.first);
    }
    if !text.strip_suffix('\n').is_some_and(is_intact) {
        return Err(CHANGED.into());
    }
    value.as_object_mut().and_then(|file| file.remove("check"));
    of_schema(value, kind.schema)
}

fn write_json(path: &Path, file: &impl Serialize) -> Result<(), Error> {
    let value = serde_json::to_value(file).expect("settings and numbers are JSON");
    Ok(files::write(path, (line(&value) + "\n").as_bytes())?)
}
