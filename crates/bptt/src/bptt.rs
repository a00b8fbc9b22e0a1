//! The reverse time loop, over as many gradients side by side as there are groups of losses.
//!
//! Training carries one row (all losses in one group), itemizing a row for each loss, and both meet the same step:
//! every row at step t is multiplied by the same local derivative.

use crate::cell::{Backward, Cell};
use crate::loss::Losses;
use crate::network::{Network, Readout, State, Weights};
use crate::scan::{LayerTrace, Trace};
use crate::sequence::{Sequence, View};
use crate::{Error, Real, kernel};

/// Which row each step's loss enters. Rows are numbered in the order in which the reverse scan opens them, so the open
/// rows are always the first ones.
pub(crate) struct Plan {
    /// The row of loss t; `None` where step t has no loss or none that is asked for.
    row_of: Vec<Option<usize>>,
    /// The group that each row stands for.
    group_of_row: Vec<usize>,
}

impl Plan {
    /// From the group of each step's loss.
    pub(crate) fn new(group_of: impl DoubleEndedIterator<Item = Option<usize>> + ExactSizeIterator) -> Self {
        let mut row_of = vec![None; group_of.len()];
        let mut group_of_row: Vec<usize> = Vec::new();
        for (t, group) in group_of.enumerate().rev() {
            row_of[t] = group.map(|group| {
                // The newest row is the likeliest: a loop over one group, or a row for each loss.
                group_of_row.iter().rposition(|&g| g == group).unwrap_or_else(|| {
                    group_of_row.push(group);
                    group_of_row.len() - 1
                })
            });
        }
        Self { row_of, group_of_row }
    }

    /// A row for each of the losses `ks` (ascending) of `steps` steps; row i stands for the i-th from the end.
    pub(crate) fn apart(steps: usize, ks: &[usize]) -> Self {
        let mut row_of = vec![None; steps];
        for (row, &k) in ks.iter().rev().enumerate() {
            row_of[k] = Some(row);
        }
        Self { row_of, group_of_row: ks.iter().rev().copied().collect() }
    }

    /// The group (for [`Plan::apart`]: the loss) that each row stands for.
    pub(crate) fn groups(&self) -> &[usize] {
        &self.group_of_row
    }
}

/// Gradients on their way back, rows (k, b). A stored number stands for itself times 2^exponent of its row.
pub(crate) struct Rows<T> {
    /// (K·B, H).
    pub(crate) dh: Vec<T>,
    /// (K·B, H), or empty for a cell without c.
    pub(crate) dc: Vec<T>,
    /// One for each row; all zero unless the scan keeps its rows in range.
    pub(crate) exponents: Vec<i32>,
    batch: usize,
}

/// Rows whose largest entry is outside 2^±RANGE are brought back to about 1.
const RANGE: i32 = 40;

impl<T: Real> Rows<T> {
    fn zeros(rows: usize, batch: usize, hidden: usize, memory: usize) -> Self {
        Self {
            dh: vec![T::zero(); rows * batch * hidden],
            dc: vec![T::zero(); rows * batch * memory],
            exponents: vec![0; rows * batch],
            batch,
        }
    }

    /// B, the number of sequences: row r belongs to sequence r mod B.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Row `r` of dh, H numbers.
    pub(crate) fn dh(&self, r: usize) -> &[T] {
        let hidden = self.dh.len() / self.exponents.len();
        &self.dh[r * hidden..(r + 1) * hidden]
    }

    /// Row `r` of dc, H numbers or none.
    pub(crate) fn dc(&self, r: usize) -> &[T] {
        let memory = self.dc.len() / self.exponents.len();
        &self.dc[r * memory..(r + 1) * memory]
    }

    /// Adds the seed (B, H) of a loss to `row`.
    fn add_seed(&mut self, row: usize, seed: View<'_, T>) {
        let hidden = seed.cols();
        for b in 0..self.batch {
            let r = row * self.batch + b;
            let factor = kernel::power_of_two(-self.exponents[r]);
            kernel::add_scaled(&mut self.dh[r * hidden..(r + 1) * hidden], factor, seed.row(b));
        }
    }

