//! Arguments of `bptt plot`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Reading, ReadingArgs, Shown};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The ledger: a color for each loss k and step t
    Heatmap,
    /// How large contributions are at each lag, with decay and horizon
    Profile,
    /// For each step, how much it contributed to each later loss (RNNbow's bars)
    Rainbow,
    /// Singular values of W_hh and the cell's Lyapunov exponents
    Spectrum,
    /// What truncated backpropagation would lose, window by window
    Truncation,
    /// Training over time: losses, gradient norms, horizon
    Curves,
    /// Several runs: losses and lag profiles
    Compare,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt plot runs/demo/lstm --kind heatmap --out heatmap.svg
  bptt plot runs/demo/lstm --kind heatmap --all --steps 512 --out all.png
  bptt plot runs/demo/rnn --kind profile --parameter weight-ih --lag 11 --out profile.svg
  bptt plot runs/demo/rnn --kind rainbow --text \"John had to skip dinner.\" --out bars.svg
  bptt plot runs/demo/rnn runs/demo/lstm --kind compare --out compare.png
  bptt plot runs/demo/lstm --kind curves --out curves.csv       # the numbers alone
  bptt plot --model m.safetensors --input x.npy --target y.npy --kind heatmap --out heatmap.png

Letters of a PNG are DejaVu Sans; symbols it does not have are boxes there, and right in an SVG.")]
pub(crate) struct PlotArgs {
    /// A run's folder; several for --kind compare
    #[arg(required_unless_present = "model")]
    pub run: Vec<PathBuf>,
    /// What to draw
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// The file to write: .svg or .png, or .csv or .parquet for its numbers
    #[arg(long, value_name = "FILE", required_unless_present = "table")]
    pub out: Option<PathBuf>,
    /// Print the figure's numbers as a table
    #[arg(long)]
    pub table: bool,
    /// What stands above it [default: what it shows]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Draw the contributions to this parameter
    #[arg(long, value_enum, default_value_t = Shown::WeightHh)]
    pub parameter: Shown,
    /// Draw this layer, counted from 0 at the input
    #[arg(long, value_name = "L", default_value_t = 0)]
    pub layer: usize,
    /// Draw the cell of this direction
    #[arg(long, value_enum, default_value_t = Reading::Forward)]
    pub direction: Reading,
    /// Draw every layer, direction and parameter (heatmaps)
    #[arg(long, conflicts_with_all = ["parameter", "layer", "direction"])]
    pub all: bool,
    /// Mark the lag at which, as you know, the decisive step lies (profiles)
    #[arg(long, value_name = "N")]
    pub lag: Option<usize>,
    #[command(flatten)]
    pub reading: ReadingArgs,
}
