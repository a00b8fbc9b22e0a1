//! The reverse time loop, over as many gradients side by side as there are groups of losses.
//!
//! Training carries one row (all losses in one group), itemizing a row for each loss, and both meet the same step:
//! every row at step t is multiplied by the same local derivative.

use aligned_vec::AVec;
use std::ops::Range;

use super::by_gate::hop_by_gate;
use super::plan::Plan;
use super::rows::{Rows, add_row, sum_of_classes};
use super::tolerance::{Fallen, Falling};
use crate::array::{Sequence, View, zeros};
use crate::forward::{Bounds, LayerTrace, Seeds, Trace};
use crate::kernel;
use crate::kernel::{Format, Packed, Real, Start};
use crate::model::{Backward, Cell, CellParams, Direction, Network, StepCache};

/// What a layer sends into the one below it: for every step and row the gradient with respect to the lower output.
struct Passed<T> {
    /// (T, K·B, D·H).
    numbers: Sequence<T>,
    /// (T, K·B).
    exponents: Vec<i32>,
    /// How many rows (k) had been open at each step.
    open: Vec<usize>,
    /// How many of them had fallen.
    fallen: Vec<usize>,
}

impl<T: Real> Passed<T> {
    fn zeros(steps: usize, rows: usize, features: usize) -> Self {
        let numbers = Sequence::zeros(steps, rows, features);
        // At a step that is not seen, all rows that were ever open have fallen.
        Self { numbers, exponents: vec![0; steps * rows], open: vec![0; steps], fallen: vec![rows; steps] }
    }

    /// Adds `dx`, the rows of one cell's step from row `first` on.
    fn add(&mut self, t: usize, first: usize, dx: View<'_, T>, exponents: &[i32], batch: usize) {
        self.open[t] = self.open[t].max(first + dx.rows() / batch);
        self.fallen[t] = first;
        for (r, &exponent) in exponents.iter().enumerate() {
            let to = first * batch + r;
            let place = t * self.numbers.batch() + to;
            let row = self.numbers.at_mut(t, to);
            add_row(row, &mut [], &mut self.exponents[place], dx.row(r), exponent);
        }
    }
}

/// Where a cell's seeds come from.
#[derive(Clone, Copy)]
enum Source<'a, T> {
    /// Each step's own loss.
    Losses(&'a Seeds<T>),
    /// The layer above.
    Above(&'a Passed<T>),
    /// There are none.
    Nowhere,
}

/// Where gradients begin.
#[derive(Clone, Copy)]
pub(crate) enum Beginning<'a, T> {
    /// At the losses.
    Losses(&'a Seeds<T>),
    /// Where rows have fallen, of each cell the last step first; they all enter the first row.
    Fallen(&'a [Vec<Fallen<T>>]),
}

/// What a row is, beside plain numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Carry {
    /// Rows (k, b) of plain numbers.
    Plain,
    /// The same, rounded to a format at every step.
    Rounded(Format),
    /// The same, and da of so many steps is kept until they are seen together, see [`Step::kept`].
    Keep(usize),
    /// Rows (k, b) with exponents, which neither under- nor overflow.
    InRange,
    /// The same, and rows fall as soon as they are at most this times the largest they have been, see [`Falling`]. For
    /// forward cells only.
    Falling(f64),
    /// Rows in range, apart by the gate whose pre-activation they last passed in this cell: rows (k, p, b), where p = 0
    /// has passed none and p = 1 + g has last passed gate g. Their sum over p is the row (k, b).
    ByGate,
}

impl Carry {
    /// P, the number of rows for each (k, b).
    fn classes<T: Real>(self, cell: &dyn Cell<T>) -> usize {
        if self == Self::ByGate { 1 + cell.gates().len() } else { 1 }
    }

    /// Of how many of `steps` steps da is there at a time.
    fn slots(self, steps: usize) -> usize {
        if let Self::Keep(together) = self { together.clamp(1, steps) } else { 1 }
    }

    /// The steps that are kept together, if `t` is the last of them that the way back comes to.
    fn kept_until(self, t: usize, steps: usize, direction: Direction) -> Option<Range<usize>> {
        let Self::Keep(_) = self else { return None };
        let first = t - t % self.slots(steps);
        let together = first..steps.min(first + self.slots(steps));
        let last = if direction == Direction::Forward { together.start } else { together.end - 1 };
        (t == last).then_some(together)
    }
}

/// What the reverse scan shows of a cell at one step.
pub(crate) struct Step<'a, T> {
    pub(crate) t: usize,
    /// How many losses have fallen: the first row that is shown is that of the next one.
    pub(crate) first: usize,
    /// P, see [`Carry`].
    pub(crate) classes: usize,
    /// dL_k/dh_t by class, (open·P·B, H), if they are carried apart; otherwise empty.
    pub(crate) arrived: &'a [T],
    /// What of it passes by the recurrent weights, (open·P·B, H); empty unless classes are carried apart.
    pub(crate) passing: &'a [T],
    /// What goes on through what the cell kept, (open·P·B, H), if it reads that; otherwise empty.
    pub(crate) through_kept: &'a [T],
    /// Gradients with respect to the pre-activations of step t, rows of the open losses: (open·P·B, G·H).
    pub(crate) da: View<'a, T>,
    /// The same as the recurrent side sees them; `da` itself unless the cell splits them.
    pub(crate) da_hh: View<'a, T>,
    /// The exponent of each of these rows.
    pub(crate) exponents: &'a [i32],
    /// With [`Carry::Keep`], where this is the last of the steps that are kept together.
    pub(crate) kept: Option<Kept<'a, T>>,
}

