//! The command line.
//!
//! A renamed flag keeps its old name as a hidden alias for one version, and [`warn_of_old_names`] says the new one.

mod compare;
mod diagnose;
#[cfg(test)]
mod documents;
mod model;
mod plot;
mod serve;
#[cfg(test)]
mod shell_lines;
mod trace;
mod train;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub(crate) use compare::CompareArgs;
pub(crate) use diagnose::{CheckArgs, DiagnoseArgs, SubjectArgs};
pub(crate) use model::{ExportArgs, InspectArgs, Loss, ManyToOne, ModelArgs, Reduce};
pub(crate) use plot::{Kind, PlotArgs};
pub(crate) use serve::{PageOptions, ServeArgs};
pub(crate) use trace::{Reading, ReadingArgs, TraceArgs};
pub(crate) use train::{Settings, TrainArgs};

/// Show which past step contributed what to the gradient of a recurrent network.
#[derive(Debug, Parser)]
#[command(name = "bptt", version, after_help = "Start with: bptt demo")]
pub(crate) struct Cli {
    /// Number of threads; results do not depend on it [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Refuse what needs more memory than this, such as 8G [default: 80 % of what is available]
    #[arg(long, global = true, value_name = "SIZE", value_parser = crate::memory::parse)]
    pub max_memory: Option<f64>,

    /// Print no progress on stderr; warnings and assumptions are still printed
    #[arg(long, short, global = true)]
    pub quiet: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a tanh RNN and an LSTM on sentences with a known dependency, and show which word they learned from
    Demo(DemoArgs),
    /// Print the numerical example of the article that this project is based on
    Article(ArticleArgs),
    /// Train a network on a text or a task
    Train(Box<TrainArgs>),
    /// List the tasks with a known dependency: their lag, and the loss of a model without memory
    Tasks(TasksArgs),
    /// Train on a task with several remedies against vanishing gradients, and compare the results
    Compare(Box<CompareArgs>),
    /// Generate text with a trained network
    Sample(SampleArgs),
    /// Print the ledger of a network: what each past step contributed to the gradient of each loss
    Trace(Box<TraceArgs>),
    /// Draw a figure: heatmap, lag profile, spectrum, truncation curve, training curves, comparison
    Plot(Box<PlotArgs>),
    /// Write a run as one interactive HTML file that works offline
    Report(Box<ReportArgs>),
    /// Measure how far back gradients reach in a network, say what limits them, and propose changes
    Diagnose(Box<DiagnoseArgs>),
    /// Compare a network with limits: exit code 0 if all are met, 1 if not
    Check(Box<CheckArgs>),
    /// Read every file of a run and compare it with its checksum: exit code 0 if all are as they were written, 1 if not
    Verify(VerifyArgs),
    /// Serve a local web page: runs, and a laboratory in which a network can be changed
    Serve(ServeArgs),
    /// List the recurrent modules in a model file, with the singular values of their recurrent weights
    Inspect(InspectArgs),
    /// Write a model with PyTorch's tensor names
    Export(ExportArgs),
    /// Explain the words of the output: horizon, decay, share, balance and others
    #[command(after_help = words())]
    Words,
    /// Print a script that completes commands and options in a shell
    #[command(after_help = "Example:
  bptt completions bash > ~/.local/share/bash-completion/completions/bptt")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each command
    #[command(after_help = "Example:
  bptt man ~/.local/share/man/man1")]
    Man {
        /// Folder to write to
        folder: PathBuf,
    },
}

/// The glossary as text.
pub(crate) fn words() -> String {
    let line = |(word, meaning): &(&str, &str)| format!("{word}: {meaning}\n");
    bptt_view::glossary::WORDS.iter().map(line).collect()
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bptt article\n  bptt article --open\n  bptt article --json > article.json"
)]
pub(crate) struct ArticleArgs {
    /// Print all numbers as JSON (schema bptt.ledger/2 with "components"), and write no report
    #[arg(long, conflicts_with_all = ["out", "open", "no_report"])]
    pub json: bool,
    /// Folder of the report
    #[arg(long, default_value = "runs/article", value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub report: ReportOptions,
}

/// The report that a command writes at its end.
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
  bptt report runs/demo --text \"Because no food was available in the market, John had to skip dinner.\" \\
    --predicting dinner
  bptt report runs/book --steps 512 -o book.html --open
  bptt report --model m.safetensors --input x.npy --target y.npy -o m.html")]
