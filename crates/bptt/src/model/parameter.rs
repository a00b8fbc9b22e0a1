//! What a contribution is a contribution to.

/// A parameter, an initial state or the input, by its name in ledgers.
///
/// The names are those that a cell's [`CellSpec`](crate::CellSpec) declares, so a cell may have others than these constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Parameter(pub(crate) &'static str);

impl Parameter {
    /// W_ih.
    pub const WEIGHT_IH: Self = Self("weight_ih");
    /// W_hh.
    pub const WEIGHT_HH: Self = Self("weight_hh");
    /// The common gradient of all biases of a cell where they have one.
    pub const BIAS: Self = Self("bias");
    /// b_ih, of a cell whose recurrent side sees other gradients (GRU).
    pub const BIAS_IH: Self = Self("bias_ih");
    /// b_hh, of such a cell.
    pub const BIAS_HH: Self = Self("bias_hh");
    /// The input x_t itself.
    pub const INPUT: Self = Self("input");
    /// h_0; one number for each loss.
    pub const INITIAL_STATE: Self = Self("initial_state");
    /// c_0, of a cell that has it; one number for each loss.
    pub const INITIAL_CELL_STATE: Self = Self("initial_cell_state");
    /// W_hy; only step k contributes to loss k.
    pub const HEAD_WEIGHT: Self = Self("head_weight");
    /// b_y; only step k contributes to loss k.
    pub const HEAD_BIAS: Self = Self("head_bias");

    /// A parameter that a cell declares under this name.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The name in the ledger's JSON.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}
