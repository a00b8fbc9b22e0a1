//! What a number format loses of far gradients: the same backward pass in f64, in f32 and in bf16, component by component.
//!
//! The rows of a ledger carry exponents and lose nothing by their size. Those of an ordinary framework do not: here each loss
//! goes back alone in plain numbers of a format, and its da at every step is compared with the one in f64.

use rayon::prelude::*;

use crate::Error;
use crate::forward::{ForwardCache, Inputs, Losses, Objective, ScanOptions, losses, scan_rounded, scan_with};
use crate::kernel::{Format, norm};
use crate::ledger::median;
use crate::model::{CellId, Network, State, Width};
use crate::reverse::{Numbers, Part, Plan, RowOptions, Source, Step, reverse_layers};

/// What each format keeps of the gradients with respect to one cell's pre-activations, lag by lag.
#[derive(Clone, Debug, PartialEq)]
pub struct PrecisionAudit {
    /// Which cell.
    pub cell: CellId,
    /// Smallest lag first; without lags at which all components are exactly zero.
    pub lags: Vec<LagPrecision>,
}

/// The components at one lag |k − t|, over all losses k whose component there is not exactly zero.
#[derive(Clone, Debug, PartialEq)]
pub struct LagPrecision {
    /// The lag.
    pub lag: usize,
    /// How many components.
    pub losses: usize,
    /// log₁₀ of the median of ‖da_{k,t}‖ in f64, however small: how small it is by mathematics.
    pub log10_exact: f64,
    /// The same in each format, in the order of [`Format::ALL`].
    pub formats: [FormatAtLag; 3],
}

/// What a format has of the components at one lag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FormatAtLag {
    /// log₁₀ of the median of ‖da_{k,t}‖; −∞ where it is zero.
    pub log10: f64,
    /// The median of ‖da − exact da‖ / ‖exact da‖: 1 where nothing is left, infinite where it is not finite.
    pub difference: f64,
    /// How many numbers the components have.
    pub numbers: usize,
    /// How many of them are denormal: not zero, but below the smallest normal number.
    pub denormals: usize,
    /// How many are zero and are not in f64.
    pub zeros: usize,
}

impl PrecisionAudit {
    /// The smallest lag from which on, there and at all larger lags, the median difference is above `tolerance`: farther
    /// than this, `format` says nothing of a gradient that is not zero. `None` if it keeps the farthest.
    pub fn lost_from(&self, format: Format, tolerance: f64) -> Option<usize> {
        self.from(|at| at.formats[format as usize].difference > tolerance)
    }

    /// The smallest lag from which on the median norm, by mathematics, is below the smallest normal number of the formats;
    /// for what is lost sooner, size is not the reason.
    pub fn small_from(&self) -> Option<usize> {
        self.from(|at| at.log10_exact < Format::LOG10_SMALLEST_NORMAL)
    }

    fn from(&self, holds: impl Fn(&LagPrecision) -> bool) -> Option<usize> {
        self.lags.iter().rev().take_while(|at| holds(at)).last().map(|at| at.lag)
    }
}

/// Numbers of exact rows that are kept at a time, over all cells.
const NUMBERS_AT_A_TIME: usize = 1 << 23;

