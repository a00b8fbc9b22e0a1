//! Arguments of `bptt diagnose` and `bptt check`.

use std::path::PathBuf;

use clap::Args;

use super::ModelArgs;

/// A run, or a model with arrays, and how it is read.
#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// Folder of a run
    pub run: Option<PathBuf>,
    /// Lag of the dependency: how many steps before a loss the step lies that determines it [default: the lag of the task;
    /// otherwise the end of the window is used]
    #[arg(long, value_name = "N")]
    pub lag: Option<usize>,
    /// Text to read [default: the beginning of the held-out text]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Number of steps of the held-out text [default: enough for window and lag]
    #[arg(long, value_name = "N", conflicts_with = "text")]
    pub steps: Option<usize>,
    /// Number of sequences [default: 8, or as many as fit]
    #[arg(long, value_name = "N", conflicts_with_all = ["text", "model"])]
    pub batch: Option<usize>,
    /// Cut gradients every K steps; 0 for never [default: as in training]
    #[arg(long, value_name = "K")]
    pub detach_every: Option<usize>,
    /// Exclude the losses of the first N steps; they only warm up the state
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub burn_in: usize,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt diagnose runs/copy                       # the run of a task, whose lag is known
  bptt diagnose runs/book --lag 40 --json | jq .verdict
  bptt diagnose --model m.safetensors --input x.npy --target y.npy --lag 100

The verdict is the first that applies of: not finite, cannot tell, learned, nothing to learn, updates too large or too small,
overfits, got worse, explodes, dead units, saturated, cut, vanishes before the dependency, decays (its lag is not known),
reaches, learned nothing. It follows from the measured numbers alone, which are printed with it.")]
pub(crate) struct DiagnoseArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Report the smallest truncation window whose gradient has at most this relative bias
    #[arg(long, alias = "bias", value_name = "FRACTION", default_value_t = 0.05)]
    pub max_bias: f64,
    /// Also report the share of each lag in the optimizer's next update, after clipping and scaling (runs only)
    #[arg(long)]
    pub update: bool,
    /// Also report how accurately f32 and bf16 represent contributions at each lag
    #[arg(long)]
    pub precision: bool,
    /// Print verdict, evidence, remedies and all numbers as JSON (schema bptt.diagnosis/1)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt check runs/copy --min-horizon 50
  bptt check runs/book --max-decay 0.1 --no-cuts --lag 40 --json
  bptt check --watch training.jsonl --max-nearest-lag 1 --no-crossing --state-error 0.01

Exit codes: 0 if every limit is met; 1 if one is not or cannot be measured (the reason is on stderr); 2 for wrong usage.")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Check each update in the log of a training watched in Python: bptt.torch.watch(log=FILE)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "model", "no_cuts"])]
    pub watch: Option<PathBuf>,
    /// The learning horizon (99 % of the contributions to W_hh) must be at least N steps
    #[arg(long, value_name = "N")]
    pub min_horizon: Option<usize>,
    /// Gradients may decay by at most this many nats per step
    #[arg(long, value_name = "NATS", allow_hyphen_values = true)]
    pub max_decay: Option<f64>,
    /// No gradient may be cut between a loss and the step at the lag, or anywhere if no lag is known
    #[arg(long)]
    pub no_cuts: bool,
    #[command(flatten)]
    pub log: WatchLimitArgs,
    /// Print JSON (schema bptt.check/1)
    #[arg(long)]
    pub json: bool,
}

/// Limits for the log of a watched training.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits for --watch")]
pub(crate) struct WatchLimitArgs {
    /// The nearest input that a loss sees may lie at most N steps before it
    #[arg(long, value_name = "N", requires = "watch")]
    pub max_nearest_lag: Option<usize>,
    /// The farthest input that a loss sees must lie at least N steps before it
    #[arg(long, value_name = "N", requires = "watch")]
    pub min_farthest_lag: Option<usize>,
    /// No loss may see a step with another id (episode, document, trial)
    #[arg(long, requires = "watch")]
    pub no_crossing: bool,
    /// Stored states may differ by at most this fraction from those that the present weights give
    #[arg(long, value_name = "FRACTION", requires = "watch")]
    pub state_error: Option<f64>,
    /// Outputs may differ by at most this fraction from those of the rollout
    #[arg(long, value_name = "FRACTION", requires = "watch")]
    pub output_error: Option<f64>,
    /// No padding may have a loss
    #[arg(long, requires = "watch")]
    pub no_padding: bool,
}
