//! Ordinary gradients, of all losses together or of groups of them: the reverse scan with a row for each group.

use std::ops::Range;

use crate::bptt::{Carry, reverse_layers};
use crate::loss::Losses;
use crate::network::{Network, Readout, State, Weights};
use crate::rows::Plan;
use crate::scan::Trace;
use crate::sequence::{Matrix, Sequence, View};
use crate::{Error, Real, kernel};

/// The gradient of a (group of) losses with respect to everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient<T> {
    /// With respect to the parameters.
    pub weights: Weights<T>,
    /// With respect to the inputs, (T, B, I), if it was asked for; for one-hot inputs, to the one-hot vectors.
    pub inputs: Option<Sequence<T>>,
    /// With respect to the initial state of each cell.
    pub initial: State<T>,
}

impl<T: Real> Network<T> {
    /// The ordinary gradient of the reduced loss: backpropagation through time with one row.
    ///
    /// `with_inputs` asks for the gradient with respect to the inputs as well, one more product.
    ///
    /// # Errors
    /// If `losses` does not belong to `trace`.
    pub fn gradient(
        &self,
        trace: &Trace<T>,
        losses: &Losses<T>,
        with_inputs: bool,
    ) -> Result<Gradient<T>, Error> {
        let group_of: Vec<_> = losses.present.iter().map(|&present| present.then_some(0)).collect();
        let mut gradients = self.group_gradients(trace, losses, &group_of, with_inputs)?;
        Ok(gradients.pop().unwrap_or_else(|| self.zero_gradient(trace, with_inputs)))
    }

    /// The gradient of each group of losses; `group_of[t]` is the group of step t's loss, `None` leaves it out. The
    /// groups come back in ascending order of their numbers, without those that no loss belongs to.
    ///
    /// # Errors
    /// If `losses` does not belong to `trace`, or `group_of` is not one entry a step.
    pub fn group_gradients(
        &self,
        trace: &Trace<T>,
        losses: &Losses<T>,
        group_of: &[Option<usize>],
        with_inputs: bool,
    ) -> Result<Vec<Gradient<T>>, Error> {
        self.check_losses(trace, losses)?;
        if group_of.len() != losses.present.len() {
            return Err(Error::Shape {
                what: "groups of losses".into(),
                expected: format!("{} entries, one a step", losses.present.len()),
                given: format!("{} entries", group_of.len()),
            });
        }
        let heard = losses.heard(trace);
        let plan = Plan::new(group_of.iter().zip(&heard).map(|(&group, &present)| group.filter(|_| present)));
        let (steps, batch) = trace.inputs().shape();
        let cells = self.weights().layers.len();

        let zeros = || (0..cells).map(|_| Preactivations::zeros(self, steps, batch)).collect();
        let mut da_of: Vec<Vec<Preactivations<T>>> = plan.groups().iter().map(|_| zeros()).collect();
        let ends = reverse_layers(self, trace, &losses.dh, &plan, Carry::Plain, |index, step| {
            for (row, of) in da_of.iter_mut().take(step.da.rows() / batch).enumerate() {
                let of = &mut of[index];
                of.da.step_mut(step.t).copy_from_slice(step.da.rows_of(row, batch).data());
                if let Some(da_hh) = &mut of.da_hh {
                    da_hh.step_mut(step.t).copy_from_slice(step.da_hh.rows_of(row, batch).data());
                }
            }
        });

        let mut gradients: Vec<(usize, Gradient<T>)> = Vec::with_capacity(da_of.len());
        for (row, (&group, da)) in plan.groups().iter().zip(&da_of).enumerate() {
            let mut gradient = self.zero_gradient(trace, with_inputs);
            for (index, da) in da.iter().enumerate() {
                add_cell_gradient(&mut gradient.weights, trace, index, da);
                if let (Some(dx), 0) = (&mut gradient.inputs, self.weights().place(index).layer) {
                    let w_ih = self.weights().layers[index].w_ih.view();
                    kernel::product(dx.data_mut(), true, da.da.rows(0..steps), w_ih);
                }
                for b in 0..batch {
                    gradient.initial.h[index].row_mut(b).copy_from_slice(ends[index].dh(row * batch + b));
                    gradient.initial.c[index].row_mut(b).copy_from_slice(ends[index].dc(row * batch + b));
                }
            }
            if let (Some(readout), Some(dy)) = (&mut gradient.weights.readout, &losses.dy) {
                let belongs = |t: usize| plan.row(t) == Some(row) || !heard[t];
                if (0..steps).all(belongs) {
                    add_readout_gradient(readout, trace.output().rows(0..steps), dy.rows(0..steps));
                } else {
                    for t in (0..steps).filter(|&t| belongs(t)) {
                        add_readout_gradient(readout, trace.output().step(t), dy.step(t));
                    }
                }
            }
            gradients.push((group, gradient));
        }
        gradients.sort_by_key(|(group, _)| *group);
        Ok(gradients.into_iter().map(|(_, gradient)| gradient).collect())
    }

