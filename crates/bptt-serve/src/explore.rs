//! The ledger of a text read by a run.

use std::path::Path;

use bptt_view::report;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::MakeReport;
use crate::lab::MOST_STEPS;
use crate::problem::Problem;
use crate::work::Cancelled;

/// A request for the ledger of a run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explore {
    /// The name of the run.
    pub run: String,
    /// The text; `None` for the beginning of the held-out data.
    #[serde(default)]
    text: Option<String>,
    /// Number of steps of the held-out data.
    #[serde(default = "usual_steps")]
    steps: usize,
}

fn usual_steps() -> usize {
    64
}

impl Explore {
    /// Refuses expensive requests.
    pub fn check(&self) -> Result<(), Problem> {
        if self.steps == 0 || self.steps > MOST_STEPS {
            let words = format!("steps: {} is not possible; expected 1 to {MOST_STEPS}", self.steps);
            return Err(Problem::of_request(words));
        }
        // Symbols may be words, so the number of characters is a loose bound; the cost is bounded by the number of symbols.
        if self.text.as_ref().is_some_and(|text| text.chars().count() > 4 * MOST_STEPS) {
            let words = format!("text: too long; expected at most {} characters", 4 * MOST_STEPS);
            return Err(Problem::of_request(words));
        }
        Ok(())
    }

    /// The report's data of the run in `folder`.
    pub fn report(
        &self,
        folder: &Path,
        make_report: MakeReport,
        cancelled: &Cancelled,
    ) -> Result<Value, Problem> {
        let report = make_report(folder, self.text.as_deref(), Some(self.steps), &|| cancelled.is_set());
        let report = report.map_err(Problem::of_request)?;
        cancelled.check()?;
        let (data, numbers) = report::data(&report)?;
        Ok(json!({ "data": data, "numbers": numbers }))
    }
}
