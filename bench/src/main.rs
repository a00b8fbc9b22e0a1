//! Measures bptt and its baselines, the machine's compute roofline, and builds of bptt.

mod builds;
mod case;
mod checks;
mod compare;
mod costs;
mod f32_errors;
mod npy;
mod own;
mod participants;
mod program;
mod roofline;
mod same_numbers;
mod scale;
mod serve;
mod summary;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use case::Selection;
use participants::Baselines;

/// Measures bptt and its baselines, the machine's compute roofline, and builds of bptt. Tables go to stdout and to files,
/// progress to stderr.
#[derive(Parser)]
#[command(name = "bptt-bench")]
struct Args {
    /// What to measure [default: compare, costs and scale]
    #[command(subcommand)]
    what: Option<What>,
    /// The Python interpreter with the baselines' libraries
    #[arg(long, global = true, default_value = "target/baselines/venv/bin/python")]
    python: PathBuf,
    /// The folder of the baselines written in Rust
    #[arg(long, global = true, default_value = "target/baselines/release")]
    rust_baselines: PathBuf,
    /// Seconds a baseline may take for an answer; slower ones are excluded and named in the table
    #[arg(long, global = true, default_value_t = 90)]
    timeout: u64,
    /// The folder for the tables
    #[arg(long, global = true, default_value = "bench/results")]
    out: PathBuf,
}

#[derive(Clone, Subcommand)]
enum What {
    /// Training and itemizing, compared with every baseline
    Compare {
        #[command(flatten)]
        selection: Selection,
        /// Only these baselines; `bptt` is always measured
        #[arg(long, value_delimiter = ',')]
        baselines: Option<Vec<String>>,
        /// Turns of every participant
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// Training and itemizing, compared with another build of this program
    Builds(builds::BuildsArgs),
    /// Whether two builds of the command `bptt` compute the same bits
    SameNumbers(same_numbers::SameNumbersArgs),
    /// Errors of ledgers in f32, and what the ledgers' own estimates say of them
    F32Errors(f32_errors::F32ErrorsArgs),
    /// Time and memory as functions of the number of steps, units, sequences and losses
    Scale {
        /// The longest sequence, 64 at least
        #[arg(long, default_value_t = 16_384)]
        longest: usize,
    },
    /// The cost of the optimizer and of a ledger during training
    Costs {
        /// Turns of each
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Answer a driver's requests: this project as a participant
    Serve {
        /// Threads to use
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
}

fn main() -> ExitCode {
    run(Args::parse()).unwrap_or_else(|error| {
        eprintln!("bptt-bench: {error}");
        ExitCode::FAILURE
    })
}

fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let timeout = Duration::from_secs(args.timeout);
    let baselines = Baselines { python: args.python, rust: args.rust_baselines, timeout };
    let compare = |selection, names, rounds| -> Result<(), Box<dyn Error>> {
        compare::run(&compare::Choice { selection, baselines: names, rounds }, &baselines, &args.out)
    };
    match args.what {
        Some(What::Builds(builds)) => return builds::run(&builds, &args.out),
        Some(What::SameNumbers(args)) => return same_numbers::run(&args),
        Some(What::F32Errors(args)) => f32_errors::run(&args)?,
        Some(What::Serve { threads }) => serve::run(threads)?,
        Some(What::Compare { selection, baselines, rounds }) => compare(selection, baselines, rounds)?,
        Some(What::Scale { longest }) => scale::run(longest, &args.out)?,
        Some(What::Costs { rounds }) => costs::run(rounds, &args.out)?,
        None => {
            compare(Selection::default(), None, 7)?;
            costs::run(5, &args.out)?;
            scale::run(16_384, &args.out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
