//! Arguments for models from other programs.

use std::path::{Path, PathBuf};

use bptt_io::{Layout, Tensors};
use bptt_train::run::model_file;
use clap::{Args, ValueEnum};

use crate::Failure;

/// A loss between outputs and targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Loss {
    /// Softmax cross-entropy with integer targets, (B, T) or (B), or with one-hot rows
    Ce,
    /// Squared error with targets (B, T, V) or (B, V), summed over V
    Mse,
}

/// How the losses become one number.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Reduce {
    /// The sum over all steps and sequences
    Sum,
    /// The mean over all steps and sequences that have a loss (PyTorch's mean of mse also divides by V)
    Mean,
    /// The mean over the steps of each sequence that have a loss, averaged over the B sequences
    MeanPerSequence,
    /// The sum over the steps of each sequence, averaged over the B sequences (sum / B)
    #[value(alias = "sum/B")]
    SumPerSequence,
}

/// Which output the targets of whole sequences are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManyToOne {
    /// The output at the last step of each sequence: output[:, -1] in PyTorch
    LastStep,
    /// The final h of both directions, the forward one's at the last step and the reverse one's at the first:
    /// torch.cat([h_n[-2], h_n[-1]], 1) in PyTorch
    FinalState,
}

/// How a model file is read where its names leave it open.
#[derive(Debug, Args)]
pub(crate) struct LayoutArgs {
    /// Source of the file, where names cannot tell: pytorch, keras, tensorflow.js, haste, cs231n, mlx, flax, haiku, equinox,
    /// paddle, candle, burn, tinygrad or chainer
    #[arg(long = "layout", value_name = "NAME")]
    layout: Option<String>,
    /// Order of the gates in the matrices of the file, where it is another than the source's: i,g,f,o or z,r,n
    #[arg(long = "gate-order", value_name = "LETTERS")]
    gate_order: Option<String>,
}

impl LayoutArgs {
    /// The tensors of a file, read so; those of `ignored` names may stay unread.
    pub fn read(&self, file: &Path, ignored: &[String]) -> Result<Tensors, Failure> {
        read_as((self.layout.as_deref(), self.gate_order.as_deref()), file, ignored)
    }
}

/// The tensors of a file, read with this source and order of gates; those of `ignored` names may stay unread.
fn read_as(
    (source, gates): (Option<&str>, Option<&str>),
    file: &Path,
    ignored: &[String],
) -> Result<Tensors, Failure> {
    let mut tensors = Tensors::read_as(&model_file(file), &Layout::new(source, gates)?)?;
    ignored.iter().try_for_each(|name| tensors.ignore(name))?;
    Ok(tensors)
}

