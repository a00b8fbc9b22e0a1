//! The result of itemizing: for every loss k, step t and parameter the size of the contribution and its share of the
//! update, and the proof that the contributions add up.

use std::ops::Range;
use std::sync::Arc;

use crate::bounds::Reach;
use crate::network::{Direction, Place};

/// What a contribution is a contribution to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// W_ih.
    WeightIh,
    /// W_hh.
    WeightHh,
    /// The common gradient of b_ih and b_hh, of a cell where they have one.
    Bias,
    /// b_ih, of a cell whose recurrent side sees other gradients (GRU).
    BiasIh,
    /// b_hh, of such a cell.
    BiasHh,
    /// The input x_t itself.
    Input,
    /// h0; one number for each loss.
    InitialState,
    /// c0, of a cell that has it; one number for each loss.
    InitialMemory,
    /// W_hy; only step k contributes to loss k.
    HeadWeight,
    /// b_y; only step k contributes to loss k.
    HeadBias,
}

impl Parameter {
    /// The name in the ledger's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WeightIh => "weight_ih",
            Self::WeightHh => "weight_hh",
            Self::Bias => "bias",
            Self::BiasIh => "bias_ih",
            Self::BiasHh => "bias_hh",
            Self::Input => "input",
            Self::InitialState => "initial_state",
            Self::InitialMemory => "initial_memory",
            Self::HeadWeight => "head_weight",
            Self::HeadBias => "head_bias",
        }
    }
}

/// Why an entry (k, t) has the size it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// An ordinary number.
    Value,
    /// Exactly zero: a factor of it is zero.
    Zero,
    /// Not zero, but smaller than the smallest normal number of the network's precision: a framework computing in it
    /// would lose it. Its logarithm is still known.
    Underflow,
    /// Exactly zero because the state was forgotten or detached at this step, between t and k: in every sequence of the
    /// batch, and here in the one where the loss reaches farthest.
    Cut(usize),
    /// Step k has no loss.
    Masked,
    /// No path leads from step t through this cell to loss k: t > k in a network that reads forward only, or t lies
    /// behind the end of every sequence that has loss k.
    Unreached,
}

/// The same count of numbers (mostly one) for each loss k and each step of its span; rows of masked losses are empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid<V> {
    /// The steps of each loss, and where its numbers begin.
    rows: Vec<(Range<usize>, usize)>,
    values: Vec<V>,
}

impl<V: Copy> Grid<V> {
    /// From the rows of all losses in order, with the steps each has numbers for; `None` where masked.
    pub(crate) fn from_rows<'a>(losses: impl Iterator<Item = Option<(Range<usize>, &'a [V])>>) -> Self
    where
        V: 'a,
    {
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for loss in losses {
            let (span, numbers) = loss.unwrap_or((0..0, &[]));
            rows.push((span, values.len()));
            values.extend_from_slice(numbers);
        }
        Self { rows, values }
    }

    /// T, the number of rows.
    fn steps(&self) -> usize {
        self.rows.len()
    }

    /// Number `n` of the `each` numbers of (k, t), if there is one.
    fn get_of(&self, k: usize, t: usize, each: usize, n: usize) -> Option<V> {
        let (span, start) = self.rows.get(k)?;
        span.contains(&t).then(|| self.values[start + (t - span.start) * each + n])
    }

    /// The number of (k, t), if there is one.
    fn get(&self, k: usize, t: usize) -> Option<V> {
        self.get_of(k, t, 1, 0)
    }
}

/// The contributions of one cell to one parameter.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which cell.
    pub place: Place,
    /// Which parameter.
    pub parameter: Parameter,
    /// Norms without their powers of two.
    pub(crate) mantissa: Grid<f64>,
    /// The power of two of every norm; common to the parameters of a layer.
    pub(crate) exponent: Arc<Grid<i32>>,
    /// Norms of each gate's rows without their powers of two, if asked for.
    pub(crate) by_gate: Option<Grid<f64>>,
    /// The gates' names.
    pub(crate) gates: &'static [&'static str],
    /// How far each loss reaches; common to all entries.
    pub(crate) reach: Arc<[Reach]>,
    /// ⟨component, U⟩.
    pub(crate) inner: Grid<f64>,
    /// ⟨gradient, U⟩.
    pub(crate) total_inner: f64,
    /// ‖Σ components‖: the norm of the ordinary gradient.
    pub(crate) total: f64,
    /// The smallest normal number of the network's precision.
    pub(crate) smallest_normal: f64,
    /// Norms of single sequences, if asked for.
    pub(crate) sequences: Option<Arc<SequenceNorms>>,
}

