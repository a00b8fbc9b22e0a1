//! What the rows of a reverse scan are.

use std::ops::Range;

use crate::kernel::Format;
use crate::model::{CellSpec, Direction};

/// What the rows of a reverse scan are. The default: plain numbers, one row for each (k, b).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowOptions {
    pub(crate) numbers: Numbers,
    /// Rows are kept apart by the gate whose pre-activation they last passed in this cell: rows (k, p, b), where p = 0 has
    /// passed none and p = 1 + g has last passed gate g. Their sum over p is the row (k, b).
    pub(crate) by_gate: bool,
    /// The adjoints of so many steps are kept until they are seen together, see [`Step::kept`](super::Step::kept).
    pub(crate) buffered_steps: Option<usize>,
    /// Rows are merged as soon as they are at most this times the largest they have been, see
    /// [`ToleranceState`](super::ToleranceState). For scaled numbers in forward cells only.
    pub(crate) tolerance: Option<f64>,
}

/// What the numbers of a row are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Numbers {
    /// Numbers of the network's type.
    #[default]
    Plain,
    /// The same, rounded to a format at every step.
    Rounded(Format),
    /// The same with an exponent for each row, which neither under- nor overflow.
    Scaled,
}

impl RowOptions {
    /// Rows with exponents.
    pub(crate) fn scaled() -> Self {
        Self { numbers: Numbers::Scaled, ..Self::default() }
    }

    /// P, the number of rows for each (k, b).
    #[inline]
    pub(crate) fn classes(self, spec: &CellSpec) -> usize {
        if self.by_gate { 1 + spec.gate_count() } else { 1 }
    }

    /// The format that gradients are rounded to.
    #[inline]
    pub(crate) fn format(self) -> Option<Format> {
        if let Numbers::Rounded(format) = self.numbers { Some(format) } else { None }
    }

    /// Of how many of `steps` steps adjoints are there at a time.
    #[inline]
    pub(crate) fn slots(self, steps: usize) -> usize {
        self.buffered_steps.map_or(1, |together| together.clamp(1, steps))
    }

    /// The steps that are kept together, if `t` is the last of them that the backward pass comes to.
    #[inline]
    pub(crate) fn kept_until(self, t: usize, steps: usize, direction: Direction) -> Option<Range<usize>> {
        self.buffered_steps?;
        let first = t - t % self.slots(steps);
        let together = first..steps.min(first + self.slots(steps));
        let last = if direction == Direction::Forward { together.start } else { together.end - 1 };
        (t == last).then_some(together)
    }
}
