//! What can go wrong, with the names and shapes of the things it went wrong with.

/// An error of the library. Every message says what was expected and what was given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An array has another shape than the place it was given to.
    #[error("{what}: expected {expected}, given {given}")]
    Shape {
        /// The array's name.
        what: String,
        /// The shape the place needs.
        expected: String,
        /// The shape it has.
        given: String,
    },

    /// An option or an argument has a value that it cannot have.
    #[error("{option}: {given} is not possible; expected {expected}")]
    Value {
        /// The option's or the argument's name.
        option: String,
        /// The value.
        given: String,
        /// What it may be.
        expected: String,
    },

    /// No cell has this name, or not with these hyperparameters.
    #[error("cell: {given} is not possible; expected {expected}")]
    UnknownCell {
        /// The name.
        given: String,
        /// The cells there are, or the hyperparameters that this one has.
        expected: String,
    },

    /// The network lacks a property that something needs.
    #[error("{what}: {given} is not possible; expected {expected}")]
    Unsupported {
        /// What needs it.
        what: String,
        /// What the network has.
        given: String,
        /// What is needed.
        expected: String,
    },

    /// A cell's specification contradicts itself, or asks for what the scans do not do.
    #[error("the specification of the cell {cell} is not possible: {problem}")]
    Specification {
        /// The cell's name.
        cell: String,
        /// What is wrong.
        problem: String,
    },

    /// Jacobians are singular, so that some exponents are −∞ and have no gradient.
    #[error("exponents: {given} is not possible; expected {expected}")]
    Singular {
        /// How many exponents were asked for.
        given: usize,
        /// How many there are, and where the next one is −∞.
        expected: String,
    },

    /// A symbol id lies outside the input or the target alphabet.
    #[error("{what}: symbol {id} at step {step}, sequence {sequence} is outside the alphabet of {size}")]
    Symbol {
        /// `"inputs"` or `"targets"`.
        what: &'static str,
        /// The id found.
        id: u32,
        /// The time step t.
        step: usize,
        /// The sequence b of the batch.
        sequence: usize,
        /// The number of symbols.
        size: usize,
    },

    /// A number that had to be finite is not.
    #[error("{what} is not finite at step {step}, sequence {sequence}")]
    NotFinite {
        /// The array's name.
        what: String,
        /// The time step t at which it first appears.
        step: usize,
        /// The sequence b of the batch.
        sequence: usize,
    },

    /// A gradient is not finite although every hidden state and seed is: it explodes in the backward pass.
    #[error(
        "the gradient of {parameter} is not finite: it explodes in the backward pass; try fewer steps or smaller weights"
    )]
    Exploded {
        /// The parameter's name on disk.
        parameter: String,
    },

    /// The computation was ended by [`Control::cancel`](crate::Control::cancel).
    #[error("cancelled")]
    Cancelled,

    /// A ledger's entries do not add up to the ordinary gradient.
    #[error(
        "the ledger does not balance for {parameter}: the components differ from the ordinary gradient by \
         {relative_error:e} of their sizes, {tolerance:e} is allowed{way_out}"
    )]
    Balance {
        /// The parameter's name on disk, for example `weight_hh_l0`.
        parameter: String,
        /// ‖Σ components − gradient‖ / Σ ‖component‖.
        relative_error: f64,
        /// The limit it is above.
        tolerance: f64,
        /// What to try, if there is anything.
        way_out: &'static str,
    },
}

impl Error {
    /// Whether the caller asked for something impossible, in contrast to a number that is not finite or an array that does
    /// not fit.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Value { .. }
                | Self::UnknownCell { .. }
                | Self::Unsupported { .. }
                | Self::Specification { .. }
                | Self::Singular { .. }
        )
    }
}
