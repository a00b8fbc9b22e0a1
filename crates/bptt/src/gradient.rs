//! Ordinary gradients, of all losses together or of groups of them: the reverse scan with a row for each group.

use std::ops::Range;

use crate::bptt::{Carry, Reverse, reverse_layers};
use crate::cell::CellParams;
use crate::inputs::{BySymbol, Inputs};
use crate::kernel::{self, Start};
use crate::loss::{Losses, Seeds};
use crate::network::{Network, Readout, State, Weights};
use crate::rows::Plan;
use crate::scan::Trace;
use crate::sequence::{Matrix, Sequence, View};
use crate::{Error, Real};

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

impl<T: Real> Gradient<T> {
    /// Refuses a gradient whose weights' part is not finite.
    pub(crate) fn check_finite(&self) -> Result<(), Error> {
        let tensors = self.weights.tensors();
        match tensors.into_iter().find(|(_, tensor)| tensor.data().iter().any(|g| !g.is_finite())) {
            Some((parameter, _)) => Err(Error::Exploded { parameter }),
            None => Ok(()),
        }
    }
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
        let mut gradient = self.zero_gradient(trace, with_inputs);
        self.gradient_into(&mut gradient, &mut Backward::new(Threads::All), trace, losses)?;
        Ok(gradient)
    }

    /// The same in the memory of an older gradient, and with that of an older way back. It has what that one had: with or
    /// without the inputs'. After an error it is of no use.
    pub(crate) fn gradient_into(
        &self,
        gradient: &mut Gradient<T>,
        backward: &mut Backward<T>,
        trace: &Trace<T>,
        losses: &Losses<T>,
    ) -> Result<(), Error> {
        let group_of: Vec<_> = losses.present.iter().map(|&present| present.then_some(0)).collect();
        let plan = self.way_back(backward, trace, losses, &group_of)?;
        let (steps, batch) = trace.inputs().shape();
        for tensor in gradient.weights.tensors_mut() {
            tensor.data_mut().fill(T::zero());
        }
        if let Some(dx) = &mut gradient.inputs {
            dx.reshape(steps, batch, self.inputs());
            dx.data_mut().fill(T::zero());
        }
        if gradient.initial.h.first().is_none_or(|h| h.rows() != batch) {
            gradient.initial = self.zero_state(batch);
        }
        if plan.groups().is_empty() {
            for state in gradient.initial.h.iter_mut().chain(&mut gradient.initial.c) {
                state.data_mut().fill(T::zero());
            }
            return Ok(());
        }
        self.gather(gradient, backward, trace, losses, &plan, 0);
        Ok(())
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
        let mut backward = Backward::new(Threads::All);
        let plan = self.way_back(&mut backward, trace, losses, group_of)?;
        let mut gradients: Vec<(usize, Gradient<T>)> = Vec::with_capacity(plan.groups().len());
        for (row, &group) in plan.groups().iter().enumerate() {
            let mut gradient = self.zero_gradient(trace, with_inputs);
            self.gather(&mut gradient, &backward, trace, losses, &plan, row);
            gradients.push((group, gradient));
        }
        gradients.sort_by_key(|(group, _)| *group);
        Ok(gradients.into_iter().map(|(_, gradient)| gradient).collect())
    }

    /// The reverse scan with a row for each group, which keeps da of every step.
    fn way_back(
        &self,
        backward: &mut Backward<T>,
        trace: &Trace<T>,
        losses: &Losses<T>,
        group_of: &[Option<usize>],
    ) -> Result<Plan, Error> {
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
        let (_, batch) = trace.inputs().shape();
        let (groups, width) = (plan.groups().len(), self.weights().layers[0].w_ih.rows());
        let Backward { cells, by_symbol, .. } = backward;
        let by_cell = if let Inputs::Symbols(_) = trace.inputs() { self.directions() } else { 0 };
        by_symbol.resize_with(by_cell * groups, BySymbol::default);
        for sums in by_symbol.iter_mut() {
            sums.clear(self.inputs(), width);
        }
        reverse_layers(self, trace, &losses.seeds, &plan, Carry::Keep, cells, |index, step| {
            // What a symbol's column gets is added up while it is near.
            if let (Inputs::Symbols(symbols), Some(sums)) =
                (trace.inputs(), by_symbol.get_mut(index * groups..(index + 1) * groups))
            {
                for (row, sums) in sums.iter_mut().take(step.da.rows() / batch).enumerate() {
                    sums.add(symbols.step(step.t), step.da.rows_of(row, batch));
                }
            }
        });
        Ok(plan)
    }

    /// Adds what the way back has left of row `row` to a gradient of zeros.
    fn gather(
        &self,
        gradient: &mut Gradient<T>,
        backward: &Backward<T>,
        trace: &Trace<T>,
        losses: &Losses<T>,
        plan: &Plan,
        row: usize,
    ) {
        let (steps, batch) = trace.inputs().shape();
        let groups = plan.groups().len();
        for (index, reverse) in backward.cells.iter().enumerate() {
            let params = &self.weights().layers[index];
            let width = params.w_ih.rows();
            let one_row = |da: &[T]| -> Option<Vec<T>> {
                let steps = da.chunks_exact(groups * batch * width);
                let of_row = |step: &[T]| step[row * batch * width..(row + 1) * batch * width].to_vec();
                (groups > 1).then(|| steps.flat_map(of_row).collect())
            };
            let own = [one_row(&reverse.da), one_row(&reverse.da_hh)];
            let [da, da_hh] = [(&own[0], &reverse.da), (&own[1], &reverse.da_hh)]
                .map(|(own, all)| own.as_ref().map_or(&all[..], |own| own));
            let da = View::new(steps * batch, width, da);
            let da_hh = self.cell().splits().then(|| View::new(steps * batch, width, da_hh));
            let by_symbol = backward.by_symbol.get(index * groups + row);
            add_cell_gradient(
                &mut gradient.weights,
                trace,
                index,
                0..steps,
                (da, da_hh),
                by_symbol,
                backward.threads,
            );
            if let (Some(dx), 0) = (&mut gradient.inputs, self.weights().place(index).layer) {
                let w_ih = self.layouts().inputs_back(index, params);
                T::multiply(dx.data_mut(), params.inputs(), Start::Out, da, w_ih);
            }
            for b in 0..batch {
                let rows = &reverse.rows;
                gradient.initial.h[index].row_mut(b).copy_from_slice(rows.dh(row * batch + b));
                gradient.initial.c[index].row_mut(b).copy_from_slice(rows.dc(row * batch + b));
            }
        }
        if let (Some(readout), Some(dy)) = (&mut gradient.weights.readout, losses.dy()) {
            let heard = losses.heard(trace);
            let belongs = |t: usize| plan.row(t) == Some(row) || !heard[t];
            if (0..steps).all(belongs) {
                add_readout_gradient(readout, trace.output().rows(0..steps), dy.rows(0..steps));
            } else {
                for t in (0..steps).filter(|&t| belongs(t)) {
                    add_readout_gradient(readout, trace.output().step(t), dy.step(t));
                }
            }
        }
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
        let (what, axis, features, given) = match &losses.seeds {
            Seeds::State(dh) => ("seeds dL/dh", "D·H", self.directions() * self.hidden(), dh),
            Seeds::Output(dy) => {
                let outputs = self.weights().readout.as_ref().map_or(0, Readout::outputs);
                ("gradients dL/dy", "V", outputs, dy)
            }
        };
        let expected = (steps, batch, features);
        let given = (given.steps(), given.batch(), given.features());
        if expected != given || losses.present.len() != steps {
            return Err(Error::Shape {
                what: what.into(),
                expected: format!("(T, B, {axis}) = {expected:?}"),
                given: format!("(T, B, {axis}) = {given:?}, {} steps marked", losses.present.len()),
            });
        }
        Ok(())
    }
}

