//! The reverse time loop, over as many gradients side by side as there are groups of losses.
//!
//! Training carries one row (all losses in one group), a ledger a row for each loss, and both meet the same step: every row
//! at step t is multiplied by the same local derivative.

use std::ops::Range;

use super::options::{Numbers, RowOptions};
use super::plan::Plan;
use super::rows::{Rows, sum_of_classes};
use super::source::{CellSource, LowerLayerGrads, ReadoutGrads, Source};
use super::step::{Adjoints, CellContext};
use super::tolerance::ToleranceState;
use crate::array::{Aligned, View};
use crate::forward::{CellCache, ForwardCache, SequenceBoundaries};
use crate::kernel;
use crate::kernel::{Real, Start};
use crate::model::{Direction, MAX_ADJOINTS, MAX_SAVED, Network};

/// What the reverse scan shows of a cell at one step.
pub(crate) struct Step<'a, T> {
    pub(crate) t: usize,
    /// How many losses were merged: the first row that is shown is that of the next one.
    pub(crate) first: usize,
    /// P, see [`RowOptions::by_gate`].
    pub(crate) classes: usize,
    /// dL_k/dh_t by class, (open·P·B, width of h), if rows are kept apart; otherwise empty.
    pub(crate) arrived: &'a [T],
    /// The part of it that bypasses the recurrent weights, likewise.
    pub(crate) passing: &'a [T],
    /// Gradients with respect to saved arrays that parameters lead to, (open·P·B, width).
    pub(crate) saved: [&'a [T]; MAX_SAVED],
    /// The adjoints of step t, (open·P·B, width).
    pub(crate) adjoints: Adjoints<'a, T>,
    /// The exponent of each of these rows.
    pub(crate) exponents: &'a [i32],
    /// With [`RowOptions::buffered_steps`], where this is the last of the steps that are kept together.
    pub(crate) kept: Option<Kept<'a, T>>,
}

impl<'a, T: Real> Step<'a, T> {
    /// Gradients with respect to the pre-activations, (open·P·B, G·H).
    pub(crate) fn da(&self) -> View<'a, T> {
        self.adjoints[0]
    }
}

/// The adjoints of some steps.
pub(crate) struct Kept<'a, T> {
    pub(crate) steps: Range<usize>,
    /// (len, K·B, width) each, zeros where a row was not open.
    pub(crate) adjoints: [&'a [T]; MAX_ADJOINTS],
}

/// What the backward pass of one cell works with and leaves behind; its memory is used again.
#[derive(Clone, Debug)]
pub(crate) struct BackwardBuffers<T> {
    /// At the end, the gradients with respect to the initial state.
    pub(crate) rows: Rows<T>,
    /// The adjoints of the step at hand, or of those that are kept together.
    adjoints: Vec<Aligned<T>>,
    /// Gradients with respect to saved arrays.
    saved: Vec<Aligned<T>>,
    readout_grads: ReadoutGrads<T>,
    /// With [`RowOptions::tolerance`], what was merged.
    pub(crate) tolerance: ToleranceState<T>,
}

impl<T: Real> Default for BackwardBuffers<T> {
    fn default() -> Self {
        Self {
            rows: Rows::default(),
            adjoints: Vec::new(),
            saved: Vec::new(),
            readout_grads: ReadoutGrads::default(),
            tolerance: ToleranceState::default(),
        }
    }
}

impl<T: Real> BackwardBuffers<T> {
    /// Makes room for `rows` rows (k, p) of each sequence, and adjoints of `slots` steps.
    fn reshape(&mut self, context: &CellContext<'_, T>, rows: usize, batch: usize, slots: usize) {
        let (spec, sizes) = (context.spec(), context.params.sizes());
        self.rows.clear(rows, batch, spec.states.iter().map(|state| sizes.of(state.width)));
        let count = rows * batch;
        self.adjoints.resize_with(spec.adjoints.len(), Aligned::default);
        for (adjoint, width) in self.adjoints.iter_mut().zip(context.adjoint_widths()) {
            adjoint.resize(slots * count * width, T::zero());
        }
        self.saved.resize_with(spec.saved.len(), Aligned::default);
        for (saved, width) in self.saved.iter_mut().zip(context.saved_widths()) {
            saved.resize(count * width, T::zero());
        }
        self.readout_grads.clear();
    }
}

/// The rows of one reverse scan that are under way.
struct OpenRows {
    options: RowOptions,
    classes: usize,
    /// Rows (k) that were opened.
    open: usize,
    /// Those of them that were merged.
    first: usize,
}

