//! The recurrent side of a cell as its step needs it.

use std::ops::Range;

use super::cell::Cell;
use super::params::CellParams;
use crate::array::View;
use crate::kernel::{Packed, Real, Start};

/// The recurrent side of a cell: W_hh and b_hh.
pub struct Recurrent<T> {
    /// W_hhᵀ, (H, G·H), of the gates whose recurrent side is h_{t-1} W_gᵀ and is simply added to the input's.
    added: Packed<T>,
    /// Of a last gate for which that is not so, W_gᵀ, (H, H), and b_g.
    last: Option<(Packed<T>, Vec<T>)>,
}

impl<T: Real> Recurrent<T> {
    pub(super) fn shaped(params: &CellParams<T>, cell: &dyn Cell<T>) -> Self {
        let (rows, hidden) = (params.w_hh.rows(), params.hidden());
        let apart = cell.splits() || cell.reads_kept();
        let added = Packed::shaped(hidden, if apart { rows - hidden } else { rows });
        Self { added, last: apart.then(|| (Packed::shaped(hidden, hidden), Vec::new())) }
    }

    pub(super) fn fill(&mut self, params: &CellParams<T>) {
        let w_hh = params.w_hh.view();
        let added = self.added.cols();
        self.added.fill_transposed(w_hh.some_rows(0..added));
        if let Some((last, bias)) = &mut self.last {
            last.fill_transposed(w_hh.some_rows(added..w_hh.rows()));
            bias.clear();
            bias.extend_from_slice(&params.b_hh.data()[added..]);
        }
    }

    /// H.
    pub fn hidden(&self) -> usize {
        self.added.rows()
    }

    /// out ← input + h_{t-1} W_gᵀ, the pre-activations of all gates for which that is all; `out` is (B, `width`).
    pub(crate) fn add(&self, input: &Contribution<'_, T>, h_prev: View<'_, T>, out: &mut [T], width: usize) {
        T::multiply(out, width, input.start(0..self.added.cols()), h_prev, &self.added);
    }

    /// out ← input + v W_gᵀ, the pre-activation of the last gate, for what it reads in place of h_{t-1}.
    pub(crate) fn add_last(&self, input: &Contribution<'_, T>, v: View<'_, T>, out: &mut [T], width: usize) {
        if let Some((last, _)) = &self.last {
            let first = self.added.cols();
            let start = input.start(first..first + last.cols());
            T::multiply(&mut out[first..], width, start, v, last);
        }
    }

    /// out ← b_g + v W_gᵀ of the last gate, without the input; v and out are (B, H).
    pub(crate) fn of_last(&self, v: View<'_, T>, out: &mut [T]) {
        if let Some((last, bias)) = &self.last {
            T::multiply(out, last.cols(), Start::Row(bias), v, last);
        }
    }
}

/// What the input contributes to the pre-activations of one step, biases included.
#[derive(Clone, Copy)]
pub enum Contribution<'a, T> {
    /// It stands in their place already.
    InPlace,
    /// Of each sequence the row of a table, (I, G·H), that belongs to its symbol.
    Table(View<'a, T>, &'a [u32]),
}

impl<'a, T: Real> Contribution<'a, T> {
    fn start(&self, columns: Range<usize>) -> Start<'a, T> {
        match *self {
            Self::InPlace => Start::Out,
            Self::Table(table, ids) => Start::Table(table.columns(columns), ids),
        }
    }

    /// Puts it into `columns` of the pre-activations, (B, `width`).
    pub(crate) fn put(&self, columns: Range<usize>, out: &mut [T], width: usize) {
        if let Self::Table(table, ids) = self {
            for (out, &id) in out.chunks_exact_mut(width).zip(*ids) {
                out[columns.clone()].copy_from_slice(&table.row(id as usize)[columns.clone()]);
            }
        }
    }
}
