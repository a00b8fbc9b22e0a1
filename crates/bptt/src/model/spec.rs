//! What a cell is made of, declared in one table: states, gates, parameters, what is saved, and the stages of a step.
//!
//! Gradients, ledgers, components, files and reports read this table; nothing else knows what a cell consists of.
//!
//! Sizes: I input features, H hidden units, P outputs (the width of h; P = H unless the cell projects its output), G gates.

use std::ops::Range;

use super::activation::Activation;
use super::parameter::Parameter;
use super::paths::Paths;

/// The most states a cell may have.
pub const MAX_STATES: usize = 3;
/// The most arrays a cell may save in a step, besides its gates.
pub const MAX_SAVED: usize = 6;
/// The most adjoints a cell may have.
pub const MAX_ADJOINTS: usize = 4;
/// The most parameters that may have one adjoint; biases with the same blocks count once.
pub const MAX_ON_ADJOINT: usize = 6;

/// The declaration of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellSpec {
    /// The name, as the command and files write it, with hyperparameters: `lstm`, `rnn_leaky:0.25`.
    pub name: String,
    /// The name in a sentence: `LSTM`, `vanilla RNN, tanh`.
    pub title: String,
    /// What is carried from step to step. The first state is the cell's output h.
    pub states: Vec<StateSpec>,
    /// The gates, in the order of their rows in the parameters.
    pub gates: Vec<GateSpec>,
    /// The gradients that the backward step leaves for the parameters. The first is da, the gradient with respect to the
    /// pre-activations, (B, G·H).
    pub adjoints: Vec<AdjointSpec>,
    /// The parameters, in the order in which they are stored and listed.
    pub params: Vec<ParamSpec>,
    /// What a forward step saves for the backward step, besides the activated gates.
    pub saved: Vec<SavedSpec>,
    /// The backward step within the cell, in order. Afterwards the gradient goes through every parameter block whose
    /// operand is a previous state, to the step before.
    pub backward: Vec<Stage>,
    /// The ways from h_{t+1} to h_t.
    pub paths: Paths,
    /// φ, of a cell whose only gate is its output, h_t = φ(a_t): what Ω and flossing need.
    pub vanilla: Option<Activation>,
    /// The equations of a forward step, a line each, for people to read: `_x` or `_{…}` is a subscript, `^{…}` a superscript.
    pub equations: Vec<String>,
}

/// A state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSpec {
    /// `"h"`, `"c"`.
    pub name: &'static str,
    /// How many numbers it has.
    pub width: Width,
    /// Whether the last local stage leaves in its gradient the part that goes to the step before without a parameter.
    pub passes: bool,
    /// What its gradient at the first step is called in a ledger.
    pub initial: Parameter,
}

/// A gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateSpec {
    /// `"i"`, `"z"`.
    pub name: &'static str,
    /// The function of its pre-activation.
    pub activation: Activation,
    /// What its activations do to the state.
    pub role: GateRole,
}

/// What the activations of a gate do, which decides what it means that they lie at an end of their range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GateRole {
    /// New content of the state.
    Candidate,
    /// How much of the previous state stays: an LSTM's f, a GRU's z as PyTorch has it.
    Keep,
    /// How much of the candidate enters the state, which stays beside it: an LSTM's i.
    Write,
    /// How much of the state the candidate replaces: a minimal GRU's z.
    Replace,
    /// How much of the state leaves the cell: an LSTM's o.
    Read,
    /// How much of the previous state the candidate sees: a GRU's r.
    Reset,
}

/// A gradient that parameters are multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub struct AdjointSpec {
    /// `"da"`, `"da_hh"`.
    pub name: &'static str,
    /// How many numbers it has.
    pub width: Width,
    /// The gates in which it differs from da, if only some do.
    pub differs: Option<Range<usize>>,
}

/// An array that a forward step saves.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedSpec {
    /// Its name in the equations.
    pub name: &'static str,
    /// How many numbers it has.
    pub width: Width,
    /// The state whose previous value receives what the last local stage leaves in its gradient.
    pub passes_to: Option<usize>,
}

/// The width of a state, an adjoint or a saved array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Width {
    /// H.
    Hidden,
    /// P, the width of h.
    Output,
    /// G·H.
    Gates,
    /// 1.
    One,
}

