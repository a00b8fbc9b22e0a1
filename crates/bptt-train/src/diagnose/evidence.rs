//! The measured numbers of a network.

use bptt::cell::GateRole;
use serde::Serialize;

use super::Training;

/// The numbers from which a verdict is derived. Values that could not be measured are `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// The name of the cell, see [`bptt::cells`].
    pub cell: String,
    /// T, the number of steps.
    pub steps: usize,
    /// B, the number of sequences.
    pub sequences: usize,
    /// Number of steps with a loss.
    pub losses: usize,
    /// The lag of the dependency, if it is known.
    pub lag: Option<Lag>,
    /// The largest number of steps that a gradient can go back without being cut.
    pub uncut: Option<usize>,
    /// Whether any gradient is cut between the first step and a loss, by a detached state or by burn-in.
    pub cut: bool,
    /// What stands between losses and earlier steps, the most frequent first.
    pub cut_by: Vec<CutBy>,
    /// The first number that is infinite or NaN.
    pub not_finite: Option<NotFinite>,
    /// The parameter whose gradient overflowed although all numbers before it are finite.
    pub overflow: Option<String>,
    /// The reason why there is no ledger.
    pub unbalanced: Option<String>,
    /// Statistics of the ledger by lag.
    #[serde(rename = "reach")]
    pub lag_statistics: Option<LagStatistics>,
    /// Bias and cosine of the gradient truncated to windows of several lengths, as far as it is not cut already.
    pub windows: Vec<Window>,
    /// The smallest window whose bias is within the requested limit; `None` if no loss has a gradient.
    pub smallest_window: Option<Window>,
    /// Horizons over the sequences.
    pub horizons: Option<Spread>,
    /// Horizons of the network before training.
    pub horizons_untrained: Option<Spread>,
    /// The largest Lyapunov exponent of the bottom layer's forward cell.
    pub exponent: Option<Exponent>,
    /// The memory horizon: the lag within which 99 % of the effect of a perturbation of h on later h lies.
    pub memory_horizon: Option<usize>,
    /// Every gate of every cell.
    pub gates: Vec<Gate>,
    /// Signed shares of W_hh's gradient that come from the losses' own steps, from 1 to 9 steps back, and from farther
    /// back; `None` if the gradient is zero.
    pub shares: Option<[f64; 3]>,
    /// The reach of the same network earlier in its training.
    pub before: Option<Before>,
    /// What is known of the training.
    pub training: Option<Training>,
}

/// What keeps a gradient from an earlier step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CutBy {
    /// A detached state: the end of a truncation window.
    Detach,
    /// The end of burn-in.
    BurnIn,
    /// The beginning of an episode: neither state nor gradient passes.
    Reset,
}

/// The reach of a network earlier in its training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Before {
    /// Number of updates.
    pub updates: u64,
    /// The 99 % horizon of W_hh.
    pub horizon: Option<usize>,
    /// λ of W_hh.
    pub decay_per_step: Option<f64>,
}

/// The lag of a dependency, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// The smallest possible lag.
    pub nearest: usize,
    /// The largest possible lag.
    pub farthest: usize,
}

/// The first number that is infinite or NaN, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotFinite {
    /// The name of the array, tensor or state.
    pub what: String,
    /// What it is part of.
    pub origin: Origin,
    /// The step of the sequence, or the update of the training; `None` for weights.
    pub step: Option<u64>,
    /// The sequence.
    pub sequence: Option<usize>,
}

/// What a number is part of, in the order in which they are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Inputs or targets.
    Data,
    /// The weights.
    Weights,
    /// The states; inputs and weights are finite.
    States,
    /// The losses or their gradients; the states are finite.
    Losses,
    /// A batch of the training, which ended there; the network of the update before it is finite.
    Training,
}

