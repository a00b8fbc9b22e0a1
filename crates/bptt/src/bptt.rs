//! The reverse time loop, over as many gradients side by side as there are groups of losses.
//!
//! Training carries one row (all losses in one group), itemizing a row for each loss, and both meet the same step:
//! every row at step t is multiplied by the same local derivative.

use crate::bounds::Bounds;
use crate::cell::{Backward, Cell};
use crate::network::{Direction, Network};
use crate::rows::{Plan, Rows, add_row};
use crate::scan::{LayerTrace, Trace};
use crate::sequence::{Sequence, View};
use crate::{Real, kernel};

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
    let (hidden, width, steps) = (params.hidden(), params.w_ih.rows(), plan.steps());
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
                if let Some(row) = plan.row(t) {
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