/// What each format loses, see [`Network::precision_audit`].
pub(crate) fn precision_audit(
    network: &Network<f64>,
    inputs: &Inputs<f64>,
    initial: &State<f64>,
    options: &ScanOptions<f64>,
    objective: &Objective<f64>,
) -> Result<Vec<PrecisionAudit>, Error> {
    let cache = scan_with(network, inputs.clone(), initial, options.clone())?;
    cache.check_finite()?;
    let losses = losses(network, &cache, objective)?;
    losses.check_finite()?;
    let forward = |format| Rounded::new(network, format, inputs, initial, options, objective);
    let rounded: Vec<Rounded> = Format::ALL.into_par_iter().map(forward).collect::<Result<_, _>>()?;

    let (steps, batch) = cache.inputs().shape();
    let present = losses.active(&cache);
    let ks: Vec<usize> = (0..steps).filter(|&k| present[k]).collect();
    let cells = network.weights().cells.len();
    let row = steps * batch * network.weights().cells[0].sizes().of(Width::Gates) * cells;
    let mut found: Vec<Vec<Found>> = vec![vec![Found::default(); steps]; cells];
    for ks in ks.chunks((NUMBERS_AT_A_TIME / row).max(1)) {
        let exact = exact_rows(network, &cache, &losses, ks);
        let compared: Vec<Vec<Compared>> =
            rounded.par_iter().map(|rounded| rounded.compare(ks, &exact)).collect();
        for row in exact {
            found[row.index][row.lag].log10_exact.push(log10(&row.da));
        }
        for (format, compared) in compared.into_iter().enumerate() {
            for of in compared {
                found[of.index][of.lag].formats[format].enter(&of);
            }
        }
    }
    let audit = |(index, found): (usize, Vec<Found>)| PrecisionAudit {
        cell: network.weights().cell_id(index),
        lags: found.into_iter().enumerate().filter_map(|(lag, found)| found.summary(lag)).collect(),
    };
    Ok(found.into_iter().enumerate().map(audit).collect())
}

/// da of the losses `ks` at every step where it is not zero.
fn exact_rows(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    losses: &Losses<f64>,
    ks: &[usize],
) -> Vec<ExactRow> {
    let mut exact = Vec::new();
    let plan = Plan::apart(losses.present.len(), ks);
    let (_, batch) = cache.inputs().shape();
    let (source, options) = (Source::Losses(losses), RowOptions::scaled());
    reverse_layers(network, cache, source, &plan, options, &mut Vec::new(), |index, step| {
        for (row, &k) in plan.groups().iter().enumerate().take(step.da().rows() / batch) {
            let rows = row * batch..(row + 1) * batch;
            let numbers = step.da().rows_of(row, batch).data().to_vec();
            let da = Part::new(&(numbers, step.exponents[rows].to_vec()), step.da().cols());
            if norm(da.numbers.data()) > 0.0 {
                exact.push(ExactRow { index, row, t: step.t, lag: k.abs_diff(step.t), da });
            }
        }
    });
    exact
}

/// da_{k,t} of one cell.
struct ExactRow {
    index: usize,
    row: usize,
    t: usize,
    lag: usize,
    da: Part<f64>,
}

fn log10(da: &Part<f64>) -> f64 {
    norm(da.numbers.data()).log10() + f64::from(da.exponent) * std::f64::consts::LOG10_2
}

/// A network, its inputs and its initial state.
type Problem = (Network<f32>, Inputs<f32>, State<f32>);

/// The same in a format.
pub(super) fn rounded_to(
    format: Format,
    network: &Network<f64>,
    inputs: &Inputs<f64>,
    initial: &State<f64>,
) -> Result<Problem, Error> {
    let mut network: Network<f32> = network.cast()?;
    for tensor in network.tensors_mut() {
        format.round(tensor.data_mut());
    }
    let (mut inputs, mut initial) = (inputs.cast(), initial.cast());
    if let Inputs::Dense(x) = &mut inputs {
        format.round(x.data_mut());
    }
    for state in initial.matrices_mut() {
        format.round(state.data_mut());
    }
    Ok((network, inputs, initial))
}

/// A network in a format, what it kept in its forward scan, and its losses.
pub(super) struct Rounded {
    pub(super) format: Format,
    pub(super) network: Network<f32>,
    pub(super) cache: ForwardCache<f32>,
    pub(super) losses: Losses<f32>,
}

