//! Proposed changes by verdict, the most likely to help first, as options of `bptt train` and as lines of PyTorch.

use std::sync::Arc;

use bptt::{Activation, CellSpec, cell_by_name};
use serde::Serialize;

use super::learned::CLIPPED_AWAY;
use super::{CutBy, Evidence, Kind, Origin, Verdict, torch_lines};
use crate::config::Keep;
use crate::{Config, Init};

/// The largest number of proposals.
const MOST: usize = 3;

/// A change that may help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The change.
    pub change: String,
    /// The reason why it may help.
    pub why: &'static str,
    /// The options of `bptt train` that make the change; none if the training need not change.
    pub options: Vec<String>,
    /// Lines of PyTorch that make it, for the module `rnn` of a `model` with an `optimizer`; none if there are no such lines.
    pub pytorch: Vec<String>,
}

impl Remedy {
    fn with(self, pytorch: Vec<String>) -> Self {
        Self { pytorch, ..self }
    }
}

/// Of a change that is none of the training.
const NO_OPTIONS: &[(&str, &str)] = &[];

fn remedy<S: AsRef<str>>(change: impl Into<String>, why: &'static str, options: &[(&str, S)]) -> Remedy {
    let options =
        options.iter().flat_map(|(name, value)| [*name, value.as_ref()]).filter(|word| !word.is_empty());
    Remedy { change: change.into(), why, options: options.map(str::to_owned).collect(), pytorch: Vec::new() }
}

/// The two or three changes that are most likely to help a network of these settings, ranked. A change that is already made
/// is not proposed.
pub fn remedies(verdict: &Verdict, evidence: &Evidence, config: &Config) -> Vec<Remedy> {
    let lag = evidence
        .lag
        .map_or_else(|| evidence.lag_statistics.as_ref().map_or(0, |lags| lags.target), |lag| lag.farthest);
    // How a model from elsewhere began is not known.
    let began_well = evidence.training.is_some() && moderate(config);
    let found = match verdict.kind {
        Kind::NotFinite => not_finite(evidence, config),
        // Of a gradient that decays it is not known whether a longer reach helps.
        Kind::CannotTell | Kind::Learned | Kind::NothingToLearn | Kind::Decays => Vec::new(),
        Kind::UpdatesTooLarge => vec![Some(rate(evidence, config)), Some(clip(config))],
        Kind::UpdatesTooSmall => vec![clip_less(evidence, config), Some(rate(evidence, config))],
        Kind::Overfits => vec![keep_best(config), fewer_units(config), dropout(config)],
        Kind::Worsened => vec![Some(slower(config)), keep_best(config), Some(clip(config))],
        Kind::LearnedNothing => {
            vec![rate_of_default(config), Some(more_updates(config)), remember(config, lag)]
        }
        Kind::Explodes if began_well => {
            vec![Some(clip(config)), contract(config), bound(config), Some(slower(config))]
        }
        Kind::Explodes => vec![contract(config), bound(config), Some(clip(config)), Some(slower(config))],
        Kind::DeadUnits => vec![
            Some(slower(config)),
            Some(remedy(
                "initialize W_hh with the identity and biases with 0",
                "every relu unit then passes its value on unchanged at first (Le et al. 2015)",
                &[("--init", "identity"), ("--zero-biases", "")],
            ))
            .filter(|_| config.init != Init::Identity || !config.zero_biases)
            .map(|remedy| remedy.with(torch_lines::identity())),
            Some(tanh("tanh units cannot become dead")),
        ],
        Kind::Saturated => {
            let remember = remember(config, lag).filter(|_| !has_cell_state(config));
            if began_well {
                vec![Some(slower(config)), Some(clip(config)), remember]
            } else {
                vec![Some(unsaturate(config)), Some(slower(config)), remember]
            }
        }
        Kind::Cut => {
            vec![
                Some(widen(evidence, config, lag)),
                fades_beyond(evidence).then(|| remember(config, lag)).flatten(),
            ]
        }
        Kind::Reaches => vec![longer(evidence, config)],
        Kind::Vanishes => vec![remember(config, lag), unit_gain(config), omega(config), leak(config, lag)],
    };
    found.into_iter().flatten().take(MOST).collect()
}

/// What the cell of the settings declares of itself; nothing if it is unknown.
fn spec(config: &Config) -> Option<Arc<CellSpec>> {
    cell_by_name(&config.cell).ok().map(|cell| Arc::clone(cell.spec()))
}

/// Whether the cell has a cell state besides h.
fn has_cell_state(config: &Config) -> bool {
    spec(config).is_some_and(|spec| spec.states.len() > 1)
}

