//! A recurrent cell is one step and its vector-Jacobian product; time belongs to the scans.

mod chosen;
mod gru;
mod leaky;
mod lstm;
mod lstm_layer_norm;
mod lstm_peephole;
mod lstm_projected;
mod min_gru;
mod rnn;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

pub use chosen::{GruWith, LstmWith};
pub use gru::{Gru, GruResetBefore};
pub use leaky::Leaky;
pub use lstm::Lstm;
pub use lstm_layer_norm::LstmLayerNorm;
pub use lstm_peephole::LstmPeephole;
pub use lstm_projected::LstmProjected;
pub use min_gru::MinGru;
pub use rnn::Rnn;

pub use super::activation::Activation;
pub use super::parameter::Parameter;
pub use super::params::CellParams;
pub use super::paths::Paths;
pub use super::spec::{
    AdjointSpec, Block, CellSizes, CellSpec, GateRole, GateSpec, MAX_ADJOINTS, MAX_ON_ADJOINT, MAX_SAVED,
    MAX_STATES, Operand, ParamKind, ParamSpec, Role, SavedSpec, Stage, StateSpec, Width, usual_params,
};
pub use super::step_weights::{InputProjection, StepWeights};
use crate::array::{Sequence, View};
use crate::kernel::Real;

/// What one forward step reads and writes. All are (B, ·) row-major; arrays that the cell does not have are empty.
pub struct Forward<'a, T> {
    /// W_ih x and the biases that are added to it.
    pub input: InputProjection<'a, T>,
    /// The states before the step.
    pub prev: [View<'a, T>; MAX_STATES],
    /// Out: the activated gates, (B, G·H), saved for the backward step.
    pub gates: &'a mut [T],
    /// Out: what else the backward step needs, in the order of [`CellSpec::saved`].
    pub saved: [&'a mut [T]; MAX_SAVED],
    /// Out: the states after the step. Of a [vanilla](CellSpec::vanilla) cell h may be empty, for then `gates` is it.
    pub next: [&'a mut [T]; MAX_STATES],
}

impl<T: Real> Forward<'_, T> {
    /// gates ← input + h_{t-1} Wᵀ, for block `block` of the matrix `param`, in the block's columns.
    pub fn add_recurrent(&mut self, weights: &StepWeights<'_, T>, param: usize, block: usize) {
        weights.add_product(param, block, &self.input, self.prev[0], self.gates);
    }
}

/// What the forward scan saved of one step. The local derivatives follow from it.
#[derive(Clone, Copy)]
pub struct StepCache<'a, T> {
    gates: View<'a, T>,
    states: &'a [Sequence<T>],
    saved: &'a [Sequence<T>],
    /// The places of the states before and after the step, and the step.
    places: (usize, usize, usize),
    /// The only sequence that is looked at.
    sequence: Option<usize>,
}

impl<'a, T: Real> StepCache<'a, T> {
    /// From the gates of step `places.2`, and everything saved of the states and of the other arrays.
    pub(crate) fn new(
        gates: View<'a, T>,
        states: &'a [Sequence<T>],
        saved: &'a [Sequence<T>],
        places: (usize, usize, usize),
    ) -> Self {
        Self { gates, states, saved, places, sequence: None }
    }

    /// The activated gates, (B, G·H).
    #[inline]
    pub fn gates(&self) -> View<'a, T> {
        self.row(self.gates)
    }

    /// What `Forward::saved` received as array `index` of [`CellSpec::saved`], (B, width).
    #[inline]
    pub fn saved(&self, index: usize) -> View<'a, T> {
        self.row(self.saved[index].step(self.places.2))
    }

    /// State `index` before the step, (B, width).
    #[inline]
    pub fn prev(&self, index: usize) -> View<'a, T> {
        self.row(self.states[index].step(self.places.0))
    }

    /// State `index` after the step, (B, width).
    #[inline]
    pub fn next(&self, index: usize) -> View<'a, T> {
        self.row(self.states[index].step(self.places.1))
    }

    /// What was saved of sequence `b` alone.
    pub(crate) fn of_sequence(&self, b: usize) -> Self {
        Self { sequence: Some(b), ..*self }
    }

    #[inline]
    fn row(&self, view: View<'a, T>) -> View<'a, T> {
        self.sequence.map_or(view, |b| view.rows_of(b, 1))
    }
}

/// What one local stage of a backward step reads and writes, for rows (k, b): row r belongs to sequence r mod B. Arrays
/// that the cell does not have are empty.
pub struct Backward<'a, T> {
    /// In: gradients with respect to the states after the step, (R, width). Out, after the last stage: the part of those with
    /// respect to the states before it that goes there without a parameter, if [`StateSpec::passes`]; what goes through
    /// parameters is added by the scan.
    pub states: [&'a mut [T]; MAX_STATES],
    /// Out: the adjoints, (R, width), in the order of [`CellSpec::adjoints`].
    pub adjoints: [&'a mut [T]; MAX_ADJOINTS],
    /// The gradients with respect to saved arrays that a [`Stage::Through`] leads to, (R, width).
    pub saved: [&'a mut [T]; MAX_SAVED],
}

impl<'a, T> Backward<'a, T> {
    /// For a cell that has an output and da alone.
    pub(crate) fn of_output(dh: &'a mut [T], da: &'a mut [T]) -> Self {
        let (mut states, mut adjoints): ([&mut [T]; MAX_STATES], [&mut [T]; MAX_ADJOINTS]) =
            Default::default();
        (states[0], adjoints[0]) = (dh, da);
        Self { states, adjoints, saved: Default::default() }
    }
}

/// One step of a recurrent network, and its vector-Jacobian product for any number of gradients at once.
///
/// A cell has no time loop. Adding one is a file with this implementation and a line in the registry; a program can also
/// bring its own.
pub trait Cell<T: Real>: Debug + Send + Sync {
    /// What the cell declares of itself.
    fn spec(&self) -> &Arc<CellSpec>;

    /// One step forward.
    fn step(&self, weights: &StepWeights<'_, T>, step: Forward<'_, T>);

    /// Local stage `stage` of one step backward, see [`CellSpec::backward`].
    fn vjp(&self, stage: usize, params: &CellParams<T>, cache: &StepCache<'_, T>, rows: Backward<'_, T>);
}

/// A cell in both precisions: what a network is made with. Every cell that implements [`Cell`] for f32 and f64 is one.
pub trait CellKind: Debug + Send + Sync {
    /// What the cell declares of itself.
    fn spec(&self) -> &Arc<CellSpec>;

    /// The cell in f32.
    fn in_f32(&self) -> Arc<dyn Cell<f32>>;

    /// The cell in f64.
    fn in_f64(&self) -> Arc<dyn Cell<f64>>;
}

impl<C: Cell<f32> + Cell<f64> + Clone + 'static> CellKind for C {
    fn spec(&self) -> &Arc<CellSpec> {
        Cell::<f64>::spec(self)
    }

    fn in_f32(&self) -> Arc<dyn Cell<f32>> {
        Arc::new(self.clone())
    }

    fn in_f64(&self) -> Arc<dyn Cell<f64>> {
        Arc::new(self.clone())
    }
}

/// The cell in the precision of `T`.
pub(super) fn in_precision<T: Real>(kind: &dyn CellKind) -> Arc<dyn Cell<T>> {
    let (single, double): (Box<dyn Any>, Box<dyn Any>) = (Box::new(kind.in_f32()), Box::new(kind.in_f64()));
    let found = single.downcast::<Arc<dyn Cell<T>>>().or_else(|_| double.downcast());
    *found.expect("a number type is f32 or f64")
}
