//! Arguments of a training, and the settings shared with other commands that train.

use std::io::IsTerminal;
use std::path::PathBuf;

use bptt_train::{Config, Init, Keep, Level, OptimizerKind, Schedule};
use clap::{Args, ValueEnum};

use super::{PageOptions, ReportOptions};

/// The generated texts.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Generator {
    /// Sentences in which one early word determines the last
    #[value(name = "cue_sentences", alias = "pantry")]
    CueSentences,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt train --text book.txt --hidden 256 --steps 5000 --out runs/book
  bptt train --generate cue_sentences --level word --init orthogonal --out runs/cue
  bptt train --task temporal_order --length 50 --cell lstm --hidden 4
  bptt train --config run.toml --learning-rate 1e-3
  bptt train --resume runs/book                 # after Ctrl-C, a crash or a power cut
  bptt train --text book.txt --serve            # watch the training in a browser
  bptt train --text book.txt --serve --no-stay  # the same, and end with the training

A config file has the same settings as the config.toml of a run; options on the command line take precedence.
Ctrl-C and SIGTERM stop the training after the update, and --resume continues it; a second one exits immediately. The exit
codes are then 130 and 143. After the training, the page of --serve stays until Ctrl-C if stderr is a terminal: it says how the
training ended and leads to the report of the run.")]
pub(crate) struct TrainArgs {
    /// File with the text to learn, UTF-8
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    pub text: Option<PathBuf>,

    /// Learn a generated text
    #[arg(long, value_name = "NAME")]
    pub generate: Option<Generator>,

    /// Learn a task, see bptt tasks
    #[arg(long, value_name = "NAME", conflicts_with_all = ["text", "generate"])]
    pub task: Option<String>,

    /// File with settings (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Folder of the run [default: runs/train, runs/train-2, …]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Continue the training of this run from its newest checkpoint, bit for bit as if it had not been interrupted
    #[arg(long, value_name = "RUN", conflicts_with_all = ["text", "generate", "task", "config", "out", "force"])]
    pub resume: Option<PathBuf>,

    /// Replace the run in --out
    #[arg(long)]
    pub force: bool,

    /// Write a checkpoint every N updates [default: every 30 seconds, and at the end of an interrupted training]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: Option<u64>,

    /// Also write TensorBoard events to this folder
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,

    /// Print the result as JSON (schema bptt.train/1)
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub report: ReportOptions,

    /// Serve a page that shows the training and can pause it, stop it and change its learning rate
    #[arg(long)]
    pub serve: bool,

    #[command(flatten)]
    pub page: PageOptions,

    #[command(flatten)]
    pub stay: StayOptions,

    #[command(flatten)]
    pub settings: Settings,
}

/// Whether the page stays when the training has ended.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Page")]
pub(crate) struct StayOptions {
    /// Keep the page when the training has ended, until Ctrl-C [default: if stderr is a terminal]
    #[arg(long, requires = "serve")]
    stay: bool,
    /// End the page with the training
    #[arg(long, requires = "serve", conflicts_with = "stay")]
    no_stay: bool,
}

impl StayOptions {
    /// Whether it stays: scripts, whose stderr is no terminal, go on when the training has ended.
    pub fn stays(self) -> bool {
        self.stay || (!self.no_stay && std::io::stderr().is_terminal())
    }
}

/// The groups of settings in the help.
const DATA: &str = "Data";
const NETWORK: &str = "Network";
const INITIALIZATION: &str = "Initialization";
const UPDATES: &str = "Updates";
const MEASUREMENTS: &str = "Measurements";

