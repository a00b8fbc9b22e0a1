//! A cell's weights as its forward step needs them, and what the input contributes.

use std::ops::Range;

use super::params::CellParams;
use super::spec::Width;
use crate::array::View;
use crate::kernel::{Packed, Real, Start};

/// The weights of one cell, packed for the forward step.
pub struct StepWeights<'a, T> {
    params: &'a CellParams<T>,
    packed: &'a [Vec<Packed<T>>],
}

impl<'a, T: Real> StepWeights<'a, T> {
    /// `packed` holds for each parameter the transposes of its blocks, or nothing for vectors and input weights.
    pub(crate) fn new(params: &'a CellParams<T>, packed: &'a [Vec<Packed<T>>]) -> Self {
        Self { params, packed }
    }

    /// The parameters themselves.
    pub fn params(&self) -> &'a CellParams<T> {
        self.params
    }

    /// The numbers of block `block` of a bias or an elementwise parameter.
    pub fn vector(&self, param: usize, block: usize) -> &'a [T] {
        let rows = self.params.spec().rows(param, block, self.params.sizes());
        &self.params.tensors()[param].data()[rows]
    }

    /// In the block's columns of `out`, (B, G·H): out ← input + v Wᵀ, for block `block` of the matrix `param`.
    #[inline]
    pub fn add_product(
        &self,
        param: usize,
        block: usize,
        input: &InputProjection<'_, T>,
        v: View<'_, T>,
        out: &mut [T],
    ) {
        let (spec, sizes) = (self.params.spec(), self.params.sizes());
        let width = sizes.of(Width::Gates);
        let columns = spec.columns(&spec.params[param].blocks[block], sizes);
        let first = columns.start;
        T::multiply(&mut out[first..], width, input.start(columns), v, &self.packed[param][block]);
    }

    /// out ← v Wᵀ, plus a bias if there is one, for block `block` of the matrix `param`; out is (B, rows of the block).
    pub fn product(&self, param: usize, block: usize, bias: Option<&[T]>, v: View<'_, T>, out: &mut [T]) {
        let packed = &self.packed[param][block];
        T::multiply(out, packed.cols(), bias.map_or(Start::Zero, Start::Row), v, packed);
    }
}

/// What the input contributes to the pre-activations of one step: W_ih x and the biases that are added to it.
#[derive(Clone, Copy)]
pub enum InputProjection<'a, T> {
    /// It is in the place of the pre-activations already.
    InPlace,
    /// For each sequence the row of a table, (I, G·H), that belongs to its symbol.
    Table(View<'a, T>, &'a [u32]),
}

impl<'a, T: Real> InputProjection<'a, T> {
    #[inline]
    fn start(&self, columns: Range<usize>) -> Start<'a, T> {
        match *self {
            Self::InPlace => Start::Out,
            Self::Table(table, ids) => Start::Table(table.columns(columns), ids),
        }
    }

    /// Puts it into `columns` of the pre-activations, (B, `width`).
    pub fn put(&self, columns: Range<usize>, out: &mut [T], width: usize) {
        if let Self::Table(table, ids) = self {
            for (out, &id) in out.chunks_exact_mut(width).zip(*ids) {
                out[columns.clone()].copy_from_slice(&table.row(id as usize)[columns.clone()]);
            }
        }
    }
}
