//! Blocks of losses, measured in a reverse scan of their own.

use std::ops::Range;
use std::sync::Arc;

use super::balance::Parts;
use super::initial::measure_initial;
use super::loss_row::LossRow;
use super::measured::Measured;
use super::norms::ContributionNorms;
use super::one_sequence::OneSequence;
use super::operands::Operands;
use super::options::ItemizeOptions;
use super::projections::UpdateProjections;
use super::record_layout::RecordLayout;
use super::step_products::StepProducts;
use super::sums::Sums;
use crate::array::View;
use crate::control::Control;
use crate::forward::{ForwardCache, GradientSpan, Losses};
use crate::kernel::{Real, Start};
use crate::model::Network;
use crate::reverse::{BackwardBuffers, MergedRow, Plan, RowOptions, Source, reverse_layers};

/// What blocks of losses have left.
pub(super) struct BlockResults<T> {
    /// Rows with the number of their cell and their loss.
    pub(super) rows: Vec<(usize, usize, LossRow)>,
    /// What was merged in each cell.
    pub(super) merged: Vec<Vec<MergedRow<T>>>,
    /// Of all these rows.
    pub(super) sums: Sums<T>,
    /// How large they are.
    pub(super) parts: Parts,
}

/// Blocks of losses that are measured one after another.
pub(super) struct BlockQueue<'a, T: Real, B> {
    job: &'a LedgerJob<'a, T>,
    blocks: B,
    workspace: Workspace<'a, T>,
    results: BlockResults<T>,
}

impl<'a, T: Real, B: Iterator<Item = &'a [usize]>> BlockQueue<'a, T, B> {
    /// Measures the next block, if there is one.
    pub(super) fn measure_next(&mut self) -> bool {
        let next = self.blocks.next().filter(|_| !self.job.is_cancelled());
        if let Some(ks) = next {
            self.job.measure(ks, &mut self.workspace, &mut self.results);
            if let Some(control) = self.job.options.control {
                control.advance(work(ks));
            }
        }
        next.is_some()
    }

    /// What all blocks have left.
    pub(super) fn results(self) -> BlockResults<T> {
        BlockResults { parts: self.workspace.parts(), ..self.results }
    }
}

/// What there is to measure.
pub(super) struct LedgerJob<'a, T: Real> {
    pub(super) network: &'a Network<T>,
    pub(super) cache: &'a ForwardCache<T>,
    pub(super) losses: &'a Losses<T>,
    pub(super) spans: &'a [GradientSpan],
    /// For each cell.
    pub(super) operands: &'a [Operands<'a, T>],
    pub(super) measured: &'a [Measured],
    pub(super) projections: &'a [UpdateProjections<T>],
    /// What records of one sequence are packed with, if they are.
    pub(super) packed: &'a [Option<Arc<OneSequence>>],
    pub(super) options: &'a ItemizeOptions<'a, T>,
}

/// The steps of these losses, as the unit of a ledger's progress.
pub(super) fn work(ks: &[usize]) -> usize {
    ks.iter().map(|k| k + 1).sum()
}

