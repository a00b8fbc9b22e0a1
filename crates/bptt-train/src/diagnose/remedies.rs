//! What to change, by verdict: the change that is most likely to help first, as options of `bptt train`.

use serde::Serialize;

use super::{Evidence, Kind, Origin, Verdict};
use crate::{Config, Init};

/// Most that are proposed: who is to try five things tries none.
const MOST: usize = 3;

/// A change that may help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What to change.
    pub change: String,
    /// Why that may help.
    pub why: &'static str,
    /// The options of `bptt train` that make the change; none where it is not the training that has to change.
    pub options: Vec<String>,
}

fn remedy(change: impl Into<String>, why: &'static str, options: &[(&str, &str)]) -> Remedy {
    let options = options.iter().flat_map(|(name, value)| [*name, *value]).filter(|word| !word.is_empty());
    Remedy { change: change.into(), why, options: options.map(str::to_owned).collect() }
}

/// The two or three changes that are most likely to help a network of these settings, ranked. None that is made already.
pub fn remedies(verdict: &Verdict, evidence: &Evidence, config: &Config) -> Vec<Remedy> {
    let lag = evidence
        .lag
        .map_or_else(|| evidence.reach.as_ref().map_or(0, |reach| reach.target), |lag| lag.farthest);
    let found = match verdict.kind {
        Kind::NotFinite => not_finite(evidence, config),
        Kind::CannotTell => Vec::new(),
        Kind::Explodes => vec![Some(clip(config)), contract(config), bound(config), Some(slower(config))],
        Kind::DeadUnits => vec![
            Some(remedy(
                "begin with the identity and without biases",
                "every relu unit then begins by handing its value on (Le et al. 2015)",
                &[("--init", "identity"), ("--zero-biases", "")],
            ))
            .filter(|_| config.init != Init::Identity || !config.zero_biases),
            Some(slower(config)),
            Some(tanh("tanh units have no end at which they fall silent")),
        ],
        Kind::Saturated => {
            vec![
                Some(unsaturate(config)),
                Some(slower(config)),
                remember(config, lag).filter(|_| !is_lstm(config)),
            ]
        }
        Kind::Cut => {
            vec![Some(widen(config, lag)), fades_beyond(evidence).then(|| remember(config, lag)).flatten()]
        }
        Kind::Reaches => vec![longer(evidence, config)],
        Kind::Vanishes => vec![remember(config, lag), unit_gain(config), omega(config), leak(config, lag)],
    };
    found.into_iter().flatten().take(MOST).collect()
}

fn is_lstm(config: &Config) -> bool {
    config.cell.starts_with("lstm")
}

fn is_vanilla(config: &Config) -> bool {
    ["rnn", "rnn_relu", "rnn_identity"].contains(&config.cell.as_str())
}

fn not_finite(evidence: &Evidence, config: &Config) -> Vec<Option<Remedy>> {
    match evidence.not_finite.as_ref().map(|of| of.origin) {
        Some(Origin::Data) => vec![Some(remedy(
            "replace that value, or leave its step out by lengths or a mask",
            "whatever the network is, one such number makes every later state one",
            &[],
        ))],
        Some(Origin::States) => vec![bound(config), contract(config), Some(slower(config))],
        _ => vec![Some(clip(config)), Some(slower(config)), bound(config)],
    }
}

/// Shorter updates by clipping.
fn clip(config: &Config) -> Remedy {
    let norm = if config.clip_norm == 0.0 || config.clip_norm > 1.0 { 1.0 } else { config.clip_norm / 10.0 };
    let why = "one large gradient then no longer throws away what was learned (Pascanu et al. 2013)";
    remedy(format!("clip gradients to norm {norm}"), why, &[("--clip-norm", &norm.to_string())])
}

fn slower(config: &Config) -> Remedy {
    let rate = config.learning_rate / 10.0;
    let why = "large updates drive weights to where activations saturate, die or overflow";
    remedy("a tenth of the learning rate", why, &[("--learning-rate", &format!("{rate:e}"))])
}

/// The option that sets W_hh's strength to that of an isometry, if one of them is set to something else.
fn isometric(config: &Config) -> Option<[&'static str; 2]> {
    match (config.sigma_max, config.spectral_radius) {
        (Some(sigma), _) if sigma != 1.0 => Some(["--sigma-max", "1"]),
        (_, Some(radius)) if radius != 1.0 => Some(["--spectral-radius", "1"]),
        _ => None,
    }
}

/// W_hh as an isometry from the start.
fn contract(config: &Config) -> Option<Remedy> {
    let strength = isometric(config);
    if config.init == Init::Orthogonal && strength.is_none() {
        return None;
    }
    let mut options = vec![("--init", "orthogonal")];
    options.extend(strength.map(|[name, value]| (name, value)));
    let why = "with σ_max = 1 no step can stretch a gradient (Saxe et al. 2014)";
    Some(remedy("begin with an orthogonal W_hh", why, &options))
}

