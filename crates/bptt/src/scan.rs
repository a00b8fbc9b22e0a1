//! The forward time loop.

use crate::cell::{Forward, StepCache};
use crate::network::{Inputs, Network, State};
use crate::sequence::{Matrix, Sequence, View};
use crate::{Error, Real};

/// What the forward scan kept of one layer.
#[derive(Clone, Debug)]
pub struct LayerTrace<T> {
    /// h before step 0, after step 0, …, after step T − 1: (T + 1, B, H).
    h: Sequence<T>,
    /// c in the same places, (T + 1, B, H), or (T + 1, B, 0).
    c: Sequence<T>,
    /// The activated gates of every step, (T, B, G·H).
    gates: Sequence<T>,
    /// What else the cell keeps of every step, (T, B, H) or (T, B, 0).
    kept: Sequence<T>,
}

impl<T: Real> LayerTrace<T> {
    /// h0 and then h after every step, (T + 1, B, H).
    pub fn h(&self) -> &Sequence<T> {
        &self.h
    }

    /// h before every step, (T·B, H).
    pub(crate) fn h_prev(&self) -> View<'_, T> {
        self.h.rows(0..self.gates.steps())
    }

    /// What the way back needs to know of step `t`.
    pub(crate) fn cache(&self, t: usize) -> StepCache<'_, T> {
        StepCache {
            gates: self.gates.step(t),
            kept: self.kept.step(t),
            h_prev: self.h.step(t),
            c_prev: self.c.step(t),
        }
    }
}

/// A finished forward scan: the inputs and what every layer kept.
#[derive(Clone, Debug)]
pub struct Trace<T> {
    inputs: Inputs<T>,
    layers: Vec<LayerTrace<T>>,
}

impl<T: Real> Trace<T> {
    /// What was read.
    pub fn inputs(&self) -> &Inputs<T> {
        &self.inputs
    }

    /// What each layer kept, from the input up.
    pub fn layers(&self) -> &[LayerTrace<T>] {
        &self.layers
    }

    /// h of the top layer after every step, (T·B, H).
    pub fn top(&self) -> View<'_, T> {
        let h = self.layers.last().expect("a network has a layer").h();
        h.rows(1..h.steps())
    }

    /// Refuses a trace whose hidden states are not all finite, naming the first that is not.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with layer, step and sequence.
    pub fn check_finite(&self) -> Result<(), Error> {
        for (l, layer) in self.layers.iter().enumerate() {
            if let Some((slot, sequence)) = layer.h.first_not_finite() {
                let what = format!("hidden state of layer {l}");
                return Err(Error::NotFinite { what, step: slot.saturating_sub(1), sequence });
            }
        }
        Ok(())
    }

    /// The state after the last step, to carry into the next window.
    pub fn final_state(&self) -> State<T> {
        let last = |s: &Sequence<T>| s.step(s.steps() - 1).to_matrix();
        State {
            h: self.layers.iter().map(|layer| last(&layer.h)).collect(),
            c: self.layers.iter().map(|layer| last(&layer.c)).collect(),
        }
    }
}

impl<T: Real> Network<T> {
    /// Runs the network over `inputs` from `initial`, keeping what the way back needs.
    ///
    /// # Errors
    /// If the inputs or the initial state do not fit the network.
    pub fn scan<'s>(&self, inputs: Inputs<T>, initial: &'s State<T>) -> Result<Trace<T>, Error> {
        inputs.check(self.inputs())?;
        let (steps, batch) = inputs.shape();
        let mut layers = Vec::with_capacity(self.weights().layers.len());
        for (l, params) in self.weights().layers.iter().enumerate() {
            let hidden = params.hidden();
            let memory = if self.cell().has_memory() { hidden } else { 0 };
            let fitting = |name: &str, given: Option<&'s Matrix<T>>, width: usize| {
                given.filter(|m| (m.rows(), m.cols()) == (batch, width)).ok_or_else(|| Error::Shape {
                    what: format!("initial {name} of layer {l}"),
                    expected: format!("(B, H) = ({batch}, {width})"),
                    given: given.map_or("none".into(), |m| format!("({}, {})", m.rows(), m.cols())),
                })
            };
            let h0 = fitting("h", initial.h.get(l), hidden)?;
            let c0 = fitting("c", initial.c.get(l), memory)?;

            let mut gates = Sequence::zeros(steps, batch, params.w_ih.rows());
            inputs.all().times_transposed(gates.data_mut(), &params.w_ih);
            for row in gates.data_mut().chunks_exact_mut(params.w_ih.rows()) {
                crate::kernel::add_scaled(row, T::one(), params.b_ih.data());
            }
            let mut h = Sequence::zeros(steps + 1, batch, hidden);
            h.step_mut(0).copy_from_slice(h0.data());
            let mut c = Sequence::zeros(steps + 1, batch, memory);
            c.step_mut(0).copy_from_slice(c0.data());
            let mut kept = Sequence::zeros(steps, batch, if self.cell().keeps_more() { hidden } else { 0 });
            for t in 0..steps {
                let ((h_prev, h), (c_prev, c)) = (h.step_and_next(t), c.step_and_next(t));
                let (gates, kept) = (gates.step_mut(t), kept.step_mut(t));
                self.cell().step(params, Forward { h_prev, c_prev, gates, kept, h, c });
            }
            layers.push(LayerTrace { h, c, gates, kept });
        }
        Ok(Trace { inputs, layers })
    }
}
