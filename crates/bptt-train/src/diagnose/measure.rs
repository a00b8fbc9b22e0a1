//! Measurements of a network on a batch.

use std::ops::RangeInclusive;

use bptt::cell::GateRole;
use bptt::dynamics::{GateSpectrum, Implication, LyapunovOptions};
use bptt::in_f64;
use bptt::{
    Bootstrap, CellId, Direction, Entry, ForwardCache, GateSaturation, Inputs, ItemizeOptions, Ledger,
    Losses, Matrix, MemoryProfile, Network, Perturbed, ScanOptions, SmallestWindow, State,
    log_spaced_windows, quantile_interval,
};

use super::{Before, Evidence, Exponent, Gate, Lag, Median, NotFinite, Origin, Spread, Window};
use crate::{Error, Rng};

/// The fraction of the contributions that horizons cover.
pub(super) const HORIZON: f64 = 0.99;

/// The largest T·B·N³, with N the size of the state, at which exponents and the memory horizon are measured: about ten
/// seconds.
const AFFORDABLE: f64 = 1e11;

/// A network and its inputs.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The network.
    pub network: Network<f64>,
    /// The inputs.
    pub inputs: Inputs<f64>,
    /// The initial states.
    pub initial: State<f64>,
    /// Lengths, episodes, and the steps at which training cuts gradients.
    pub options: ScanOptions<f64>,
    /// The lag of the dependency, if it is known.
    pub lag: Option<RangeInclusive<usize>>,
    /// The network before training, if it is known.
    pub untrained: Option<Network<f64>>,
    /// The largest relative bias of a truncation window, to find the smallest such window. `None`: it is not searched for.
    pub bias: Option<f64>,
}

/// Measures everything a diagnosis needs. The first number that is not finite ends the measurement. `losses_of` computes
/// the losses of a forward scan.
///
/// # Errors
/// If something does not fit the network, or `losses_of` fails.
pub fn measure<E: From<Error>>(
    subject: Subject,
    losses_of: impl Fn(&Network<f64>, &ForwardCache<f64>) -> Result<Losses<f64>, E>,
) -> Result<Evidence, E> {
    let Subject { network, inputs, initial, options, lag, untrained, bias } = subject;
    let (steps, sequences) = inputs.shape();
    let lag = lag.map(|lag| Lag { nearest: *lag.start(), farthest: *lag.end() });
    let cell = network.spec().name.as_str().to_owned();
    let mut evidence = Evidence { cell, steps, sequences, lag, ..Evidence::default() };
    let bounds = options.clone();
    let trace =
        in_f64::scan_with(&network, inputs.clone(), &initial, options.clone()).map_err(Error::from)?;
    evidence.not_finite = data(&trace).or_else(|| weights(&network)).or_else(|| states(&trace));
    if evidence.not_finite.is_some() {
        return Ok(evidence);
    }
    let losses = losses_of(&network, &trace)?.without_zeros();
    evidence.losses = losses.present.iter().filter(|&&present| present).count();
    evidence.not_finite = not_finite(losses.check_finite(), Origin::Losses);
    if evidence.not_finite.is_some() {
        return Ok(evidence);
    }
    // A diverging eigenvalue iteration does not prevent the other measurements.
    evidence.gates = gates(&network, &trace, &in_f64::recurrent_spectra(&network).unwrap_or_default());
    let affordable = (steps * sequences) as f64 * state_size(&network).powi(3) <= AFFORDABLE;
    if affordable {
        evidence.exponent = exponent(&network, &trace);
    }
    let memory = if affordable { memory(&network, &trace) } else { None };
    evidence.memory_horizon = memory.as_ref().and_then(|memory| memory.horizon(HORIZON));
    if evidence.losses == 0 {
        return Ok(evidence);
    }
    let itemize = ItemizeOptions { inputs: false, ..ItemizeOptions::default() };
    match in_f64::itemize(&network, &trace, &losses, &itemize) {
        Ok(ledger) => {
            evidence.add_ledger(&ledger, &bounds);
            evidence.windows = windows(&network, &trace, &losses)?;
            if let Some(bias) = bias {
                let window = in_f64::smallest_window(&network, &trace, &losses, bias).map_err(Error::from)?;
                let SmallestWindow { window: steps, bias, cosine } = window;
                evidence.smallest_window =
                    Some(Window { steps, bias, cosine }).filter(|window| !window.bias.is_nan());
            }
            evidence.horizons = Some(horizons(&ledger, memory.as_ref()));
            if let Some(untrained) = untrained {
                let trace = in_f64::scan_with(&untrained, inputs, &initial, options).map_err(Error::from)?;
                let losses = losses_of(&untrained, &trace)?.without_zeros();
                let memory = if affordable { self::memory(&untrained, &trace) } else { None };
                // Without a ledger before training, the one after it stands alone.
                let ledger = in_f64::itemize(&untrained, &trace, &losses, &itemize).ok();
                evidence.before = ledger.as_ref().and_then(|ledger| Before::of(ledger, 0));
                evidence.horizons_untrained = ledger.map(|ledger| horizons(&ledger, memory.as_ref()));
            }
        }
        Err(bptt::Error::Exploded { parameter }) => evidence.overflow = Some(parameter),
        Err(error @ bptt::Error::Balance { .. }) => evidence.unbalanced = Some(error.to_string()),
        Err(error) => return Err(Error::from(error).into()),
    }
    Ok(evidence)
}

