//! Weights packed for the scans: once for each update, when they are first needed, and shared by all that read them.

use std::sync::{Mutex, OnceLock};

use super::layout::BlockGroup;
use super::params::{CellParams, Readout};
use super::spec::{Operand, ParamKind, Stage, Width};
use crate::array::Matrix;
use crate::kernel;
use crate::kernel::{Packed, Real, transpose};

/// Something made of the weights, whose memory is used again when they have changed.
///
/// Why sharing it between threads is sound: whoever reads has `&self`, and through that only `OnceLock` writes, once; others that
/// ask meanwhile wait for it and then see all of what was written. What was made of older weights cannot be seen, since
/// `invalidate` needs `&mut self`, as every change of weights does. The mutex is locked inside the initialization alone, and no
/// lock is taken while it is held. `new` and `fill` must neither ask for the same thing nor enter a thread pool: a thread that
/// takes up other work there would wait for itself. They are loops of `kernel/packed.rs`, which does not know of threads.
struct Cached<P> {
    current: OnceLock<P>,
    spare: Mutex<Option<P>>,
}

impl<P> Default for Cached<P> {
    fn default() -> Self {
        Self { current: OnceLock::new(), spare: Mutex::new(None) }
    }
}

impl<P> Cached<P> {
    /// What `fill` makes of the weights, in the memory that `new` made.
    fn get(&self, new: impl FnOnce() -> P, fill: impl FnOnce(&mut P)) -> &P {
        self.current.get_or_init(|| {
            let spare = self.spare.lock().ok().and_then(|mut spare| spare.take());
            let mut packed = spare.unwrap_or_else(new);
            fill(&mut packed);
            packed
        })
    }

    fn invalidate(&mut self) {
        if let (Some(old), Ok(spare)) = (self.current.take(), self.spare.get_mut()) {
            *spare = Some(old);
        }
    }
}

/// All packed weights of a network.
pub(crate) struct PackedWeights<T> {
    cells: Vec<PackedCell<T>>,
    /// W_hyᵀ, (D·P, V).
    readout: Cached<Packed<T>>,
    /// For each direction its columns of W_hy, (V, P).
    readout_back: Cached<Vec<Packed<T>>>,
}

struct PackedCell<T> {
    /// The products of a backward step.
    products: Vec<BackwardProduct>,
    /// For each matrix that does not multiply the input, the transposes of its blocks.
    step: Cached<Vec<Vec<Packed<T>>>>,
    /// W_ihᵀ, (I, G·H), for dense inputs, and the bias of the input side.
    inputs: Cached<(Packed<T>, Vec<T>)>,
    /// W_ihᵀ and the biases added to each row, (I, G·H): what a symbol contributes.
    table: Cached<Matrix<T>>,
    /// For each product the rows of its blocks.
    back: Cached<Vec<Packed<T>>>,
    /// W_ih, (G·H, I).
    inputs_back: Cached<Packed<T>>,
}

impl<T> std::fmt::Debug for PackedWeights<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedWeights").finish_non_exhaustive()
    }
}

/// One product of a backward step: gradients through neighboring blocks of a matrix to what these multiply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackwardProduct {
    /// The parameter.
    pub(crate) param: usize,
    /// Its blocks.
    pub(crate) group: BlockGroup,
}

/// The products of a backward step: first those of the stages, in their order, then those to previous states.
fn backward_products<T: Real>(params: &CellParams<T>) -> Vec<BackwardProduct> {
    let (spec, sizes) = (params.spec(), params.sizes());
    let is_matrix = |param: usize| spec.params[param].kind == ParamKind::Matrix;
    let of_stage = |stage: &Stage| match *stage {
        Stage::Through { param, block } if is_matrix(param) => {
            let groups = spec.groups(param, sizes);
            let group = groups.into_iter().find(|group| group.blocks == (block..block + 1));
            Some(BackwardProduct { param, group: group.expect("a stage goes through a group of one block") })
        }
        _ => None,
    };
    let mut products: Vec<_> = spec.backward.iter().filter_map(of_stage).collect();
    for param in (0..spec.params.len()).filter(|&param| is_matrix(param)) {
        let groups = spec.groups(param, sizes).into_iter();
        let to_previous = groups.filter(|group| matches!(group.operand, Operand::Prev(_)));
        products.extend(to_previous.map(|group| BackwardProduct { param, group }));
    }
    products
}

impl<T: Real> PackedWeights<T> {
    pub fn new(cells: &[CellParams<T>]) -> Self {
        let cell = |params: &CellParams<T>| PackedCell {
            products: backward_products(params),
            step: Cached::default(),
            inputs: Cached::default(),
            table: Cached::default(),
            back: Cached::default(),
            inputs_back: Cached::default(),
        };
        Self {
            cells: cells.iter().map(cell).collect(),
            readout: Cached::default(),
            readout_back: Cached::default(),
        }
    }