/// I, H, P and G of one cell of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellSizes {
    /// I, input features.
    pub inputs: usize,
    /// H, hidden units.
    pub hidden: usize,
    /// P, the width of h.
    pub output: usize,
    /// G, gates.
    pub gates: usize,
}

impl CellSizes {
    /// The width in numbers.
    #[inline]
    pub fn of(&self, width: Width) -> usize {
        match width {
            Width::Hidden => self.hidden,
            Width::Output => self.output,
            Width::Gates => self.gates * self.hidden,
            Width::One => 1,
        }
    }
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Its name without the layer: `"weight_ih"`.
    pub name: &'static str,
    /// How it enters.
    pub kind: ParamKind,
    /// Its rows, block after block.
    pub blocks: Vec<Block>,
    /// What it is for.
    pub role: Role,
}

/// How a parameter enters the cell, and so the form of its gradient; d is the adjoint, v the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamKind {
    /// W v; the gradient is Σ d vᵀ.
    Matrix,
    /// w ∘ v; the gradient is Σ d ∘ v.
    Elementwise,
    /// + b; the gradient is Σ d.
    Bias,
}

/// Some rows of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The gates whose pre-activations they belong to; `None` for all columns of an adjoint that is not divided by gates.
    pub gates: Option<Range<usize>>,
    /// What they multiply.
    pub operand: Operand,
    /// The adjoint, by its number in [`CellSpec::adjoints`].
    pub adjoint: usize,
}

/// What a parameter multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operand {
    /// x_t.
    X,
    /// A state before the step.
    Prev(usize),
    /// A state after the step.
    State(usize),
    /// A saved array.
    Saved(usize),
    /// Nothing: a bias.
    One,
}

/// What a parameter is for: initializers and advice ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Input weights.
    Input,
    /// Recurrent weights.
    Recurrent,
    /// The bias of the input side.
    InputBias,
    /// The bias of the recurrent side.
    RecurrentBias,
    /// Weights of the cell state in the gates.
    Peephole,
    /// Weights from the hidden units to the output.
    Projection,
    /// The scale of a normalized product.
    Scale,
    /// The shift of a normalized product.
    Shift,
}

/// One part of a backward step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Stage {
    /// [`Cell::vjp`](crate::Cell::vjp) with this number.
    Local(usize),
    /// The gradient goes through one block of a parameter to its operand, a saved array or a state after the step.
    Through {
        /// The parameter.
        param: usize,
        /// The block.
        block: usize,
    },
}

impl CellSpec {
    /// G.
    #[inline]
    pub fn gate_count(&self) -> usize {
        self.gates.len()
    }

    /// The number of the gate called `name`.
    pub fn gate(&self, name: &str) -> Option<usize> {
        self.gates.iter().position(|gate| gate.name == name)
    }

    /// The gates' names.
    pub fn gate_names(&self) -> Vec<&'static str> {
        self.gates.iter().map(|gate| gate.name).collect()
    }

    /// The number of the parameter called `name`.
    pub fn param(&self, name: &str) -> Option<usize> {
        self.params.iter().position(|param| param.name == name)
    }

    /// Whether gates multiply states, so that a gradient can go around the recurrent weights.
    #[inline]
    pub fn is_gated(&self) -> bool {
        self.gates.len() > 1
    }

    /// The number of the input weights, the matrix that multiplies x.
    pub fn input_weights(&self) -> usize {
        let reads_x = |param: &ParamSpec| param.blocks.iter().any(|block| block.operand == Operand::X);
        self.params.iter().position(reads_x).expect("a cell reads its input")
    }

    /// Whether parameter `index` is a matrix that multiplies states or what is saved, not the input.
    pub(crate) fn multiplies_states(&self, index: usize) -> bool {
        self.params[index].kind == ParamKind::Matrix && index != self.input_weights()
    }

    /// The block through which the backward step leads a gradient to saved array `saved`, if one does.
    pub(crate) fn block_to_saved(&self, saved: usize) -> Option<&Block> {
        let mut blocks = self.backward.iter().filter_map(|stage| match *stage {
            Stage::Through { param, block } => Some(&self.params[param].blocks[block]),
            Stage::Local(_) => None,
        });
        blocks.find(|block| block.operand == Operand::Saved(saved))
    }

    /// The adjoint of the input weights.
    pub(crate) fn input_adjoint(&self) -> usize {
        self.params[self.input_weights()].adjoint()
    }

    /// The matrix whose operand is h_{t-1}, if there is one.
    pub fn recurrent_weights(&self) -> Option<usize> {
        let reads_h = |param: &ParamSpec| {
            param.kind == ParamKind::Matrix
                && param.blocks.iter().any(|block| block.operand == Operand::Prev(0))
        };
        self.params.iter().position(reads_h)
    }

    /// Whether h may be narrower than H: it is made by a matrix of its own, whose adjoint is as wide as h.
    pub(crate) fn projects(&self) -> bool {
        self.adjoints.iter().any(|adjoint| adjoint.width == Width::Output)
    }

    /// N, the numbers of all states together.
    pub fn state_width(&self, sizes: &CellSizes) -> usize {
        self.states.iter().map(|state| sizes.of(state.width)).sum()
    }
}