/// The horizons of W_hh over sequences.
fn horizons(ledger: &Ledger, memory: Option<&MemoryProfile>) -> Spread {
    let entry = ledger.recurrent(0);
    let sequences = entry.and_then(Entry::sequences).unwrap_or(0);
    let learning =
        (0..sequences).filter_map(|b| entry.and_then(|entry| entry.horizon_of_sequence(b, HORIZON)));
    let memory = memory.into_iter().flat_map(|memory| {
        (0..memory.sequences()).filter_map(move |b| memory.horizon_of_sequence(b, HORIZON))
    });
    Spread { learning: median(learning), memory: median(memory) }
}

/// The median of lags and its bootstrap interval; `None` without lags.
fn median(lags: impl Iterator<Item = usize>) -> Option<Median> {
    let lags: Vec<f64> = lags.map(|lag| lag as f64).collect();
    let mut rng = Rng::new(0, 0);
    let interval = quantile_interval(&lags, 0.5, Bootstrap::default(), |n| rng.below(n)).ok()??;
    Some(Median { steps: interval.estimate, low: interval.low, high: interval.high })
}

fn windows(
    network: &Network<f64>,
    trace: &ForwardCache<f64>,
    losses: &Losses<f64>,
) -> Result<Vec<Window>, Error> {
    let (steps, _) = trace.inputs().shape();
    let curve = in_f64::truncation_curve(network, trace, losses, &log_spaced_windows(steps))?;
    let numbers = curve.all.bias.iter().zip(&curve.all.cosine);
    let window = |(&steps, (&bias, &cosine))| Window { steps, bias, cosine };
    Ok(curve.windows.iter().zip(numbers).map(window).collect())
}

fn not_finite(checked: Result<(), bptt::Error>, origin: Origin) -> Option<NotFinite> {
    match checked {
        Err(bptt::Error::NotFinite { what, step, sequence }) => {
            Some(NotFinite { what, origin, step: Some(step as u64), sequence: Some(sequence) })
        }
        _ => None,
    }
}

fn data(trace: &ForwardCache<f64>) -> Option<NotFinite> {
    let Inputs::Dense(x) = trace.inputs() else { return None };
    let (step, sequence) = x.first_not_finite()?;
    let what = "the input x".into();
    Some(NotFinite { what, origin: Origin::Data, step: Some(step as u64), sequence: Some(sequence) })
}

fn weights(network: &Network<f64>) -> Option<NotFinite> {
    let tensors = network.weights().tensors();
    let (name, _) = tensors.iter().find(|(_, tensor)| tensor.data().iter().any(|w| !w.is_finite()))?;
    Some(NotFinite { what: name.clone(), origin: Origin::Weights, step: None, sequence: None })
}

fn states(trace: &ForwardCache<f64>) -> Option<NotFinite> {
    not_finite(trace.check_finite(), Origin::States)
}

/// N.
fn state_size(network: &Network<f64>) -> f64 {
    network.state_width() as f64
}

const BOTTOM: CellId = CellId { layer: 0, direction: Direction::Forward };

/// `None` with episodes or a single step.
fn exponent(network: &Network<f64>, trace: &ForwardCache<f64>) -> Option<Exponent> {
    let warm_up = LyapunovOptions::usual_warm_up(trace.inputs().shape().0);
    let options = LyapunovOptions { exponents: Some(1), warm_up, every: 1 };
    let found = in_f64::lyapunov(network, trace, BOTTOM, &options).ok()?;
    let standard_error = found.standard_error.as_ref().map(|errors| errors[0]).filter(|e| e.is_finite());
    let interval = found.interval(0).map(|(low, high)| [low, high]);
    Some(Exponent { per_step: found.largest(), standard_error, interval, warm_up })
}

/// Memory of a perturbation of the bottom layer's h in a random direction. `None` with episodes or in bidirectional
/// networks.
fn memory(network: &Network<f64>, trace: &ForwardCache<f64>) -> Option<MemoryProfile> {
    let hidden = network.output_width();
    let mut rng = Rng::new(0, 0);
    let direction: Vec<f64> = (0..hidden).map(|_| rng.normal()).collect();
    let direction = Matrix::new(1, hidden, direction).ok()?;
    in_f64::memory(network, trace, Perturbed::State { layer: 0 }, Some(&direction)).ok()
}

/// Every gate, with the numbers of these spectra.
pub(super) fn gates(
    network: &Network<f64>,
    trace: &ForwardCache<f64>,
    spectra: &[GateSpectrum],
) -> Vec<Gate> {
    let hidden = network.hidden() as f64;
    let gate = |(i, of): (usize, GateSaturation)| {
        let spectrum = spectra.get(i);
        let gate = network.spec().gate(of.gate);
        Gate {
            layer: of.cell.layer,
            direction: of.cell.direction.as_str(),
            gate: of.gate,
            saturated: of.saturated,
            shuts: gate.is_some_and(|gate| network.spec().gates[gate].activation.range().0 == 0.0),
            role: gate.map_or(GateRole::Candidate, |gate| network.spec().gates[gate].role),
            dead: of.dead.map(|units| units.len() as f64 / hidden),
            sigma_max: spectrum.map(GateSpectrum::sigma_max),
            spectral_radius: spectrum.map(GateSpectrum::spectral_radius),
            bound_to_vanish: spectrum.is_some_and(|of| of.implication == Implication::Vanishing),
        }
    };
    in_f64::saturation(network, trace).into_iter().enumerate().map(gate).collect()
}
