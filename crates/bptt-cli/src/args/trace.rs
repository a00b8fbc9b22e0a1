//! Arguments of a trace, and what a network reads while it is taken apart.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ModelArgs;

/// Which way a cell reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reading {
    /// From the first step on
    Forward,
    /// From the last step back
    Reverse,
}

/// A parameter whose contributions are shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shown {
    /// W_ih, the input weights
    WeightIh,
    /// W_hh, the recurrent weights
    WeightHh,
    /// The biases (of the input side, in a GRU)
    Bias,
    /// The input itself
    Input,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt trace runs/demo/lstm --text \"Because no food was available in the market, John had to skip dinner.\" --of dinner
  bptt trace runs/book                          # the start of the held-out text
  bptt trace runs/book --text \"It was\" --json | jq .horizon
  bptt trace runs/book --out ledger.npz         # all numbers, for NumPy
  bptt trace runs/book --out ledger.parquet     # or, a row for each, for pandas
  bptt trace runs/demo/lstm --paths --gates     # along the cell state or through the gates?
  bptt trace runs/book --steps 2000 --tolerance 1e-8
  bptt trace --model m.safetensors --module actor --input x.npy --target y.npy
  bptt trace --model m.safetensors --input x.npy --seeds dh.npy --json")]
pub(crate) struct TraceArgs {
    /// A run's folder
    #[arg(required_unless_present = "model")]
    pub run: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// Show the loss of predicting this symbol (its last occurrence) [default: the last loss]
    #[arg(long, value_name = "SYMBOL", conflicts_with = "model")]
    pub of: Option<String>,
    /// Show the loss at this step, counted from 0
    #[arg(long, value_name = "K", conflicts_with = "of")]
    pub at: Option<usize>,
    /// Show the contributions to this parameter
    #[arg(long, value_enum, default_value_t = Shown::WeightHh)]
    pub parameter: Shown,
    /// Show this layer, counted from 0 at the input
    #[arg(long, value_name = "L", default_value_t = 0)]
    pub layer: usize,
    /// Show the cell of this direction
    #[arg(long, value_enum, default_value_t = Reading::Forward)]
    pub direction: Reading,
    /// Tell the gates apart: norms of each gate's rows, and how saturated each gate is
    #[arg(long)]
    pub gates: bool,
    /// Tell which way the gradient came: along the cell state or z, through the gates, through h
    #[arg(long)]
    pub paths: bool,
    /// Stop telling losses apart once they are this small beside their largest, for example 1e-8: the rest is one row, and
    /// long sequences take a fraction of the time
    #[arg(long, value_name = "FRACTION")]
    pub tolerance: Option<f64>,
    /// The whole ledger as JSON (schema bptt.ledger/1)
    #[arg(long)]
    pub json: bool,
    /// Write the whole ledger to a file: .npz, .json, or as a long table (schema bptt.entries/1) .parquet or .csv
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What a network reads while it is taken apart.
#[derive(Debug, Args)]
pub(crate) struct ReadingArgs {
    /// The text to take apart, read as if after a line break [default: the held-out text's beginning]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Steps of the held-out text [default: the run's window]
    #[arg(long, value_name = "N", conflicts_with = "text")]
    pub steps: Option<usize>,
    /// Streams of the held-out text side by side
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "text")]
    pub batch: usize,
    /// Detach the state every K steps: truncated backpropagation with carried state, 0 for never
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub detach_every: usize,
    /// Let the first N steps only warm the state up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub burn_in: usize,
    #[command(flatten)]
    pub model: ModelArgs,
}