/// Statistics of a ledger by lag. m(τ) is the median over the losses of the norms of their components at lag τ, for the
/// bias of the bottom layer's forward cell: the contribution to a bias is the gradient of the pre-activations itself,
/// without a factor that depends on the step. Horizon, decay, cancellation and norm are those of W_hh.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LagStatistics {
    /// The lag within which 99 % of Σ m(τ) lies; `None` if all contributions are zero.
    pub horizon: Option<usize>,
    /// λ, the slope of ln m(τ) per step.
    pub decay_per_step: Option<f64>,
    /// ‖Σ components‖ / Σ ‖components‖.
    pub cancellation: Option<f64>,
    /// Norm of the gradient.
    pub gradient_norm: f64,
    /// The largest relative error of the ledger's balance.
    pub balance: f64,
    /// (τ, log₁₀ m(τ)) for every lag of an uncut loss; `None` where m is exactly zero.
    pub log10_profile: Vec<(usize, Option<f64>)>,
    /// The lag to reach: the largest lag of the dependency, or the largest of the profile if none is known.
    pub target: usize,
    /// log₁₀ of the ratio of m at the target to the largest m(τ) up to it; −∞ (in JSON null) where it is exactly zero.
    /// `None` if no uncut loss has this lag.
    pub log10_kept: Option<f64>,
    /// The largest lag up to which m is never less than [`super::REACHES`] times the largest m(τ) before it.
    pub reached: usize,
    /// log₁₀ of the ratio of the largest m(τ) to m(0); `None` if m(0) is zero.
    pub log10_growth: Option<f64>,
    /// Number of losses with a step at the largest lag of the dependency; 0 without one.
    pub at_lag: usize,
    /// Fraction of the losses of single sequences with such a step that are cut from it.
    pub cut_at_lag: f64,
    /// Fraction of the losses of single sequences that the beginning of an episode parts from the step at this lag.
    pub reset_at_lag: f64,
}

/// The gradient truncated to a window, see [`bptt::TruncationCurve`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Window {
    /// Length of the window in steps.
    pub steps: usize,
    /// ‖g_w − g‖ / ‖g‖, over all parameters.
    pub bias: f64,
    /// cos(g_w, g).
    pub cosine: f64,
}

/// 99 % horizons over sequences: of the contributions to W_hh, and of the effect of a perturbation of h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The learning horizon; `None` if no sequence has one.
    pub learning: Option<Median>,
    /// The memory horizon.
    pub memory: Option<Median>,
}

/// A median over sequences with its 95 % bootstrap interval, in steps.
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
    /// λ_1 in nats per step; −∞ (in JSON null) where Jacobians are singular.
    pub per_step: f64,
    /// Its standard error, from sequences or blocks of steps.
    pub standard_error: Option<f64>,
    /// The interval of 95 %: lower and upper end.
    pub interval: Option<[f64; 2]>,
    /// The steps at the beginning of every sequence that were left out.
    pub warm_up: usize,
}

/// One gate of one cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// The layer, from 0 at the input.
    pub layer: usize,
    /// `"forward"` or `"reverse"`.
    pub direction: &'static str,
    /// Its name.
    pub gate: &'static str,
    /// Fractions of activations at the lower and the upper end of the range (beyond 95 % of it); `None` if the range is not
    /// bounded on both sides.
    pub saturated: Option<(f64, f64)>,
    /// Whether the lower end is 0, so that the gate is closed there: σ.
    pub shuts: bool,
    /// What its activations do to the state.
    #[serde(skip)]
    pub role: GateRole,
    /// Fraction of units that were 0 at every step; `None` for activations other than relu.
    pub dead: Option<f64>,
    /// The largest singular value of its block of W_hh.
    pub sigma_max: Option<f64>,
    /// The largest modulus of the eigenvalues of that block.
    pub spectral_radius: Option<f64>,
    /// Whether σ_max is below 1/γ in a cell without gates: then gradients vanish for all inputs (Pascanu et al. 2013).
    pub bound_to_vanish: bool,
}

impl Evidence {
    /// For a network of which nothing else can be measured.
    pub fn of_not_finite(cell: &str, not_finite: NotFinite) -> Self {
        Self { cell: cell.into(), not_finite: Some(not_finite), ..Self::default() }
    }

    /// The largest fraction of dead units of any gate; `None` if no gate can have dead units.
    pub fn dead(&self) -> Option<f64> {
        self.gates.iter().filter_map(|gate| gate.dead).reduce(f64::max)
    }
}

impl Gate {
    /// Fraction of activations at either end; `None` if the range has no two ends.
    pub fn at_ends(&self) -> Option<f64> {
        self.saturated.map(|(low, high)| low + high)
    }

    /// Fraction of activations that stop the gradient to earlier states: those of a forget gate that are closed, of a gate
    /// that replaces the state at its upper end, of candidates at either end. `None` for other gates.
    pub fn stops_the_past(&self) -> Option<f64> {
        let (low, high) = self.saturated?;
        match self.role {
            GateRole::Keep if self.shuts => Some(low),
            GateRole::Replace => Some(high),
            GateRole::Candidate => Some(low + high),
            _ => None,
        }
    }

    /// Fraction of activations through which nothing is learned: those of a gate into or out of the state that are closed.
    /// `None` for other gates.
    pub fn stops_learning(&self) -> Option<f64> {
        let (low, high) = self.saturated?;
        match self.role {
            GateRole::Write | GateRole::Read | GateRole::Replace if self.shuts => Some(low),
            GateRole::Candidate => Some(low + high),
            _ => None,
        }
    }
}
