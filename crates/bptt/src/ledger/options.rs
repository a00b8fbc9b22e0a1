//! What a ledger measures.

use crate::control::Control;
use crate::model::Weights;

/// What to measure besides the norms and shares of the batch sum. Of a single sequence, without norms by gate and in a cell
/// without elementwise parameters, records are packed: norms are kept without loss, inner products with the update in f32.
#[derive(Clone, Copy, Debug)]
pub struct ItemizeOptions<'a, T> {
    /// Keep the norms of every single sequence too, T²·B more numbers.
    pub sequences: bool,
    /// Keep the norms of each gate's rows too, of a cell with several: G more numbers for each of the others.
    pub gates: bool,
    /// Measure dL_k/dx_t too, for which every row is multiplied with W_ih.
    pub inputs: bool,
    /// The update U that shares are measured against; `None`: the total gradient. h0's and the inputs' shares are
    /// always measured against their total gradient, since no update is applied to them.
    pub update: Option<&'a Weights<T>>,
    /// Stop itemizing losses once they are small: from the step on where the largest number of a loss's dh (and dc) is
    /// at most this times the largest that it has been in the same cell, and that of every later loss of its block as well,
    /// its components are added to the remainder, of which the ledger has one row: [`EntryState::Remainder`]. The balance
    /// stays exact, and the time grows with how far losses reach, no longer with T². What is itemized is as without a
    /// tolerance; but below another layer, what a loss sends down after it has merged there is in the remainder too. From 0
    /// to below 1; `None` itemizes all losses. For networks that read forward only.
    ///
    /// [`EntryState::Remainder`]: crate::EntryState::Remainder
    pub tolerance: Option<f64>,
    /// For another thread, which sees how far the ledger is and can end it.
    pub control: Option<&'a Control>,
}

impl<T> Default for ItemizeOptions<'_, T> {
    fn default() -> Self {
        Self { sequences: true, gates: false, inputs: true, update: None, tolerance: None, control: None }
    }
}
