//! A comparison on disk: `comparison.json` with the comparison, and in `trainings` one small file for each finished
//! training.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Comparison, Plan, Training, TrainingResult};
use bptt_io::files;

use crate::{Config, Error, run};

const COMPARISON: &str = "comparison.json";
const TRAININGS: &str = "trainings";

/// Schemas of `comparison.json` and of the file of a training.
const COMPARISON_SCHEMA: &str = "bptt.comparison-settings/1";
const TRAINING_SCHEMA: &str = "bptt.training/1";

/// The folder of the results of a comparison.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
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
    /// If it contains another comparison or a run, or cannot be written.
    pub fn open(path: &Path, plan: &Plan) -> Result<Self, Error> {
        let folder = Self { path: path.into() };
        let file = path.join(COMPARISON);
        if file.exists() {
            let there: ComparisonFile = read_json(&file, COMPARISON_SCHEMA)?;
            folder.refuse_difference(&there.comparison, plan.comparison())?;
        } else if run::exists(path) {
            return Err(Error::RunExists { folder: path.into() });
        } else {
            files::create_folder(&path.join(TRAININGS))?;
            let comparison = plan.comparison().clone();
            write_json(&file, &ComparisonFile { schema: COMPARISON_SCHEMA.into(), comparison })?;
        }
        files::create_folder(&path.join(TRAININGS))?;
        Ok(folder)
    }

    /// The comparison in a folder, and its plan; `None` if the folder has none.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn existing(path: &Path) -> Result<Option<(Self, Plan)>, Error> {
        let file = path.join(COMPARISON);
        if !file.exists() {
            return Ok(None);
        }
        let there: ComparisonFile = read_json(&file, COMPARISON_SCHEMA)?;
        Ok(Some((Self { path: path.into() }, Plan::new(there.comparison)?)))
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
        let file: TrainingFile = read_json(&path, TRAINING_SCHEMA)?;
        if (&file.remedy, &file.config) != (&training.remedy, &training.config) {
            let problem = "it belongs to a training with other settings; remove it to train again".into();
            return Err(Error::RunFile { path, problem });
        }
        Ok(Some(file.reached))
    }

    /// Writes the result of a training.
    pub(super) fn write(&self, training: &Training, reached: &TrainingResult) -> Result<(), Error> {
        let Training { remedy, config } = training.clone();
        let (schema, reached) = (TRAINING_SCHEMA.into(), reached.clone());
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

fn read_json<F: DeserializeOwned>(path: &Path, schema: &str) -> Result<F, Error> {
    let problem = |problem: String| Error::RunFile { path: path.into(), problem };
    let value: Value =
        serde_json::from_slice(&files::read(path)?).map_err(|error| problem(error.to_string()))?;
    if value["schema"] != schema {
        return Err(problem(format!("its schema is {}, expected {schema:?}", value["schema"])));
    }
    serde_json::from_value(value).map_err(|error| problem(error.to_string()))
}

fn write_json(path: &Path, file: &impl Serialize) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec_pretty(file).expect("settings and numbers are JSON");
    bytes.push(b'\n');
    Ok(files::write(path, &bytes)?)
}