/// Whether the cell has a cell state with a forget gate.
fn forgets(config: &Config) -> bool {
    spec(config).is_some_and(|spec| spec.states.len() > 1 && spec.gate("f").is_some())
}

/// The activation of a vanilla cell.
fn vanilla(config: &Config) -> Option<Activation> {
    spec(config)?.vanilla
}

fn not_finite(evidence: &Evidence, config: &Config) -> Vec<Option<Remedy>> {
    match evidence.not_finite.as_ref().map(|of| of.origin) {
        Some(Origin::Data) => vec![Some(remedy(
            "replace this value, or exclude its step with lengths or a mask",
            "in any network, one such number makes every later state one",
            NO_OPTIONS,
        ))],
        Some(Origin::States) => vec![bound(config), contract(config), Some(slower(config))],
        // The initial network.
        _ if !moderate(config) => {
            vec![contract(config), bound(config), Some(clip(config)), Some(slower(config))]
        }
        _ => vec![Some(clip(config)), Some(slower(config)), bound(config)],
    }
}

/// Smaller updates by clipping.
fn clip(config: &Config) -> Remedy {
    let norm = if config.clip_norm == 0.0 || config.clip_norm > 1.0 { 1.0 } else { config.clip_norm / 10.0 };
    let why = "a single large gradient then no longer destroys what was learned (Pascanu et al. 2013)";
    remedy(format!("clip gradients to norm {norm}"), why, &[("--clip-norm", &norm.to_string())])
        .with(torch_lines::clip(norm))
}

fn slower(config: &Config) -> Remedy {
    let rate = config.learning_rate / 10.0;
    let why = "large updates move weights to where activations saturate, die or overflow";
    remedy("a tenth of the learning rate", why, &[("--learning-rate", &in_short(rate))])
        .with(torch_lines::slower())
}

/// A number with the digits that a person would write.
fn in_short(number: f64) -> String {
    let rounded: f64 = format!("{number:.3e}").parse().unwrap_or(number);
    format!("{rounded:e}")
}

/// ‖change of the weights‖ / ‖weights‖ that the first update should have: that of Adam with its usual rate.
const FIRST_RATIO: f64 = 0.02;

/// The learning rate with which the first update has this size, to one digit.
fn rate(evidence: &Evidence, config: &Config) -> Remedy {
    let first = evidence
        .training
        .as_ref()
        .and_then(|training| training.update_ratios)
        .map_or(FIRST_RATIO, |of| of[0]);
    let rate = config.learning_rate * FIRST_RATIO / first.max(1e-30);
    let rate = format!("{rate:.0e}");
    let why = "an update then changes the weights by about 2 % of their norm at first";
    remedy(format!("a learning rate of {rate}"), why, &[("--learning-rate", &rate)])
}

/// The default learning rate, if it is another.
fn rate_of_default(config: &Config) -> Option<Remedy> {
    let usual = Config::default();
    let differs = config.optimizer == usual.optimizer
        && !(0.1..10.0).contains(&(config.learning_rate / usual.learning_rate));
    let rate = usual.learning_rate.to_string();
    differs.then(|| {
        remedy(
            format!("a learning rate of {rate}"),
            "the usual one of this optimizer",
            &[("--learning-rate", &rate)],
        )
    })
}

/// Clipping to the usual norm, if it leaves almost nothing of the gradient.
fn clip_less(evidence: &Evidence, config: &Config) -> Option<Remedy> {
    let left = evidence.training.as_ref()?.clipped.filter(|left| *left < CLIPPED_AWAY)?;
    let norm = Config::default().clip_norm.to_string();
    let mut options = vec![("--clip-norm", norm.as_str())];
    if config.clip_value > 0.0 {
        options.push(("--clip-value", "0"));
    }
    let why = "clipping is there for rare large gradients and should leave most of them as they are";
    Some(remedy(format!("clip gradients to norm {norm}, not to {left:.0e} of their norm"), why, &options))
}

/// The network of the best evaluation in place of the last one.
fn keep_best(config: &Config) -> Option<Remedy> {
    let why = "the network with the smallest held-out loss is kept, and the training ends once the loss no longer falls";
    let options = [("--keep", "best"), ("--patience", "3")];
    let change = "keep the best network and stop early";
    (config.keep != Keep::Best || config.patience == 0).then(|| remedy(change, why, &options))
}

fn fewer_units(config: &Config) -> Option<Remedy> {
    let half = config.hidden / 2;
    let why = "a smaller network can learn less by heart";
    (half >= 8).then(|| {
        remedy(format!("{half} units in place of {}", config.hidden), why, &[("--hidden", &half.to_string())])
    })
}

