//! What a row of `recipes.rs` says.

use super::{Convention, Parameter};

/// How a module of one source becomes a registered cell.
pub(crate) struct Recipe {
    pub convention: Convention,
    /// The registered cell that computes what it does.
    pub cell: &'static str,
    /// The first part is what the recipe is known by.
    pub parts: &'static [Part],
    /// What the last part of the module's path contains; anything may be called `w`.
    pub within: &'static str,
    pub names: Names,
    /// How its modules are numbered.
    pub stack: Stack,
    /// PyTorch's gate whose rows change their sign, σ(−a) = 1 − σ(a), and why.
    pub negated: Option<(usize, &'static str)>,
    /// PyTorch's gate whose bias gets 1, which the source adds at every step.
    pub one_added: Option<usize>,
    /// What is assumed of the module, behind its name.
    pub assumes: &'static str,
}

/// What most recipes of an LSTM have.
pub(super) const LSTM: Recipe = Recipe {
    convention: Convention::PyTorch,
    cell: "lstm",
    parts: &[],
    within: "",
    names: Names::Alone,
    stack: Stack::No,
    negated: None,
    one_added: None,
    assumes: "",
};
/// What most recipes of a GRU have.
pub(super) const GRU: Recipe = Recipe { cell: "gru", ..LSTM };

/// What the names of a recipe's parts tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Nothing else has the first name; a module that has it but not the rest is refused.
    Alone,
    /// Others may have them; where shapes do not fit, it is not of this source.
    Shared,
    /// Only `--layout` tells.
    Asked,
}

/// How a source keeps several layers or directions of one module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    No,
    /// `forward` and `reverse`.
    Directions([&'static str; 2]),
    /// `0`, `1`, …, of layers, or of layers and directions by turns.
    Links,
    /// `cells.0`, `cells.1`, …
    Cells,
}

/// One tensor of a module: what it is called behind the module's prefix, and what it holds.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub name: &'static str,
    pub to: Parameter,
    /// For each of its blocks, which of PyTorch's gates it is.
    pub gates: &'static [usize],
    pub form: Form,
    /// Biases may be absent, all of them.
    pub optional: bool,
}

/// How a matrix stands; vectors are of any form but the interleaved one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// (G·H, width), as in PyTorch.
    Rows,
    /// (width, G·H).
    Columns,
    /// (H·G, width): the gates of a unit stand beside each other.
    Interleaved,
    /// (I + H, G·H): the columns of both matrices.
    Both,
}

pub(super) const fn rows(name: &'static str, to: Parameter, gates: &'static [usize]) -> Part {
    Part { name, to, gates, form: Form::Rows, optional: false }
}

pub(super) const fn columns(name: &'static str, to: Parameter, gates: &'static [usize]) -> Part {
    Part { form: Form::Columns, ..rows(name, to, gates) }
}

pub(super) const fn interleaved(name: &'static str, to: Parameter, gates: &'static [usize]) -> Part {
    Part { form: Form::Interleaved, ..rows(name, to, gates) }
}

pub(super) const fn maybe(part: Part) -> Part {
    Part { optional: true, ..part }
}