/// A cell whose states are bounded, for one whose are not.
fn bound(config: &Config) -> Option<Remedy> {
    let why = "its states stay between −1 and 1, and its slopes below 1";
    ["rnn_relu", "rnn_identity"].contains(&config.cell.as_str()).then(|| tanh(why))
}

fn tanh(why: &'static str) -> Remedy {
    remedy("tanh units", why, &[("--cell", "rnn")])
}

/// A cell with a path along which a gradient is multiplied by forget gates alone, and forget gates that stay open for the lag.
fn remember(config: &Config, lag: usize) -> Option<Remedy> {
    let mut options = Vec::new();
    let changed = config.cell != "lstm";
    if changed {
        options.push(("--cell", "lstm".to_owned()));
        if config.omega > 0.0 {
            options.push(("--omega", "0".into()));
        }
    }
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
    let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let change = if changed {
        "an LSTM whose forget gates begin open for this lag"
    } else {
        "forget gates that begin open for this lag"
    };
    let why = "along its cell state a gradient meets the forget gates alone (Gers et al. 2000; Tallec and Ollivier 2018)";
    Some(remedy(change, why, &options))
}

/// The bias with which a forget gate keeps half over `lag` steps: σ(b)^lag = ½; at least the 1 of Jozefowicz et al. 2015.
fn forget_bias(lag: usize) -> f64 {
    let over_a_step = 2f64.powf(1.0 / lag.max(1) as f64);
    (-(over_a_step - 1.0).ln()).max(1.0)
}

/// Recurrent weights that begin as an isometry of what the activation lets through.
fn unit_gain(config: &Config) -> Option<Remedy> {
    if config.cell == "rnn_relu" && (config.init != Init::Identity || isometric(config).is_some()) {
        let mut options = vec![("--init", "identity"), ("--zero-biases", "")];
        options.extend(isometric(config).map(|[name, value]| (name, value)));
        let why = "relu units then begin by handing their values on unchanged (Le et al. 2015)";
        return Some(remedy("begin with W_hh = 1", why, &options));
    }
    contract(config)
}

fn omega(config: &Config) -> Option<Remedy> {
    let why = "it pulls the weights to where a step keeps the gradient's norm (Pascanu et al. 2013)";
    (is_vanilla(config) && config.omega == 0.0)
        .then(|| remedy("the regularizer against vanishing gradients", why, &[("--omega", "1")]))
}

fn leak(config: &Config, lag: usize) -> Option<Remedy> {
    let cell = format!("rnn_leaky:{:.3}", 1.0 / lag.max(1) as f64);
    (config.cell == "rnn").then(|| {
        remedy(
            "leaky units as slow as the lag",
            "most of a state then passes a step unchanged",
            &[("--cell", &cell)],
        )
    })
}

/// Smaller weights and biases.
fn unsaturate(config: &Config) -> Remedy {
    let mut options = vec![("--init", "orthogonal"), ("--init-others", "xavier"), ("--zero-biases", "")];
    options.extend(isometric(config).map(|[name, value]| (name, value)));
    // A bias cannot be taken back on the command line, but it can be moderate.
    options.extend(config.forget_bias.map(|_| ("--forget-bias", "1")));
    options.extend(config.input_bias.map(|_| ("--input-bias", "0")));
    let why = "activations then begin in the middle of their ranges, where they learn";
    remedy("begin with weights of gain 1 and no biases", why, &options)
}

/// A window that has the lag in it.
fn widen(config: &Config, lag: usize) -> Remedy {
    let why = "a gradient that is cut off before the dependency cannot learn it";
    let mut options = Vec::new();
    if config.detach_every > 0 {
        options.push(("--detach-every", "0".to_owned()));
    }
    let window = 2 * lag.max(1);
    // Of windows twice as long as the lag, half of the losses have it inside.
    let change = if config.task.is_none() && config.window < window {
        options.push(("--window", window.to_string()));
        format!("a window of {window} steps, twice the lag")
    } else {
        "gradients through the whole sequence".into()
    };
    let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
    remedy(change, why, &options)
}

/// Whether the gradient has faded as far as it is not cut: then a wider window alone does not help.
fn fades_beyond(evidence: &Evidence) -> bool {
    let farthest = |reach: &super::Reach| reach.log10_profile.last().map_or(0, |last| last.0);
    evidence.reach.as_ref().is_some_and(|reach| reach.reached < farthest(reach))
}

/// More updates, where the task is not solved though the gradient arrives.
fn longer(evidence: &Evidence, config: &Config) -> Option<Remedy> {
    let unsolved =
        evidence.training.as_ref().and_then(|training| training.solved).is_some_and(|solved| solved < 0.99);
    let steps = (2 * config.steps).to_string();
    let why = "the gradient reaches what decides the loss; it has not been followed long enough";
    unsolved.then(|| remedy("twice as many updates", why, &[("--steps", &steps)]))
}