impl ParamSpec {
    /// The adjoint that holds the gradients of all its blocks: where one differs from da in some gates only, it repeats da
    /// in the others.
    #[inline]
    pub(crate) fn adjoint(&self) -> usize {
        self.blocks.iter().map(|block| block.adjoint).max().unwrap_or(0)
    }

    /// A matrix, its blocks as (gates, operand, adjoint).
    pub fn matrix(name: &'static str, role: Role, blocks: &[(Range<usize>, Operand, usize)]) -> Self {
        Self::new(name, ParamKind::Matrix, role, blocks)
    }

    /// A bias, its blocks as (gates, adjoint).
    pub fn bias(name: &'static str, role: Role, blocks: &[(Range<usize>, usize)]) -> Self {
        let blocks: Vec<_> =
            blocks.iter().map(|(gates, adjoint)| (gates.clone(), Operand::One, *adjoint)).collect();
        Self::new(name, ParamKind::Bias, role, &blocks)
    }

    /// An elementwise parameter, its blocks as (gates, operand, adjoint).
    pub fn elementwise(name: &'static str, role: Role, blocks: &[(Range<usize>, Operand, usize)]) -> Self {
        Self::new(name, ParamKind::Elementwise, role, blocks)
    }

    fn new(
        name: &'static str,
        kind: ParamKind,
        role: Role,
        blocks: &[(Range<usize>, Operand, usize)],
    ) -> Self {
        let block = |(gates, operand, adjoint): &(Range<usize>, Operand, usize)| Block {
            gates: Some(gates.clone()),
            operand: *operand,
            adjoint: *adjoint,
        };
        Self { name, kind, blocks: blocks.iter().map(block).collect(), role }
    }
}

impl StateSpec {
    /// h, the output.
    pub fn h(passes: bool) -> Self {
        Self { name: "h", width: Width::Output, passes, initial: Parameter::INITIAL_STATE }
    }

    /// c, a cell state; its gradient passes.
    pub fn c() -> Self {
        Self { name: "c", width: Width::Hidden, passes: true, initial: Parameter::INITIAL_CELL_STATE }
    }
}

impl AdjointSpec {
    /// da.
    pub fn da() -> Self {
        Self { name: "da", width: Width::Gates, differs: None }
    }

    /// An adjoint of the gates that differs from da in some of them, or in all.
    pub fn gates(name: &'static str, differs: Option<Range<usize>>) -> Self {
        Self { name, width: Width::Gates, differs }
    }
}

/// The parameters that most cells have, for G gates: W_ih, W_hh, b_ih, b_hh, all of them with da.
pub fn usual_params(gates: usize) -> Vec<ParamSpec> {
    let all = 0..gates;
    vec![
        ParamSpec::matrix("weight_ih", Role::Input, &[(all.clone(), Operand::X, 0)]),
        ParamSpec::matrix("weight_hh", Role::Recurrent, &[(all.clone(), Operand::Prev(0), 0)]),
        ParamSpec::bias("bias_ih", Role::InputBias, &[(all.clone(), 0)]),
        ParamSpec::bias("bias_hh", Role::RecurrentBias, &[(all, 0)]),
    ]
}
