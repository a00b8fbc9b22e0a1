//! What all losses have in sum, which has to be the ordinary gradient.

use crate::meter::StepSums;
use crate::network::{Network, State};
use crate::rows::Rows;
use crate::scan::Trace;
use crate::sequence::Sequence;
use crate::{Real, kernel};

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
    pub(super) fn zeros(network: &Network<T>, trace: &Trace<T>, inputs: bool) -> Self {
        let (steps, batch) = trace.inputs().shape();
        let cells = network.weights().layers.iter();
        Self {
            da: cells.map(|_| Preactivations::zeros(network, steps, batch)).collect(),
            dx: if inputs { Sequence::zeros(steps, batch, network.inputs()) } else { Sequence::default() },
            initial: network.zero_state(batch),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let add = |sum: &mut [T], other: &[T]| kernel::add_scaled(sum, T::one(), other);
        for (sum, other) in self.da.iter_mut().zip(&other.da) {
            add(sum.da.data_mut(), other.da.data());
            if let (Some(sum), Some(other)) = (&mut sum.da_hh, &other.da_hh) {
                add(sum.data_mut(), other.data());
            }
        }
        add(self.dx.data_mut(), other.dx.data());
        let sums = self.initial.h.iter_mut().chain(&mut self.initial.c);
        for (sum, other) in sums.zip(other.initial.h.iter().chain(&other.initial.c)) {
            add(sum.data_mut(), other.data());
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
