//! Arguments of a trace, and of what a network reads.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ModelArgs;

/// The direction in which a cell reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reading {
    /// From the first step to the last
    Forward,
    /// From the last step to the first
    Reverse,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt trace runs/demo/lstm --text \"Because no food was available in the market, John had to skip dinner.\" \\
    --predicting dinner
  bptt trace runs/book                          # the start of the held-out text
  bptt trace runs/book --text \"It was\" --json | jq .horizon
  bptt trace runs/book --out ledger.npz         # all numbers as NumPy arrays
  bptt trace runs/book --out ledger.csv         # one row per contribution, for pandas
  bptt trace runs/demo/lstm --paths --gates     # by path and by gate
  bptt trace runs/book --steps 2000 --tolerance 1e-8
  bptt trace --model m.safetensors --module actor --input x.npy --target y.npy
  bptt trace --model m.safetensors --input x.npy --grad-output dh.npy --json
  bptt trace --model m.safetensors --input x.npy --target y.npy --components g.npz --parameter weight-hh")]
pub(crate) struct TraceArgs {
    /// Folder of a run
    #[arg(required_unless_present = "model")]
    pub run: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// Show the loss of predicting this symbol, at its last occurrence [default: the last loss]
    #[arg(long, alias = "of", value_name = "SYMBOL", conflicts_with = "model")]
    pub predicting: Option<String>,
    /// Show the loss at this step, counted from 0
    #[arg(long, alias = "at", value_name = "K", conflicts_with = "predicting")]
    pub loss_step: Option<usize>,
    /// Show the contributions to this parameter of the cell, such as weight-ih or bias, or to the input [default:
    /// weight-hh, or the bias in a cell without it]
    #[arg(long, value_name = "NAME")]
    pub parameter: Option<String>,
    /// Show this layer, counted from 0 at the input [default: 0]
    #[arg(long, value_name = "L")]
    pub layer: Option<usize>,
    /// Show the cell of this direction [default: forward]
    #[arg(long, value_enum)]
    pub direction: Option<Reading>,
    /// Add the norms of each gate's rows, and the saturation of each gate
    #[arg(long)]
    pub gates: bool,
    /// Add the gradient by path: along the cell state or z, through the gates, through h
    #[arg(long)]
    pub paths: bool,
    /// Merge the rows of losses that are smaller than this fraction of their largest, for example 1e-8, into one row; this
    /// saves most of the time on long sequences
    #[arg(long, value_name = "FRACTION")]
    pub tolerance: Option<f64>,
    /// Print the whole ledger as JSON (schema bptt.ledger/2)
    #[arg(long)]
    pub json: bool,
    /// Write the whole ledger to a file: .npz, .json, or a long table (schema bptt.entries/1) as .csv or .parquet (with the
    /// feature parquet)
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write the contributions themselves, .npz or .safetensors: for every parameter of every cell an array (losses, T, shape of
    /// the parameter) in f64. --loss-step, --parameter, --layer and --direction choose fewer
    #[arg(long, value_name = "FILE")]
    pub components: Option<PathBuf>,
    /// Write the states of every cell after every step, .npz or .safetensors: h_l0, c_l0, …, (B, T, width)
    #[arg(long, value_name = "FILE")]
    pub states: Option<PathBuf>,
}

/// What a network reads.
#[derive(Debug, Args)]
pub(crate) struct ReadingArgs {
    /// Text to read, preceded by a line break [default: the beginning of the held-out text]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Number of steps of the held-out text [default: the window of the run]
    #[arg(long, value_name = "N", conflicts_with = "text")]
    pub steps: Option<usize>,
    /// Number of parallel streams of the held-out text
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["text", "model"])]
    pub batch: usize,
    /// Detach the state every K steps (truncated backpropagation with carried state); 0 for never
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub detach_every: usize,
    /// Exclude the losses of the first N steps; they only warm up the state
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub burn_in: usize,
    #[command(flatten)]
    pub model: ModelArgs,
}