/// What the way back leaves of every cell, and works with; its memory serves again.
#[derive(Clone, Debug)]
pub(crate) struct Backward<T> {
    pub(crate) cells: Vec<Reverse<T>>,
    /// Of one-hot inputs, for each cell of the bottom layer and each group of losses.
    by_symbol: Vec<BySymbol<T>>,
    threads: Threads,
}

impl<T> Backward<T> {
    pub(crate) fn new(threads: Threads) -> Self {
        Self { cells: Vec::new(), by_symbol: Vec::new(), threads }
    }
}

/// Which threads work on one gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Threads {
    /// This one. The others have gradients of their own to find, and would only lose what they have near.
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

/// Adds Σ da xᵀ, Σ da_hh h_prevᵀ, Σ da and Σ da_hh over `steps`, (len · B, G·H) each, to the gradient of cell `index`. What
/// one-hot inputs give may be known already.
pub(crate) fn add_cell_gradient<T: Real>(
    gradient: &mut Weights<T>,
    trace: &Trace<T>,
    index: usize,
    steps: Range<usize>,
    (da, da_hh): (View<'_, T>, Option<View<'_, T>>),
    by_symbol: Option<&BySymbol<T>>,
    threads: Threads,
) {
    let layer = gradient.place(index).layer;
    let CellParams { w_ih, w_hh, b_ih, b_hh } = &mut gradient.layers[index];
    let (splits, hidden) = (da_hh.is_some(), w_hh.cols());
    let da_hh = da_hh.unwrap_or(da);
    let of_inputs = || {
        match by_symbol {
            Some(sums) => sums.add_to(w_ih),
            None => trace.inputs_of(layer).steps(steps.clone()).add_outer(w_ih, da),
        }
        // Both biases have one gradient, but for the last gate of a cell that splits it.
        let mut sums = vec![T::zero(); b_ih.data().len()];
        match by_symbol {
            Some(by_symbol) => by_symbol.add_rows_to(&mut sums),
            None => kernel::add_rows(&mut sums, da),
        }
        kernel::add_scaled(b_ih.data_mut(), T::one(), &sums);
        if splits {
            let together = sums.len() - hidden;
            sums[together..].fill(T::zero());
            kernel::add_rows(&mut sums[together..], da_hh.columns(together..together + hidden));
        }
        kernel::add_scaled(b_hh.data_mut(), T::one(), &sums);
    };
    let of_states =
        || add_recurrent(w_hh, da_hh, trace.layers()[index].recurrent_inputs(steps.clone()), threads);
    threads.both(of_inputs, of_states);
}

