//! What all losses have in sum, which has to be the ordinary gradient.

use rayon::prelude::*;

use super::norms::StepSums;
use crate::array::Sequence;
use crate::forward::Trace;
use crate::kernel;
use crate::kernel::Real;
use crate::model::{Network, State};
use crate::reverse::Rows;

/// Σ over losses of what the reverse scan shows, in full (exponents put back in).
pub(super) struct Sums<T> {
    /// Σ_k da of each cell.
    pub(super) da: Vec<Preactivations<T>>,
    /// Σ_k dx, (T, B, I).
    pub(super) dx: Sequence<T>,
    /// Σ_k of the gradients with respect to the initial state.
    pub(super) initial: State<T>,
}

/// Gradients with respect to the pre-activations of all steps.
pub(super) struct Preactivations<T> {
    /// As the input side sees them, (T, B, G·H).
    pub(super) da: Sequence<T>,
    /// As the recurrent side sees them, if the cell splits them.
    pub(super) da_hh: Option<Sequence<T>>,
}

impl<T: Real> Preactivations<T> {
    fn zeros(network: &Network<T>, steps: usize, batch: usize) -> Self {
        let width = network.weights().layers[0].w_ih.rows();
        let zeros = || Sequence::zeros(steps, batch, width);
        Self { da: zeros(), da_hh: network.cell().splits().then(zeros) }
    }
}

impl<T: Real> Sums<T> {
    /// For the first `steps` steps.
    pub(super) fn zeros(network: &Network<T>, trace: &Trace<T>, inputs: bool, steps: usize) -> Self {
        let (_, batch) = trace.inputs().shape();
        let cells = network.weights().layers.iter();
        Self {
            da: cells.map(|_| Preactivations::zeros(network, steps, batch)).collect(),
            dx: if inputs { Sequence::zeros(steps, batch, network.inputs()) } else { Sequence::default() },
            initial: network.zero_state(batch),
        }
    }

    /// Makes room for the steps up to `steps`, zeros.
    pub(super) fn extend(&mut self, steps: usize) {
        for Preactivations { da, da_hh } in &mut self.da {
            da.extend(steps);
            if let Some(da_hh) = da_hh {
                da_hh.extend(steps);
            }
        }
        self.dx.extend(steps);
    }

    /// Adds those of other chains, which have at most as many steps, in their order.
    pub(super) fn add(&mut self, others: &[Self]) {
        for (index, sum) in self.da.iter_mut().enumerate() {
            add_all(sum.da.data_mut(), others, |other| other.da[index].da.data());
            if let Some(sum) = &mut sum.da_hh {
                add_all(sum.data_mut(), others, |other| {
                    other.da[index].da_hh.as_ref().map_or(&[], Sequence::data)
                });
            }
        }
        add_all(self.dx.data_mut(), others, |other| other.dx.data());
        let State { h, c } = &mut self.initial;
        for (index, (h, c)) in h.iter_mut().zip(c).enumerate() {
            add_all(h.data_mut(), others, |other| other.initial.h[index].data());
            add_all(c.data_mut(), others, |other| other.initial.c[index].data());
        }
    }

    /// Those of one step of a cell.
    pub(super) fn at(&mut self, index: usize, t: usize, dx: bool) -> StepSums<'_, T> {
        let Preactivations { da, da_hh } = &mut self.da[index];
        StepSums {
            da: da.step_mut(t),
            da_hh: da_hh.as_mut().map_or(&mut [], |sum| sum.step_mut(t)),
            dx: if dx { self.dx.step_mut(t) } else { &mut [] },
        }
    }

    pub(super) fn add_initial(&mut self, index: usize, end: &Rows<T>) {
        for (r, &exponent) in end.exponents.iter().enumerate() {
            let (b, factor) = (r % end.batch(), kernel::power_of_two(exponent));
            kernel::add_scaled(self.initial.h[index].row_mut(b), factor, end.dh(r));
            kernel::add_scaled(self.initial.c[index].row_mut(b), factor, end.dc(r));
        }
    }
}

/// sum ← sum + Σ of the others', a part after the other, so that each part is near while all are added to it.
fn add_all<'a, T: Real>(sum: &mut [T], others: &'a [Sums<T>], of: impl Fn(&'a Sums<T>) -> &'a [T] + Sync) {
    const PART: usize = 4096;
    sum.par_chunks_mut(PART).enumerate().for_each(|(i, part)| {
        for other in others {
            kernel::add_scaled(part, T::one(), of(other).get(i * PART..).unwrap_or(&[]));
        }
    });
}
