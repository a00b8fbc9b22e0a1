//! Measures bptt against its peers and against the machine's roof.

mod case;
mod compare;
mod costs;
mod forms;
mod own;
mod peer;
mod roof;
mod scale;
mod serve;
mod summary;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use forms::Peers;

/// Measures bptt against its peers and against the machine's roof. Tables go to stdout and into files, talk to stderr.
#[derive(Parser)]
#[command(name = "bptt-bench")]
struct Args {
    /// What to measure; all of it without a word.
    #[command(subcommand)]
    what: Option<What>,
    /// The Python that has the peers' libraries.
    #[arg(long, global = true, default_value = "target/peers/venv/bin/python")]
    python: PathBuf,
    /// Where the peers written in Rust are.
    #[arg(long, global = true, default_value = "target/peers/release")]
    rust_peers: PathBuf,
    /// Seconds that a peer's answer may take; who needs longer does not take part, and the table says so.
    #[arg(long, global = true, default_value_t = 90)]
    patience: u64,
    /// Where the tables go.
    #[arg(long, global = true, default_value = "bench/results")]
    out: PathBuf,
}

#[derive(Clone, Subcommand)]
enum What {
    /// Training and itemizing, against every peer.
    Compare {
        /// Only these shapes: A, B, C, D (training), a, b, c (itemizing).
        #[arg(long, value_delimiter = ',')]
        shapes: Vec<String>,
        /// Only these cells: rnn, lstm, gru.
        #[arg(long, value_delimiter = ',')]
        cells: Vec<String>,
        /// Only these peers; `bptt` is always there.
        #[arg(long, value_delimiter = ',')]
        peers: Option<Vec<String>>,
        /// How often everyone has a turn.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// Time and memory against the number of steps, units, sequences and losses.
    Scale {
        /// The longest sequence, 64 at least.
        #[arg(long, default_value_t = 16_384)]
        longest: usize,
    },
    /// What the optimizer and a look at the gradients cost in training.
    Costs {
        /// How often each has a turn.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Answers a driver's questions: this project as one of the peers.
    Serve {
        /// Threads it may use.
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bptt-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let peers =
        Peers { python: args.python, rust: args.rust_peers, patience: Duration::from_secs(args.patience) };
    let compare = |shapes, cells, names, rounds| -> Result<(), Box<dyn Error>> {
        compare::run(&compare::Choice { shapes, cells, peers: names, rounds }, &peers, &args.out)
    };
    match args.what {
        Some(What::Serve { threads }) => serve::run(threads),
        Some(What::Compare { shapes, cells, peers, rounds }) => compare(shapes, cells, peers, rounds),
        Some(What::Scale { longest }) => scale::run(longest, &args.out),
        Some(What::Costs { rounds }) => costs::run(rounds, &args.out),
        None => {
            compare(Vec::new(), Vec::new(), None, 7)?;
            costs::run(5, &args.out)?;
            scale::run(16_384, &args.out)
        }
    }
}