    /// To be called when the weights change.
    pub fn invalidate(&mut self) {
        for cell in &mut self.cells {
            cell.step.invalidate();
            cell.inputs.invalidate();
            cell.table.invalidate();
            cell.back.invalidate();
            cell.inputs_back.invalidate();
        }
        self.readout.invalidate();
        self.readout_back.invalidate();
    }

    /// For each parameter the transposes of its blocks; nothing for vectors and for the input weights.
    pub fn step(&self, index: usize, params: &CellParams<T>) -> &[Vec<Packed<T>>] {
        let (spec, sizes) = (params.spec(), params.sizes());
        let blocks = |param: usize| {
            let count = if spec.multiplies_states(param) { spec.params[param].blocks.len() } else { 0 };
            0..count
        };
        let new = || {
            let shaped = |param: usize, block: usize| {
                Packed::shaped(params.tensors()[param].cols(), spec.rows(param, block, sizes).len())
            };
            let of_param = |param: usize| blocks(param).map(|block| shaped(param, block)).collect();
            (0..spec.params.len()).map(of_param).collect()
        };
        self.cells[index].step.get(new, |packed: &mut Vec<Vec<Packed<T>>>| {
            for (param, packed) in packed.iter_mut().enumerate() {
                for (block, packed) in packed.iter_mut().enumerate() {
                    let rows = spec.rows(param, block, sizes);
                    packed.fill_transposed(params.tensors()[param].view().some_rows(rows));
                }
            }
        })
    }

    /// W_ihᵀ and the biases of the input side.
    pub fn inputs(&self, index: usize, params: &CellParams<T>) -> (&Packed<T>, &[T]) {
        let w_ih = params.input_weights();
        let new = || (Packed::shaped(w_ih.cols(), w_ih.rows()), Vec::new());
        let of = self.cells[index].inputs.get(new, |(packed, bias)| {
            packed.fill_transposed(w_ih.view());
            *bias = params.input_bias();
        });
        (&of.0, &of.1)
    }

    /// What each symbol contributes to the pre-activations, (I, G·H), with the biases of the input side.
    pub fn table(&self, index: usize, params: &CellParams<T>) -> &Matrix<T> {
        let w_ih = params.input_weights();
        let width = params.sizes().of(Width::Gates);
        let new = || Matrix::zeros(w_ih.cols(), width);
        self.cells[index].table.get(new, |table| {
            let bias = params.input_bias();
            transpose(table.data_mut(), width, w_ih.view());
            for row in table.data_mut().chunks_exact_mut(width) {
                kernel::add_scaled(row, T::one(), &bias);
            }
        })
    }

    /// The products of a backward step of cell `index`.
    pub fn products(&self, index: usize) -> &[BackwardProduct] {
        &self.cells[index].products
    }

    /// The rows that multiply gradients in a backward step, for each of its products.
    pub fn back(&self, index: usize, params: &CellParams<T>) -> &[Packed<T>] {
        let products = &self.cells[index].products;
        let new = || {
            let shaped =
                |of: &BackwardProduct| Packed::shaped(of.group.rows.len(), params.tensors()[of.param].cols());
            products.iter().map(shaped).collect()
        };
        self.cells[index].back.get(new, |packed: &mut Vec<_>| {
            for (packed, of) in packed.iter_mut().zip(products) {
                Packed::fill(packed, params.tensors()[of.param].view().some_rows(of.group.rows.clone()));
            }
        })
    }

    pub fn inputs_back(&self, index: usize, params: &CellParams<T>) -> &Packed<T> {
        let w_ih = params.input_weights();
        let new = || Packed::shaped(w_ih.rows(), w_ih.cols());
        self.cells[index].inputs_back.get(new, |packed| packed.fill(w_ih.view()))
    }

    pub fn readout(&self, readout: &Readout<T>) -> &Packed<T> {
        let (outputs, features) = (readout.outputs(), readout.w_hy.cols());
        self.readout
            .get(|| Packed::shaped(features, outputs), |packed| packed.fill_transposed(readout.w_hy.view()))
    }

    /// The columns of W_hy that multiply direction `d`'s h, (V, P).
    pub fn readout_back(&self, readout: &Readout<T>, directions: usize, d: usize) -> &Packed<T> {
        let width = readout.w_hy.cols() / directions;
        let new = || (0..directions).map(|_| Packed::shaped(readout.outputs(), width)).collect();
        let of = self.readout_back.get(new, |packed: &mut Vec<_>| {
            for (d, packed) in packed.iter_mut().enumerate() {
                Packed::fill(packed, readout.w_hy.view().columns(d * width..(d + 1) * width));
            }
        });
        &of[d]
    }
}
