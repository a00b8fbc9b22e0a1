//! What all losses have in sum, which has to be the ordinary gradient.

use rayon::prelude::*;

use super::norms::StepSums;
use crate::array::Sequence;
use crate::forward::ForwardCache;
use crate::kernel;
use crate::kernel::Real;
use crate::model::{CellParams, MAX_ADJOINTS, Network, State};
use crate::reverse::Rows;

/// Σ over losses of what the reverse scan shows, in full (exponents put back in).
pub(super) struct Sums<T> {
    /// Σ_k of each adjoint of each cell, (T, B, width).
    pub(super) adjoints: Vec<Vec<Sequence<T>>>,
    /// Σ_k dx, (T, B, I).
    pub(super) dx: Sequence<T>,
    /// Σ_k of the gradients with respect to the initial state.
    pub(super) initial: State<T>,
}

impl<T: Real> Sums<T> {
    /// For the first `steps` steps.
    pub(super) fn zeros(network: &Network<T>, cache: &ForwardCache<T>, inputs: bool, steps: usize) -> Self {
        let (_, batch) = cache.inputs().shape();
        let of_cell = |params: &CellParams<T>| {
            let (spec, sizes) = (params.spec(), params.sizes());
            let adjoints = spec.adjoints.iter();
            adjoints.map(|adjoint| Sequence::zeros(steps, batch, sizes.of(adjoint.width))).collect()
        };
        Self {
            adjoints: network.weights().cells.iter().map(of_cell).collect(),
            dx: if inputs { Sequence::zeros(steps, batch, network.inputs()) } else { Sequence::default() },
            initial: network.zero_state(batch),
        }
    }

    /// Makes room for the steps up to `steps`, zeros.
    pub(super) fn extend(&mut self, steps: usize) {
        self.adjoints.iter_mut().flatten().for_each(|adjoint| adjoint.extend(steps));
        self.dx.extend(steps);
    }

    /// Adds those of other queues, which have at most as many steps, in their order.
    pub(super) fn add(&mut self, others: &[Self]) {
        for (index, adjoints) in self.adjoints.iter_mut().enumerate() {
            for (i, sum) in adjoints.iter_mut().enumerate() {
                add_all(sum.data_mut(), others, |other| other.adjoints[index][i].data());
            }
        }
        add_all(self.dx.data_mut(), others, |other| other.dx.data());
        for (index, states) in self.initial.cells.iter_mut().enumerate() {
            for (i, sum) in states.iter_mut().enumerate() {
                add_all(sum.data_mut(), others, |other| other.initial.cells[index][i].data());
            }
        }
    }

    /// Those of one step of a cell.
    pub(super) fn at(&mut self, index: usize, t: usize, dx: bool) -> StepSums<'_, T> {
        let mut adjoints: [&mut [T]; MAX_ADJOINTS] = Default::default();
        for (sum, to) in self.adjoints[index].iter_mut().zip(&mut adjoints) {
            *to = sum.step_mut(t);
        }
        StepSums { adjoints, dx: if dx { self.dx.step_mut(t) } else { &mut [] } }
    }

    pub(super) fn add_initial(&mut self, index: usize, end: &Rows<T>) {
        for (r, &exponent) in end.exponents.iter().enumerate() {
            let (b, factor) = (r % end.batch(), kernel::power_of_two(exponent));
            for (state, sum) in self.initial.cells[index].iter_mut().enumerate() {
                kernel::add_scaled(sum.row_mut(b), factor, end.row(state, r));
            }
        }
    }
}

/// sum ← sum + Σ of the others', a part after the other, so that each part is in cache while all are added to it.
fn add_all<'a, T: Real>(sum: &mut [T], others: &'a [Sums<T>], of: impl Fn(&'a Sums<T>) -> &'a [T] + Sync) {
    const PART: usize = 4096;
    sum.par_chunks_mut(PART).enumerate().for_each(|(i, part)| {
        for other in others {
            kernel::add_scaled(part, T::one(), of(other).get(i * PART..).unwrap_or(&[]));
        }
    });
}
