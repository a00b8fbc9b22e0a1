//! Arguments of `bptt plot`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Reading, ReadingArgs};

/// The kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The ledger: one color per loss k and step t
    Heatmap,
    /// Norm of the contributions at each lag, with decay and horizon
    Profile,
    /// Contributions of each step to the later losses, as stacked bars (RNNbow)
    Rainbow,
    /// Singular values of W_hh and Lyapunov exponents of the cell
    Spectrum,
    /// Bias of truncated backpropagation by window
    Truncation,
    /// Losses, gradient norms and horizon over the training
    Curves,
    /// Losses and lag profiles of several runs
    Compare,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt plot runs/demo/lstm --kind heatmap --out heatmap.svg
  bptt plot runs/demo/lstm --kind heatmap --all --steps 512 --out all.png
  bptt plot runs/demo/rnn --kind profile --parameter weight-ih --lag 11 --out profile.svg
  bptt plot runs/demo/rnn --kind rainbow --text \"John had to skip dinner.\" --out bars.svg
  bptt plot runs/demo/rnn runs/demo/lstm --kind compare --out compare.png
  bptt plot runs/demo/lstm --kind curves --out curves.csv       # numbers only
  bptt plot --model m.safetensors --input x.npy --target y.npy --kind heatmap --out heatmap.png

A PNG and a PDF use DejaVu Sans; symbols that this font lacks appear as boxes. An SVG uses the fonts of the viewer.")]
pub(crate) struct PlotArgs {
    /// Folder of a run; several for --kind compare
    #[arg(required_unless_present = "model")]
    pub run: Vec<PathBuf>,
    /// Kind of figure
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// File to write: .svg, .pdf or .png, or .csv or .parquet (with the feature parquet) for the numbers
    #[arg(long, value_name = "FILE", required_unless_present = "table")]
    pub out: Option<PathBuf>,
    /// Print the numbers of the figure as a table
    #[arg(long)]
    pub table: bool,
    /// Title [default: a description of the figure]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Draw the contributions to this parameter of the cell, such as weight-ih or bias, or to the input [default:
    /// weight-hh, or the bias in a cell without it]
    #[arg(long, value_name = "NAME")]
    pub parameter: Option<String>,
    /// Draw this layer, counted from 0 at the input
    #[arg(long, value_name = "L", default_value_t = 0)]
    pub layer: usize,
    /// Draw the cell of this direction
    #[arg(long, value_enum, default_value_t = Reading::Forward)]
    pub direction: Reading,
    /// Draw every layer, direction and parameter (heatmaps)
    #[arg(long, conflicts_with_all = ["parameter", "layer", "direction"])]
    pub all: bool,
    /// Mark this lag as the known lag of the dependency (profiles)
    #[arg(long, value_name = "N")]
    pub lag: Option<usize>,
    #[command(flatten)]
    pub reading: ReadingArgs,
}