/// What was kept of some steps.
pub(crate) struct Kept<'a, T> {
    pub(crate) steps: Range<usize>,
    /// (len, K·B, G·H), zeros where a row was not open.
    pub(crate) da: &'a [T],
    /// The same as the recurrent side sees it; `da` itself unless the cell splits.
    pub(crate) da_hh: &'a [T],
}

/// What the way back through one cell works with and leaves behind; its memory serves again.
#[derive(Clone, Debug)]
pub(crate) struct Reverse<T> {
    /// At the end, the gradients with respect to the initial state.
    pub(crate) rows: Rows<T>,
    /// da of the step at hand, or with [`Carry::Keep`] of those that are kept together.
    da: AVec<T>,
    /// The same as the recurrent side sees it; empty unless the cell splits.
    da_hh: AVec<T>,
    dkept: AVec<T>,
    seeded: Seeded<T>,
    /// With [`Carry::Falling`], what has fallen.
    pub(crate) falling: Falling<T>,
}

/// What the readout sends into a cell that reads one sequence, at some steps.
#[derive(Clone, Debug)]
struct Seeded<T> {
    steps: Range<usize>,
    /// dy W_hy, (len, H).
    dh: AVec<T>,
}

/// For how many steps they are made at once.
const SEEDED: usize = 48;

impl<T: Real> Seeded<T> {
    fn make(&mut self, steps: Range<usize>, dy: &Sequence<T>, w_hy: &Packed<T>) {
        self.dh.resize(steps.len() * w_hy.cols(), T::zero());
        T::multiply(&mut self.dh, w_hy.cols(), Start::Zero, dy.rows(steps.clone()), w_hy);
        self.steps = steps;
    }

    /// Those of step `t`, (H).
    fn dh(&self, t: usize, hidden: usize) -> &[T] {
        &self.dh[(t - self.steps.start) * hidden..][..hidden]
    }
}

impl<T: Real> Default for Reverse<T> {
    fn default() -> Self {
        let falling = Falling::default();
        let seeded = Seeded { steps: 0..0, dh: zeros(0) };
        Self { rows: Rows::default(), da: zeros(0), da_hh: zeros(0), dkept: zeros(0), seeded, falling }
    }
}

/// One cell of a network on the way back.
struct ReverseCell<'a, T: Real> {
    cell: &'static dyn Cell<T>,
    params: &'a CellParams<T>,
    trace: &'a LayerTrace<T>,
    bounds: &'a Bounds,
    source: Source<'a, T>,
    /// What has fallen elsewhere and enters here, the last step first.
    fallen: &'a [Fallen<T>],
    /// The columns of the seeds that are this cell's output begin here.
    column: usize,
    /// W_hh; what multiplies the kept apart.
    weights: &'a [Packed<T>],
    /// W_hy's columns for this cell's direction, if gradients begin at the readout.
    readout: Option<&'a Packed<T>>,
}

