//! The command line.

mod compare;
mod diagnose;
mod model;
mod plot;
mod serve;

use std::path::PathBuf;

use bptt_train::{Config, Init, Level, OptimizerKind, Schedule};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use compare::CompareArgs;
pub(crate) use diagnose::{CheckArgs, DiagnoseArgs, SubjectArgs};
pub(crate) use model::{ExportArgs, InspectArgs, Loss, ModelArgs, Reduce};
pub(crate) use plot::{Kind, PlotArgs};
pub(crate) use serve::{PageOptions, ServeArgs};

/// Which past step taught a recurrent network what.
#[derive(Debug, Parser)]
#[command(name = "bptt", version, after_help = "Start with: bptt demo")]
pub(crate) struct Cli {
    /// Threads to compute with; the results are the same with any number [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// No progress on stderr
    #[arg(long, short, global = true)]
    pub quiet: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a tanh RNN and an LSTM on sentences whose dependencies are known, and see which word taught them which (no
    /// arguments needed)
    Demo(DemoArgs),
    /// The numerical example of the article that this began with, and the exercise it leaves to its reader
    Article(ArticleArgs),
    /// Train a network on a text or a task
    Train(Box<TrainArgs>),
    /// The tasks whose dependencies are known: how far back they reach, and what is reached without remembering
    Tasks(TasksArgs),
    /// Learn a task with one remedy after another, and see which works
    Compare(Box<CompareArgs>),
    /// Write text with a trained network
    Sample(SampleArgs),
    /// Take the gradient of a trained network apart: which past step contributed what to which loss
    Trace(Box<TraceArgs>),
    /// Draw a figure for paper or screen: heatmaps, lag profiles, training curves, comparisons
    Plot(Box<PlotArgs>),
    /// A run as one HTML file to look into, offline: verdict, pictures, numbers
    Report(ReportArgs),
    /// How far learning reaches in a network, why no farther, and what to change
    Diagnose(Box<DiagnoseArgs>),
    /// Hold a network's reach against limits: exit code 0 if they are kept, 1 if not
    Check(Box<CheckArgs>),
    /// A page on this machine: runs to look into, and a laboratory where a network is changed by hand
    Serve(ServeArgs),
    /// What is in a model file: modules, sizes, and how strong each recurrent block is
    Inspect(InspectArgs),
    /// Write a model with PyTorch's names
    Export(ExportArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bptt article\n  bptt article --open\n  bptt article --json > article.json"
)]
pub(crate) struct ArticleArgs {
    /// All numbers as JSON (schema bptt.ledger/1 with "components"), and no report
    #[arg(long, conflicts_with_all = ["out", "open", "no_report"])]
    pub json: bool,
    /// The folder for the report
    #[arg(long, default_value = "runs/article", value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub report: ReportOptions,
}

/// The report that a command ends with.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ReportOptions {
    /// Open the report in the browser
    #[arg(long)]
    pub open: bool,
    /// Write no report
    #[arg(long, conflicts_with = "open")]
    pub no_report: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt report runs/book                         # the start of the held-out text
  bptt report runs/demo --text \"Because no food was available in the market, John had to skip dinner.\" --of dinner
  bptt report runs/book --steps 512 -o book.html --open")]
pub(crate) struct ReportArgs {
    /// Runs' folders, or a folder with runs in it such as a demo's; several are shown side by side
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The text to take apart, read as if after a line break [default: the held-out text's beginning]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Steps of the held-out text [default: the run's window]
    #[arg(long, value_name = "N", conflicts_with = "text")]
    pub steps: Option<usize>,
    /// Begin with the loss of predicting this symbol (its last occurrence) [default: the last loss]
    #[arg(long, value_name = "SYMBOL")]
    pub of: Option<String>,
    /// Begin with the loss at this step, counted from 0
    #[arg(long, value_name = "K", conflicts_with = "of")]
    pub at: Option<usize>,
    /// The file to write [default: report.html in the first folder]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Open it in the browser
    #[arg(long)]
    pub open: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bptt demo\n  bptt demo --out runs/another --json")]
pub(crate) struct DemoArgs {
    /// Where all randomness comes from
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,

