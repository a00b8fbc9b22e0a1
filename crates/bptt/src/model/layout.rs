//! Where a cell's parameters have their rows, and adjoints their columns: shapes and ranges that follow from a specification.

use std::ops::Range;

use super::spec::{Block, CellSizes, CellSpec, Operand, ParamKind};

/// Neighboring blocks of a parameter, see [`CellSpec::groups`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockGroup {
    /// The blocks.
    pub(crate) blocks: Range<usize>,
    /// What they multiply.
    pub(crate) operand: Operand,
    /// The adjoint that holds their gradients.
    pub(crate) adjoint: usize,
    /// The columns of the adjoint.
    pub(crate) columns: Range<usize>,
    /// The rows of the parameter.
    pub(crate) rows: Range<usize>,
}

impl CellSpec {
    /// Rows and columns of parameter `index`.
    pub fn shape(&self, index: usize, sizes: &CellSizes) -> (usize, usize) {
        let param = &self.params[index];
        let rows = param.blocks.iter().map(|block| self.columns(block, sizes).len()).sum();
        match param.kind {
            ParamKind::Matrix => (rows, self.operand_width(param.blocks[0].operand, sizes)),
            ParamKind::Elementwise | ParamKind::Bias => (1, rows),
        }
    }

    /// How many numbers an operand has.
    pub(crate) fn operand_width(&self, operand: Operand, sizes: &CellSizes) -> usize {
        match operand {
            Operand::X => sizes.inputs,
            Operand::Prev(state) | Operand::State(state) => sizes.of(self.states[state].width),
            Operand::Saved(saved) => sizes.of(self.saved[saved].width),
            Operand::One => 1,
        }
    }

    /// The columns of its adjoint that a block stands for.
    #[inline]
    pub(crate) fn columns(&self, block: &Block, sizes: &CellSizes) -> Range<usize> {
        match &block.gates {
            Some(gates) => gates.start * sizes.hidden..gates.end * sizes.hidden,
            None => 0..sizes.of(self.adjoints[block.adjoint].width),
        }
    }

    /// The rows of a parameter (numbers, for a vector) that stand for its block `block`.
    #[inline]
    pub(crate) fn rows(&self, param: usize, block: usize, sizes: &CellSizes) -> Range<usize> {
        let width = |block: &Block| self.columns(block, sizes).len();
        let first: usize = self.params[param].blocks[..block].iter().map(width).sum();
        first..first + width(&self.params[param].blocks[block])
    }

    /// Neighboring blocks of a parameter that one product serves: they have the same operand, and one adjoint holds the
    /// gradients of all of them.
    pub(crate) fn groups(&self, param: usize, sizes: &CellSizes) -> Vec<BlockGroup> {
        let mut groups: Vec<BlockGroup> = Vec::new();
        for (index, block) in self.params[param].blocks.iter().enumerate() {
            let (columns, rows) = (self.columns(block, sizes), self.rows(param, index, sizes));
            match groups.last_mut() {
                // An elementwise operand has the width of its own block.
                Some(group)
                    if self.params[param].kind != ParamKind::Elementwise
                        && group.operand == block.operand
                        && group.columns.end == columns.start
                        && self.repeats(group.adjoint, block.adjoint) =>
                {
                    group.blocks.end = index + 1;
                    group.columns.end = columns.end;
                    group.rows.end = rows.end;
                    group.adjoint = group.adjoint.max(block.adjoint);
                }
                _ => groups.push(BlockGroup {
                    blocks: index..index + 1,
                    operand: block.operand,
                    adjoint: block.adjoint,
                    columns,
                    rows,
                }),
            }
        }
        groups
    }

    /// Whether the later of two adjoints holds the gradients of the other where it does not differ.
    pub(super) fn repeats(&self, a: usize, b: usize) -> bool {
        a == b || (a.min(b) == 0 && self.adjoints[a.max(b)].differs.is_some())
    }
}
