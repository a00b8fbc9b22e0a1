//! Arguments around models that others made.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A loss between outputs and targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Loss {
    /// Softmax cross-entropy with integer targets (B, T); −100 is no target
    Ce,
    /// Squared error with targets (B, T, V), summed over V
    Mse,
}

/// How losses become one number.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Reduce {
    /// The plain sum
    Sum,
    /// The mean over all steps and sequences with a loss (PyTorch's "mean" of mse divides by V as well)
    Mean,
}

/// A model file and the arrays to trace it on.
#[derive(Debug, Args)]
#[command(next_help_heading = "A model of your own")]
pub(crate) struct ModelArgs {
    /// The weights, .safetensors or .npz (a run's folder will do), instead of a run and text
    #[arg(long, value_name = "FILE", requires = "input", conflicts_with_all = ["run", "text", "steps", "batch"])]
    pub model: Option<PathBuf>,
    /// The recurrent module in it, by its name; needed if there are several
    #[arg(long, value_name = "NAME", requires = "model")]
    pub module: Option<String>,
    /// What is read, .npy: (B, T, I) real numbers, or (B, T) integers
    #[arg(long, value_name = "FILE", requires = "model")]
    pub input: Option<PathBuf>,
    /// What the outputs should be, .npy; needs a head in the model
    #[arg(long, value_name = "FILE", requires = "model", conflicts_with = "seeds")]
    pub target: Option<PathBuf>,
    /// Instead of a loss: the gradient each loss sends into the top layer's output, .npy (B, T, H·directions)
    #[arg(long, value_name = "FILE", requires = "model")]
    pub seeds: Option<PathBuf>,
    /// The loss [default: ce for integer targets, otherwise mse]
    #[arg(long, value_enum, requires = "target")]
    pub loss: Option<Loss>,
    /// How losses add up
    #[arg(long, value_enum, requires = "target", default_value_t = Reduce::Sum)]
    pub reduction: Reduce,
    /// The linear map to the outputs, by its name [default: "head", or the only one that fits]
    #[arg(long, value_name = "NAME", requires = "target")]
    pub head: Option<String>,
    /// The vectors that integers stand for, by name [default: the only one with "emb" in its name that fits; without one,
    /// integers are one-hot]
    #[arg(long, value_name = "NAME", requires = "model")]
    pub embedding: Option<String>,
    /// The cell, where the file leaves it open: rnn_relu or rnn_identity for a vanilla one
    #[arg(long, value_name = "NAME", requires = "model")]
    pub cell: Option<String>,
    /// Arrays are (T, B, …) and not (B, T, …)
    #[arg(long, requires = "model")]
    pub time_major: bool,
    /// Where there is a loss, .npy (B, T) of bool
    #[arg(long, value_name = "FILE", requires = "model")]
    pub mask: Option<PathBuf>,
    /// The initial h, .npy (layers·directions, B, H) as PyTorch has it [default: zeros]
    #[arg(long, value_name = "FILE", requires = "model")]
    pub h0: Option<PathBuf>,
    /// The initial c of an LSTM, likewise
    #[arg(long, value_name = "FILE", requires = "model")]
    pub c0: Option<PathBuf>,
    /// The number of steps of each sequence, .npy (B); the rest is padding
    #[arg(long, value_name = "FILE", requires = "model")]
    pub lengths: Option<PathBuf>,
    /// Where an episode begins and the state with it from zeros, .npy (B, T) of bool
    #[arg(long, value_name = "FILE", requires = "model")]
    pub resets: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt inspect model.safetensors
  bptt inspect runs/demo/lstm --json | jq '.modules[0].blocks'")]
pub(crate) struct InspectArgs {
    /// A model, .safetensors or .npz, or a run's folder
    pub file: PathBuf,
    /// The cell of vanilla layers, where the file leaves it open: rnn_relu or rnn_identity
    #[arg(long, value_name = "NAME")]
    pub cell: Option<String>,
    /// As JSON (schema bptt.inspect/1)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt export runs/demo/lstm --to demo.safetensors
  bptt export keras.npz --to pytorch.safetensors
  bptt export model.safetensors --module net.actor --to actor.safetensors

Everything in the file is written, with PyTorch's names and, where it has them already, the same bits: load_state_dict
takes it with strict=True. It prints the line of Python that does.")]
pub(crate) struct ExportArgs {
    /// A run's folder, or a model, .safetensors or .npz
    #[arg(value_name = "RUN|FILE")]
    pub file: PathBuf,
    /// The file to write, .safetensors or .npz
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Only this recurrent module, without its name before its tensors' names
    #[arg(long, value_name = "NAME")]
    pub module: Option<String>,
    /// The cell, where the file leaves it open: gru for a GRU of Keras' without a bias
    #[arg(long, value_name = "NAME")]
    pub cell: Option<String>,
    /// Replace the file if there is one; without this it is an error
    #[arg(long)]
    pub force: bool,
}