pub(crate) struct ReportArgs {
    /// Folders of runs, or folders that contain runs; several runs are shown side by side
    #[arg(id = "run", required_unless_present = "model", value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Text to read, preceded by a line break [default: the beginning of the held-out text]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Number of steps of the held-out text [default: the window of the run]
    #[arg(long, value_name = "N", conflicts_with = "text")]
    pub steps: Option<usize>,
    /// Show the loss of predicting this symbol first, at its last occurrence [default: the one whose far contributions are largest]
    #[arg(long, alias = "of", value_name = "SYMBOL")]
    pub predicting: Option<String>,
    /// Show the loss at this step first, counted from 0
    #[arg(long, alias = "at", value_name = "K", conflicts_with = "predicting")]
    pub loss_step: Option<usize>,
    /// File to write [default: report.html in the first folder, or here]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Open the report in the browser
    #[arg(long)]
    pub open: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bptt demo\n  bptt demo --out runs/another --json")]
pub(crate) struct DemoArgs {
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,

    /// Number of updates of each network
    #[arg(long, default_value_t = 6_000, value_name = "N")]
    pub steps: u64,

    /// Folder of the two runs, rnn and lstm; an older demo in it is replaced
    #[arg(long, default_value = "runs/demo", value_name = "DIR")]
    pub out: PathBuf,

    /// Print the result as JSON (schema bptt.demo/2)
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub report: ReportOptions,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bptt verify runs/book --json")]
pub(crate) struct VerifyArgs {
    /// Folder of a run, finished or not
    pub run: PathBuf,
    /// Print JSON (schema bptt.verify/1)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bptt tasks\n  bptt tasks --length 200 --json\n  bptt train --task adding --length 50 --cell lstm"
)]
pub(crate) struct TasksArgs {
    /// Length L of the sequences [default: the usual length of each task]
    #[arg(long, value_name = "L")]
    pub length: Option<usize>,
    /// Print JSON (schema bptt.tasks/1)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt sample runs/demo/lstm
  bptt sample runs/book --prime \"It was\" --length 500 --temperature 0.7 --top-k 20")]
pub(crate) struct SampleArgs {
    /// Folder of a run
    pub run: PathBuf,
    /// Beginning of the text
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub prime: String,
    /// Number of symbols to generate
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub length: usize,
    /// Softmax temperature; 0 always takes the most likely symbol
    #[arg(long, default_value_t = 0.8, value_name = "T")]
    pub temperature: f64,
    /// Sample from the K most likely symbols only
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Print JSON (schema bptt.sample/1)
    #[arg(long)]
    pub json: bool,
}

/// Flags, or values of flags, with their old and new names, and the commands they belong to.
const RENAMED: [(&[&str], &str, &str); 8] = [
    (&["trace", "plot", "diagnose", "check"], "--seeds", "--grad-output"),
    (&["trace", "report"], "--of", "--predicting"),
    (&["trace", "report"], "--at", "--loss-step"),
    (&["diagnose"], "--bias", "--max-bias"),
    (&["compare"], "--solved", "--solved-at"),
    (&["train"], "--generate pantry", "--generate cue_sentences"),
    (&["train"], "--task pantry", "--task cue_sentences"),
    (&["compare"], "--task pantry", "--task cue_sentences"),
];

/// Warns on stderr of every old name among the arguments.
pub(crate) fn warn_of_old_names(arguments: impl Iterator<Item = String>) {
    for (old, new) in old_names(&arguments.collect::<Vec<_>>()) {
        eprintln!("warning: {old} is now called {new}; the old name will be removed in the next version");
    }
}

/// The old names among the arguments, with the new ones.
fn old_names(arguments: &[String]) -> Vec<(&'static str, &'static str)> {
    // The first that is one: options of all commands may come before it, with their values.
    let commands = Cli::command();
    let command = arguments.iter().skip(1).find(|argument| commands.find_subcommand(argument).is_some());
    let given = |old: &str| match old.split_once(' ') {
        Some((flag, value)) => {
            arguments.windows(2).any(|pair| pair[0] == flag && pair[1] == value)
                || arguments.contains(&format!("{flag}={value}"))
        }
        None => arguments.iter().any(|argument| argument.split('=').next() == Some(old)),
    };
    let renamed = RENAMED.iter().filter(|(commands, old, _)| {
        command.is_some_and(|command| commands.contains(&command.as_str())) && given(old)
    });
    renamed.map(|&(_, old, new)| (old, new)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(line: &str) -> Vec<&'static str> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        old_names(&arguments).into_iter().map(|(_, new)| new).collect()
    }

    #[test]
    fn old_names_are_found_where_they_are_old() {
        assert_eq!(old("bptt trace --model m.npz --seeds dh.npy --at=3"), ["--grad-output", "--loss-step"]);
        assert_eq!(old("bptt train --generate pantry --level word"), ["--generate cue_sentences"]);
        assert_eq!(old("bptt --threads 4 trace run --at=3"), ["--loss-step"]);
        assert_eq!(old("bptt compare --seeds 5 --task=pantry"), ["--task cue_sentences"]);
        assert!(old("bptt trace run --grad-output dh.npy --predicting --of-course").is_empty());
    }

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