/// One option per setting; settings that are not given keep their values.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Length L of the sequences of a task [default: its usual length]
    #[arg(long, value_name = "L", help_heading = DATA)]
    length: Option<usize>,
    /// Number of sentences to generate [default: 20000]
    #[arg(long, value_name = "N", help_heading = DATA)]
    sentences: Option<usize>,
    /// Unit of a symbol: char or word [default: char]
    #[arg(long, help_heading = DATA)]
    level: Option<Level>,
    /// Map unknown symbols of later texts to `<unk>`
    #[arg(long, help_heading = DATA)]
    unk: bool,
    /// Map symbols that occur fewer than N times to `<unk>` (needs --unk) [default: 1]
    #[arg(long, value_name = "N", help_heading = DATA)]
    min_count: Option<usize>,
    /// Fraction of the text, at its end, that is held out [default: 0.1]
    #[arg(long, value_name = "FRACTION", help_heading = DATA)]
    held_out: Option<f64>,
    #[arg(long, help = cells_help(), help_heading = NETWORK)]
    cell: Option<String>,
    /// Number of hidden units of each layer [default: 128]
    #[arg(long, value_name = "N", help_heading = NETWORK)]
    hidden: Option<usize>,
    /// Number of layers [default: 1]
    #[arg(long, value_name = "N", help_heading = NETWORK)]
    layers: Option<usize>,
    /// Read each window in both directions; the network then reads the symbols that it predicts, and cannot generate text
    #[arg(long, help_heading = NETWORK)]
    bidirectional: bool,
    /// Dropout probability of the outputs between layers, in training only [default: 0]
    #[arg(long, value_name = "P", help_heading = NETWORK)]
    dropout: Option<f64>,
    /// Initialization of W_hh: uniform, uniform:BOUND, normal:STD, sparse:nonzeros=N,std=STD, xavier, orthogonal or identity
    /// [default: uniform]
    #[arg(long, help_heading = INITIALIZATION)]
    init: Option<Init>,
    /// Initialization of all other parameters [default: uniform]
    #[arg(long, value_name = "INIT", help_heading = INITIALIZATION)]
    init_others: Option<Init>,
    /// Initialize biases to 0, except those set by --forget-bias, --input-bias or --chrono
    #[arg(long, help_heading = INITIALIZATION)]
    zero_biases: bool,
    /// Scale each gate's block of W_hh to this largest singular value
    #[arg(long, value_name = "SIGMA", help_heading = INITIALIZATION)]
    sigma_max: Option<f64>,
    /// Scale each gate's block of W_hh to this spectral radius
    #[arg(long, value_name = "RHO", help_heading = INITIALIZATION)]
    spectral_radius: Option<f64>,
    /// Initial bias of the forget gates of an LSTM, for example 1 [default: as other parameters]
    #[arg(long, value_name = "BIAS", allow_hyphen_values = true, help_heading = INITIALIZATION)]
    forget_bias: Option<f64>,
    /// Initial bias of the input gates of an LSTM [default: as other parameters]
    #[arg(long, value_name = "BIAS", allow_hyphen_values = true, help_heading = INITIALIZATION)]
    input_bias: Option<f64>,
    /// Initialize the biases of the gates of an LSTM for lags of up to N steps (chrono initialization)
    #[arg(long, value_name = "N", help_heading = INITIALIZATION)]
    chrono: Option<usize>,
    /// Number of updates [default: 2000]
    #[arg(long, value_name = "N", help_heading = UPDATES)]
    steps: Option<u64>,
    /// Number of parallel streams [default: 32]
    #[arg(long, value_name = "N", help_heading = UPDATES)]
    batch: Option<usize>,
    /// Truncation window: number of time steps per update [default: 64]
    #[arg(long, value_name = "N", help_heading = UPDATES)]
    window: Option<usize>,
    /// Detach the state every N steps: truncation within a window or a sequence of a task; 0 for never [default: 0]
    #[arg(long, value_name = "N", help_heading = UPDATES)]
    detach_every: Option<usize>,
    /// Optimizer: sgd, sgd:momentum=0.9, adagrad, rmsprop, adam or adamw, each with its constants [default: adam]
    #[arg(long, help_heading = UPDATES)]
    optimizer: Option<OptimizerKind>,
    /// Learning rate [default: 0.002]
    #[arg(long, value_name = "RATE", help_heading = UPDATES)]
    learning_rate: Option<f64>,
    /// Learning rate schedule: constant, cosine:warmup=N,floor=F or step:every=N,factor=F [default: constant]
    #[arg(long, help_heading = UPDATES)]
    schedule: Option<Schedule>,
    /// Clip gradients to this norm; 0 for never [default: 5]
    #[arg(long, value_name = "NORM", help_heading = UPDATES)]
    clip_norm: Option<f64>,
    /// Clip gradient entries to this size; 0 for never [default: 0]
    #[arg(long, value_name = "SIZE", help_heading = UPDATES)]
    clip_value: Option<f64>,
    /// Weight of the regularizer against vanishing gradients of Pascanu et al. 2013; 0 for none [default: 0]
    #[arg(long, value_name = "LAMBDA", help_heading = UPDATES)]
    omega: Option<f64>,
    /// Number of updates of gradient flossing (Engelken 2023) before training, which move Lyapunov exponents towards 0
    /// [default: 0]
    #[arg(long, value_name = "N", help_heading = INITIALIZATION)]
    floss: Option<u64>,
    /// Number of exponents to floss, the largest first [default: all]
    #[arg(long, value_name = "K", help_heading = INITIALIZATION)]
    floss_exponents: Option<usize>,
    /// Measure the held-out loss every N updates; 0 for the end only [default: 500]
    #[arg(long, value_name = "N", help_heading = MEASUREMENTS)]
    pub evaluate_every: Option<u64>,
    /// Keep the network of the last update, or of the evaluation with the smallest held-out loss: last or best
    /// [default: last]
    #[arg(long, help_heading = MEASUREMENTS)]
    keep: Option<Keep>,
    /// Stop after N evaluations in a row without a smaller held-out loss; 0 for never [default: 0]
    #[arg(long, value_name = "N", help_heading = MEASUREMENTS)]
    patience: Option<u64>,
    /// Make a ledger of one sequence every N updates; 0 for never [default: 100]
    #[arg(long, value_name = "N", help_heading = MEASUREMENTS)]
    pub trace_every: Option<u64>,
    /// Seed of the random numbers [default: 1]
    #[arg(long, value_name = "N", help_heading = UPDATES)]
    seed: Option<u64>,
}