    /// Updates of each network; with fewer it is sooner done and has learned less
    #[arg(long, default_value_t = 6_000, value_name = "N")]
    pub steps: u64,

    /// The folder for the two runs, rnn and lstm; an older demo in it is replaced
    #[arg(long, default_value = "runs/demo", value_name = "DIR")]
    pub out: PathBuf,

    /// What was found as JSON (schema bptt.demo/2)
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub report: ReportOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bptt tasks\n  bptt tasks --length 200 --json\n  bptt train --task adding --length 50 --cell lstm"
)]
pub(crate) struct TasksArgs {
    /// L, the length of the sequences [default: of each task the usual one]
    #[arg(long, value_name = "L")]
    pub length: Option<usize>,
    /// As JSON (schema bptt.tasks/1)
    #[arg(long)]
    pub json: bool,
}

/// The generated texts.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Generator {
    /// Sentences in which one early word decides the last
    Pantry,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt train --text book.txt --hidden 256 --steps 5000 --out runs/book
  bptt train --generate pantry --level word --init orthogonal --out runs/pantry
  bptt train --task temporal_order --length 50 --cell lstm --hidden 4
  bptt train --config run.toml --learning-rate 1e-3
  bptt train --text book.txt --serve            # and watch it in a browser

A config file holds the same settings as a run's config.toml; options on the command line win.
Ctrl-C ends training early and keeps what was learned; press it twice to leave at once.")]
pub(crate) struct TrainArgs {
    /// The text to learn, UTF-8
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    pub text: Option<PathBuf>,

    /// Learn a generated text instead
    #[arg(long, value_name = "NAME")]
    pub generate: Option<Generator>,

    /// Learn a task instead, see bptt tasks
    #[arg(long, value_name = "NAME", conflicts_with_all = ["text", "generate"])]
    pub task: Option<String>,

    /// Settings to begin with (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The folder for the run [default: runs/train, runs/train-2, …]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Write TensorBoard's events, too, into this folder
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,

    /// What was reached as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub report: ReportOptions,

    /// Show the training on a page while it goes on, where it can be paused, stopped and its learning rate changed
    #[arg(long)]
    pub serve: bool,

    #[command(flatten)]
    pub page: PageOptions,