    pub(crate) fn zero_gradient(&self, trace: &Trace<T>, with_inputs: bool) -> Gradient<T> {
        let (steps, batch) = trace.inputs().shape();
        Gradient {
            weights: self.weights().zeros_like(),
            inputs: with_inputs.then(|| Sequence::zeros(steps, batch, self.inputs())),
            initial: self.zero_state(batch),
        }
    }

    /// Refuses losses that were not made from `trace`.
    pub(crate) fn check_losses(&self, trace: &Trace<T>, losses: &Losses<T>) -> Result<(), Error> {
        let (steps, batch) = trace.inputs().shape();
        let expected = (steps, batch, self.directions() * self.hidden());
        let given = (losses.dh.steps(), losses.dh.batch(), losses.dh.features());
        if expected != given || losses.present.len() != steps {
            return Err(Error::Shape {
                what: "seeds dL/dh".into(),
                expected: format!("(T, B, D·H) = {expected:?}"),
                given: format!("(T, B, D·H) = {given:?}, {} steps marked", losses.present.len()),
            });
        }
        Ok(())
    }
}

/// Gradients with respect to the pre-activations of all steps.
pub(crate) struct Preactivations<T> {
    /// As the input side sees them, (T, B, G·H).
    pub(crate) da: Sequence<T>,
    /// As the recurrent side sees them, if the cell splits them.
    pub(crate) da_hh: Option<Sequence<T>>,
}

impl<T: Real> Preactivations<T> {
    pub(crate) fn zeros(network: &Network<T>, steps: usize, batch: usize) -> Self {
        let width = network.weights().layers[0].w_ih.rows();
        let zeros = || Sequence::zeros(steps, batch, width);
        Self { da: zeros(), da_hh: network.cell().splits().then(zeros) }
    }
}

/// Adds Σ da xᵀ, Σ da_hh h_prevᵀ, Σ da and Σ da_hh over all steps to the gradient of cell `index`.
pub(crate) fn add_cell_gradient<T: Real>(
    gradient: &mut Weights<T>,
    trace: &Trace<T>,
    index: usize,
    of: &Preactivations<T>,
) {
    let (steps, layer) = (of.da.steps(), gradient.place(index).layer);
    let gradient = &mut gradient.layers[index];
    let (da, da_hh) = (of.da.rows(0..steps), of.da_hh.as_ref().unwrap_or(&of.da).rows(0..steps));
    trace.inputs_of(layer).all().add_outer(&mut gradient.w_ih, da);
    add_recurrent(&mut gradient.w_hh, da_hh, trace.layers()[index].recurrent_inputs(0..steps));
    kernel::add_rows(gradient.b_ih.data_mut(), da);
    kernel::add_rows(gradient.b_hh.data_mut(), da_hh);
}

/// dW_hh ← dW_hh + Σ da_hh vᵀ over rows, v being what its rows multiply.
pub(crate) fn add_recurrent<T: Real>(
    dw_hh: &mut Matrix<T>,
    da_hh: View<'_, T>,
    inputs: Vec<(Range<usize>, View<'_, T>)>,
) {
    let hidden = dw_hh.cols();
    for (rows, v) in inputs {
        let dw = &mut dw_hh.data_mut()[rows.start * hidden..rows.end * hidden];
        kernel::sum_of_outer_products(dw, true, da_hh.columns(rows), v);
    }
}

/// Adds Σ dy hᵀ and Σ dy over rows.
pub(crate) fn add_readout_gradient<T: Real>(gradient: &mut Readout<T>, h: View<'_, T>, dy: View<'_, T>) {
    kernel::sum_of_outer_products(gradient.w_hy.data_mut(), true, dy, h);
    kernel::add_rows(gradient.b_y.data_mut(), dy);
}