impl Settings {
    /// A setting that was given and applies to texts only.
    pub fn of_text_only(&self) -> Option<&'static str> {
        let given = [
            ("--sentences", self.sentences.is_some()),
            ("--level", self.level.is_some()),
            ("--unk", self.unk),
            ("--min-count", self.min_count.is_some()),
            ("--held-out", self.held_out.is_some()),
            ("--window", self.window.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
    }

    /// `config` with the settings of the command line.
    pub fn over(&self, mut config: Config) -> Config {
        fn set<T: Clone>(place: &mut T, given: Option<&T>) {
            if let Some(given) = given {
                place.clone_from(given);
            }
        }
        config.length = self.length.or(config.length);
        set(&mut config.sentences, self.sentences.as_ref());
        set(&mut config.level, self.level.as_ref());
        config.unk |= self.unk;
        set(&mut config.min_count, self.min_count.as_ref());
        set(&mut config.held_out, self.held_out.as_ref());
        set(&mut config.cell, self.cell.as_ref());
        set(&mut config.hidden, self.hidden.as_ref());
        set(&mut config.layers, self.layers.as_ref());
        config.bidirectional |= self.bidirectional;
        set(&mut config.dropout, self.dropout.as_ref());
        set(&mut config.init, self.init.as_ref());
        set(&mut config.init_others, self.init_others.as_ref());
        config.zero_biases |= self.zero_biases;
        config.sigma_max = self.sigma_max.or(config.sigma_max);
        config.spectral_radius = self.spectral_radius.or(config.spectral_radius);
        config.forget_bias = self.forget_bias.or(config.forget_bias);
        config.input_bias = self.input_bias.or(config.input_bias);
        config.chrono = self.chrono.or(config.chrono);
        set(&mut config.steps, self.steps.as_ref());
        set(&mut config.batch, self.batch.as_ref());
        set(&mut config.window, self.window.as_ref());
        set(&mut config.detach_every, self.detach_every.as_ref());
        set(&mut config.optimizer, self.optimizer.as_ref());
        set(&mut config.learning_rate, self.learning_rate.as_ref());
        set(&mut config.schedule, self.schedule.as_ref());
        set(&mut config.clip_norm, self.clip_norm.as_ref());
        set(&mut config.clip_value, self.clip_value.as_ref());
        set(&mut config.omega, self.omega.as_ref());
        set(&mut config.floss, self.floss.as_ref());
        config.floss_exponents = self.floss_exponents.or(config.floss_exponents);
        set(&mut config.evaluate_every, self.evaluate_every.as_ref());
        set(&mut config.keep, self.keep.as_ref());
        set(&mut config.patience, self.patience.as_ref());
        set(&mut config.trace_every, self.trace_every.as_ref());
        set(&mut config.seed, self.seed.as_ref());
        config
    }
}

/// Every registered cell; those with hyperparameters stand with an example.
fn cells_help() -> String {
    format!("Cell: {} [default: rnn]", bptt::cells().join(", "))
}
