//! What a ledger measures of a cell, read from the cell's specification: which norms, from which adjoints, with which
//! operands. Parameters with the same adjoint are measured in one pass over its rows.

use crate::kernel::Real;
use crate::model::{CellParams, CellSpec, Operand, ParamKind, Parameter};

/// What is measured of one cell.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// In the order of a record's slots; the input comes last, if it is measured.
    pub(crate) params: Vec<MeasuredParam>,
    /// The adjoints that are passed over, and behind them the gradient with respect to the input, if it is measured.
    pub(crate) sides: Vec<MeasuredSide>,
    /// The operands whose inner products are needed.
    pub(crate) operands: Vec<Operand>,
    /// The elementwise parameters, by their number in `params`.
    pub(crate) elementwise: Vec<usize>,
    /// The first of `params` have a norm for each gate's rows, too.
    pub(crate) gated: usize,
    /// Numbers that are kept of every sequence.
    pub(crate) columns: Vec<SequenceColumn>,
}

/// The rows of one adjoint.
#[derive(Clone, Debug)]
pub(crate) struct MeasuredSide {
    /// The adjoint; `None` for the input's gradient.
    pub(crate) adjoint: Option<usize>,
    /// How many parameters it serves.
    pub(crate) params: usize,
    /// Blocks of columns that are measured separately: the gates, or 1.
    pub(crate) blocks: usize,
}

/// One slot of a record.
#[derive(Clone, Debug)]
pub(crate) struct MeasuredParam {
    pub(crate) parameter: Parameter,
    /// The cell's parameters that have this gradient: one, or biases that share it. None for the input.
    pub(crate) params: Vec<usize>,
    /// The side whose rows it is measured from.
    pub(crate) side: usize,
    /// Which of the side's inner products is its own.
    pub(crate) n: usize,
    pub(crate) factor: GramFactor,
    /// What it multiplies; of several operands, which have their powers of two in common, the first.
    pub(crate) operand: Option<Operand>,
    /// The column that its norms of single sequences come from, and the operand whose norm they are multiplied with.
    pub(crate) sequence: (usize, Option<usize>),
}

/// What turns the inner products of an adjoint's rows into the norm of a sum over sequences.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GramFactor {
    /// Of a matrix: for each block of columns the inner products of the operand, if it has rows there.
    Operands(Vec<Option<usize>>),
    /// Of a bias: rows are added up, in the blocks where it has numbers.
    Sum(Vec<bool>),
    /// Of an elementwise parameter, by its number among these.
    Elementwise(usize),
    /// Each sequence stays by itself, as in the input.
    Sequences,
}

/// A number that is kept of every sequence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SequenceColumn {
    /// ‖row‖ of a side.
    Rows(usize),
    /// The same, each block weighted with its operand's norm relative to the first one's: of parameter `param`.
    Weighted {
        /// Which of [`Measured::params`].
        param: usize,
    },
    /// ‖row ∘ operand‖ of an elementwise parameter.
    Elementwise(usize),
}

impl Measured {
    /// For a cell; `inputs` if it is in the bottom layer and they are asked for, `gates` if norms of each gate are.
    pub(crate) fn new<T: Real>(params: &CellParams<T>, inputs: bool, gates: bool) -> Self {
        let (spec, gate_count) = (params.spec(), params.sizes().gates);
        let by_gate = gates && gate_count > 1;
        let mut measured = Self {
            params: Vec::new(),
            sides: Vec::new(),
            operands: Vec::new(),
            elementwise: Vec::new(),
            gated: 0,
            columns: Vec::new(),
        };
        // Parameters of gates come first: only they have norms by gate.
        let of_gates = |&param: &usize| spec.params[param].blocks.iter().all(|block| block.gates.is_some());
        let (first, last): (Vec<usize>, Vec<usize>) = (0..spec.params.len()).partition(of_gates);
        for param in first.into_iter().chain(last) {
            measured.add(spec, param);
            if of_gates(&param) {
                measured.gated = measured.params.len();
            }
        }
        measured.name_biases(spec);
        for side in 0..measured.sides.len() {
            let on_side = measured.params.iter().filter(|param| param.side == side);
            let is_gate_wide = on_side.clone().all(|param| of_gates(&param.params[0]));
            let needs_blocks = |param: &MeasuredParam| !is_uniform(spec, param.params[0], gate_count);
            if is_gate_wide && (by_gate || on_side.clone().any(needs_blocks)) {
                measured.sides[side].blocks = gate_count;
            }
        }
        for slot in 0..measured.params.len() {
            measured.find_factor(spec, slot);
        }
        if inputs {
            let side = measured.sides.len();
            measured.sides.push(MeasuredSide { adjoint: None, params: 1, blocks: 1 });
            let column = measured.column(SequenceColumn::Rows(side));
            measured.params.push(MeasuredParam {
                parameter: Parameter::INPUT,
                params: Vec::new(),
                side,
                n: 0,
                factor: GramFactor::Sequences,
                operand: None,
                sequence: (column, None),
            });
        }
        measured
    }