impl Entry {
    /// The number of steps T, which is also the number of losses, masked ones included.
    pub fn steps(&self) -> usize {
        self.mantissa.steps()
    }

    /// ‖component (k, t)‖ of the batch sum (Frobenius norm). `None` where t > k or loss k is masked; 0 where it is
    /// below f64's range, see [`Entry::log10_norm`].
    pub fn norm(&self, k: usize, t: usize) -> Option<f64> {
        self.in_full(k, t, self.mantissa.get(k, t)?)
    }

    /// log₁₀ of the norm, however small; −∞ where it is exactly zero.
    pub fn log10_norm(&self, k: usize, t: usize) -> Option<f64> {
        let exponent = self.exponent.get(k, t)?;
        self.mantissa.get(k, t).map(|m| m.log10() + f64::from(exponent) * std::f64::consts::LOG10_2)
    }

    /// The names of the gates whose rows have norms of their own; none if they were not asked for, the cell has one gate
    /// only, or the parameter has no rows of gates (the input).
    pub fn gates(&self) -> &'static [&'static str] {
        if self.by_gate.is_some() { self.gates } else { &[] }
    }

    /// ‖rows of gate `gate` of component (k, t)‖; their squares add up to the square of [`Entry::norm`].
    pub fn gate_norm(&self, k: usize, t: usize, gate: usize) -> Option<f64> {
        let norms = self.by_gate.as_ref().filter(|_| gate < self.gates.len())?;
        self.in_full(k, t, norms.get_of(k, t, self.gates.len(), gate)?)
    }

    /// A number of (k, t) with its power of two.
    fn in_full(&self, k: usize, t: usize, mantissa: f64) -> Option<f64> {
        let exponent = self.exponent.get(k, t)?;
        // Twice half the exponent: a mantissa below 1 may still lift a power that is out of range by itself.
        Some(mantissa * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2))
    }

    /// ⟨component, U⟩ / ⟨Σ components, U⟩ with U the update; all shares add up to 1. NaN where ⟨Σ components, U⟩ is 0.
    pub fn share(&self, k: usize, t: usize) -> Option<f64> {
        Some(self.inner.get(k, t)? / self.total_inner)
    }

    /// ⟨component, U⟩ with U the update: to first order, how much adding U raises the loss by way of this component. For
    /// the inputs U is the direction of their total gradient, of unit length.
    pub fn inner(&self, k: usize, t: usize) -> Option<f64> {
        self.inner.get(k, t)
    }

    /// ‖component (k, t)‖ of sequence `b` alone. `None` where there is no such entry or sequence, or norms of single
    /// sequences were not asked for.
    pub fn sequence_norm(&self, k: usize, t: usize, b: usize) -> Option<f64> {
        let norms = self.sequences.as_ref().filter(|norms| b < norms.batch)?;
        let of = |grid: &Grid<f64>| grid.get_of(k, t, norms.batch, b);
        let i = t * norms.batch + b;
        match self.parameter {
            Parameter::WeightIh => Some(of(&norms.da)? * norms.x[i]),
            Parameter::WeightHh => Some(of(&norms.da_hh)? * norms.h_prev[i]),
            Parameter::Bias | Parameter::BiasIh => of(&norms.da),
            Parameter::BiasHh => of(&norms.da_hh),
            Parameter::Input => of(&norms.input),
            Parameter::InitialState
            | Parameter::InitialMemory
            | Parameter::HeadWeight
            | Parameter::HeadBias => None,
        }
    }

    /// Why the entry has the size it has.
    pub fn state(&self, k: usize, t: usize) -> State {
        match self.mantissa.get(k, t) {
            None if self.mantissa.rows.get(k).is_some_and(|(span, _)| span.is_empty()) => State::Masked,
            None => State::Unreached,
            Some(0.0) if t < self.reach[k].uncut.start => State::Cut(self.reach[k].uncut.start),
            Some(0.0) if t >= self.reach[k].uncut.end => State::Cut(self.reach[k].uncut.end),
            Some(0.0) => State::Zero,
            Some(_) if self.norm(k, t) < Some(self.smallest_normal) => State::Underflow,
            Some(_) => State::Value,
        }
    }

    /// ‖Σ components‖, the norm of the ordinary gradient.
    pub fn total_norm(&self) -> f64 {
        self.total
    }

    /// ‖Σ components‖ / Σ ‖components‖: 1 where all pull the same way, near 0 where they cancel. NaN if all are zero.
    pub fn cancellation(&self) -> f64 {
        let sum: f64 =
            (0..self.steps()).flat_map(|k| (0..self.steps()).filter_map(move |t| self.norm(k, t))).sum();
        self.total / sum
    }
}

