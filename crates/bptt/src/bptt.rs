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

/// What a row is, beside plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carry {
    /// Rows (k, b) of plain numbers.
    Plain,
    /// Rows (k, b) with exponents, which neither under- nor overflow.
    InRange,
    /// The same apart by the gate whose pre-activation they last passed in this cell: rows (k, p, b), where p = 0 has
    /// passed none and p = 1 + g has last passed gate g. Their sum over p is the row (k, b).
    ByGate,
}

impl Carry {
    /// P, the number of rows for each (k, b).
    fn classes<T: Real>(self, cell: &dyn Cell<T>) -> usize {
        if self == Self::ByGate { 1 + cell.gates().len() } else { 1 }
    }
}

/// What the reverse scan shows of a cell at one step.
pub(crate) struct Step<'a, T> {
    pub(crate) t: usize,
    /// P, see [`Carry`].
    pub(crate) classes: usize,
    /// dL_k/dh_t by class, (open·P·B, H), if they are carried apart; otherwise empty.
    pub(crate) arrived: &'a [T],
    /// What of it passes by the recurrent weights, (open·P·B, H).
    pub(crate) passing: &'a [T],
    /// What goes on through what the cell kept, (open·P·B, H), if it reads that; otherwise empty.
    pub(crate) through_kept: &'a [T],
    /// Gradients with respect to the pre-activations of step t, rows of the open losses: (open·P·B, G·H).
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

impl<T: Real> ReverseCell<'_, T> {
    /// Adds what step `t` sends into its h: its own loss's gradient, or the upper layer's. Returns how many losses are
    /// open now; `open` were before.
    fn add_seeds(&self, rows: &mut Rows<T>, plan: &Plan, t: usize, open: usize, classes: usize) -> usize {
        let (batch, columns) = (rows.batch(), self.column..self.column + self.params.hidden());
        match self.seeds {
            Seeds::Losses(seeds) => {
                let Some(row) = plan.row(t) else { return open };
                for b in (0..batch).filter(|&b| self.bounds.can_have_loss(t, b)) {
                    rows.add_seed(row * classes * batch + b, &seeds.at(t, b)[columns.clone()], 0);
                }
                // Rows are numbered as a forward cell opens them; a reverse cell opens them all at once.
                let forward = self.trace.direction() == Direction::Forward;
                if forward { open.max(row + 1) } else { plan.groups().len() }
            }
            Seeds::Above(passed) => {
                for r in 0..passed.open[t] * batch {
                    let exponent = passed.exponents[t * passed.numbers.batch() + r];
                    let seed = &passed.numbers.at(t, r)[columns.clone()];
                    rows.add_seed(r / batch * classes * batch + r % batch, seed, exponent);
                }
                open.max(passed.open[t])
            }
        }
    }
}

/// dh ← dh + da_hh W_hh, where what comes through gate g enters the rows of class 1 + g. Where the last gate reads what
/// was kept, `through_kept` stands for its product.
fn hop_by_gate<T: Real>(
    rows: &mut Rows<T>,
    da_hh: View<'_, T>,
    through_kept: &[T],
    classes: usize,
    params: &crate::CellParams<T>,
) {
    let (batch, hidden) = (rows.batch(), params.hidden());
    let all = |rows: View<'_, T>, exponents: &[i32]| {
        sum_of_classes(rows, &exponents[..rows.rows()], (classes, batch), |_, _| true)
    };
    let (sum, exponents) = all(da_hh, &rows.exponents);
    let sum = View::new(exponents.len(), da_hh.cols(), &sum);
    let kept = (!through_kept.is_empty())
        .then(|| all(View::new(da_hh.rows(), hidden, through_kept), &rows.exponents));
    let mut through = vec![T::zero(); sum.rows() * hidden];
    for gate in 0..classes - 1 {
        let (through, exponents) = match &kept {
            Some((kept, exponents)) if gate + 2 == classes => (kept, exponents),
            _ => {
                let block = sum.columns(gate * hidden..(gate + 1) * hidden);
                kernel::product(&mut through, false, block, params.w_hh.view().rows_of(gate, hidden));
                (&through, &exponents)
            }
        };
        for (r, through) in through.chunks_exact(hidden).enumerate() {
            let row = (r / batch * classes + 1 + gate) * batch + r % batch;
            rows.add_seed(row, through, exponents[r]);
        }
    }
}

