//! Arguments of a comparison.

use std::path::PathBuf;

use bptt_train::Config;
use bptt_train::compare::{Budget, Comparison};
use clap::Args;

use super::Settings;
use crate::Failure;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt compare --list
  bptt compare --task temporal_order --length 20 --remedy none,clip,lstm --seeds 5
  bptt compare --task adding --length 50 --hidden 32 --steps 4000 --remedy none,orthogonal+clip,forget-bias,gru \\
    --out runs/adding --json

All remedies are trained on the same sequences, from the same seeds, with the same number of updates. An update of an LSTM
costs four times as much as an update of an RNN with as many units. By default, --hidden is the size without a remedy, and
every other network has as many units as fit into the same number of operations; --budget units gives all networks the
same number of units.

Defaults that differ from bptt train: gradients are not clipped (--clip-norm 0), and --evaluate-every is a twentieth of
--steps. --seed is the first seed.

Finished trainings are kept in --out. Running the same command again continues an interrupted comparison; Ctrl-C loses only
the trainings that are not finished.")]
pub(crate) struct CompareArgs {
    /// Task to learn, see bptt tasks
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    pub task: Option<String>,

    /// Remedies, see --list; + combines several, as in orthogonal+clip:0.5
    #[arg(long = "remedy", value_name = "A,B,…", value_delimiter = ',', required_unless_present = "list")]
    pub remedies: Vec<String>,

    /// Number of seeds per remedy
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub seeds: u64,

    /// What is kept equal in addition to the number of updates: flops or units
    #[arg(long, default_value = "flops")]
    pub budget: Budget,

    /// Fraction of solved held-out sequences at which the task counts as solved
    #[arg(long, alias = "solved", value_name = "FRACTION", default_value_t = 0.99)]
    pub solved_at: f64,

    /// Folder of the results
    #[arg(long, value_name = "DIR", default_value = "runs/compare")]
    pub out: PathBuf,

    /// Print the table and the result of each training as JSON (schema bptt.comparison/1)
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Print the table as CSV
    #[arg(long)]
    pub csv: bool,

    /// List the remedies
    #[arg(long, conflicts_with_all = ["task", "remedies", "json", "csv"])]
    pub list: bool,

    #[command(flatten)]
    pub settings: Settings,
}

impl CompareArgs {
    /// The comparison that the arguments describe.
    pub fn comparison(&self) -> Result<Comparison, Failure> {
        let task = self.task.as_deref().unwrap_or_default();
        if let Some(option) = self.settings.of_text_only() {
            return Err(Failure::Usage(format!("{option} applies to texts only, not to the task {task}")));
        }
        if let Some(every) = self.settings.trace_every {
            return Err(Failure::Usage(format!(
                "--trace-every {every}: not for comparisons, which make a ledger before and after each training"
            )));
        }
        let plain = Config { task: self.task.clone(), clip_norm: 0.0, trace_every: 0, ..Config::default() };
        let mut base = self.settings.over(plain);
        if self.settings.evaluate_every.is_none() {
            base.evaluate_every = base.steps.div_ceil(20);
        }
        let remedies = self.remedies.clone();
        Ok(Comparison { base, remedies, seeds: self.seeds, budget: self.budget, solved_at: self.solved_at })
    }
}