fn dropout(config: &Config) -> Option<Remedy> {
    let why = "a network that cannot rely on single units learns less by heart (Srivastava et al. 2014)";
    (config.layers > 1 && config.dropout < 0.3)
        .then(|| remedy("dropout of 0.3 between the layers", why, &[("--dropout", "0.3")]))
}

fn more_updates(config: &Config) -> Remedy {
    let steps = (4 * config.steps.max(1)).to_string();
    let why = "nothing in the measurements is against it; tasks are often learned late and at once";
    remedy("four times as many updates", why, &[("--steps", &steps)])
}

/// The option that scales W_hh to an isometry, if its scale is set to something else.
fn isometric(config: &Config) -> Option<[&'static str; 2]> {
    match (config.sigma_max, config.spectral_radius) {
        (Some(sigma), _) if sigma != 1.0 => Some(["--sigma-max", "1"]),
        (_, Some(radius)) if radius != 1.0 => Some(["--spectral-radius", "1"]),
        _ => None,
    }
}

/// An initial W_hh that is an isometry.
fn contract(config: &Config) -> Option<Remedy> {
    let strength = isometric(config);
    if config.init == Init::Orthogonal && strength.is_none() {
        return None;
    }
    let mut options = vec![("--init", "orthogonal")];
    options.extend(strength.map(|[name, value]| (name, value)));
    let why = "with σ_max = 1 no step can increase the norm of a gradient (Saxe et al. 2014)";
    let gates = spec(config).map_or(1, |spec| spec.gate_count());
    Some(
        remedy("initialize W_hh as an orthogonal matrix", why, &options).with(torch_lines::orthogonal(gates)),
    )
}

/// A cell with bounded states, for one whose states are not.
fn bound(config: &Config) -> Option<Remedy> {
    let why = "their states stay between −1 and 1, and their slopes are at most 1";
    vanilla(config).is_some_and(|activation| activation.range().1.is_infinite()).then(|| tanh(why))
}

fn tanh(why: &'static str) -> Remedy {
    remedy("tanh units", why, &[("--cell", "rnn")]).with(torch_lines::tanh())
}

/// A cell with a path along which a gradient is multiplied by forget gates only, with forget gates open for the lag.
fn remember(config: &Config, lag: usize) -> Option<Remedy> {
    let mut options = Vec::new();
    let changed = !forgets(config);
    if changed {
        options.push(("--cell", "lstm".to_owned()));
        options.extend(without_vanilla(config)?);
    }
    let mut pytorch = if changed { torch_lines::lstm() } else { Vec::new() };
    pytorch.extend(torch_lines::chrono((lag + 1).max(3)));
    if config.forget_bias.is_none() && config.input_bias.is_none() {
        let longest = (lag + 1).max(3);
        if !changed && config.chrono.is_some_and(|chrono| chrono >= longest) {
            return None;
        }
        options.push(("--chrono", longest.to_string()));
    } else {
        let bias = forget_bias(lag);
        if !changed && config.forget_bias.is_some_and(|given| given >= bias) {
            return None;
        }
        options.push(("--forget-bias", format!("{bias:.1}")));
    }
    let change = if changed {
        "an LSTM whose forget gates are initialized for this lag"
    } else {
        "forget gates that are initialized for this lag"
    };
    let why = "along the cell state a gradient is multiplied by the forget gates only (Gers et al. 2000; Tallec and Ollivier 2018)";
    Some(remedy(change, why, &options).with(pytorch))
}

/// The options that end what only vanilla cells can do; `None` if there are none.
fn without_vanilla(config: &Config) -> Option<Vec<(&'static str, String)>> {
    // The number of exponents cannot be unset on the command line.
    if config.floss_exponents.is_some() {
        return None;
    }
    let omega = (config.omega > 0.0).then(|| ("--omega", "0".to_owned()));
    let floss = (config.floss > 0).then(|| ("--floss", "0".to_owned()));
    Some(omega.into_iter().chain(floss).collect())
}

/// The bias with which a forget gate keeps half of its state over `lag` steps: σ(b)^lag = ½; at least the 1 of Jozefowicz
/// et al. 2015.
fn forget_bias(lag: usize) -> f64 {
    let over_a_step = 2f64.powf(1.0 / lag.max(1) as f64);
    (-(over_a_step - 1.0).ln()).max(1.0)
}

/// Initial recurrent weights that are an isometry of what the activation passes.
fn unit_gain(config: &Config) -> Option<Remedy> {
    if vanilla(config) == Some(Activation::Relu)
        && (config.init != Init::Identity || isometric(config).is_some())
    {
        let mut options = vec![("--init", "identity"), ("--zero-biases", "")];
        options.extend(isometric(config).map(|[name, value]| (name, value)));
        let why = "relu units then pass their values on unchanged at first (Le et al. 2015)";
        return Some(
            remedy("initialize W_hh with the identity", why, &options).with(torch_lines::identity()),
        );
    }
    contract(config)
}