/// Σ_p of rows (k, p, b), without the entries (p, column) that `keep` refuses: rows (k, b) and their exponents.
pub(crate) fn sum_of_classes<T: Real>(
    rows: View<'_, T>,
    exponents: &[i32],
    (classes, batch): (usize, usize),
    keep: impl Fn(usize, usize) -> bool,
) -> (Vec<T>, Vec<i32>) {
    let (count, width) = (rows.rows() / classes, rows.cols());
    let (mut sum, mut of_sum) = (vec![T::zero(); count * width], vec![0; count]);
    for (r, &exponent) in exponents.iter().enumerate() {
        let (k, p, b) = (r / (classes * batch), r / batch % classes, r % batch);
        let kept = |(column, &v): (usize, &T)| if keep(p, column) { v } else { T::zero() };
        let row: Vec<T> = rows.row(r).iter().enumerate().map(kept).collect();
        let to = k * batch + b;
        add_row(&mut sum[to * width..(to + 1) * width], &mut [], &mut of_sum[to], &row, exponent);
    }
    (sum, of_sum)
}

/// The reverse time loop of one cell. `visit` is called once a step, against the cell's direction of reading, as soon as
/// a row is open. Returns the rows at the end: the gradients with respect to the initial state.
fn reverse_scan<T: Real>(
    of: &ReverseCell<'_, T>,
    plan: &Plan,
    batch: usize,
    carry: Carry,
    mut visit: impl FnMut(Step<'_, T>),
) -> Rows<T> {
    let (cell, params) = (of.cell, of.params);
    let classes = carry.classes(cell);
    let (hidden, width, steps) = (params.hidden(), params.w_ih.rows(), plan.steps());
    let memory = if cell.has_memory() { hidden } else { 0 };
    let mut rows = Rows::zeros(plan.groups().len() * classes, batch, hidden, memory);
    let mut da = vec![T::zero(); plan.groups().len() * classes * batch * width];
    let mut da_hh = if cell.splits() { da.clone() } else { Vec::new() };
    let mut dkept = if cell.reads_kept() { rows.dh.clone() } else { Vec::new() };
    let mut open = 0;
    for i in 0..steps {
        let t = if of.trace.direction() == Direction::Forward { steps - 1 - i } else { i };
        open = of.add_seeds(&mut rows, plan, t, open, classes);
        if open == 0 {
            continue;
        }
        let open = open * classes;
        if carry != Carry::Plain {
            rows.keep_in_range(open);
        }
        let arrived =
            if carry == Carry::ByGate { rows.dh[..open * batch * hidden].to_vec() } else { Vec::new() };
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
        let dkept = &mut dkept[..if cell.reads_kept() { open * batch * hidden } else { 0 }];
        if cell.reads_kept() {
            let of_kept = View::new(open * batch, width, da).columns(width - hidden..width);
            let w = params.w_hh.view().rows_of(width / hidden - 1, hidden);
            kernel::product(dkept, false, of_kept, w);
            cell.kept_vjp(&of.trace.cache(t), dkept, da);
        }
        let view = |da| View::new(open * batch, width, da);
        let (da, da_hh) = (view(da), if cell.splits() { view(&da_hh[..split]) } else { view(da) });
        let (passing, exponents) = (&rows.dh[..open * batch * hidden], &rows.exponents[..open * batch]);
        visit(Step { t, classes, arrived: &arrived, passing, through_kept: dkept, da, da_hh, exponents });
        if carry == Carry::ByGate {
            hop_by_gate(&mut rows, da_hh, dkept, classes, params);
        } else {
            let dh = &mut rows.dh[..open * batch * hidden];
            let reading = if cell.reads_kept() { width - hidden } else { width };
            let w = View::new(reading, hidden, &params.w_hh.data()[..reading * hidden]);
            kernel::product(dh, true, da_hh.columns(0..reading), w);
            kernel::add_scaled(dh, T::one(), dkept);
        }
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
    carry: Carry,
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
            let end = reverse_scan(&of, plan, batch, carry, |step| {
                if let Some(below) = &mut below {
                    let shape = (step.classes, batch);
                    let summed = (carry == Carry::ByGate)
                        .then(|| sum_of_classes(step.da, step.exponents, shape, |_, _| true));
                    let (da, exponents) = match &summed {
                        Some((da, exponents)) => {
                            (View::new(exponents.len(), step.da.cols(), da), &exponents[..])
                        }
                        None => (step.da, step.exponents),
                    };
                    let dx = &mut dx[..da.rows() * features];
                    kernel::product(dx, false, da, of.params.w_ih.view());
                    if let Some(mask) = trace.dropout_at(layer - 1, step.t) {
                        for dx in dx.chunks_exact_mut(mask.data().len()) {
                            kernel::multiply(dx, mask.data());
                        }
                    }
                    below.add(step.t, View::new(da.rows(), features, dx), exponents, batch);
                }
                visit(index, &step);
            });
            ends[index] = Some(end);
        }
        above = below;
    }
    ends.into_iter().map(|end| end.expect("every cell was scanned")).collect()
}
