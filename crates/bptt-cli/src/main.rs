//! The `bptt` command: glue between the terminal and the libraries.
//!
//! Data goes to stdout, messages go to stderr. Exit codes: 0 for success, 1 for failure, 2 for wrong usage, 130 after Ctrl-C and
//! 143 after SIGTERM.

mod args;
mod commands;
mod memory;
mod progress;
mod tensorboard;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Wrong usage: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// An error of the libraries.
    #[error(transparent)]
    Train(#[from] bptt_train::Error),
    /// The page cannot be served.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Serve(#[from] bptt_serve::Error),
    /// A signal ended the command after it had kept what there was: the exit code, and what was kept.
    #[error("{1}")]
    Signalled(u8, String),
    /// Any other failure.
    #[error("{0}")]
    Other(String),
}

impl From<bptt::Error> for Failure {
    fn from(error: bptt::Error) -> Self {
        bptt_train::Error::from(error).into()
    }
}

impl From<bptt_io::Error> for Failure {
    fn from(error: bptt_io::Error) -> Self {
        bptt_train::Error::from(error).into()
    }
}

impl Failure {
    /// What is `asked` for needs a feature that this command was built without; `instead` is what does without it.
    #[cfg_attr(
        all(feature = "serve", feature = "report", feature = "parquet"),
        allow(dead_code, reason = "nothing is missing")
    )]
    fn built_without(feature: &str, asked: &str, instead: &str) -> Self {
        Self::Usage(format!(
            "{asked}: this command was built without the feature {feature}; {instead}build it with \
             cargo install bptt-cli --features {feature}"
        ))
    }

    fn code(&self) -> u8 {
        let wrong_usage = match self {
            Self::Usage(_) => true,
            Self::Signalled(code, _) => return *code,
            Self::Train(error) => error.is_usage(),
            #[cfg(feature = "serve")]
            Self::Serve(bptt_serve::Error::NoToken(_) | bptt_serve::Error::WeakToken) => true,
            _ => false,
        };
        if wrong_usage { 2 } else { 1 }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    args::warn_of_old_names(std::env::args());
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // In the form of clap's own errors. The reader of stderr may have closed it.
            let _ =
                clap::Error::raw(ErrorKind::Io, commands::harmless(&in_full(&failure)).into_owned() + "\n")
                    .print();
            ExitCode::from(failure.code())
        }
    }
}

/// An error and its causes.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = cli.threads {
        pool = pool.num_threads(usize::from(threads));
    }
    if cli.quiet {
        progress::without_bars();
    }
    if let Some(bytes) = cli.max_memory {
        memory::limit_to(bytes);
    }
    let pool = pool.build().map_err(|error| Failure::Other(format!("cannot start threads: {error}")))?;
    pool.install(|| match &cli.command {
        Command::Article(args) => commands::article::run(args),
        Command::Train(args) => commands::train::run(args, cli.quiet),
        Command::Tasks(args) => commands::tasks::run(args),
        Command::Compare(args) => commands::compare::run(args, cli.quiet),
        Command::Sample(args) => commands::sample::run(args),
        Command::Trace(args) => commands::trace::run(args, cli.quiet),
        Command::Plot(args) => commands::plot::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Diagnose(args) => commands::diagnose::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Serve(args) => commands::serve::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Export(args) => commands::export::run(args),
        Command::Demo(args) => commands::demo::run(args, cli.quiet),
        Command::Verify(args) => commands::verify::run(args),
        Command::Words => commands::print(&args::words()),
        Command::Completions { shell } => commands::manual::completions(*shell),
        Command::Man { folder } => commands::manual::pages(folder),
    })
}