fn omega(config: &Config) -> Option<Remedy> {
    let why = "it moves the weights to where a step preserves the norm of the gradient (Pascanu et al. 2013)";
    (vanilla(config).is_some() && config.omega == 0.0)
        .then(|| remedy("the regularizer against vanishing gradients", why, &[("--omega", "1")]))
}

fn leak(config: &Config, lag: usize) -> Option<Remedy> {
    let cell = format!("rnn_leaky:{:.3}", 1.0 / lag.max(1) as f64);
    if vanilla(config) != Some(Activation::Tanh) {
        return None;
    }
    let mut options = vec![("--cell", cell)];
    options.extend(without_vanilla(config)?);
    let why = "most of the state then passes a step unchanged";
    Some(remedy("leaky units with a time constant of the lag", why, &options))
}

/// Whether the initial weights and biases leave activations in the middle of their ranges.
fn moderate(config: &Config) -> bool {
    let is_small = |init: Init| match init {
        Init::Uniform { bound } => bound.is_none_or(|bound| bound * (config.hidden as f64).sqrt() <= 2.0),
        Init::Normal { std } => std * (config.hidden as f64).sqrt() <= 2.0,
        _ => true,
    };
    let strength = config.sigma_max.or(config.spectral_radius).unwrap_or(1.0);
    // A tanh unit bounds what a vanilla cell without bounds multiplies.
    let most = if bound(config).is_some() { 1.0 } else { 2.0 };
    let biases = [config.forget_bias.map(|bias| (-bias).max(0.0)), config.input_bias.map(f64::abs)];
    is_small(config.init)
        && is_small(config.init_others)
        && strength <= most
        && biases.into_iter().flatten().all(|bias| bias <= 3.0)
}

/// Smaller weights and biases.
fn unsaturate(config: &Config) -> Remedy {
    let mut options = vec![("--init", "orthogonal"), ("--init-others", "xavier"), ("--zero-biases", "")];
    options.extend(isometric(config).map(|[name, value]| (name, value)));
    // A bias cannot be unset on the command line, but it can be moderate.
    options.extend(config.forget_bias.map(|_| ("--forget-bias", "1")));
    options.extend(config.input_bias.map(|_| ("--input-bias", "0")));
    let why = "activations then start in the middle of their ranges, where slopes are large";
    let gates = spec(config).map_or(1, |spec| spec.gate_count());
    remedy("initialize weights with gain 1 and biases with 0", why, &options)
        .with(torch_lines::moderate(gates))
}

/// A window that contains the lag; where burn-in alone cuts, a shorter one.
fn widen(evidence: &Evidence, config: &Config, lag: usize) -> Remedy {
    let why = "a gradient that is cut before the dependency cannot teach it";
    if !evidence.cut_by.contains(&CutBy::Detach) {
        let change =
            format!("a burn-in that ends at least {lag} steps before the first loss that needs them");
        return remedy(change, why, NO_OPTIONS);
    }
    let mut options = Vec::new();
    if config.detach_every > 0 {
        options.push(("--detach-every", "0".to_owned()));
    }
    let window = 2 * lag.max(1);
    // In windows twice as long as the lag, half of the losses have the dependency inside.
    let change = if config.task.is_none() && config.window < window {
        options.push(("--window", window.to_string()));
        format!("a window of {window} steps, twice the lag")
    } else {
        "gradients through the whole sequence".into()
    };
    let pytorch = torch_lines::window(if config.task.is_none() { window } else { 0 });
    remedy(change, why, &options).with(pytorch)
}

/// Whether the gradient has decayed where it is not cut: then a wider window alone does not help.
fn fades_beyond(evidence: &Evidence) -> bool {
    let farthest = |lags: &super::LagStatistics| lags.log10_profile.last().map_or(0, |last| last.0);
    evidence.lag_statistics.as_ref().is_some_and(|lags| lags.reached < farthest(lags))
}

/// More updates, if the task is not solved although the gradient reaches the dependency.
fn longer(evidence: &Evidence, config: &Config) -> Option<Remedy> {
    let unsolved =
        evidence.training.as_ref().and_then(|training| training.solved).is_some_and(|solved| solved < 0.99);
    let steps = (2 * config.steps).to_string();
    let why = "the gradient reaches the dependency, and the training was too short";
    unsolved.then(|| remedy("twice as many updates", why, &[("--steps", &steps)]))
}
