//! From adjoints to the gradients of parameters.

use std::ops::Range;
use std::sync::Arc;

use crate::array::{Matrix, View};
use crate::forward::{ForwardCache, StepInput};
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{self, Real, on_registers};
use crate::model::{BlockGroup, CellParams, CellSizes, CellSpec, ParamKind, Readout};
use crate::reverse::Adjoints;

/// Which threads work on one gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Threads {
    /// This one. The others compute gradients of their own, and would only lose what is in their caches.
    This,
    /// All of the pool that this one belongs to, if it belongs to one.
    All,
}

impl Threads {
    /// Does both.
    fn both(self, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
        // From outside, waking a pool would cost more than it gives.
        if self == Self::All && rayon::current_thread_index().is_some() {
            rayon::join(a, b);
        } else {
            a();
            b();
        }
    }
}

/// Adds Σ d vᵀ, Σ d ∘ v or Σ d over `steps`, the adjoints d being (len · B, width) each, to the gradient of every parameter of
/// cell `index`; without `inputs`, x, only where the adjoint is not that of the input weights or the operand is a state or
/// saved.
pub(crate) fn add_cell_gradient<T: Real>(
    gradient: &mut CellParams<T>,
    cache: &ForwardCache<T>,
    index: usize,
    steps: Range<usize>,
    adjoints: &Adjoints<'_, T>,
    inputs: Option<StepInput<'_, T>>,
    threads: Threads,
) {
    let (spec, sizes) = (Arc::clone(gradient.spec()), *gradient.sizes());
    let groups = |param: usize| spec.groups(param, &sizes);
    let (of_states, others): (Vec<_>, Vec<_>) =
        gradient.tensors_mut().iter_mut().enumerate().partition(|(param, _)| spec.multiplies_states(*param));
    let of_cell = &cache.cells()[index];
    let add_others = || {
        let to_input = adjoints[spec.input_adjoint()];
        let mut sums = vec![T::zero(); if inputs.is_some() { to_input.cols() } else { 0 }];
        if inputs.is_some() {
            kernel::add_rows(&mut sums, to_input);
        }
        for (param, tensor) in others {
            match spec.params[param].kind {
                ParamKind::Matrix => {
                    if let Some(x) = inputs {
                        x.add_outer(tensor, to_input);
                    }
                }
                ParamKind::Elementwise => {
                    for BlockGroup { operand, adjoint, columns, rows, .. } in groups(param) {
                        let v = of_cell.operand(operand, steps.clone());
                        let d = adjoints[adjoint].columns(columns);
                        sum_of_products(&mut tensor.data_mut()[rows], d, v);
                    }
                }
                ParamKind::Bias => {
                    if inputs.is_some() {
                        add_input_bias_gradient(&spec, param, tensor, &sums, &sizes);
                    }
                    for (index, block) in spec.params[param].blocks.iter().enumerate() {
                        if block.adjoint != spec.input_adjoint() {
                            let d = adjoints[block.adjoint].columns(spec.columns(block, &sizes));
                            kernel::add_rows(&mut tensor.data_mut()[spec.rows(param, index, &sizes)], d);
                        }
                    }
                }
            }
        }
    };
    let add_of_states = || {
        for (param, tensor) in of_states {
            for group in groups(param) {
                let v = of_cell.operand(group.operand, steps.clone());
                add_outer(tensor, &group, adjoints[group.adjoint], v, threads);
            }
        }
    };
    threads.both(add_others, add_of_states);
}

/// Adds Σ d to the blocks of a bias whose adjoint d is that of the input weights; `sums` is Σ d.
pub(crate) fn add_input_bias_gradient<T: Real>(
    spec: &CellSpec,
    param: usize,
    bias: &mut Matrix<T>,
    sums: &[T],
    sizes: &CellSizes,
) {
    for (index, block) in spec.params[param].blocks.iter().enumerate() {
        if block.adjoint == spec.input_adjoint() {
            let numbers = &mut bias.data_mut()[spec.rows(param, index, sizes)];
            kernel::add_scaled(numbers, T::one(), &sums[spec.columns(block, sizes)]);
        }
    }
}

/// dW ← dW + Σ d vᵀ over rows, for the rows of one group of blocks.
pub(crate) fn add_outer<T: Real>(
    dw: &mut Matrix<T>,
    group: &BlockGroup,
    d: View<'_, T>,
    v: View<'_, T>,
    threads: Threads,
) {
    /// Rows of dW that make it worth packing v a second time.
    const WORTH: usize = 128;
    let (cols, BlockGroup { rows, columns, .. }) = (dw.cols(), group);
    let half = (rows.len() / 2).next_multiple_of(kernel::TILE_ROWS);
    let dw = &mut dw.data_mut()[rows.start * cols..rows.end * cols];
    if threads == Threads::All && rows.len() >= half + WORTH {
        let (upper, lower) = dw.split_at_mut(half * cols);
        let middle = columns.start + half;
        threads.both(
            || kernel::sum_of_outer_products(upper, true, d.columns(columns.start..middle), v),
            || kernel::sum_of_outer_products(lower, true, d.columns(middle..columns.end), v),
        );
    } else {
        kernel::sum_of_outer_products(dw, true, d.columns(columns.clone()), v);
    }
}

/// Adds Σ dy hᵀ and Σ dy over rows.
pub(crate) fn add_readout_gradient<T: Real>(gradient: &mut Readout<T>, h: View<'_, T>, dy: View<'_, T>) {
    kernel::sum_of_outer_products(gradient.w_hy.data_mut(), true, dy, h);
    kernel::add_rows(gradient.b_y.data_mut(), dy);
}

on_registers! {
    /// out ← out + Σ a ∘ b over rows.
    fn sum_of_products<'a, T: Real>(simd, out: &'a mut [T], a: View<'a, T>, b: View<'a, T>) -> () {
        for i in 0..a.rows() {
            let (a, b) = (a.row(i), b.row(i));
            columns::<T, S>(out.len(), #[inline(always)] |at| {
                let sum = Vector::load(simd, a, at).mul_add(Vector::load(simd, b, at), Vector::load(simd, out, at));
                sum.store(out, at);
            });
        }
    }
}
