//! Ordinary gradients, of all losses together or of groups of them: the reverse scan with a row for each group.

use std::ops::Range;

use crate::array::{Matrix, Sequence, View};
use crate::forward::{BySymbol, Inputs, Losses, Seeds, StepInput, Trace};
use crate::kernel::{Real, Start};
use crate::model::{CellParams, Network, Readout, State, Weights};
use crate::reverse::{Carry, Kept, Plan, Reverse, Step, reverse_layers};
use crate::{Error, kernel};

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
        self.gradient_into(&mut gradient, &mut Backward::new(Threads::All), trace, losses, |_, _| ())?;
        Ok(gradient)
    }

    /// The same in the memory of an older gradient, and with that of an older way back. It has what that one had: with or
    /// without the inputs'. After an error it is of no use. `visit` sees every step of the way back, see [`reverse_layers`].
    pub(crate) fn gradient_into(
        &self,
        gradient: &mut Gradient<T>,
        backward: &mut Backward<T>,
        trace: &Trace<T>,
        losses: &Losses<T>,
        visit: impl FnMut(usize, &Step<'_, T>),
    ) -> Result<(), Error> {
        let group_of: Vec<_> = losses.present.iter().map(|&present| present.then_some(0)).collect();
        let plan = self.plan(trace, losses, &group_of)?;
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
        self.way_back(std::slice::from_mut(gradient), backward, trace, losses, &plan, visit);
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
        let plan = self.plan(trace, losses, group_of)?;
        let mut gradients: Vec<_> =
            plan.groups().iter().map(|_| self.zero_gradient(trace, with_inputs)).collect();
        self.way_back(&mut gradients, &mut Backward::new(Threads::All), trace, losses, &plan, |_, _| ());
        let mut gradients: Vec<_> = plan.groups().iter().zip(gradients).collect();
        gradients.sort_by_key(|(group, _)| **group);
        Ok(gradients.into_iter().map(|(_, gradient)| gradient).collect())
    }

    /// Which loss enters which row: a row for each group.
    fn plan(&self, trace: &Trace<T>, losses: &Losses<T>, group_of: &[Option<usize>]) -> Result<Plan, Error> {
        self.check_losses(trace, losses)?;
        if group_of.len() != losses.present.len() {
            return Err(Error::Shape {
                what: "groups of losses".into(),
                expected: format!("{} entries, one a step", losses.present.len()),
                given: format!("{} entries", group_of.len()),
            });
        }
        let heard = losses.heard(trace);
        Ok(Plan::new(group_of.iter().zip(&heard).map(|(&group, &present)| group.filter(|_| present))))
    }

    /// The reverse scan with a row for each group, whose gradients are added to `gradients`, zeros before.
    fn way_back(
        &self,
        gradients: &mut [Gradient<T>],
        backward: &mut Backward<T>,
        trace: &Trace<T>,
        losses: &Losses<T>,
        plan: &Plan,
        mut visit: impl FnMut(usize, &Step<'_, T>),
    ) {
        let (steps, batch) = trace.inputs().shape();
        let (groups, width) = (gradients.len(), self.weights().layers[0].w_ih.rows());
        let Backward { cells, by_symbol, threads } = backward;
        let threads = *threads;
        let by_cell = if let Inputs::Symbols(_) = trace.inputs() { self.directions() } else { 0 };
        by_symbol.resize_with(by_cell * groups, BySymbol::default);
        for sums in by_symbol.iter_mut() {
            sums.clear(self.inputs(), width);
        }
        // What is handed to several threads should be large.
        let carry = Carry::Keep(if threads == Threads::All { steps } else { NEAR_ROWS.div_ceil(batch) });
        reverse_layers(self, trace, &losses.seeds, plan, carry, cells, |index, step| {
            visit(index, step);
            // What a symbol's column gets is added up while it is near.
            if let (Inputs::Symbols(symbols), Some(sums)) =
                (trace.inputs(), by_symbol.get_mut(index * groups..(index + 1) * groups))
            {
                for (row, sums) in sums.iter_mut().take(step.da.rows() / batch).enumerate() {
                    sums.add(symbols.step(step.t), step.da.rows_of(row, batch));
                }
            }
            if let Some(kept) = &step.kept {
                for (row, gradient) in gradients.iter_mut().enumerate() {
                    self.add_kept(gradient, trace, index, kept, (row, groups), threads);
                }
            }
        });
        for (row, gradient) in gradients.iter_mut().enumerate() {
            let of_symbols = by_symbol.iter().skip(row).step_by(groups);
            for (layer, sums) in gradient.weights.layers.iter_mut().zip(of_symbols) {
                let CellParams { w_ih, b_ih, b_hh, .. } = layer;
                sums.add_to(w_ih);
                let mut of_bias = vec![T::zero(); width];
                sums.add_rows_to(&mut of_bias);
                let split = self.cell().splits().then_some(self.hidden());
                add_bias_gradient(b_ih.data_mut(), b_hh.data_mut(), &of_bias, split);
            }
            for (index, Reverse { rows, .. }) in cells.iter().enumerate() {
                for b in 0..batch {
                    gradient.initial.h[index].row_mut(b).copy_from_slice(rows.dh(row * batch + b));
                    gradient.initial.c[index].row_mut(b).copy_from_slice(rows.dc(row * batch + b));
                }
            }
            add_row_of_readout(&mut gradient.weights, trace, losses, plan, row);
        }
    }

    /// Adds what some steps contribute to row `row` of `groups`.
    fn add_kept(
        &self,
        gradient: &mut Gradient<T>,
        trace: &Trace<T>,
        index: usize,
        kept: &Kept<'_, T>,
        (row, groups): (usize, usize),
        threads: Threads,
    ) {
        let (_, batch) = trace.inputs().shape();
        let params = &self.weights().layers[index];
        let (width, rows) = (params.w_ih.rows(), kept.steps.len() * batch);
        let one_row = |da: &[T]| -> Option<Vec<T>> {
            let steps = da.chunks_exact(groups * batch * width);
            let of_row = |step: &[T]| step[row * batch * width..(row + 1) * batch * width].to_vec();
            (groups > 1).then(|| steps.flat_map(of_row).collect())
        };
        let of_row = [one_row(kept.da), one_row(kept.da_hh)];
        let [da, da_hh] = [(&of_row[0], kept.da), (&of_row[1], kept.da_hh)]
            .map(|(of_row, all)| View::new(rows, width, of_row.as_ref().map_or(all, |of_row| of_row)));
        let layer = self.weights().place(index).layer;
        let inputs = match trace.inputs_of(layer).steps(kept.steps.clone()) {
            StepInput::Symbols(_) => None,
            dense @ StepInput::Dense(_) => Some(dense),
        };
        let da_hh = self.cell().splits().then_some(da_hh);
        add_cell_gradient(
            &mut gradient.weights,
            trace,
            index,
            kept.steps.clone(),
            (da, da_hh),
            inputs,
            threads,
        );
        if let (Some(dx), 0) = (&mut gradient.inputs, layer) {
            let w_ih = self.layouts().inputs_back(index, params);
            let dx = &mut dx.data_mut()[kept.steps.start * batch * params.inputs()..];
            T::multiply(dx, params.inputs(), Start::Out, da, w_ih);
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

/// Rows of da, about, from which one thread forms weight gradients: many enough for a large product, and few enough to be
/// near when it comes.
const NEAR_ROWS: usize = 256;

/// What the way back leaves of every cell, and works with; its memory serves again.
#[derive(Clone, Debug)]
pub(crate) struct Backward<T> {
    cells: Vec<Reverse<T>>,
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

/// Adds Σ da xᵀ, Σ da_hh h_prevᵀ, Σ da and Σ da_hh over `steps`, (len · B, G·H) each, to the gradient of cell `index`; without
/// `inputs`, x, only what these have no part in: W_hh, and the last gate's b_hh in a cell that splits it.
pub(crate) fn add_cell_gradient<T: Real>(
    gradient: &mut Weights<T>,
    trace: &Trace<T>,
    index: usize,
    steps: Range<usize>,
    (da, da_hh): (View<'_, T>, Option<View<'_, T>>),
    inputs: Option<StepInput<'_, T>>,
    threads: Threads,
) {
    let CellParams { w_ih, w_hh, b_ih, b_hh } = &mut gradient.layers[index];
    let hidden = w_hh.cols();
    let of_inputs = || {
        if let Some(x) = inputs {
            x.add_outer(w_ih, da);
            let mut sums = vec![T::zero(); da.cols()];
            kernel::add_rows(&mut sums, da);
            add_bias_gradient(b_ih.data_mut(), b_hh.data_mut(), &sums, da_hh.map(|_| hidden));
        }
        if let Some(da_hh) = da_hh {
            let own = da_hh.cols() - hidden..da_hh.cols();
            kernel::add_rows(&mut b_hh.data_mut()[own.clone()], da_hh.columns(own));
        }
    };
    let of_states = || {
        let inputs = trace.layers()[index].recurrent_inputs(steps);
        add_recurrent(w_hh, da_hh.unwrap_or(da), inputs, threads);
    };
    threads.both(of_inputs, of_states);
}

/// Adds Σ da to both biases' gradients; the last so many numbers of b_hh's are another sum in a cell that splits them.
fn add_bias_gradient<T: Real>(b_ih: &mut [T], b_hh: &mut [T], sums: &[T], split: Option<usize>) {
    kernel::add_scaled(b_ih, T::one(), sums);
    let together = sums.len() - split.unwrap_or(0);
    kernel::add_scaled(&mut b_hh[..together], T::one(), &sums[..together]);
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

/// Adds the readout's part of row `row`, if there is one.
fn add_row_of_readout<T: Real>(
    gradient: &mut Weights<T>,
    trace: &Trace<T>,
    losses: &Losses<T>,
    plan: &Plan,
    row: usize,
) {
    let (steps, _) = trace.inputs().shape();
    if let (Some(readout), Some(dy)) = (&mut gradient.readout, losses.dy()) {
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