impl<T: Real> ReverseCell<'_, T> {
    /// Adds what step `t` sends into its h: its own loss's gradient, or the upper layer's. Returns how many losses are
    /// open now; `open` were before.
    fn add_seeds(
        &self,
        rows: &mut Rows<T>,
        seeded: &mut Seeded<T>,
        plan: &Plan,
        t: usize,
        open: usize,
        classes: usize,
    ) -> usize {
        let (batch, hidden) = (rows.batch(), self.params.hidden());
        let columns = self.column..self.column + hidden;
        let mut open = open;
        let later = self.fallen.partition_point(|fallen| fallen.t > t);
        for fallen in self.fallen[later..].iter().take_while(|fallen| fallen.t == t) {
            fallen.enter(rows);
            open = open.max(1);
        }
        match self.source {
            Source::Nowhere => open,
            Source::Losses(seeds) => {
                let Some(row) = plan.row(t) else { return open };
                let first = row * classes * batch;
                match (seeds, self.readout) {
                    // No row has travelled yet that a loss of the same group could meet with an exponent.
                    (Seeds::Output(dy), Some(w_hy)) if batch > 1 => {
                        let dh = &mut rows.dh[first * hidden..(first + batch) * hidden];
                        T::multiply(dh, hidden, Start::Out, dy.step(t), w_hy);
                    }
                    // One row alone would wait for the weights; those of many steps are one product.
                    (Seeds::Output(dy), Some(w_hy)) => {
                        if !seeded.steps.contains(&t) {
                            seeded.make(self.steps_to_seed(plan, t), dy, w_hy);
                        }
                        kernel::add_scaled(&mut rows.dh[first * hidden..], T::one(), seeded.dh(t, hidden));
                    }
                    (Seeds::State(dh) | Seeds::Output(dh), _) => {
                        for b in (0..batch).filter(|&b| self.bounds.can_have_loss(t, b)) {
                            rows.add_seed(first + b, &dh.at(t, b)[columns.clone()], 0);
                        }
                    }
                }
                // Rows are numbered as a forward cell opens them; a reverse cell opens them all at once.
                let forward = self.trace.direction() == Direction::Forward;
                if forward { open.max(row + 1) } else { plan.groups().len() }
            }
            Source::Above(passed) => {
                for r in passed.fallen[t].min(passed.open[t]) * batch..passed.open[t] * batch {
                    let exponent = passed.exponents[t * passed.numbers.batch() + r];
                    let seed = &passed.numbers.at(t, r)[columns.clone()];
                    rows.add_seed(r / batch * classes * batch + r % batch, seed, exponent);
                }
                open.max(passed.open[t])
            }
        }
    }

    /// Step `t` and those the way back comes to next, up to the first without a loss.
    fn steps_to_seed(&self, plan: &Plan, t: usize) -> Range<usize> {
        let has_loss = |&t: &usize| plan.row(t).is_some();
        if self.trace.direction() == Direction::Forward {
            let first = (t + 1).saturating_sub(SEEDED);
            t - (first..t).rev().take_while(has_loss).count()..t + 1
        } else {
            t..t + 1 + (t + 1..plan.steps().min(t + SEEDED)).take_while(has_loss).count()
        }
    }
}

/// After a cell's step back, for one that reads what it kept: from da of the last gate through what was kept on to h_{t-1}
/// (`dkept`, (R, H)) and into the other gates' da, (R, G·H). Nothing for other cells, whose `dkept` is empty.
pub(crate) fn through_kept<T: Real>(
    cell: &dyn Cell<T>,
    weights: &[Packed<T>],
    cache: &StepCache<'_, T>,
    da: &mut [T],
    dkept: &mut [T],
) {
    if let [others, of_kept] = weights {
        let hidden = of_kept.cols();
        let width = others.rows() + hidden;
        let da_n = View::new(da.len() / width, width, da).columns(width - hidden..width);
        T::multiply(dkept, hidden, Start::Zero, da_n, of_kept);
        cell.kept_vjp(cache, dkept, da);
    }
}

/// The end of a step back: dh ← what passes by the recurrent weights + da_hh W_hh + dkept; `dh` is (R, H).
pub(crate) fn through_recurrent<T: Real>(
    cell: &dyn Cell<T>,
    weights: &[Packed<T>],
    da_hh: View<'_, T>,
    dkept: &[T],
    dh: &mut [T],
) {
    let start = if cell.passes_by() { Start::Out } else { Start::Zero };
    T::multiply(dh, weights[0].cols(), start, da_hh.columns(0..weights[0].rows()), &weights[0]);
    kernel::add_scaled(dh, T::one(), dkept);
}