/// dW_hh ← dW_hh + Σ da_hh vᵀ over rows, v being what its rows multiply.
pub(crate) fn add_recurrent<T: Real>(
    dw_hh: &mut Matrix<T>,
    da_hh: View<'_, T>,
    inputs: Vec<(Range<usize>, View<'_, T>)>,
    threads: Threads,
) {
    /// Rows of dW_hh that make it worth laying out v a second time.
    const WORTH: usize = 128;
    let hidden = dw_hh.cols();
    for (rows, v) in inputs {
        let middle = rows.start + (rows.len() / 2).next_multiple_of(kernel::TILE_ROWS);
        let (start, end) = (rows.start * hidden, rows.end * hidden);
        let dw = &mut dw_hh.data_mut()[start..end];
        if threads == Threads::All && rows.end >= middle + WORTH {
            let (upper, lower) = dw.split_at_mut(middle * hidden - start);
            threads.both(
                || kernel::sum_of_outer_products(upper, true, da_hh.columns(rows.start..middle), v),
                || kernel::sum_of_outer_products(lower, true, da_hh.columns(middle..rows.end), v),
            );
        } else {
            kernel::sum_of_outer_products(dw, true, da_hh.columns(rows), v);
        }
    }
}

/// Adds Σ dy hᵀ and Σ dy over rows.
pub(crate) fn add_readout_gradient<T: Real>(gradient: &mut Readout<T>, h: View<'_, T>, dy: View<'_, T>) {
    kernel::sum_of_outer_products(gradient.w_hy.data_mut(), true, dy, h);
    kernel::add_rows(gradient.b_y.data_mut(), dy);
}
