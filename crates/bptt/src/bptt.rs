//! The reverse time loop, over as many gradients side by side as there are groups of losses.
//!
//! Training carries one row (all losses in one group), itemizing a row for each loss, and both meet the same step:
//! every row at step t is multiplied by the same local derivative.

use crate::bounds::Bounds;
use crate::cell::{Backward, Cell};
use crate::network::{Direction, Network};
use crate::scan::{LayerTrace, Trace};
use crate::sequence::{Sequence, View};
use crate::{Real, kernel};

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

    /// The row of loss `t`.
    pub(crate) fn row(&self, t: usize) -> Option<usize> {
        self.row_of[t]
    }

    /// The group (for [`Plan::apart`]: the loss) that each row stands for.
    pub(crate) fn groups(&self) -> &[usize] {
        &self.group_of_row
    }
}

/// Rows whose largest entry is outside 2^±RANGE are brought back to about 1.
const RANGE: i32 = 40;

/// Gradients on their way back, rows (k, b). A stored number stands for itself times 2^exponent of its row.
pub(crate) struct Rows<T> {
    /// (K·B, H).
    dh: Vec<T>,
    /// (K·B, H), or empty for a cell without c.
    dc: Vec<T>,
    /// One for each row; all zero unless the scan keeps its rows in range.
    pub(crate) exponents: Vec<i32>,
    batch: usize,
}

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

    /// Row `r` of both, and its exponent, to write.
    fn parts_mut(&mut self, r: usize) -> (&mut [T], &mut [T], &mut i32) {
        let hidden = self.dh.len() / self.exponents.len();
        let memory = self.dc.len() / self.exponents.len();
        (
            &mut self.dh[r * hidden..(r + 1) * hidden],
            &mut self.dc[r * memory..(r + 1) * memory],
            &mut self.exponents[r],
        )
    }

    /// Copies these rows, dh and dc.
    fn copy_of(&self, rows: &[usize]) -> Vec<T> {
        rows.iter().flat_map(|&r| [self.dh(r), self.dc(r)]).flatten().copied().collect()
    }

    /// Puts back what [`Rows::copy_of`] copied.
    fn restore(&mut self, rows: &[usize], copy: &[T]) {
        let mut copy = copy;
        for &r in rows {
            let (dh, dc, _) = self.parts_mut(r);
            for part in [dh, dc] {
                let (these, rest) = copy.split_at(part.len());
                part.copy_from_slice(these);
                copy = rest;
            }
        }
    }

    /// Adds a seed, H numbers times 2^`exponent`, to row `r`.
    fn add_seed(&mut self, r: usize, seed: &[T], exponent: i32) {
        let (dh, dc, row_exponent) = self.parts_mut(r);
        add_row(dh, dc, row_exponent, seed, exponent);
    }

    /// Moves powers of two between the numbers and the exponents so that a row neither underflows nor overflows, however
    /// far it travels. Multiplying by a power of two is exact, so nothing else changes.
    fn keep_in_range(&mut self, open: usize) {
        let (low, high) = (kernel::power_of_two(-RANGE), kernel::power_of_two(RANGE));
        for r in 0..open * self.batch {
            let (dh, dc, row_exponent) = self.parts_mut(r);
            let size: T = kernel::largest(dh).max(kernel::largest(dc));
            if size == T::zero() || (size >= low && size <= high) || !size.is_finite() {
                continue;
            }
            // No further at a time than a factor of this type can go; the rest follows at the next step.
            let exponent = floor_log2(size.f64()).clamp(-100, 100);
            let factor: T = kernel::power_of_two(-exponent);
            for number in dh.iter_mut().chain(dc) {
                *number *= factor;
            }
            *row_exponent += exponent;
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // the binary logarithm of a finite number is within ±1100
fn floor_log2(size: f64) -> i32 {
    size.log2().floor() as i32
}

/// row ← row + added · 2^`exponent`, where row stands for itself times 2^`row_exponent`, as does `beside`, which only
/// follows the row's exponent. The larger exponent of the two stays.
fn add_row<T: Real>(row: &mut [T], beside: &mut [T], row_exponent: &mut i32, added: &[T], exponent: i32) {
    if exponent == *row_exponent {
        kernel::add_scaled(row, T::one(), added);
    } else if kernel::largest(added) > T::zero() {
        if exponent > *row_exponent {
            let factor: T = kernel::power_of_two(*row_exponent - exponent);
            for number in row.iter_mut().chain(beside) {
                *number *= factor;
            }
            *row_exponent = exponent;
        }
        kernel::add_scaled(row, kernel::power_of_two(exponent - *row_exponent), added);
    }
}

/// What a layer sends into the one below it: for every step and row the gradient with respect to the lower output.
struct Passed<T> {
    /// (T, K·B, D·H).
    numbers: Sequence<T>,
    /// (T, K·B).
    exponents: Vec<i32>,
    /// How many rows (k) had been open at each step.
    open: Vec<usize>,
}

impl<T: Real> Passed<T> {
    fn zeros(steps: usize, rows: usize, features: usize) -> Self {
        let numbers = Sequence::zeros(steps, rows, features);
        Self { numbers, exponents: vec![0; steps * rows], open: vec![0; steps] }
    }

    /// Adds `dx`, the rows of one cell's step.
    fn add(&mut self, t: usize, dx: View<'_, T>, exponents: &[i32], batch: usize) {
        self.open[t] = self.open[t].max(dx.rows() / batch);
        for (r, &exponent) in exponents.iter().enumerate() {
            let place = t * self.numbers.batch() + r;
            let row = self.numbers.at_mut(t, r);
            if kernel::largest(row) == T::zero() {
                self.exponents[place] = exponent;
            }
            add_row(row, &mut [], &mut self.exponents[place], dx.row(r), exponent);
        }
    }
}

/// Where a cell's seeds come from.
#[derive(Clone, Copy)]
enum Seeds<'a, T> {
    /// Each step's own loss, ∂L_t/∂h_t: (T, B, D·H).
    Losses(&'a Sequence<T>),
    /// The layer above.
    Above(&'a Passed<T>),
}

/// What the reverse scan shows of a cell at one step.
pub(crate) struct Step<'a, T> {
    pub(crate) t: usize,
    /// Gradients with respect to the pre-activations of step t, rows (k, b) of the open losses: (open·B, G·H).
    pub(crate) da: View<'a, T>,
    /// The same as the recurrent side sees them; `da` itself unless the cell splits them.
    pub(crate) da_hh: View<'a, T>,
    /// The exponent of each of these rows.
    pub(crate) exponents: &'a [i32],
}

/// One cell of a network on the way back.
struct ReverseCell<'a, T: Real> {
    cell: &'static dyn Cell<T>,
    params: &'a crate::CellParams<T>,
    trace: &'a LayerTrace<T>,
    bounds: &'a Bounds,
    seeds: Seeds<'a, T>,
    /// The columns of the seeds that are this cell's output begin here.
    column: usize,
}

/// The reverse time loop of one cell. `visit` is called once a step, against the cell's direction of reading, as soon as
/// a row is open. Returns the rows at the end: the gradients with respect to the initial state.
fn reverse_scan<T: Real>(
    of: &ReverseCell<'_, T>,
    plan: &Plan,
    batch: usize,
    keep_in_range: bool,
    mut visit: impl FnMut(Step<'_, T>),
) -> Rows<T> {
    let (cell, params) = (of.cell, of.params);
    let (hidden, width, steps) = (params.hidden(), params.w_ih.rows(), plan.row_of.len());
    let memory = if cell.has_memory() { hidden } else { 0 };
    let mut rows = Rows::zeros(plan.groups().len(), batch, hidden, memory);
    let mut da = vec![T::zero(); plan.groups().len() * batch * width];
    let mut da_hh = if cell.splits() { da.clone() } else { Vec::new() };
    let columns = of.column..of.column + hidden;
    let forward = of.trace.direction() == Direction::Forward;
    let mut open = 0;
    for i in 0..steps {
        let t = if forward { steps - 1 - i } else { i };
        match of.seeds {
            Seeds::Losses(seeds) => {
                if let Some(row) = plan.row_of[t] {
                    for b in (0..batch).filter(|&b| of.bounds.can_have_loss(t, b)) {
                        rows.add_seed(row * batch + b, &seeds.at(t, b)[columns.clone()], 0);
                    }
                    // Rows are numbered as a forward cell opens them; a reverse cell opens them all at once.
                    open = if forward { open.max(row + 1) } else { plan.groups().len() };
                }
            }
            Seeds::Above(passed) => {
                open = open.max(passed.open[t]);
                for r in 0..passed.open[t] * batch {
                    let exponent = passed.exponents[t * passed.numbers.batch() + r];
                    rows.add_seed(r, &passed.numbers.at(t, r)[columns.clone()], exponent);
                }
            }
        }
        if open == 0 {
            continue;
        }
        if keep_in_range {
            rows.keep_in_range(open);
        }
        let rows_of = |b: usize| (0..open).map(move |k| k * batch + b);
        let padding: Vec<usize> = of.bounds.padding_at(t).flat_map(rows_of).collect();
        let before = rows.copy_of(&padding);
        let da = &mut da[..open * batch * width];
        let split = if cell.splits() { da.len() } else { 0 };
        let backward = Backward {
            dh: &mut rows.dh[..open * batch * hidden],
            dc: &mut rows.dc[..open * batch * memory],
            da,
            da_hh: &mut da_hh[..split],
        };
        cell.step_vjp(&of.trace.cache(t), backward);
        // Padding lets everything through and contributes nothing.
        rows.restore(&padding, &before);
        for r in padding {
            da[r * width..(r + 1) * width].fill(T::zero());
            if split > 0 {
                da_hh[r * width..(r + 1) * width].fill(T::zero());
            }
        }
        let view = |da| View::new(open * batch, width, da);
        let (da, da_hh) = (view(da), if cell.splits() { view(&da_hh[..split]) } else { view(da) });
        kernel::product(&mut rows.dh[..open * batch * hidden], true, da_hh, params.w_hh.view());
        visit(Step { t, da, da_hh, exponents: &rows.exponents[..open * batch] });
        for r in of.bounds.cuts_at(of.trace.direction(), t).flat_map(rows_of) {
            let (dh, dc, _) = rows.parts_mut(r);
            dh.fill(T::zero());
            dc.fill(T::zero());
        }
    }
    rows
}

/// The reverse scan of a whole network, from the top layer down. `seeds` are the losses' (T, B, D·H); `visit` sees the
/// number of the cell (in the order of [`crate::Weights::layers`]) with each of its steps. Returns each cell's rows at
/// its end.
pub(crate) fn reverse_layers<T: Real>(
    network: &Network<T>,
    trace: &Trace<T>,
    seeds: &Sequence<T>,
    plan: &Plan,
    keep_in_range: bool,
    mut visit: impl FnMut(usize, &Step<'_, T>),
) -> Vec<Rows<T>> {
    let (steps, batch) = trace.inputs().shape();
    let directions = network.directions();
    let features = directions * network.hidden();
    let mut above: Option<Passed<T>> = None;
    let mut ends: Vec<Option<Rows<T>>> = network.weights().layers.iter().map(|_| None).collect();
    for layer in (0..network.depth()).rev() {
        let mut below = (layer > 0).then(|| Passed::zeros(steps, plan.groups().len() * batch, features));
        let mut dx = vec![T::zero(); if layer > 0 { plan.groups().len() * batch * features } else { 0 }];
        for d in 0..directions {
            let index = layer * directions + d;
            let of = ReverseCell {
                cell: network.cell(),
                params: &network.weights().layers[index],
                trace: &trace.layers()[index],
                bounds: trace.bounds(),
                seeds: above.as_ref().map_or(Seeds::Losses(seeds), Seeds::Above),
                column: d * network.hidden(),
            };
            let end = reverse_scan(&of, plan, batch, keep_in_range, |step| {
                if let Some(below) = &mut below {
                    let dx = &mut dx[..step.da.rows() * features];
                    kernel::product(dx, false, step.da, of.params.w_ih.view());
                    if let Some(mask) = trace.dropout_at(layer - 1, step.t) {
                        for dx in dx.chunks_exact_mut(mask.data().len()) {
                            kernel::multiply(dx, mask.data());
                        }
                    }
                    below.add(step.t, View::new(step.da.rows(), features, dx), step.exponents, batch);
                }
                visit(index, &step);
            });
            ends[index] = Some(end);
        }
        above = below;
    }
    ends.into_iter().map(|end| end.expect("every cell was scanned")).collect()
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

    #[test]
    fn adding_rows_keeps_the_larger_exponent() {
        let (mut row, mut beside, mut exponent) = ([1.0f32, 2.0], [4.0], -3);
        add_row(&mut row, &mut beside, &mut exponent, &[1.0, 0.0], 0);
        assert_eq!((row, beside, exponent), ([1.125, 0.25], [0.5], 0));
        add_row(&mut row, &mut beside, &mut exponent, &[8.0, 8.0], -3);
        assert_eq!((row, exponent), ([2.125, 1.25], 0));
        // A seed of zeros must not pull a far row up into underflow.
        let mut far = -500;
        add_row(&mut row, &mut beside, &mut far, &[0.0, 0.0], 0);
        assert_eq!((row, far), ([2.125, 1.25], -500));
    }
}