/// The contributions that have one number for each loss: h0's, and the readout's on the diagonal t = k.
#[derive(Clone, Debug, PartialEq)]
pub struct PerLoss {
    /// Which cell; `None` for the readout.
    pub place: Option<Place>,
    /// Which parameter.
    pub parameter: Parameter,
    /// log₁₀ of the norm for each loss; `None` where masked, −∞ where exactly zero.
    pub log10_norm: Vec<Option<f64>>,
    /// The norm for each loss.
    pub norm: Vec<Option<f64>>,
    /// ⟨component, U⟩ for each loss.
    pub inner: Vec<Option<f64>>,
    /// ⟨Σ components, U⟩.
    pub total_inner: f64,
}

impl PerLoss {
    /// Nothing for any of `losses` losses.
    pub(crate) fn masked(place: Option<Place>, parameter: Parameter, losses: usize) -> Self {
        Self {
            place,
            parameter,
            norm: vec![None; losses],
            log10_norm: vec![None; losses],
            inner: vec![None; losses],
            total_inner: 0.0,
        }
    }

    /// Sets what loss k contributes.
    pub(crate) fn set(&mut self, k: usize, norm: f64, log10_norm: f64, inner: f64) {
        self.norm[k] = Some(norm);
        self.log10_norm[k] = Some(log10_norm);
        self.inner[k] = Some(inner);
    }

    /// ⟨component, U⟩ / ⟨Σ components, U⟩ of loss k, see [`Entry::share`].
    pub fn share(&self, k: usize) -> Option<f64> {
        Some(self.inner[k]? / self.total_inner)
    }
}

/// Norms of single sequences: ‖da‖ of every (k, t, b) and what turns it into a component's norm.
#[derive(Clone, Debug)]
pub(crate) struct SequenceNorms {
    pub(crate) batch: usize,
    /// ‖da_{k,t,b}‖, B numbers for each t of row k.
    pub(crate) da: Grid<f64>,
    /// The same as the recurrent side sees it.
    pub(crate) da_hh: Grid<f64>,
    /// ‖dL_k/dx_{t,b}‖ in the same order.
    pub(crate) input: Grid<f64>,
    /// ‖x_{t,b}‖, time-major.
    pub(crate) x: Vec<f64>,
    /// ‖h_{t-1,b}‖, time-major.
    pub(crate) h_prev: Vec<f64>,
}

/// How far the components' sum is from the ordinary gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// The parameter's name on disk (`weight_hh_l0`, `head.weight`, `input`, `initial_state_l0`, …).
    pub parameter: String,
    /// ‖Σ components − gradient‖ / ‖gradient‖.
    pub relative_error: f64,
}

/// Every contribution of every past step to every loss, as norms and shares. See [`crate::Network::itemize`].
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) steps: usize,
    pub(crate) present: Vec<bool>,
    pub(crate) reach: Arc<[Reach]>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) per_loss: Vec<PerLoss>,
    pub(crate) balance: Vec<Balance>,
}

impl Ledger {
    /// T, the number of steps, which is also the number of losses, masked ones included.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Whether step k has a loss.
    pub fn has_loss(&self, k: usize) -> bool {
        self.present[k]
    }

    /// The steps that no forgotten or detached state parts from loss k, in the sequence where it reaches farthest. What
    /// lies outside of them is [`State::Cut`].
    pub fn uncut(&self, k: usize) -> Range<usize> {
        self.reach[k].uncut.clone()
    }

    /// The contributions over (k, t), by layer and parameter.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The contributions of layer `layer` (its forward cell) to `parameter` over (k, t), if that is what the parameter
    /// has.
    pub fn entry(&self, layer: usize, parameter: Parameter) -> Option<&Entry> {
        self.entry_at(Place { layer, direction: Direction::Forward }, parameter)
    }

    /// The contributions of the cell at `place` to `parameter` over (k, t), if that is what the parameter has.
    pub fn entry_at(&self, place: Place, parameter: Parameter) -> Option<&Entry> {
        self.entries.iter().find(|e| e.place == place && e.parameter == parameter)
    }

    /// The contributions with one number for each loss: initial state and readout.
    pub fn per_loss(&self) -> &[PerLoss] {
        &self.per_loss
    }

    /// The proof: for every parameter, how far Σ components is from the ordinary gradient.
    pub fn balance(&self) -> &[Balance] {
        &self.balance
    }

    /// The largest relative error of the balance.
    pub fn worst_balance(&self) -> f64 {
        self.balance.iter().map(|b| b.relative_error).fold(0.0, f64::max)
    }
}
