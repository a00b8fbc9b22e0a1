//! The exact components themselves, for those who want the matrices.

use super::ordinary::{Threads, add_recurrent};
use crate::array::{Matrix, View};
use crate::forward::{Losses, Trace};
use crate::kernel::Real;
use crate::model::{Direction, Network, Place};
use crate::reverse::{Carry, Plan, reverse_layers};
use crate::{Error, kernel};

/// Which components to form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// What step t contributed to loss k.
    One {
        /// The loss.
        k: usize,
        /// The step.
        t: usize,
    },
    /// What every step contributed to loss k.
    Loss(usize),
    /// What every step contributed to every loss: T²/2 components, mind the memory.
    All,
}

/// What step t contributed to the gradient of loss k, summed over the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Component<T> {
    /// The loss.
    pub k: usize,
    /// The step.
    pub t: usize,
    /// The cell.
    pub place: Place,
    /// Σ_b da x_tᵀ, (G·H, I); in an upper layer x is the output of the one below.
    pub w_ih: Matrix<T>,
    /// Σ_b da_hh h_{t-1}ᵀ, (G·H, H).
    pub w_hh: Matrix<T>,
    /// Σ_b da, (1, G·H).
    pub b_ih: Matrix<T>,
    /// The same as the recurrent side sees it; equal to `b_ih` unless the cell splits its gradients.
    pub b_hh: Matrix<T>,
    /// dL_k/dx_t by way of this cell, (B, I).
    pub input: Matrix<T>,
    /// dL_k/dh0, (B, H); with the step that the cell reads first.
    pub initial_state: Option<Matrix<T>>,
    /// dL_k/dc0, (B, H), of a cell that has c; likewise.
    pub initial_memory: Option<Matrix<T>>,
}

impl<T: Real> Network<T> {
    /// The selected components, ordered by loss, step and cell. Masked losses have none, and there is none where no path
    /// leads from the step through the cell to the loss. Where a state was forgotten or detached between them, they are
    /// zero.
    ///
    /// # Errors
    /// If `losses` does not belong to `trace` or the selection lies outside it (k or t ≥ T, t > k in a network that
    /// reads forward only, or a masked loss).
    pub fn components(
        &self,
        trace: &Trace<T>,
        losses: &Losses<T>,
        select: Select,
    ) -> Result<Vec<Component<T>>, Error> {
        self.check_losses(trace, losses)?;
        let (steps, batch) = trace.inputs().shape();
        let present = losses.heard(trace);
        let (ks, only): (Vec<usize>, Option<usize>) = match select {
            Select::One { k, t } => (vec![k], Some(t)),
            Select::Loss(k) => (vec![k], None),
            Select::All => ((0..steps).filter(|&k| present[k]).collect(), None),
        };
        if let (Select::One { .. } | Select::Loss(_), &[k]) = (select, &ks[..])
            && (k >= steps
                || !present[k]
                || only.is_some_and(|t| t >= steps || (t > k && !self.weights().bidirectional)))
        {
            return Err(Error::Option {
                option: "selection".into(),
                given: format!("{select:?}"),
                expected: format!("t ≤ k < {steps} and a loss at step k"),
            });
        }

        let ends: Vec<usize> = (0..steps).map(|k| losses.reach(trace, k).end).collect();
        let plan = Plan::apart(steps, &ks);
        let mut components = Vec::new();
        let mut reverse = Vec::new();
        reverse_layers(self, trace, &losses.seeds, &plan, Carry::Plain, &mut reverse, |index, step| {
            if only.is_some_and(|t| t != step.t) {
                return;
            }
            for (row, &k) in plan.groups().iter().take(step.da.rows() / batch).enumerate() {
                if self.span(index, k, ends[k]).contains(&step.t) {
                    let (da, da_hh) = (step.da.rows_of(row, batch), step.da_hh.rows_of(row, batch));
                    components.push((index, row, form(self, trace, index, k, step.t, da, da_hh)));
                }
            }
        });
        for (index, row, component) in &mut components {
            let forward = component.place.direction == Direction::Forward;
            if component.t != if forward { 0 } else { ends[component.k] - 1 } {
                continue;
            }
            let rows = *row * batch..(*row + 1) * batch;
            let hidden = self.hidden();
            let dh0 = rows.clone().flat_map(|r| reverse[*index].rows.dh(r).to_vec()).collect();
            component.initial_state = Some(Matrix::new(batch, hidden, dh0)?);
            if self.cell().has_memory() {
                let dc0 = rows.flat_map(|r| reverse[*index].rows.dc(r).to_vec()).collect();
                component.initial_memory = Some(Matrix::new(batch, hidden, dc0)?);
            }
        }
        components.sort_by_key(|(index, _, c)| (c.k, c.t, *index));
        Ok(components.into_iter().map(|(_, _, component)| component).collect())
    }
}

fn form<T: Real>(
    network: &Network<T>,
    trace: &Trace<T>,
    index: usize,
    k: usize,
    t: usize,
    da: View<'_, T>,
    da_hh: View<'_, T>,
) -> Component<T> {
    let (params, place) = (&network.weights().layers[index], network.weights().place(index));
    let mut w_ih = Matrix::zeros(params.w_ih.rows(), params.inputs());
    trace.inputs_of(place.layer).step(t).add_outer(&mut w_ih, da);
    let mut w_hh = Matrix::zeros(params.w_hh.rows(), params.hidden());
    let inputs = trace.layers()[index].recurrent_inputs(t..t + 1);
    add_recurrent(&mut w_hh, da_hh, inputs, Threads::This);
    let sum_of_rows = |da: View<'_, T>| {
        let mut sum = Matrix::zeros(1, da.cols());
        kernel::add_rows(sum.data_mut(), da);
        sum
    };
    let mut input = Matrix::zeros(da.rows(), params.inputs());
    kernel::product(input.data_mut(), false, da, params.w_ih.view());
    Component {
        k,
        t,
        place,
        w_ih,
        w_hh,
        b_ih: sum_of_rows(da),
        b_hh: sum_of_rows(da_hh),
        input,
        initial_state: None,
        initial_memory: None,
    }
}