    /// Moves powers of two between the numbers and the exponents so that a row neither underflows nor overflows, however
    /// far it travels. Multiplying by a power of two is exact, so nothing else changes.
    fn keep_in_range(&mut self, open: usize) {
        let hidden = self.dh.len() / self.exponents.len();
        let memory = self.dc.len() / self.exponents.len();
        let (low, high) = (kernel::power_of_two(-RANGE), kernel::power_of_two(RANGE));
        for r in 0..open * self.batch {
            let dh = &mut self.dh[r * hidden..(r + 1) * hidden];
            let dc = &mut self.dc[r * memory..(r + 1) * memory];
            let size: T = kernel::largest(dh).max(kernel::largest(dc));
            if size == T::zero() || (size >= low && size <= high) || !size.is_finite() {
                continue;
            }
            let exponent = floor_log2(size.f64());
            let factor: T = kernel::power_of_two(-exponent);
            for number in dh.iter_mut().chain(dc) {
                *number *= factor;
            }
            self.exponents[r] += exponent;
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // the binary logarithm of a finite number is within ±1100
fn floor_log2(size: f64) -> i32 {
    size.log2().floor() as i32
}

/// What the reverse scan shows at one step.
pub(crate) struct Step<'a, T> {
    pub(crate) t: usize,
    /// Gradients with respect to the pre-activations of step t, rows (k, b) of the open losses: (open·B, G·H).
    pub(crate) da: View<'a, T>,
    /// The same as the recurrent side sees them; `da` itself unless the cell splits them.
    pub(crate) da_hh: View<'a, T>,
    /// The exponent of each of these rows.
    pub(crate) exponents: &'a [i32],
}

/// The reverse scan of one layer. `seeds` are ∂L_t/∂h_t, (T, B, H); `visit` is called once a step, from the last to the
/// first, as soon as a row is open. Returns the rows after step 0: the gradients with respect to h0.
pub(crate) fn reverse_scan<T: Real>(
    cell: &dyn Cell<T>,
    params: &crate::CellParams<T>,
    trace: &LayerTrace<T>,
    seeds: &Sequence<T>,
    plan: &Plan,
    keep_in_range: bool,
    mut visit: impl FnMut(Step<'_, T>),
) -> Rows<T> {
    let (batch, hidden, width) = (seeds.batch(), params.hidden(), params.w_ih.rows());
    let memory = if cell.has_memory() { hidden } else { 0 };
    let mut rows = Rows::zeros(plan.groups().len(), batch, hidden, memory);
    let mut da = vec![T::zero(); plan.groups().len() * batch * width];
    let mut da_hh = if cell.splits() { da.clone() } else { Vec::new() };
    let mut open = 0;
    for t in (0..seeds.steps()).rev() {
        if let Some(row) = plan.row_of[t] {
            rows.add_seed(row, seeds.step(t));
            open = open.max(row + 1);
        }
        if open == 0 {
            continue;
        }
        if keep_in_range {
            rows.keep_in_range(open);
        }
        let da = &mut da[..open * batch * width];
        let split = if cell.splits() { da.len() } else { 0 };
        let backward = Backward {
            dh: &mut rows.dh[..open * batch * hidden],
            dc: &mut rows.dc[..open * batch * memory],
            da,
            da_hh: &mut da_hh[..split],
        };
        cell.step_vjp(params, &trace.cache(t), backward);
        let view = |da| View::new(open * batch, width, da);
        let (da, da_hh) = (view(da), if cell.splits() { view(&da_hh[..split]) } else { view(da) });
        visit(Step { t, da, da_hh, exponents: &rows.exponents[..open * batch] });
    }
    rows
}

/// The gradient of a (group of) losses with respect to everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient<T> {
    /// With respect to the parameters.
    pub weights: Weights<T>,
    /// With respect to the inputs, (T, B, I), if it was asked for; for one-hot inputs, to the one-hot vectors.
    pub inputs: Option<Sequence<T>>,
    /// With respect to the initial state of each layer.
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
        let plan = Plan::new(
            group_of.iter().zip(&losses.present).map(|(&group, &present)| group.filter(|_| present)),
        );
        let (steps, batch) = trace.inputs().shape();
        let params = &self.weights().layers[0];

        let mut da_of: Vec<Preactivations<T>> =
            plan.groups().iter().map(|_| Preactivations::zeros(self, steps, batch)).collect();
        let end = reverse_scan(self.cell(), params, &trace.layers()[0], &losses.dh, &plan, false, |step| {
            for (row, of) in da_of.iter_mut().take(step.da.rows() / batch).enumerate() {
                of.da.step_mut(step.t).copy_from_slice(step.da.rows_of(row, batch).data());
                if let Some(da_hh) = &mut of.da_hh {
                    da_hh.step_mut(step.t).copy_from_slice(step.da_hh.rows_of(row, batch).data());
                }
            }
        });

        let mut gradients: Vec<(usize, Gradient<T>)> = Vec::with_capacity(da_of.len());
        for (row, (&group, da)) in plan.groups().iter().zip(&da_of).enumerate() {
            let mut gradient = self.zero_gradient(trace, with_inputs);
            add_cell_gradient(&mut gradient.weights.layers[0], trace, da);
            if let Some(dx) = &mut gradient.inputs {
                kernel::product(dx.data_mut(), false, da.da.rows(0..steps), params.w_ih.view());
            }
            for b in 0..batch {
                gradient.initial.h[0].row_mut(b).copy_from_slice(end.dh(row * batch + b));
                gradient.initial.c[0].row_mut(b).copy_from_slice(end.dc(row * batch + b));
            }
            if let (Some(readout), Some(dy)) = (&mut gradient.weights.readout, &losses.dy) {
                let belongs = |t: usize| plan.row_of[t] == Some(row) || !losses.present[t];
                if (0..steps).all(belongs) {
                    add_readout_gradient(readout, trace.top(), dy.rows(0..steps));
                } else {
                    for t in (0..steps).filter(|&t| belongs(t)) {
                        add_readout_gradient(readout, trace.layers()[0].h().step(t + 1), dy.step(t));
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
        let expected = (steps, batch, self.hidden());
        let given = (losses.dh.steps(), losses.dh.batch(), losses.dh.features());
        if expected != given || losses.present.len() != steps {
            return Err(Error::Shape {
                what: "seeds dL/dh".into(),
                expected: format!("(T, B, H) = {expected:?}"),
                given: format!("(T, B, H) = {given:?}, {} steps marked", losses.present.len()),
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
        let zeros = || Sequence::zeros(steps, batch, network.weights().layers[0].w_ih.rows());
        Self { da: zeros(), da_hh: network.cell().splits().then(zeros) }
    }
}

/// Adds Σ da xᵀ, Σ da_hh h_{t-1}ᵀ, Σ da and Σ da_hh over all steps.
pub(crate) fn add_cell_gradient<T: Real>(
    gradient: &mut crate::CellParams<T>,
    trace: &Trace<T>,
    of: &Preactivations<T>,
) {
    let steps = of.da.steps();
    let (da, da_hh) = (of.da.rows(0..steps), of.da_hh.as_ref().unwrap_or(&of.da).rows(0..steps));
    trace.inputs().all().add_outer(&mut gradient.w_ih, da);
    kernel::sum_of_outer_products(gradient.w_hh.data_mut(), true, da_hh, trace.layers()[0].h_prev());
    kernel::add_rows(gradient.b_ih.data_mut(), da);
    kernel::add_rows(gradient.b_hh.data_mut(), da_hh);
}

/// Adds Σ dy hᵀ and Σ dy over rows.
pub(crate) fn add_readout_gradient<T: Real>(gradient: &mut Readout<T>, h: View<'_, T>, dy: View<'_, T>) {
    kernel::sum_of_outer_products(gradient.w_hy.data_mut(), true, dy, h);
    kernel::add_rows(gradient.b_y.data_mut(), dy);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_open_in_the_order_of_the_reverse_scan() {
        let plan = Plan::new([Some(7), Some(3), None, Some(7), Some(5)].into_iter());
        assert_eq!(plan.groups(), [5, 7, 3]);
        assert_eq!(plan.row_of, [Some(1), Some(2), None, Some(1), Some(0)]);
        let apart = Plan::apart(5, &[1, 3]);
        assert_eq!(apart.groups(), [3, 1]);
        assert_eq!(apart.row_of, [None, Some(1), None, Some(0), None]);
    }

    #[test]
    fn rows_far_out_of_range_come_back_without_losing_a_bit() {
        let dh = vec![3.0e-30f32, -1.5e-31, 5.0e20, 7.0];
        let mut rows = Rows { dh, dc: Vec::new(), exponents: vec![0, 0], batch: 1 };
        let before: Vec<f64> = rows.dh.iter().map(|&v| f64::from(v)).collect();
        rows.keep_in_range(2);
        assert!(rows.dh[0] >= 1.0 && rows.dh[0] < 2.0);
        for (i, (&v, before)) in rows.dh.iter().zip(before).enumerate() {
            assert_eq!(f64::from(v) * 2f64.powi(rows.exponents[i / 2]), before);
        }
    }
}
