//! Blocks of losses, measured on their way back through the layers.

use super::entries::Parameter;
use super::norms::{LossRow, Meter, measure_initial};
use super::options::ItemizeOptions;
use super::projections::{Against, StepProducts, measured};
use super::records::Form;
use super::sums::Sums;
use crate::array::View;
use crate::forward::{Losses, Reach, Trace};
use crate::kernel::{Real, Start};
use crate::model::Network;
use crate::reverse::{Beginning, Carry, Fallen, Plan, Reverse, reverse_layers_from};

/// What blocks of losses have left.
pub(super) struct Measured<T> {
    /// Rows with the number of their cell and their loss.
    pub(super) rows: Vec<(usize, usize, LossRow)>,
    /// What has fallen in each cell.
    pub(super) fallen: Vec<Vec<Fallen<T>>>,
    /// Of all these rows.
    pub(super) sums: Sums<T>,
}

/// Blocks of losses that are measured one after another.
pub(super) struct Chain<'a, T: Real, B> {
    work: &'a Work<'a, T>,
    blocks: B,
    bench: Bench<T>,
    done: Measured<T>,
}

impl<'a, T: Real, B: Iterator<Item = &'a [usize]>> Chain<'a, T, B> {
    /// Measures the next block, if there is one.
    pub(super) fn measure_next(&mut self) -> bool {
        let next = self.blocks.next();
        if let Some(ks) = next {
            self.work.measure(ks, &mut self.bench, &mut self.done);
        }
        next.is_some()
    }

    /// What all blocks have left.
    pub(super) fn measured(self) -> Measured<T> {
        self.done
    }
}

/// What there is to measure.
pub(super) struct Work<'a, T: Real> {
    pub(super) network: &'a Network<T>,
    pub(super) trace: &'a Trace<T>,
    pub(super) losses: &'a Losses<T>,
    pub(super) reach: &'a [Reach],
    pub(super) against: &'a [Against<T>],
    pub(super) options: &'a ItemizeOptions<'a, T>,
}