impl Rounded {
    pub(super) fn new(
        network: &Network<f64>,
        format: Format,
        inputs: &Inputs<f64>,
        initial: &State<f64>,
        options: &ScanOptions<f64>,
        objective: &Objective<f64>,
    ) -> Result<Self, Error> {
        let (network, inputs, initial) = rounded_to(format, network, inputs, initial)?;
        let cache = scan_rounded(&network, inputs, &initial, options.cast(), format)?;
        let losses = losses(&network, &cache, &objective.cast())?;
        Ok(Self { format, network, cache, losses })
    }

    /// How far the format's rows are from the exact ones, in their order.
    fn compare(&self, ks: &[usize], exact: &[ExactRow]) -> Vec<Compared> {
        let plan = Plan::apart(self.losses.present.len(), ks);
        let Self { network, cache, losses, .. } = self;
        let (_, batch) = cache.inputs().shape();
        let (mut compared, mut rest) = (Vec::with_capacity(exact.len()), exact);
        let options = RowOptions { numbers: Numbers::Rounded(self.format), ..RowOptions::default() };
        let mut compare = |index: usize, step: &Step<'_, f32>| {
            // Both backward passes see cells and steps in the same order.
            let here = rest.iter().take_while(|row| (row.index, row.t) == (index, step.t)).count();
            for row in &rest[..here] {
                compared.push(Compared::new(row, step.da().rows_of(row.row, batch).data()));
            }
            rest = &rest[here..];
        };
        let source = Source::Losses(losses);
        reverse_layers(network, cache, source, &plan, options, &mut Vec::new(), &mut compare);
        compared
    }
}

/// How far one row is from the exact one.
struct Compared {
    index: usize,
    lag: usize,
    log10: f64,
    difference: f64,
    numbers: usize,
    denormals: usize,
    zeros: usize,
}

impl Compared {
    fn new(exact: &ExactRow, found: &[f32]) -> Self {
        let da = exact.da.numbers.data();
        // Zero stays zero, however large the power that brings the exact row to its size.
        let scale = 2f64.powi(-exact.da.exponent);
        let scaled = |v: f32| if v == 0.0 { 0.0 } else { f64::from(v) * scale };
        let difference: Vec<f64> = found.iter().zip(da).map(|(&v, exact)| scaled(v) - exact).collect();
        let difference = if difference.iter().all(|v| v.is_finite()) {
            norm(&difference) / norm(da)
        } else {
            f64::INFINITY
        };
        let is_denormal = |v: &&f32| v.is_subnormal();
        let is_lost = |(v, exact): &(&f32, &f64)| **v == 0.0 && **exact != 0.0;
        Self {
            index: exact.index,
            lag: exact.lag,
            log10: norm(found).log10(),
            difference,
            numbers: found.len(),
            denormals: found.iter().filter(is_denormal).count(),
            zeros: found.iter().zip(da).filter(is_lost).count(),
        }
    }
}

/// What was found at one lag of a cell.
#[derive(Clone, Default)]
struct Found {
    log10_exact: Vec<f64>,
    formats: [FoundInFormat; 3],
}

#[derive(Clone, Default)]
struct FoundInFormat {
    log10: Vec<f64>,
    difference: Vec<f64>,
    numbers: usize,
    denormals: usize,
    zeros: usize,
}

impl FoundInFormat {
    fn enter(&mut self, of: &Compared) {
        self.log10.push(of.log10);
        self.difference.push(of.difference);
        self.numbers += of.numbers;
        self.denormals += of.denormals;
        self.zeros += of.zeros;
    }
}

impl Found {
    fn summary(self, lag: usize) -> Option<LagPrecision> {
        let losses = self.log10_exact.len();
        let middle = |values: Vec<f64>| median(values).unwrap_or(f64::NAN);
        (losses > 0).then(|| LagPrecision {
            lag,
            losses,
            log10_exact: middle(self.log10_exact),
            formats: self.formats.map(|of| FormatAtLag {
                log10: middle(of.log10),
                difference: middle(of.difference),
                numbers: of.numbers,
                denormals: of.denormals,
                zeros: of.zeros,
            }),
        })
    }
}
