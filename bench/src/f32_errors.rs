//! How far ledgers in f32 are from those in f64, and what their own estimates say.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // quantiles, symbols, and factors of f32 weights

use std::error::Error;
use std::time::Instant;

use bptt::{
    EntryState, Inputs, ItemizeOptions, Ledger, Losses, Network, Objective, Real, Reduction, Symbols,
    Targets, cells, in_f64,
};
use bptt_train::{Config, Rng};
use clap::Args;

/// Which ledgers.
#[derive(Args, Clone)]
pub struct F32ErrorsArgs {
    /// Steps
    #[arg(long, value_delimiter = ',', default_values_t = [512, 2048, 8192])]
    steps: Vec<usize>,
    /// Only these cells, without what follows the colon
    #[arg(long, value_delimiter = ',')]
    cells: Option<Vec<String>>,
    /// Units
    #[arg(long, default_value_t = 32)]
    hidden: usize,
    /// Sequences
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// The factor that the recurrent weights are multiplied with: gradients go farther
    #[arg(long, default_value_t = 1.0)]
    gain: f64,
    /// The seed of weights and data
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Symbols that are read and predicted.
const SYMBOLS: usize = 8;

struct Problem<T: Real> {
    network: Network<T>,
    cache: bptt::ForwardCache<T>,
    losses: Losses<T>,
}

impl<T: Real> Problem<T> {
    fn new(network: Network<T>, inputs: &Symbols, targets: &Symbols) -> Result<Self, bptt::Error> {
        let state = network.zero_state(inputs.shape().1);
        let cache = network.scan(Inputs::Symbols(inputs.clone()), &state)?;
        let targets = Targets::CrossEntropy(targets.clone());
        let losses = network.losses(&cache, &Objective { targets, mask: None, reduction: Reduction::Sum })?;
        Ok(Self { network, cache, losses })
    }
}

/// Both ledgers have the parameters' norms and nothing else.
fn options<T: Real>() -> ItemizeOptions<'static, T> {
    ItemizeOptions { sequences: false, inputs: false, ..ItemizeOptions::default() }
}

/// Prints a row for each cell and number of steps.
pub fn run(args: &F32ErrorsArgs) -> Result<(), Box<dyn Error>> {
    println!(
        "| cell | T | entries | median error | 99.9 % | largest | covered, % | estimate / error, median | f32, s | estimate, s |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let chosen = |name: &&str| {
        let cell = name.split(':').next();
        args.cells.as_ref().is_none_or(|cells| cells.iter().any(|c| Some(c.as_str()) == cell))
    };
    for name in cells().into_iter().filter(chosen) {
        for &steps in &args.steps {
            one(args, name, steps)?;
        }
    }
    Ok(())
}

fn one(args: &F32ErrorsArgs, cell: &str, steps: usize) -> Result<(), Box<dyn Error>> {
    let config = Config { cell: cell.into(), hidden: args.hidden, seed: args.seed, ..Config::default() };
    let mut network = config.network(SYMBOLS, SYMBOLS)?;
    for tensor in network.tensors_mut() {
        if tensor.cols() == args.hidden {
            tensor.data_mut().iter_mut().for_each(|w| *w *= args.gain as f32);
        }
    }
    let mut rng = Rng::new(args.seed, 77);
    let mut symbols = || {
        let ids = (0..steps * args.batch).map(|_| rng.below(SYMBOLS) as u32).collect();
        Symbols::new(steps, args.batch, ids)
    };
    let (inputs, targets) = (symbols()?, symbols()?);
    let started = Instant::now();
    let Problem { network: network32, cache: cache32, losses: losses32 } =
        Problem::new(network, &inputs, &targets)?;
    let mut ledger = network32.itemize(&cache32, &losses32, &options())?;
    let time_f32 = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let Problem { network, cache, losses } = Problem::new(network32.cast::<f64>()?, &inputs, &targets)?;
    ledger.estimate_errors(&network, &cache, &losses)?;
    let time_estimate = started.elapsed().as_secs_f64();
    let exact = in_f64::itemize(&network, &cache, &losses, &options())?;
    let found = Found::new(&ledger, &exact);
    println!(
        "| {cell} | {steps} | {} | {:.1e} | {:.1e} | {:.1e} | {:.3} | {:.1} | {time_f32:.2} | {time_estimate:.2} |",
        found.entries,
        found.median,
        found.high,
        found.largest,
        100.0 * found.covered,
        found.ratio
    );
    Ok(())
}

struct Found {
    entries: usize,
    median: f64,
    high: f64,
    largest: f64,
    covered: f64,
    ratio: f64,
}

impl Found {
    fn new(ledger: &Ledger, exact: &Ledger) -> Self {
        let (mut errors, mut ratios, mut covered) = (Vec::new(), Vec::new(), 0usize);
        for (found, exact) in ledger.entries().iter().zip(exact.entries()) {
            for (k, t) in (0..ledger.steps()).flat_map(|k| (0..ledger.steps()).map(move |t| (k, t))) {
                let norms = found.log10_norm(k, t).zip(exact.log10_norm(k, t));
                let Some((of_found, of_exact)) = norms else { continue };
                if exact.state(k, t) == EntryState::Zero && found.state(k, t) == EntryState::Zero {
                    continue;
                }
                let error =
                    if of_found == of_exact { 0.0 } else { (10f64.powf(of_found - of_exact) - 1.0).abs() };
                let estimate = found.relative_error(k, t).unwrap_or(f64::NAN);
                covered += usize::from(error <= estimate);
                errors.push(error as f32);
                ratios.push((estimate / error) as f32);
            }
        }
        let entries = errors.len();
        let at = |of: &mut Vec<f32>, q: f64| {
            let i = ((entries - 1) as f64 * q) as usize;
            f64::from(*of.select_nth_unstable_by(i, f32::total_cmp).1)
        };
        Self {
            entries,
            median: at(&mut errors, 0.5),
            high: at(&mut errors, 0.999),
            largest: at(&mut errors, 1.0),
            covered: covered as f64 / entries as f64,
            ratio: at(&mut ratios, 0.5),
        }
    }
}
