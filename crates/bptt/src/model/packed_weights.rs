//! Weights laid out for the scans: packed once for each update, when they are first needed, and shared by all that read
//! them.

use std::ops::Range;
use std::sync::{Mutex, OnceLock};

use super::cell::Cell;
use super::params::{CellParams, Readout};
use super::recurrent::Recurrent;
use crate::array::Matrix;
use crate::kernel;
use crate::kernel::{Packed, Real, transpose};

/// Something made of the weights, whose memory serves again when they have changed.
struct Laid<P> {
    current: OnceLock<P>,
    spare: Mutex<Option<P>>,
}

impl<P> Default for Laid<P> {
    fn default() -> Self {
        Self { current: OnceLock::new(), spare: Mutex::new(None) }
    }
}

impl<P> Laid<P> {
    /// What `fill` makes of the weights, in what `new` has made.
    fn get(&self, new: impl FnOnce() -> P, fill: impl FnOnce(&mut P)) -> &P {
        self.current.get_or_init(|| {
            let spare = self.spare.lock().ok().and_then(|mut spare| spare.take());
            let mut laid = spare.unwrap_or_else(new);
            fill(&mut laid);
            laid
        })
    }

    fn outdate(&mut self) {
        if let (Some(old), Ok(spare)) = (self.current.take(), self.spare.get_mut()) {
            *spare = Some(old);
        }
    }
}

/// All of a network's layouts.
pub(crate) struct Layouts<T> {
    cells: Vec<CellLayouts<T>>,
    /// W_hyᵀ, (D·H, V).
    readout: Laid<Packed<T>>,
    /// For each direction its columns of W_hy, (V, H).
    readout_back: Laid<Vec<Packed<T>>>,
}

struct CellLayouts<T> {
    recurrent: Laid<Recurrent<T>>,
    /// W_ihᵀ, (I, G·H), for dense inputs.
    inputs: Laid<(Packed<T>, Vec<T>)>,
    /// W_ihᵀ and the biases added to each row, (I, G·H): what a symbol contributes.
    table: Laid<Matrix<T>>,
    /// W_hh, (G·H, H); what multiplies the kept apart from the others.
    recurrent_back: Laid<Vec<Packed<T>>>,
    /// W_ih, (G·H, I).
    inputs_back: Laid<Packed<T>>,
}

impl<T> std::fmt::Debug for Layouts<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layouts").finish_non_exhaustive()
    }
}

impl<T: Real> Layouts<T> {
    pub fn new(cells: usize) -> Self {
        let cell = |_| CellLayouts {
            recurrent: Laid::default(),
            inputs: Laid::default(),
            table: Laid::default(),
            recurrent_back: Laid::default(),
            inputs_back: Laid::default(),
        };
        Self {
            cells: (0..cells).map(cell).collect(),
            readout: Laid::default(),
            readout_back: Laid::default(),
        }
    }

    /// Called when the weights change.
    pub fn outdate(&mut self) {
        for cell in &mut self.cells {
            cell.recurrent.outdate();
            cell.inputs.outdate();
            cell.table.outdate();
            cell.recurrent_back.outdate();
            cell.inputs_back.outdate();
        }
        self.readout.outdate();
        self.readout_back.outdate();
    }

    pub fn recurrent(&self, index: usize, params: &CellParams<T>, cell: &dyn Cell<T>) -> &Recurrent<T> {
        self.cells[index].recurrent.get(|| Recurrent::shaped(params, cell), |laid| laid.fill(params))
    }

    /// W_ihᵀ and the biases of the input side.
    pub fn inputs(&self, index: usize, params: &CellParams<T>, cell: &dyn Cell<T>) -> (&Packed<T>, &[T]) {
        let new = || (Packed::shaped(params.inputs(), params.w_ih.rows()), Vec::new());
        let laid = self.cells[index].inputs.get(new, |(packed, bias)| {
            packed.fill_transposed(params.w_ih.view());
            *bias = input_bias(params, cell);
        });
        (&laid.0, &laid.1)
    }

    /// What each symbol contributes to the pre-activations, (I, G·H), with the biases of the input side.
    pub fn table(&self, index: usize, params: &CellParams<T>, cell: &dyn Cell<T>) -> &Matrix<T> {
        let new = || Matrix::zeros(params.inputs(), params.w_ih.rows());
        self.cells[index].table.get(new, |table| {
            let bias = input_bias(params, cell);
            let width = params.w_ih.rows();
            transpose(table.data_mut(), width, params.w_ih.view());
            for row in table.data_mut().chunks_exact_mut(width) {
                kernel::add_scaled(row, T::one(), &bias);
            }
        })
    }

    /// W_hh as what multiplies gradients on the way back, (G·H, H); of a cell that reads what it kept, the last gate's rows
    /// by themselves.
    pub fn recurrent_back(&self, index: usize, params: &CellParams<T>, cell: &dyn Cell<T>) -> &[Packed<T>] {
        let (rows, hidden) = (params.w_hh.rows(), params.hidden());
        let first = if cell.reads_kept() { rows - hidden } else { rows };
        let parts: Vec<Range<usize>> =
            std::iter::once(0..first).chain((first < rows).then_some(first..rows)).collect();
        let new = || parts.iter().map(|part| Packed::shaped(part.len(), hidden)).collect();
        self.cells[index].recurrent_back.get(new, |laid: &mut Vec<_>| {
            for (packed, part) in laid.iter_mut().zip(&parts) {
                Packed::fill(packed, params.w_hh.view().some_rows(part.clone()));
            }
        })
    }

    pub fn inputs_back(&self, index: usize, params: &CellParams<T>) -> &Packed<T> {
        let new = || Packed::shaped(params.w_ih.rows(), params.inputs());
        self.cells[index].inputs_back.get(new, |packed| packed.fill(params.w_ih.view()))
    }

    pub fn readout(&self, readout: &Readout<T>) -> &Packed<T> {
        let (outputs, features) = (readout.outputs(), readout.w_hy.cols());
        self.readout
            .get(|| Packed::shaped(features, outputs), |packed| packed.fill_transposed(readout.w_hy.view()))
    }

    /// The columns of W_hy that multiply direction `d`'s h, (V, H).
    pub fn readout_back(&self, readout: &Readout<T>, directions: usize, d: usize) -> &Packed<T> {
        let hidden = readout.w_hy.cols() / directions;
        let new = || (0..directions).map(|_| Packed::shaped(readout.outputs(), hidden)).collect();
        let laid = self.readout_back.get(new, |laid: &mut Vec<_>| {
            for (d, packed) in laid.iter_mut().enumerate() {
                Packed::fill(packed, readout.w_hy.view().columns(d * hidden..(d + 1) * hidden));
            }
        });
        &laid[d]
    }
}

/// The biases that are added to the input's contribution: both, but for a last gate whose recurrent side is multiplied
/// before it is added.
fn input_bias<T: Real>(params: &CellParams<T>, cell: &dyn Cell<T>) -> Vec<T> {
    let apart = if cell.splits() { params.hidden() } else { 0 };
    let together = params.w_ih.rows() - apart;
    let biases = params.b_ih.data().iter().zip(params.b_hh.data()).enumerate();
    biases.map(|(i, (&ih, &hh))| if i < together { ih + hh } else { ih }).collect()
}