    #[command(flatten)]
    pub settings: Settings,
}

/// One option for each setting; what is not given stays as it is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Settings {
    /// L, the length of a task's sequences [default: the usual one]
    #[arg(long, value_name = "L")]
    length: Option<usize>,
    /// Sentences to generate [default: 20000]
    #[arg(long, value_name = "N")]
    sentences: Option<usize>,
    /// What a symbol is: char or word [default: char]
    #[arg(long)]
    level: Option<Level>,
    /// Let unknown symbols of later texts be `<unk>`
    #[arg(long)]
    unk: bool,
    /// Make symbols rarer than this `<unk>` (needs --unk) [default: 1]
    #[arg(long, value_name = "N")]
    min_count: Option<usize>,
    /// The fraction of the text, at its end, that is never learned from [default: 0.1]
    #[arg(long, value_name = "FRACTION")]
    held_out: Option<f64>,
    /// rnn (tanh), rnn_relu, rnn_identity, rnn_leaky:ALPHA, lstm, lstm_1997, gru or gru_reset_before [default: rnn]
    #[arg(long)]
    cell: Option<String>,
    /// Hidden units of each layer [default: 128]
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,
    /// Layers, each reading the one below [default: 1]
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Read each window in both directions; the network then reads the symbol it is to predict, and cannot be sampled
    #[arg(long)]
    bidirectional: bool,
    /// Let outputs between layers drop out with this probability, in training only [default: 0]
    #[arg(long, value_name = "P")]
    dropout: Option<f64>,
    /// How W_hh begins: uniform, uniform:BOUND, normal:STD, sparse:nonzeros=N,std=STD, xavier, orthogonal or identity
    /// [default: uniform]
    #[arg(long)]
    init: Option<Init>,
    /// How everything else begins, likewise [default: uniform]
    #[arg(long, value_name = "INIT")]
    init_others: Option<Init>,
    /// Let biases begin at 0, but for those of gates that are asked for
    #[arg(long)]
    zero_biases: bool,
    /// Scale W_hh (each gate's block) to this largest singular value
    #[arg(long, value_name = "SIGMA")]
    sigma_max: Option<f64>,
    /// Scale W_hh (each gate's block) to this spectral radius
    #[arg(long, value_name = "RHO")]
    spectral_radius: Option<f64>,
    /// What an LSTM's forget gates begin with as bias, for example 1 [default: as everything else]
    #[arg(long, value_name = "BIAS", allow_negative_numbers = true)]
    forget_bias: Option<f64>,
    /// What an LSTM's input gates begin with as bias [default: as everything else]
    #[arg(long, value_name = "BIAS", allow_negative_numbers = true)]
    input_bias: Option<f64>,
    /// Begin an LSTM's gates with biases for lags of up to N steps (chrono initialization)
    #[arg(long, value_name = "N")]
    chrono: Option<usize>,
    /// Updates to make [default: 2000]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Streams side by side [default: 32]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Steps from one update to the next: the truncation window [default: 64]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Let no gradient come back over every N-th step: truncation within a window or a task's sequence, 0 for never
    /// [default: 0]
    #[arg(long, value_name = "N")]
    detach_every: Option<usize>,
    /// sgd, sgd:momentum=0.9, adagrad, rmsprop, adam or adamw, each with its constants [default: adam]
    #[arg(long)]
    optimizer: Option<OptimizerKind>,
    /// Learning rate [default: 0.002]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// constant, cosine:warmup=N,floor=F or step:every=N,factor=F [default: constant]
    #[arg(long)]
    schedule: Option<Schedule>,
    /// Scale gradients down to this norm, 0 for never [default: 5]
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f64>,
    /// Limit gradient entries to this size, 0 for never [default: 0]
    #[arg(long, value_name = "SIZE")]
    clip_value: Option<f64>,
    /// Weight of the regularizer against vanishing gradients of Pascanu et al. 2013, 0 for none [default: 0]
    #[arg(long, value_name = "LAMBDA")]
    omega: Option<f64>,
    /// Begin with N updates that pull Lyapunov exponents to 0 (gradient flossing, Engelken 2023) [default: 0]
    #[arg(long, value_name = "N")]
    floss: Option<u64>,
    /// How many exponents these pull, the largest first [default: all]
    #[arg(long, value_name = "K")]
    floss_exponents: Option<usize>,
    /// Measure the held-out loss every N updates, 0 for the end only [default: 500]
    #[arg(long, value_name = "N")]
    evaluate_every: Option<u64>,
    /// Take one sequence's gradient apart every N updates, 0 for never [default: 100]
    #[arg(long, value_name = "N")]
    trace_every: Option<u64>,
    /// Where all randomness comes from [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Settings {
    /// A setting that was given and means nothing for a task.
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

    /// `config` with what was given on the command line.
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
        set(&mut config.trace_every, self.trace_every.as_ref());
        set(&mut config.seed, self.seed.as_ref());
        config
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt sample runs/demo/lstm
  bptt sample runs/book --prime \"It was\" --length 500 --temperature 0.7 --top-k 20")]
pub(crate) struct SampleArgs {
    /// A run's folder
    pub run: PathBuf,
    /// What the text begins with
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub prime: String,
    /// Symbols to write
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub length: usize,
    /// Below 1 is safer, above 1 is bolder, 0 takes the likeliest symbol every time
    #[arg(long, default_value_t = 0.8, value_name = "T")]
    pub temperature: f64,
    /// Draw from the K likeliest symbols only
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Where all randomness comes from
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

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
