//! The command line.

mod compare;
mod diagnose;
mod model;
mod plot;
mod serve;
mod trace;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use compare::CompareArgs;
pub(crate) use diagnose::{CheckArgs, DiagnoseArgs, SubjectArgs};
pub(crate) use model::{ExportArgs, InspectArgs, Loss, ModelArgs, Reduce};
pub(crate) use plot::{Kind, PlotArgs};
pub(crate) use serve::{PageOptions, ServeArgs};
pub(crate) use trace::{Reading, ReadingArgs, Shown, TraceArgs};
pub(crate) use train::{Settings, TrainArgs};

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