impl<'a, T: Real> LedgerJob<'a, T> {
    /// Whether it was asked to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.options.control.is_some_and(Control::is_cancelled)
    }

    /// What is kept of every (k, t) in cell `index`.
    pub(super) fn layout(&self, index: usize) -> RecordLayout {
        let measured = &self.measured[index];
        let gates = self.network.spec().gate_count();
        let (_, batch) = self.cache.inputs().shape();
        RecordLayout {
            slots: measured.params.len(),
            gated: measured.gated,
            gates: if self.options.gates && gates > 1 { gates } else { 0 },
            columns: measured.columns.len(),
            batch: if self.options.sequences { batch } else { 0 },
        }
    }

    fn row(&self, index: usize, span: Range<usize>) -> LossRow {
        LossRow::new(span, self.layout(index), self.packed[index].as_deref())
    }

    /// To measure blocks of losses (ascending), the last losses first, at every step.
    pub(super) fn queue<B>(&'a self, blocks: B) -> BlockQueue<'a, T, B>
    where
        B: Iterator<Item = &'a [usize]> + Clone,
    {
        let cells = self.projections.len();
        let (steps, _) = self.cache.inputs().shape();
        // In a forward cell no component lies after the last of the losses.
        let last = blocks.clone().flatten().max().map_or(0, |&k| k + 1);
        let steps = if self.network.directions() == 1 { last } else { steps };
        let sums = Sums::zeros(self.network, self.cache, self.options.inputs, steps);
        let merged = (0..cells).map(|_| Vec::new()).collect();
        BlockQueue {
            job: self,
            blocks,
            workspace: Workspace::new(self),
            results: BlockResults { rows: Vec::new(), merged, sums, parts: Parts::default() },
        }
    }

    /// Measures the losses `ks` at every step.
    fn measure(&self, ks: &[usize], workspace: &mut Workspace<'_, T>, results: &mut BlockResults<T>) {
        let plan = Plan::apart(self.losses.present.len(), ks);
        let row = |index: usize, k: usize| self.row(index, self.network.span(index, k, self.spans[k].end));
        let rows_of = |index| plan.groups().iter().map(|&k| row(index, k)).collect();
        let mut rows: Vec<Vec<LossRow>> = (0..self.projections.len()).map(rows_of).collect();
        let source = Source::Losses(self.losses);
        let options = RowOptions { tolerance: self.options.tolerance, ..RowOptions::scaled() };
        self.measure_rows(source, &plan, options, &mut rows, &mut results.sums, workspace);
        for (index, (buffers, mut rows)) in workspace.buffers.iter_mut().zip(rows).enumerate() {
            for merged in &buffers.tolerance.merged {
                rows[merged.row].merge_from(merged.t);
            }
            results.merged[index].append(&mut buffers.tolerance.merged);
            results.rows.extend(plan.groups().iter().zip(rows).map(|(&k, row)| (index, k, row)));
        }
    }

    /// Measures what was merged in each cell, as one row that goes on to the first step.
    pub(super) fn measure_remainder(
        &self,
        mut merged: Vec<Vec<MergedRow<T>>>,
        sums: &mut Sums<T>,
        parts: &mut Parts,
    ) -> Vec<LossRow> {
        let (steps, _) = self.cache.inputs().shape();
        for of_cell in &mut merged {
            of_cell.sort_by_key(|merged| std::cmp::Reverse(merged.t));
        }
        let plan = Plan::new((0..steps).map(|_| Some(0)));
        let row = |index| vec![self.row(index, 0..steps)];
        let mut rows: Vec<Vec<LossRow>> = (0..self.projections.len()).map(row).collect();
        let mut workspace = Workspace::new(self);
        let source = Source::Merged(&merged);
        self.measure_rows(source, &plan, RowOptions::scaled(), &mut rows, sums, &mut workspace);
        parts.add(&workspace.parts());
        rows.into_iter().flatten().collect()
    }

    /// Measures every row of each cell as the reverse scan shows it.
    fn measure_rows(
        &self,
        source: Source<'_, T>,
        plan: &Plan,
        options: RowOptions,
        rows: &mut [Vec<LossRow>],
        sums: &mut Sums<T>,
        workspace: &mut Workspace<'_, T>,
    ) {
        let Self { network, cache, projections, measured, operands, .. } = *self;
        let (_, batch) = cache.inputs().shape();
        let (features, weights) = (network.inputs(), network.weights());
        let Workspace { norms, buffers, dx, initial_parts } = workspace;
        let mut products = StepProducts::default();
        let inputs = self.options.inputs;
        dx.resize(if inputs { plan.groups().len() * batch * features } else { 0 }, T::zero());
        reverse_layers(network, cache, source, plan, options, buffers, |index, step| {
            if self.is_cancelled() {
                return;
            }
            let (layer, params) = (weights.cell_id(index).layer, &weights.cells[index]);
            let dx = (layer == 0 && inputs).then(|| {
                let d = step.adjoints[params.spec().input_adjoint()];
                let dx = &mut dx[..d.rows() * features];
                let w_ih = network.packed().inputs_back(index, params);
                T::multiply(dx, features, Start::Zero, d, w_ih);
                View::new(d.rows(), features, &*dx)
            });
            products.find(&operands[index], params, &measured[index], step.t);
            let mut sums = sums.at(index, step.t, dx.is_some());
            let rows = &mut rows[index][step.first..];
            let products = (&operands[index], &products);
            norms[index].measure(step, dx, products, &projections[index], &mut sums, rows);
        });
        for (index, (buffers, rows)) in buffers.iter().zip(rows).enumerate() {
            measure_initial(&buffers.rows, &projections[index], rows, &mut initial_parts[index]);
            sums.add_initial(index, &buffers.rows);
        }
    }
}

/// What measuring works with; its memory is used for block after block.
struct Workspace<'a, T> {
    /// One for each cell.
    norms: Vec<ContributionNorms<'a, T>>,
    buffers: Vec<BackwardBuffers<T>>,
    dx: Vec<T>,
    /// For each cell and state Σ ‖gradient with respect to the initial state‖ over losses and sequences.
    initial_parts: Vec<Vec<f64>>,
}

impl<'a, T: Real> Workspace<'a, T> {
    fn new(job: &LedgerJob<'a, T>) -> Self {
        let (_, batch) = job.cache.inputs().shape();
        let of_cell = |index: usize| {
            let records = (job.layout(index), job.packed[index].as_deref());
            ContributionNorms::new(&job.measured[index], records, batch)
        };
        let states = job.network.spec().states.len();
        Self {
            norms: (0..job.measured.len()).map(of_cell).collect(),
            buffers: Vec::new(),
            dx: Vec::new(),
            initial_parts: vec![vec![0.0; states]; job.measured.len()],
        }
    }

    /// How large everything is that was measured in it.
    fn parts(&self) -> Parts {
        Parts {
            slots: self.norms.iter().map(|norms| norms.parts().to_vec()).collect(),
            initial: self.initial_parts.clone(),
            readout: [0.0; 2],
        }
    }
}
