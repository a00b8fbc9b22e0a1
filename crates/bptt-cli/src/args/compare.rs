//! Arguments of a comparison.

use std::path::PathBuf;

use bptt_train::compare::{Budget, Comparison};
use bptt_train::{Config, Error};
use clap::Args;

use super::Settings;
use crate::Failure;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt compare --list
  bptt compare --task temporal_order --length 20 --remedy none,clip,lstm --seeds 5
  bptt compare --task adding --length 50 --hidden 32 --steps 4000 --remedy none,orthogonal+clip,forget-bias,gru \\
    --out runs/adding --json

Every remedy learns the same sequences from the same seeds with the same number of updates. An update of an LSTM costs four
times one of an RNN with as many units, so by default --hidden is the size without a remedy, and every network has as many
units as cost no more operations (--budget units gives all the same number, and the table shows what they cost).

Not set otherwise, nothing is clipped (as --clip-norm 0), and --evaluate-every is a twentieth of --steps. --seed is the first
of the seeds.

Each finished training is kept in --out. The same command goes on where it was killed; Ctrl-C ends it and loses only the
trainings that are not finished.")]
pub(crate) struct CompareArgs {
    /// The task to learn, see bptt tasks
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    pub task: Option<String>,

    /// The remedies, see --list; + joins several into one, as in orthogonal+clip:0.5
    #[arg(long = "remedy", value_name = "A,B,…", value_delimiter = ',', required_unless_present = "list")]
    pub remedies: Vec<String>,

    /// Seeds to try each remedy with
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub seeds: u64,

    /// What is kept equal beside the number of updates: flops or units
    #[arg(long, default_value = "flops")]
    pub budget: Budget,

    /// The fraction of held-out sequences from which on the task counts as solved
    #[arg(long, value_name = "FRACTION", default_value_t = 0.99)]
    pub solved: f64,

    /// The folder for the results
    #[arg(long, value_name = "DIR", default_value = "runs/compare")]
    pub out: PathBuf,

    /// The table and what each training reached as JSON (schema bptt.comparison/1)
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// The table as comma-separated values
    #[arg(long)]
    pub csv: bool,

    /// The remedies there are, and nothing else
    #[arg(long, conflicts_with_all = ["task", "remedies", "json", "csv"])]
    pub list: bool,

    #[command(flatten)]
    pub settings: Settings,
}

impl CompareArgs {
    /// What is asked for.
    pub fn comparison(&self) -> Result<Comparison, Failure> {
        let task = self.task.as_deref().unwrap_or_default();
        if let Some(option) = self.settings.of_text_only() {
            return Err(Failure::Usage(format!(
                "{option} is of texts, and means nothing for the task {task}"
            )));
        }
        if let Some(every) = self.settings.trace_every {
            let expected = "not to be given: the gradient is taken apart before and after each training";
            let (option, given) = ("--trace-every".into(), every.to_string());
            return Err(Error::Option { option, given, expected: expected.into() }.into());
        }
        let plain = Config { task: self.task.clone(), clip_norm: 0.0, trace_every: 0, ..Config::default() };
        let mut base = self.settings.over(plain);
        if self.settings.evaluate_every.is_none() {
            base.evaluate_every = base.steps.div_ceil(20);
        }
        let remedies = self.remedies.clone();
        Ok(Comparison { base, remedies, seeds: self.seeds, budget: self.budget, solved_at: self.solved })
    }
}
