//! What is known of a network before anything is concluded.

use serde::Serialize;

/// The numbers that a verdict is made of. What could not be measured is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// The kind of cell, see [`bptt::cells`].
    pub cell: String,
    /// T, steps that were read.
    pub steps: usize,
    /// B, sequences that were read.
    pub sequences: usize,
    /// Steps with a loss.
    pub losses: usize,
    /// How many steps before a loss lies what decides it, if that is known.
    pub lag: Option<Lag>,
    /// The longest way back from a loss, in steps, on which no gradient is cut.
    pub uncut: Option<usize>,
    /// Whether, between the first step and some loss, gradients are cut.
    pub cut: bool,
    /// The first number that is infinite or not a number.
    pub not_finite: Option<NotFinite>,
    /// The parameter whose gradient overflowed, though everything before it is finite.
    pub overflow: Option<String>,
    /// What kept the gradient from being taken apart, in words.
    pub unbalanced: Option<String>,
    /// What the ledger says of distance.
    pub reach: Option<Reach>,
    /// What windows of these numbers of steps would keep of the gradient, as far as it is not cut already.
    pub windows: Vec<Window>,
    /// The smallest window whose bias is as small as was asked for, to the step; `None` if no loss has a gradient.
    pub smallest_window: Option<Window>,
    /// Horizons over sequences.
    pub horizons: Option<Spread>,
    /// The same of the network before training.
    pub horizons_untrained: Option<Spread>,
    /// The largest Lyapunov exponent of the bottom layer's forward cell.
    pub exponent: Option<Exponent>,
    /// The lag within which 99 % of what a perturbation of h leaves in later h lies, in steps.
    pub memory_horizon: Option<usize>,
    /// Every gate of every cell.
    pub gates: Vec<Gate>,
    /// How training went, if that is known.
    pub training: Option<Training>,
}

/// From how far back what decides a loss comes, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// The nearest that it may lie.
    pub nearest: usize,
    /// The farthest.
    pub farthest: usize,
}

/// Where the first number is that is infinite or not a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotFinite {
    /// The array, tensor or state.
    pub what: String,
    /// What kind of thing it is.
    pub origin: Origin,
    /// The step it appears at, of the sequence or, of training, the update; `None` for weights, which are of no step.
    pub step: Option<u64>,
    /// The sequence it appears in.
    pub sequence: Option<usize>,
}

/// What a number is part of, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// What is read, or what should come out.
    Data,
    /// The weights.
    Weights,
    /// The states, though data and weights are finite.
    States,
    /// The losses or what they send back, though the states are finite.
    Losses,
    /// A batch of the training that ended there; the network of the update before it is finite.
    Training,
}

/// What the ledger says of distance. m(τ) is the median over losses of the norms of their components at lag τ, to the bias of
/// the bottom layer's forward cell: the bias is the one parameter that every step reads alike, so that m(τ) is the gradient
/// itself and not what it met. Horizon, decay, cancellation and norm are those of W_hh, as everywhere else.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reach {
    /// The lag within which 99 % of Σ m(τ) lies; `None` if all is zero.
    pub horizon: Option<usize>,
    /// λ, the slope of ln m(τ) per step.
    pub decay_per_step: Option<f64>,
    /// ‖Σ components‖ / Σ ‖components‖.
    pub cancellation: Option<f64>,
    /// Norm of the gradient.
    pub gradient_norm: f64,
    /// The largest relative error of the ledger's balance.
    pub balance: f64,
    /// (τ, log₁₀ m(τ)) of every lag that an uncut loss has; `None` where m is exactly zero.
    pub log10_profile: Vec<(usize, Option<f64>)>,
    /// The lag that counts: the dependency's farthest, or without one the farthest of the profile.
    pub target: usize,
    /// log₁₀ of m at the target over the largest m(τ) up to there; −∞ (in JSON null) where it is exactly zero. `None` if no
    /// uncut loss has this lag.
    pub log10_kept: Option<f64>,
    /// The largest lag up to which nothing is less than [`super::REACHES`] times the largest m(τ) before it.
    pub reached: usize,
    /// log₁₀ of the largest m(τ) over m(0); `None` if m(0) is zero.
    pub log10_growth: Option<f64>,
    /// Losses with a step at the dependency's farthest lag; 0 without one.
    pub at_lag: usize,
    /// The fraction of those that a cut parts from that step.
    pub cut_at_lag: f64,
}

/// What truncation to a window would keep, see [`bptt::TruncationCurve`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Window {
    /// Steps.
    pub steps: usize,
    /// ‖g_w − g‖ / ‖g‖, over all parameters.
    pub bias: f64,
    /// cos(g_w, g).
    pub cosine: f64,
}

/// Horizons of 99 % over sequences: backward of the contributions to W_hh, forward of what a perturbation of h leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How far learning reaches; `None` if no sequence has a horizon.
    pub learning: Option<Median>,
    /// How long states remember.
    pub memory: Option<Median>,
}

/// A median over sequences with its bootstrap interval of 95 %, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Median {
    /// The median.
    pub steps: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The largest Lyapunov exponent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Exponent {
    /// λ_1, nats per step; −∞ (in JSON null) where Jacobians are singular.
    pub per_step: f64,
    /// Its standard error over sequences.
    pub standard_error: Option<f64>,
}

/// One gate of one cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// The layer, from 0 at the input.
    pub layer: usize,
    /// `"forward"` or `"reverse"`.
    pub direction: &'static str,
    /// Its letter.
    pub gate: &'static str,
    /// The fraction of activations at the lower end of the range (beyond 95 % of it), and at the upper; `None` if the range has
    /// no two ends.
    pub saturated: Option<(f64, f64)>,
    /// Whether the lower end is 0, where the gate is shut: σ.
    pub shuts: bool,
    /// The fraction of units that were 0 throughout; `None` of other activations than relu.
    pub dead: Option<f64>,
    /// The largest singular value of its block of W_hh.
    pub sigma_max: Option<f64>,
    /// The largest modulus of that block's eigenvalues.
    pub spectral_radius: Option<f64>,
    /// Whether σ_max is below 1/γ in a cell without gates: gradients vanish, whatever is read (Pascanu et al. 2013).
    pub bound_to_vanish: bool,
}

/// How a training run went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Training {
    /// How it ended: `"finished"`, `"stopped"`, or what was not finite.
    pub ending: String,
    /// Updates that were made.
    pub updates: u64,
    /// Of a task, the fraction of held-out sequences that were solved.
    pub solved: Option<f64>,
}

impl Evidence {
    /// Of a network of which nothing is known but that this is not finite.
    pub fn of_not_finite(cell: &str, not_finite: NotFinite) -> Self {
        Self { cell: cell.into(), not_finite: Some(not_finite), ..Self::default() }
    }

    /// The largest fraction of dead units in any gate; `None` if no gate can have any.
    pub fn dead(&self) -> Option<f64> {
        self.gates.iter().filter_map(|gate| gate.dead).reduce(f64::max)
    }
}

impl Gate {
    /// The fraction of activations at either end; `None` if there are no two ends.
    pub fn at_ends(&self) -> Option<f64> {
        self.saturated.map(|(low, high)| low + high)
    }

    /// The fraction of activations through which next to no gradient comes on: those of a gate that are shut, of a tanh those at
    /// either end. An open gate lets everything through.
    pub fn closed(&self) -> Option<f64> {
        self.saturated.map(|(low, high)| if self.shuts { low } else { low + high })
    }
}