impl<T: Real> Work<'_, T> {
    /// How many gates have norms of their own.
    fn gates(&self) -> usize {
        let gates = self.network.cell().gates().len();
        if self.options.gates && gates > 1 { gates } else { 0 }
    }

    /// What is kept of every (k, t) in cell `index`.
    pub(super) fn form(&self, index: usize) -> Form {
        let place = self.network.weights().place(index);
        let parameters = measured(self.network.cell().splits(), place, self.options.inputs);
        let gated = parameters.iter().filter(|&&parameter| parameter != Parameter::Input).count();
        let batch = if self.options.sequences { self.trace.inputs().shape().1 } else { 0 };
        Form { slots: parameters.len(), gated, gates: self.gates(), batch }
    }

    /// To measure blocks of losses (ascending), the last losses first, at every step.
    pub(super) fn chain<'s, B: Iterator<Item = &'s [usize]> + Clone>(&'s self, blocks: B) -> Chain<'s, T, B> {
        let cells = self.against.len();
        let (steps, _) = self.trace.inputs().shape();
        // A forward cell has nothing to show behind the last of the losses.
        let last = blocks.clone().flatten().max().map_or(0, |&k| k + 1);
        let steps = if self.network.directions() == 1 { last } else { steps };
        let sums = Sums::zeros(self.network, self.trace, self.options.inputs, steps);
        let fallen = (0..cells).map(|_| Vec::new()).collect();
        Chain {
            work: self,
            blocks,
            bench: Bench::new(self),
            done: Measured { rows: Vec::new(), fallen, sums },
        }
    }

    /// Measures the losses `ks` at every step.
    fn measure(&self, ks: &[usize], bench: &mut Bench<T>, done: &mut Measured<T>) {
        let plan = Plan::apart(self.losses.present.len(), ks);
        let row = |index: usize, k: usize| {
            LossRow::new(self.network.span(index, k, self.reach[k].end), self.form(index))
        };
        let rows_of = |index| plan.groups().iter().map(|&k| row(index, k)).collect();
        let mut rows: Vec<Vec<LossRow>> = (0..self.against.len()).map(rows_of).collect();
        let beginning = Beginning::Losses(&self.losses.seeds);
        let carry = self.options.tolerance.map_or(Carry::InRange, Carry::Falling);
        self.measure_rows(beginning, &plan, carry, &mut rows, &mut done.sums, bench);
        for (index, (reverse, mut rows)) in bench.reverse.iter_mut().zip(rows).enumerate() {
            for fallen in &reverse.falling.fallen {
                rows[fallen.row].fall(fallen.t);
            }
            done.fallen[index].append(&mut reverse.falling.fallen);
            done.rows.extend(plan.groups().iter().zip(rows).map(|(&k, row)| (index, k, row)));
        }
    }

    /// Measures what has fallen in each cell, as one row that goes on to the first step.
    pub(super) fn measure_remainder(
        &self,
        mut fallen: Vec<Vec<Fallen<T>>>,
        sums: &mut Sums<T>,
    ) -> Vec<LossRow> {
        let (steps, _) = self.trace.inputs().shape();
        for of_cell in &mut fallen {
            of_cell.sort_by_key(|fallen| std::cmp::Reverse(fallen.t));
        }
        let plan = Plan::new((0..steps).map(|_| Some(0)));
        let row = |index| vec![LossRow::new(0..steps, self.form(index))];
        let mut rows: Vec<Vec<LossRow>> = (0..self.against.len()).map(row).collect();
        let beginning = Beginning::Fallen(&fallen);
        self.measure_rows(beginning, &plan, Carry::InRange, &mut rows, sums, &mut Bench::new(self));
        rows.into_iter().flatten().collect()
    }

    /// Measures every row of each cell on its way back.
    fn measure_rows(
        &self,
        beginning: Beginning<'_, T>,
        plan: &Plan,
        carry: Carry,
        rows: &mut [Vec<LossRow>],
        sums: &mut Sums<T>,
        bench: &mut Bench<T>,
    ) {
        let Self { network, trace, against, options, .. } = *self;
        let (_, batch) = trace.inputs().shape();
        let (features, weights) = (network.inputs(), network.weights());
        let Bench { meters, reverse, dx } = bench;
        let mut products = StepProducts::default();
        dx.resize(if options.inputs { plan.groups().len() * batch * features } else { 0 }, T::zero());
        reverse_layers_from(network, trace, beginning, plan, carry, reverse, |index, step| {
            let layer = weights.place(index).layer;
            let dx = (layer == 0 && options.inputs).then(|| {
                let dx = &mut dx[..step.da.rows() * features];
                let w_ih = network.layouts().inputs_back(index, &weights.layers[index]);
                T::multiply(dx, features, Start::Zero, step.da, w_ih);
                View::new(step.da.rows(), features, &*dx)
            });
            products.find(trace, layer, index, step.t);
            let mut sums = sums.at(index, step.t, dx.is_some());
            let rows = &mut rows[index][step.first..];
            meters[index].measure(step, dx, &products, &against[index], &mut sums, rows);
        });
        for (index, (Reverse { rows: end, .. }, rows)) in reverse.iter().zip(rows).enumerate() {
            measure_initial(end, &against[index], rows);
            sums.add_initial(index, end);
        }
    }
}

/// What measuring works with; its memory serves block after block.
struct Bench<T> {
    /// One for each cell.
    meters: Vec<Meter<T>>,
    reverse: Vec<Reverse<T>>,
    dx: Vec<T>,
}

impl<T: Real> Bench<T> {
    fn new(work: &Work<'_, T>) -> Self {
        let (_, batch) = work.trace.inputs().shape();
        let cell = work.network.cell();
        let apart = work.gates() > 0 || cell.reads_kept();
        let columns = if apart { cell.gates().len() } else { 1 };
        let meter = |index| Meter::new(work.form(index), batch, columns);
        Self { meters: (0..work.against.len()).map(meter).collect(), reverse: Vec::new(), dx: Vec::new() }
    }
}
