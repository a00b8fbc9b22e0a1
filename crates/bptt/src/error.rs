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

    /// An option has a value it cannot have.
    #[error("{option}: {given} is not possible; expected {expected}")]
    Option {
        /// The option's name.
        option: String,
        /// The value.
        given: String,
        /// What it may be.
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

    /// A ledger's entries do not add up to the ordinary gradient.
    #[error(
        "the ledger does not balance for {parameter}: the components differ from the ordinary gradient by \
         {relative_error:e} (relative), {tolerance:e} is allowed; try f64 if this is f32"
    )]
    Balance {
        /// The parameter's name on disk, for example `weight_hh_l0`.
        parameter: String,
        /// ‖Σ components − gradient‖ / ‖gradient‖.
        relative_error: f64,
        /// The limit it is above.
        tolerance: f64,
    },
}