/// A model file and the arrays that it reads.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model from another program")]
pub(crate) struct ModelArgs {
    /// Weights to use in place of a run: .safetensors, .npz or the folder of a run
    #[arg(long, value_name = "FILE", requires = "input", conflicts_with_all = ["run", "text", "steps"])]
    pub model: Option<PathBuf>,
    /// Name of the recurrent module; required if the file has several. Names with commas are the layers of one network, the
    /// lowest first
    #[arg(long, value_name = "NAME", requires = "model")]
    pub module: Option<String>,
    /// Inputs, .npy: (B, T, I) real numbers, or (B, T) integers
    #[arg(long, value_name = "FILE", requires = "model")]
    pub input: Option<PathBuf>,
    /// The targets of the outputs, .npy; the model needs a head: (B, T) integers or (B, T, V) numbers, or for whole sequences
    /// (B) integers or (B, V) numbers
    #[arg(long, value_name = "FILE", requires = "model", conflicts_with_all = ["grad_output", "grad_cell"])]
    pub target: Option<PathBuf>,
    /// In place of targets: the gradient of the loss at each step with respect to the top layer's output, .npy (B, T,
    /// directions · H)
    #[arg(long, alias = "seeds", value_name = "FILE", requires = "model")]
    pub grad_output: Option<PathBuf>,
    /// In place of targets or beside --grad-output: the gradient of the loss at each step with respect to the top layer's
    /// cell state c, .npy (B, T, directions · H)
    #[arg(long, value_name = "FILE", requires = "model")]
    pub grad_cell: Option<PathBuf>,
    /// Loss [default: ce for integer targets, otherwise mse]
    #[arg(long, value_enum, requires = "target")]
    pub loss: Option<Loss>,
    /// How the losses become one number [default: sum]
    #[arg(long, value_enum, requires = "target")]
    pub reduction: Option<Reduce>,
    /// Integer targets of this value have no loss [default: -100, as in PyTorch]
    #[arg(long, value_name = "N", requires = "target", allow_negative_numbers = true)]
    pub ignore_index: Option<i64>,
    /// What targets of whole sequences are compared with [default: last-step; required if the module reads in both
    /// directions]
    #[arg(long, value_enum, value_name = "OUTPUT", requires = "target")]
    pub many_to_one: Option<ManyToOne>,
    /// Name of the linear map to the outputs, which directly follows the module [default: the only one, if the file has
    /// nothing else that may stand between]; of several maps with activations between them: fc1,relu,fc2
    #[arg(long, value_name = "NAME", requires = "target")]
    pub head: Option<String>,
    /// Name of the embedding of integer inputs, or none for one-hot inputs [default: the only matrix that fits, if its name
    /// has "emb" in it; none, if no matrix fits]
    #[arg(long, value_name = "NAME", requires = "model")]
    pub embedding: Option<String>,
    /// Source of the file, where names cannot tell: pytorch, keras, tensorflow.js, haste, cs231n, mlx, flax, haiku, equinox,
    /// paddle, candle, burn, tinygrad or chainer
    #[arg(long, value_name = "NAME", requires = "model")]
    pub layout: Option<String>,
    /// Order of the gates in the matrices of the file, where it is another than the source's: i,g,f,o or z,r,n
    #[arg(long, value_name = "LETTERS", requires = "model")]
    pub gate_order: Option<String>,
    /// A tensor beside the module's weights that takes no part in the computation; may be given several times
    #[arg(long, value_name = "TENSOR", requires = "model")]
    pub ignore: Vec<String>,
    /// Cell, if the file does not determine it: rnn_relu or rnn_identity for a vanilla RNN
    #[arg(long, value_name = "NAME", requires = "model")]
    pub cell: Option<String>,
    /// Read arrays as (T, B, …) in place of (B, T, …)
    #[arg(long, requires = "model")]
    pub time_major: bool,
    /// Steps that have a loss, .npy (B, T) of bool, or of the numbers 0 and 1
    #[arg(long, value_name = "FILE", requires = "model")]
    pub mask: Option<PathBuf>,
    /// Initial h, .npy (layers · directions, B, H) as in PyTorch [default: zeros]
    #[arg(long, value_name = "FILE", requires = "model")]
    pub h0: Option<PathBuf>,
    /// Initial c of an LSTM, in the same shape [default: zeros]
    #[arg(long, value_name = "FILE", requires = "model")]
    pub c0: Option<PathBuf>,
    /// Number of steps of each sequence, .npy (B); later steps are padding [default: all steps]
    #[arg(long, value_name = "FILE", requires = "model")]
    pub lengths: Option<PathBuf>,
    /// Steps at which an episode begins and the state is reset to zero, .npy (B, T) of bool, or of the numbers 0
    /// and 1
    #[arg(long, value_name = "FILE", requires = "model")]
    pub resets: Option<PathBuf>,
}

impl ModelArgs {
    /// The tensors of the model, read as the arguments say.
    pub fn tensors(&self, file: &Path) -> Result<Tensors, Failure> {
        read_as((self.layout.as_deref(), self.gate_order.as_deref()), file, &self.ignore)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt inspect model.safetensors
  bptt inspect runs/demo/lstm --json | jq '.modules[0].blocks'")]
pub(crate) struct InspectArgs {
    /// Model, .safetensors or .npz, or the folder of a run
    pub file: PathBuf,
    /// Cell of vanilla layers, if the file does not determine it: rnn_relu or rnn_identity
    #[arg(long, value_name = "NAME")]
    pub cell: Option<String>,
    #[command(flatten)]
    pub layout: LayoutArgs,
    /// A tensor beside a module's weights that takes no part in the computation; may be given several times
    #[arg(long, value_name = "TENSOR")]
    pub ignore: Vec<String>,
    /// Print JSON (schema bptt.inspect/1)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt export runs/demo/lstm --to demo.safetensors
  bptt export keras.npz --to pytorch.safetensors
  bptt export model.safetensors --module net.actor --to actor.safetensors

The command writes every tensor of the file with PyTorch's names, so that load_state_dict accepts the result with
strict=True. Tensors that already have PyTorch's arrangement keep their bits. It prints the line of Python that loads the
file.")]
pub(crate) struct ExportArgs {
    /// Folder of a run, or a model, .safetensors or .npz
    #[arg(value_name = "RUN|FILE")]
    pub file: PathBuf,
    /// File to write, .safetensors or .npz
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Write this recurrent module alone, without its name as a prefix
    #[arg(long, value_name = "NAME")]
    pub module: Option<String>,
    /// Cell, if the file does not determine it: gru for a Keras GRU without a bias
    #[arg(long, value_name = "NAME")]
    pub cell: Option<String>,
    #[command(flatten)]
    pub layout: LayoutArgs,
    /// A tensor beside a module's weights that takes no part in the computation; may be given several times
    #[arg(long, value_name = "TENSOR")]
    pub ignore: Vec<String>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}
