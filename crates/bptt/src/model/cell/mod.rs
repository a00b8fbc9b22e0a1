//! A recurrent cell is one step and its vector-Jacobian product; time belongs to the scans.

use super::recurrent::{Contribution, Recurrent};
use crate::array::View;
use crate::kernel::Real;

mod gru;
mod leaky;
mod lstm;
mod rnn;

pub use gru::{Gru, GruResetBefore};
pub use leaky::Leaky;
pub use lstm::Lstm;
pub use rnn::{Activation, Rnn};

/// What one forward step reads and writes. All are (B, ·) row-major.
pub struct Forward<'a, T> {
    /// What the input contributes to the pre-activations: W_ih x and the biases that are added to it.
    pub input: Contribution<'a, T>,
    /// h before the step, (B, H).
    pub h_prev: View<'a, T>,
    /// c before the step, (B, H); (B, 0) for a cell without one.
    pub c_prev: View<'a, T>,
    /// Out: the activated gates, (B, G·H), kept for the way back.
    pub gates: &'a mut [T],
    /// Out: whatever else the way back needs, (B, H) if [`Cell::keeps_more`], otherwise empty.
    pub kept: &'a mut [T],
    /// Out: h after the step, (B, H); empty if [`Cell::gate_is_state`], for then `gates` is it.
    pub h: &'a mut [T],
    /// Out: c after the step, (B, H), or empty.
    pub c: &'a mut [T],
}

impl<T: Real> Forward<'_, T> {
    /// Puts input + h_{t-1} W_gᵀ into the gates: all of them, but for a last one whose recurrent side is not simply that
    /// ([`Cell::splits`], [`Cell::reads_kept`]).
    pub fn add_recurrent(&mut self, weights: &Recurrent<T>) {
        let width = self.gates.len() / self.h_prev.rows();
        weights.add(&self.input, self.h_prev, self.gates, width);
    }
}

/// What the forward scan kept of one step, for the way back. The local derivatives follow from it.
#[derive(Clone, Copy)]
pub struct StepCache<'a, T> {
    /// The activated gates, (B, G·H).
    pub gates: View<'a, T>,
    /// What [`Forward::kept`] received.
    pub kept: View<'a, T>,
    /// h before the step, (B, H).
    pub h_prev: View<'a, T>,
    /// c before the step, (B, H), or (B, 0).
    pub c_prev: View<'a, T>,
}

impl<T: Real> StepCache<'_, T> {
    /// What was kept of sequence `b` alone.
    pub(crate) fn of_sequence(&self, b: usize) -> Self {
        Self {
            gates: self.gates.rows_of(b, 1),
            kept: self.kept.rows_of(b, 1),
            h_prev: self.h_prev.rows_of(b, 1),
            c_prev: self.c_prev.rows_of(b, 1),
        }
    }
}

/// What one step backward reads and writes, for rows (k, b): row r belongs to sequence r mod B.
pub struct Backward<'a, T> {
    /// In: gradients with respect to h after the step, (R, H). Out, if [`Cell::passes_by`]: the part of those with respect to
    /// h before it that passes by the recurrent weights. The scan adds da_hh W_hh.
    pub dh: &'a mut [T],
    /// In: gradients with respect to c after the step, (R, H). Out: to c before it. Empty for a cell without c.
    pub dc: &'a mut [T],
    /// Out: gradients with respect to the pre-activations as the input side sees them, (R, G·H).
    pub da: &'a mut [T],
    /// Out: as the recurrent side sees them, (R, G·H), if [`Cell::splits`]; otherwise empty, because they are the same.
    pub da_hh: &'a mut [T],
}

/// One step of a recurrent network, and its vector-Jacobian product for any number of gradients at once.
///
/// A cell has no parameters of its own and no time loop; adding one is a file with this implementation and a line in
/// [`cells`].
pub trait Cell<T: Real>: std::fmt::Debug + Send + Sync {
    /// The cell's name, as the command and its files write it.
    fn name(&self) -> &'static str;

    /// The names of the gates, in the order of their rows in the parameters; G is their number.
    fn gates(&self) -> &'static [&'static str];

    /// Whether the last gate's rows of W_hh multiply what the cell keeps, [`Forward::kept`], in place of h_{t-1}.
    fn reads_kept(&self) -> bool {
        false
    }

    /// Between which values gate `gate`'s activation lies: (0, 1) for σ, (−1, 1) for tanh, (0, ∞) for relu.
    fn range(&self, gate: usize) -> (f64, f64);

    /// Whether there is one gate and it is h itself, so that it need not be kept twice.
    fn gate_is_state(&self) -> bool {
        false
    }

    /// Whether a part of the gradient passes by the recurrent weights from h to h.
    fn passes_by(&self) -> bool {
        false
    }

    /// Whether there is a second state c beside h.
    fn has_memory(&self) -> bool {
        false
    }

    /// Whether the way back needs (B, H) numbers more than the gates.
    fn keeps_more(&self) -> bool {
        false
    }

    /// Whether the recurrent side sees other gradients of the pre-activations than the input side.
    fn splits(&self) -> bool {
        false
    }

    /// The ways that a gradient can come from h_{t+1} to h_t, by name; see [`crate::PathSplit`].
    fn paths(&self) -> &'static [&'static str];

    /// Which of [`Cell::paths`] a gradient has come that last passed the pre-activation of gate `passed` (`None`: of none
    /// since it entered this layer) and now enters h_t through that of `gate` (`None`: past them all).
    fn path(&self, passed: Option<usize>, gate: Option<usize>) -> usize;

    /// One step forward.
    fn step(&self, weights: &Recurrent<T>, step: Forward<'_, T>);

    /// One step backward, up to the pre-activations.
    fn step_vjp(&self, cache: &StepCache<'_, T>, rows: Backward<'_, T>);

    /// The rest of a step backward for a cell that [`Cell::reads_kept`]. `dkept`, (R, H), comes as the gradient with respect
    /// to what was kept and leaves as what goes on from there to h_{t-1}; what goes from there into other gates'
    /// pre-activations is added to `da`.
    fn kept_vjp(&self, _cache: &StepCache<'_, T>, _dkept: &mut [T], _da: &mut [T]) {}
}