impl OpenRows {
    /// Before a step: brings numbers in range, merges rows that are small enough and rounds the others, as the options say.
    /// `limit` is the first row that may not be merged.
    fn prepare<T: Real>(
        &mut self,
        rows: &mut Rows<T>,
        tolerance: &mut ToleranceState<T>,
        limit: usize,
        t: usize,
    ) {
        if self.options.numbers == Numbers::Scaled {
            rows.keep_in_range(self.first * self.classes..self.open * self.classes);
        }
        if let Some(below) = self.options.tolerance {
            self.first = tolerance.step(rows, self.first..self.open, limit, below, t);
        }
        if let Some(format) = self.options.format() {
            let live = self.live(rows.batch());
            rows.range_mut(live).into_iter().for_each(|numbers| format.round(numbers));
        }
    }

    /// The rows (k, p, b) to be carried.
    fn live(&self, batch: usize) -> Range<usize> {
        self.first * self.classes * batch..self.open * self.classes * batch
    }
}

/// The rows of the sequences that have ended before step `t`.
fn padding_rows<I: Iterator<Item = usize>>(
    rows_of: &impl Fn(usize) -> I,
    boundaries: &SequenceBoundaries,
    t: usize,
) -> Vec<usize> {
    boundaries.padding_at(t).flat_map(rows_of).collect()
}

