//! A run's text, taken apart.

use std::path::Path;

use bptt_view::report;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::TakeApart;
use crate::lab::MOST_STEPS;
use crate::problem::Problem;
use crate::work::Gone;

/// What is asked of a run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explore {
    /// Its name.
    pub run: String,
    /// The text; without one, the beginning of what the run holds out.
    #[serde(default)]
    text: Option<String>,
    /// Steps of what is held out.
    #[serde(default = "usual_steps")]
    steps: usize,
}

fn usual_steps() -> usize {
    64
}

impl Explore {
    /// Refuses what would take long.
    pub fn check(&self) -> Result<(), Problem> {
        if self.steps == 0 || self.steps > MOST_STEPS {
            let words = format!("steps: {} is not possible; expected 1 to {MOST_STEPS}", self.steps);
            return Err(Problem::of_request(words));
        }
        // Symbols may be words, so characters are a generous measure; the cost is bounded after they are counted.
        if self.text.as_ref().is_some_and(|text| text.chars().count() > 4 * MOST_STEPS) {
            let words = format!("text: too long; expected at most {} characters", 4 * MOST_STEPS);
            return Err(Problem::of_request(words));
        }
        Ok(())
    }

    /// The report's data of the run in `folder`.
    pub fn take_apart(&self, folder: &Path, take_apart: TakeApart, gone: &Gone) -> Result<Value, Problem> {
        let report = take_apart(folder, self.text.as_deref(), self.steps, &|| gone.is_so());
        let report = report.map_err(Problem::of_request)?;
        gone.check()?;
        let (data, numbers) = report::data(&report)?;
        Ok(json!({ "data": data, "numbers": numbers }))
    }
}