/// Puts zeros into these numbers of those that have any.
fn clear<T: Real>(all: &mut [&mut [T]], numbers: Range<usize>) {
    for some in all.iter_mut().filter(|some| !some.is_empty()) {
        some[numbers.clone()].fill(T::zero());
    }
}

/// The reverse time loop of one cell. `visit` is called once a step, against the cell's direction of reading, as soon as
/// a row is open.
fn reverse_scan<T: Real>(
    of: &ReverseCell<'_, T>,
    plan: &Plan,
    batch: usize,
    carry: Carry,
    reverse: &mut Reverse<T>,
    mut visit: impl FnMut(Step<'_, T>),
) {
    let (cell, params) = (of.cell, of.params);
    let classes = carry.classes(cell);
    let (hidden, width, steps) = (params.hidden(), params.w_ih.rows(), plan.steps());
    let memory = if cell.has_memory() { hidden } else { 0 };
    let Reverse { rows, da: all_da, da_hh: all_da_hh, dkept, seeded, falling } = reverse;
    seeded.steps = 0..0;
    rows.clear(plan.groups().len() * classes, batch, hidden, memory);
    falling.clear(plan.groups().len());
    let slot = plan.groups().len() * classes * batch * width;
    let slots = carry.slots(steps);
    all_da.resize(slots * slot, T::zero());
    all_da_hh.resize(if cell.splits() { slots * slot } else { 0 }, T::zero());
    dkept.resize(if cell.reads_kept() { rows.dh.len() } else { 0 }, T::zero());
    // Rows (k) that have been opened, and those of them that have fallen.
    let (mut open, mut first) = (0, 0);
    for i in 0..steps {
        let t = if of.trace.direction() == Direction::Forward { steps - 1 - i } else { i };
        open = of.add_seeds(rows, seeded, plan, t, open, classes);
        if matches!(carry, Carry::InRange | Carry::ByGate | Carry::Falling(_)) {
            rows.keep_in_range(first * classes..open * classes);
        }
        if let Carry::Falling(tolerance) = carry {
            let limit = if let Source::Above(above) = of.source { above.fallen[t] } else { open };
            first = falling.step(rows, first..open, limit, tolerance, t);
            if first == plan.groups().len() {
                break;
            }
        }
        let live = first * classes..open * classes;
        let numbers = |width: usize| live.start * batch * width..live.end * batch * width;
        let start = t % slots * slot;
        let end = start + numbers(width).len();
        if let Carry::Keep(_) = carry {
            clear(&mut [&mut *all_da, &mut *all_da_hh], end..start + slot);
        }
        if live.is_empty() {
            continue;
        }
        if let Carry::Rounded(format) = carry {
            format.round(&mut rows.dh[numbers(hidden)]);
            format.round(&mut rows.dc[numbers(memory)]);
        }
        let arrived = if carry == Carry::ByGate { rows.dh[numbers(hidden)].to_vec() } else { Vec::new() };
        let rows_of = |b: usize| live.clone().map(move |k| k * batch + b);
        let padding: Vec<usize> = of.bounds.padding_at(t).flat_map(rows_of).collect();
        let before = rows.copy_of(&padding);
        let da = &mut all_da[start..end];
        let da_hh = if cell.splits() { &mut all_da_hh[start..end] } else { &mut [] };
        let cache = of.trace.cache(t);
        let backward =
            Backward { dh: &mut rows.dh[numbers(hidden)], dc: &mut rows.dc[numbers(memory)], da, da_hh };
        cell.step_vjp(&cache, backward);
        if let Carry::Rounded(format) = carry {
            format.round(da);
            format.round(da_hh);
        }
        if carry == Carry::ByGate {
            // Only here is it looked at; the product starts from nothing otherwise.
            if !cell.passes_by() {
                rows.dh[numbers(hidden)].fill(T::zero());
            }
            rows.restore(&padding, &before);
        }
        for r in padding.iter().map(|r| r - live.start * batch) {
            clear(&mut [&mut *da, &mut *da_hh], r * width..(r + 1) * width);
        }
        let dkept = &mut dkept[..if cell.reads_kept() { numbers(hidden).len() } else { 0 }];
        through_kept(cell, of.weights, &cache, da, dkept);
        let sides = [&all_da[..], if cell.splits() { &all_da_hh[..] } else { &all_da[..] }];
        let [da, da_hh] = sides.map(|side| View::new(numbers(1).len(), width, &side[start..end]));
        let kept = carry.kept_until(t, steps, of.trace.direction()).map(|steps| {
            let [da, da_hh] = sides.map(|side| &side[..steps.len() * slot]);
            Kept { steps, da, da_hh }
        });
        let (passing, exponents) = (&rows.dh[numbers(hidden)], &rows.exponents[numbers(1)]);
        visit(Step {
            t,
            first,
            classes,
            arrived: &arrived,
            passing,
            through_kept: dkept,
            da,
            da_hh,
            exponents,
            kept,
        });
        if carry == Carry::ByGate {
            hop_by_gate(rows, da_hh, dkept, classes, params);
        } else {
            through_recurrent(cell, of.weights, da_hh, dkept, &mut rows.dh[numbers(hidden)]);
        }
        // Padding lets everything through.
        rows.restore(&padding, &before);
        for r in of.bounds.cuts_at(of.trace.direction(), t).flat_map(rows_of) {
            let (dh, dc, _) = rows.parts_mut(r);
            dh.fill(T::zero());
            dc.fill(T::zero());
        }
    }
}

/// The reverse scan of a whole network, from the top layer down. `visit` sees the number of the cell (in the order of
/// [`crate::Weights::layers`]) with each of its steps; `reverse` has a place for each cell, where its rows are at the end.
pub(crate) fn reverse_layers<T: Real>(
    network: &Network<T>,
    trace: &Trace<T>,
    seeds: &Seeds<T>,
    plan: &Plan,
    carry: Carry,
    reverse: &mut Vec<Reverse<T>>,
    visit: impl FnMut(usize, &Step<'_, T>),
) {
    reverse_layers_from(network, trace, Beginning::Losses(seeds), plan, carry, reverse, visit);
}

/// The same from somewhere else.
pub(crate) fn reverse_layers_from<T: Real>(
    network: &Network<T>,
    trace: &Trace<T>,
    beginning: Beginning<'_, T>,
    plan: &Plan,
    carry: Carry,
    reverse: &mut Vec<Reverse<T>>,
    mut visit: impl FnMut(usize, &Step<'_, T>),
) {
    let (steps, batch) = trace.inputs().shape();
    let (directions, layouts) = (network.directions(), network.layouts());
    let features = directions * network.hidden();
    reverse.resize_with(network.weights().layers.len(), Reverse::default);
    let top = match beginning {
        Beginning::Losses(seeds) => Source::Losses(seeds),
        Beginning::Fallen(_) => Source::Nowhere,
    };
    let mut above: Option<Passed<T>> = None;
    for layer in (0..network.depth()).rev() {
        let mut below = (layer > 0).then(|| Passed::zeros(steps, plan.groups().len() * batch, features));
        let mut dx = zeros::<T>(if layer > 0 { plan.groups().len() * batch * features } else { 0 });
        for d in 0..directions {
            let index = layer * directions + d;
            let params = &network.weights().layers[index];
            let readout = network.weights().readout.as_ref();
            let of = ReverseCell {
                cell: network.cell(),
                params,
                trace: &trace.layers()[index],
                bounds: trace.bounds(),
                source: above.as_ref().map_or(top, Source::Above),
                fallen: if let Beginning::Fallen(fallen) = beginning { &fallen[index] } else { &[] },
                column: d * network.hidden(),
                weights: layouts.recurrent_back(index, params, network.cell()),
                readout: readout.map(|readout| layouts.readout_back(readout, directions, d)),
            };
            reverse_scan(&of, plan, batch, carry, &mut reverse[index], |step| {
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
                    T::multiply(dx, features, Start::Zero, da, layouts.inputs_back(index, params));
                    if let Some(mask) = trace.dropout_at(layer - 1, step.t) {
                        for dx in dx.chunks_exact_mut(mask.data().len()) {
                            kernel::multiply_by(dx, mask.data());
                        }
                    }
                    below.add(step.t, step.first, View::new(da.rows(), features, dx), exponents, batch);
                }
                visit(index, &step);
            });
        }
        above = below;
    }
}