/// The reverse time loop of one cell. `visit` is called once a step, against the cell's direction of reading, as soon as
/// a row is open.
fn reverse_scan<T: Real>(
    context: &CellContext<'_, T>,
    cache: &CellCache<T>,
    source: &CellSource<'_, T>,
    options: RowOptions,
    batch: usize,
    buffers: &mut BackwardBuffers<T>,
    mut visit: impl FnMut(Step<'_, T>),
) {
    let (plan, boundaries, direction) = (source.plan, source.boundaries, cache.direction());
    let (steps, classes) = (plan.steps(), options.classes(context.spec()));
    let all = plan.groups().len();
    let slots = options.slots(steps);
    buffers.reshape(context, all * classes, batch, slots);
    let BackwardBuffers { rows, adjoints: all_adjoints, saved: all_saved, readout_grads, tolerance } =
        buffers;
    tolerance.clear(all);
    if all == 0 {
        return;
    }
    let count = all * classes * batch;
    // Divisions are slow enough to count where a step is small.
    let width_of = |numbers: &Aligned<T>, rows: usize| numbers.len() / rows;
    let mut widths = [0; MAX_ADJOINTS];
    for (width, numbers) in widths.iter_mut().zip(all_adjoints.iter()) {
        *width = width_of(numbers, slots * count);
    }
    let mut saved_widths = [0; MAX_SAVED];
    for (width, numbers) in saved_widths.iter_mut().zip(all_saved.iter()) {
        *width = width_of(numbers, count);
    }
    let mut state = OpenRows { options, classes, open: 0, first: 0 };
    for i in 0..steps {
        let t = if direction == Direction::Forward { steps - 1 - i } else { i };
        state.open = source.add_to(rows, readout_grads, t, state.open, classes);
        let limit = source.above.map_or(state.open, |above| above.merged_at(t));
        state.prepare(rows, tolerance, limit, t);
        if options.tolerance.is_some() && state.first == all {
            break;
        }
        let live = state.live(batch);
        let slot_rows = t % slots * count;
        let mut adjoints: [&mut [T]; MAX_ADJOINTS] = Default::default();
        for ((adjoint, numbers), width) in adjoints.iter_mut().zip(all_adjoints.iter_mut()).zip(widths) {
            let slot = &mut numbers[slot_rows * width..][..count * width];
            let (used, unused) = slot.split_at_mut(live.len() * width);
            if options.buffered_steps.is_some() {
                unused.fill(T::zero());
            }
            *adjoint = used;
        }
        if live.is_empty() {
            continue;
        }
        let mut saved: [&mut [T]; MAX_SAVED] = Default::default();
        for ((saved, numbers), width) in saved.iter_mut().zip(all_saved.iter_mut()).zip(saved_widths) {
            *saved = &mut numbers[..live.len() * width];
        }
        let arrived = if options.by_gate { rows.range_mut(live.clone())[0].to_vec() } else { Vec::new() };
        let rows_of = |b: usize| (live.start / batch..live.end / batch).map(move |k| k * batch + b);
        let padding =
            if boundaries.leaves_states_alone() { Vec::new() } else { padding_rows(&rows_of, boundaries, t) };
        let before = rows.copy_of(&padding);

        let at = (live.clone(), classes);
        let outputs = (&mut adjoints, &mut saved);
        context.backward(&cache.step(t), rows, at, &padding, options.format(), outputs);
        if options.by_gate {
            // Only here is it looked at; the products start from zero otherwise.
            let passes = context.spec().states.iter().map(|state| state.passes);
            for (numbers, _) in
                rows.range_mut(live.clone()).into_iter().zip(passes).filter(|(_, passes)| !passes)
            {
                numbers.fill(T::zero());
            }
            rows.restore(&padding, &before);
        }

        let saved = saved.map(|saved| &*saved);
        let mut adjoints: Adjoints<'_, T> = [View::new(0, 0, &[]); MAX_ADJOINTS];
        for ((adjoint, numbers), width) in adjoints.iter_mut().zip(all_adjoints.iter()).zip(widths) {
            *adjoint = View::new(live.len(), width, &numbers[slot_rows * width..][..live.len() * width]);
        }
        let kept = options.kept_until(t, steps, direction).map(|steps| Kept {
            adjoints: std::array::from_fn(|i| {
                let numbers = all_adjoints.get(i).map_or(&[][..], |numbers| numbers);
                &numbers[..steps.len() * count * widths[i]]
            }),
            steps,
        });
        let width = rows.width(0);
        let dh = &rows.states[0][live.start * width..live.end * width];
        visit(Step {
            t,
            first: state.first,
            classes,
            arrived: &arrived,
            passing: if options.by_gate { dh } else { &[] },
            saved,
            adjoints,
            exponents: &rows.exponents[live.clone()],
            kept,
        });
        if options.by_gate {
            context.propagate_by_gate(rows, classes, &adjoints, &saved);
        } else {
            context.propagate(rows, live.clone(), &adjoints, &saved);
        }
        // Padding lets everything through.
        rows.restore(&padding, &before);
        for r in boundaries.cuts_at(direction, t).flat_map(rows_of) {
            rows.zero(r);
        }
    }
}

/// The reverse scan of a whole network, from the top layer down. `visit` sees the number of the cell (in the order of
/// [`Weights::cells`](crate::Weights::cells)) with each of its steps; `buffers` has a place for each cell, where its rows are
/// at the end.
pub(crate) fn reverse_layers<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    source: Source<'_, T>,
    plan: &Plan,
    options: RowOptions,
    buffers: &mut Vec<BackwardBuffers<T>>,
    mut visit: impl FnMut(usize, &Step<'_, T>),
) {
    let (steps, batch) = cache.inputs().shape();
    let (directions, packed, width) = (network.directions(), network.packed(), network.output_width());
    let features = directions * width;
    let readout = network.weights().readout.as_ref();
    buffers.resize_with(network.weights().cells.len(), BackwardBuffers::default);
    let mut above: Option<LowerLayerGrads<T>> = None;
    for layer in (0..network.depth()).rev() {
        let mut below =
            (layer > 0).then(|| LowerLayerGrads::zeros(steps, plan.groups().len() * batch, features));
        let mut dx = Aligned::<T>::zeros(if layer > 0 { plan.groups().len() * batch * features } else { 0 });
        for d in 0..directions {
            let index = layer * directions + d;
            let context = CellContext::new(network, index);
            let of = &cache.cells()[index];
            let cell_source = CellSource {
                source,
                above: above.as_ref(),
                index,
                columns: d * width..(d + 1) * width,
                readout: readout.map(|readout| packed.readout_back(readout, directions, d)),
                direction: of.direction(),
                boundaries: cache.boundaries(),
                plan,
            };
            let to_input = context.spec().input_adjoint();
            reverse_scan(&context, of, &cell_source, options, batch, &mut buffers[index], |step| {
                if let Some(below) = &mut below {
                    let shape = (step.classes, batch);
                    let adjoint = step.adjoints[to_input];
                    let summed =
                        options.by_gate.then(|| sum_of_classes(adjoint, step.exponents, shape, |_, _| true));
                    let (d, exponents) = match &summed {
                        Some((d, exponents)) => {
                            (View::new(exponents.len(), adjoint.cols(), d), &exponents[..])
                        }
                        None => (adjoint, step.exponents),
                    };
                    let dx = &mut dx[..d.rows() * features];
                    T::multiply(dx, features, Start::Zero, d, packed.inputs_back(index, context.params));
                    if let Some(mask) = cache.dropout_at(layer - 1, step.t) {
                        for dx in dx.chunks_exact_mut(mask.data().len()) {
                            kernel::multiply_by(dx, mask.data());
                        }
                    }
                    below.add(step.t, step.first, View::new(d.rows(), features, dx), exponents, batch);
                }
                visit(index, &step);
            });
        }
        above = below;
    }
}
