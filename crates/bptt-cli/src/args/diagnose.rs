//! Arguments of what judges a network: `bptt diagnose` and `bptt check`.

use std::path::PathBuf;

use clap::Args;

use super::ModelArgs;

/// A run, or a model and arrays, and how they are read.
#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// A run's folder
    #[arg(required_unless_present = "model")]
    pub run: Option<PathBuf>,
    /// How many steps before a loss lies what decides it [default: of a task known; otherwise the end of the window counts]
    #[arg(long, value_name = "N")]
    pub lag: Option<usize>,
    /// The text to read [default: the held-out text's beginning]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Steps of the held-out text [default: enough for windows and lag]
    #[arg(long, value_name = "N", conflicts_with = "text")]
    pub steps: Option<usize>,
    /// Sequences side by side
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with = "text")]
    pub batch: usize,
    /// Cut gradients every K steps, 0 for never [default: as in training]
    #[arg(long, value_name = "K")]
    pub detach_every: Option<usize>,
    /// Let the first N steps only warm the state up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub burn_in: usize,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt diagnose runs/copy                       # a task's run: its lag is known
  bptt diagnose runs/book --lag 40 --json | jq .verdict
  bptt diagnose --model m.safetensors --input x.npy --target y.npy --lag 100

The verdict is one of: not finite, cannot tell, explodes, dead units, saturated, cut by truncation, reaches the dependency,
vanishes before it. It rests on what was measured alone; the numbers are printed with it.")]
pub(crate) struct DiagnoseArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// How large the relative bias of a truncated gradient may be: the smallest such window is told
    #[arg(long, value_name = "FRACTION", default_value_t = 0.05)]
    pub bias: f64,
    /// Also say from how far away the optimizer's next update comes, after clipping and its own scaling; of runs
    #[arg(long)]
    pub update: bool,
    /// Also say what f32 and bf16 keep of far contributions, and what is small by mathematics
    #[arg(long)]
    pub precision: bool,
    /// Verdict, evidence, remedies and all numbers as JSON (schema bptt.diagnosis/1)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt check runs/copy --min-horizon 50
  bptt check runs/book --max-decay 0.1 --no-cuts --lag 40 --json

Exit code 0: every limit is kept. 1: one is not, or cannot be measured; the reason is on stderr. 2: wrong usage.")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// The learning horizon (99 % of the contributions to W_hh) has to be at least N steps
    #[arg(long, value_name = "N")]
    pub min_horizon: Option<usize>,
    /// Gradients may fade by at most so many nats per step
    #[arg(long, value_name = "NATS", allow_negative_numbers = true)]
    pub max_decay: Option<f64>,
    /// No gradient may be cut on its way to what lies at the lag, or anywhere if no lag is known
    #[arg(long)]
    pub no_cuts: bool,
    /// As JSON (schema bptt.check/1)
    #[arg(long)]
    pub json: bool,
}