    /// Whether one sequence's norms follow from whole rows: in one block, without elementwise parameters.
    pub(crate) fn is_simple(&self) -> bool {
        self.elementwise.is_empty() && self.sides.iter().all(|side| side.blocks == 1)
    }

    /// Adds a parameter, or to biases that have its gradient.
    fn add(&mut self, spec: &CellSpec, param: usize) {
        let of = &spec.params[param];
        let adjoint = of.adjoint();
        let side = self.sides.iter().position(|side| side.adjoint == Some(adjoint)).unwrap_or_else(|| {
            self.sides.push(MeasuredSide { adjoint: Some(adjoint), params: 0, blocks: 1 });
            self.sides.len() - 1
        });
        if of.kind == ParamKind::Bias {
            let same = |other: &&mut MeasuredParam| {
                let first = &spec.params[other.params[0]];
                other.side == side && first.kind == ParamKind::Bias && first.blocks == of.blocks
            };
            if let Some(other) = self.params.iter_mut().find(same) {
                other.params.push(param);
                return;
            }
        }
        let n = self.sides[side].params;
        self.sides[side].params += 1;
        if of.kind == ParamKind::Elementwise {
            self.elementwise.push(self.params.len());
        }
        self.params.push(MeasuredParam {
            parameter: Parameter::named(of.name),
            params: vec![param],
            side,
            n,
            factor: GramFactor::Sequences,
            operand: Some(of.blocks[0].operand).filter(|&operand| operand != Operand::One),
            sequence: (0, None),
        });
    }

    /// The only bias gradient of a cell is called the bias.
    fn name_biases(&mut self, spec: &CellSpec) {
        let is_bias = |param: &&mut MeasuredParam| spec.params[param.params[0]].kind == ParamKind::Bias;
        let mut found: Vec<&mut MeasuredParam> = self.params.iter_mut().filter(is_bias).collect();
        if let [only] = &mut found[..] {
            only.parameter = Parameter::BIAS;
        }
    }

    fn find_factor(&mut self, spec: &CellSpec, slot: usize) {
        let MeasuredParam { params, side, .. } = self.params[slot].clone();
        let (of, blocks) = (&spec.params[params[0]], self.sides[side].blocks);
        let block_at = |block: usize| {
            of.blocks
                .iter()
                .find(|b| blocks == 1 || b.gates.as_ref().is_some_and(|gates| gates.contains(&block)))
        };
        let (factor, sequence) = match of.kind {
            ParamKind::Bias => {
                let covered = (0..blocks).map(|block| block_at(block).is_some()).collect();
                (GramFactor::Sum(covered), (self.column(SequenceColumn::Rows(side)), None))
            }
            ParamKind::Elementwise => {
                let number = self.elementwise.iter().position(|&param| param == slot).unwrap_or(0);
                let column = self.column(SequenceColumn::Elementwise(number));
                (GramFactor::Elementwise(number), (column, None))
            }
            ParamKind::Matrix => {
                let operands: Vec<_> =
                    (0..blocks).map(|block| block_at(block).map(|of| self.operand(of.operand))).collect();
                let base = operands.iter().flatten().next().copied();
                let uniform = operands.iter().all(|&operand| operand == base);
                let column = if uniform {
                    SequenceColumn::Rows(side)
                } else {
                    SequenceColumn::Weighted { param: slot }
                };
                (GramFactor::Operands(operands), (self.column(column), base))
            }
        };
        (self.params[slot].factor, self.params[slot].sequence) = (factor, sequence);
    }

    fn operand(&mut self, operand: Operand) -> usize {
        self.operands.iter().position(|&known| known == operand).unwrap_or_else(|| {
            self.operands.push(operand);
            self.operands.len() - 1
        })
    }

    fn column(&mut self, column: SequenceColumn) -> usize {
        self.columns.iter().position(|known| *known == column).unwrap_or_else(|| {
            self.columns.push(column);
            self.columns.len() - 1
        })
    }
}

/// Whether all gates have rows of a parameter, and the same operand.
fn is_uniform(spec: &CellSpec, param: usize, gates: usize) -> bool {
    let of = &spec.params[param];
    if of.kind == ParamKind::Elementwise {
        return true;
    }
    let covered: usize =
        of.blocks.iter().map(|block| block.gates.as_ref().map_or(gates, ExactSizeIterator::len)).sum();
    covered == gates && of.blocks.iter().all(|block| block.operand == of.blocks[0].operand)
}
