//! dL_k/dh_t as a sum over the paths through a cell.
//!
//! Between two steps a gradient goes past the recurrent weights (by an LSTM's forget gates from c to c, by a GRU's update
//! gates from h to h) or through the pre-activation of a gate and W_hh. A path is a sequence of such steps; the gradient
//! is the sum over all paths. The reverse scan carries it apart by the gate that it last passed, and what each of these
//! parts sends on is added to the way it belongs to, see [`crate::CellSpec::paths`].

use crate::array::{Matrix, View};
use crate::forward::{ForwardCache, Losses};
use crate::gradient::check_losses;
use crate::kernel::{Real, norm};
use crate::ledger::unbalanced;
use crate::model::{CellId, Network};
use crate::reverse::{
    CellContext, Part, Plan, RowOptions, Scaled, Source, Step, add, largest, reverse_layers, sum_of_classes,
};
use crate::{Error, kernel};

/// dL_k/dh_t of one loss k in one cell at every step t, as a sum over the paths the gradient took.
///
/// The first part, `"seed"`, is what enters the cell's output at step t itself: the gradient of the step's own loss, or
/// what the layer above sends. The others are the cell's, [`crate::CellSpec::paths`].
#[derive(Clone, Debug)]
pub struct PathSplit<T> {
    /// The loss.
    pub k: usize,
    /// The cell.
    pub cell: CellId,
    paths: Vec<&'static str>,
    /// By step; `None` where the loss does not reach.
    steps: Vec<Option<Parts<T>>>,
}

/// dL_k/dh_t and its parts.
#[derive(Clone, Debug)]
struct Parts<T> {
    whole: Part<T>,
    by_path: Vec<Part<T>>,
}

impl<T: Real> PathSplit<T> {
    /// The names of the parts.
    pub fn paths(&self) -> &[&'static str] {
        &self.paths
    }

    /// T, the number of steps.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// dL_k/dh_t, (B, H). `None` where loss k does not reach step t.
    pub fn whole(&self, t: usize) -> Option<Matrix<T>> {
        let at = self.steps.get(t)?.as_ref()?;
        Some(at.whole.in_full())
    }

    /// What of dL_k/dh_t came by path `path`, (B, H).
    pub fn part(&self, t: usize, path: usize) -> Option<Matrix<T>> {
        self.steps.get(t)?.as_ref()?.by_path.get(path).map(Part::in_full)
    }

    /// log₁₀ ‖part‖, however small; −∞ where it is exactly zero.
    pub fn log10_norm(&self, t: usize, path: usize) -> Option<f64> {
        let part = self.steps.get(t)?.as_ref()?.by_path.get(path)?;
        let exponent = f64::from(part.exponent) * std::f64::consts::LOG10_2;
        Some(norm(part.numbers.data()).log10() + exponent)
    }

    /// ⟨part, whole⟩ / ⟨whole, whole⟩ over all sequences; the shares of all paths add up to 1. NaN where the whole is zero.
    pub fn share(&self, t: usize, path: usize) -> Option<f64> {
        let Parts { whole, by_path } = self.steps.get(t)?.as_ref()?;
        let part = by_path.get(path)?;
        let inner = |a: &[T], b: &[T]| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum::<f64>();
        let (of_whole, of_part) = (whole.numbers.data(), part.numbers.data());
        let share = inner(of_part, of_whole) / inner(of_whole, of_whole);
        // Zeros have no exponent.
        let relative: f64 = kernel::power_of_two(part.exponent - whole.exponent);
        Some(if share == 0.0 { 0.0 } else { share * relative })
    }
}

/// dL_k/dh_t by the way it came, see [`Network::path_split`].
pub(crate) fn path_split<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    k: usize,
) -> Result<Vec<PathSplit<T>>, Error> {
    check_losses(network, cache, losses)?;
    let (steps, batch) = cache.inputs().shape();
    losses.check_loss(cache, k)?;
    let plan = Plan::apart(steps, &[k]);
    let end = losses.span(cache, k).end;
    let recorder = |index| Recorder {
        k,
        cell: network.weights().cell_id(index),
        span: network.span(index, k, end),
        pending: None,
        steps: vec![None; steps],
        da: vec![None; steps],
    };
    let mut recorders: Vec<Recorder<T>> = (0..network.weights().cells.len()).map(recorder).collect();
    let (source, mut buffers) = (Source::Losses(losses), Vec::new());
    let by_gate = RowOptions { by_gate: true, ..RowOptions::scaled() };
    reverse_layers(network, cache, source, &plan, by_gate, &mut buffers, |index, step| {
        recorders[index].record(network, cache, index, step, batch);
    });
    let mut worst: Option<(String, f64)> = None;
    reverse_layers(network, cache, source, &plan, RowOptions::scaled(), &mut buffers, |index, step| {
        let relative_error = recorders[index].deviation(step);
        if worst.as_ref().is_none_or(|(_, worst)| relative_error > *worst) {
            worst = Some((format!("paths_{}", network.weights().cell_id(index).suffix()), relative_error));
        }
    });
    match worst {
        Some((parameter, relative_error)) if relative_error > T::BALANCE_TOLERANCE => {
            Err(unbalanced::<T>(parameter, relative_error))
        }
        _ => Ok(recorders.into_iter().map(|r| r.finish(network)).collect()),
    }
}

/// What is seen of one cell.
struct Recorder<T> {
    k: usize,
    cell: CellId,
    /// The steps that the loss reaches.
    span: std::ops::Range<usize>,
    /// What the later step sends into this one: the row that has passed no gate, and each path's part.
    pending: Option<(Scaled<T>, Vec<Scaled<T>>)>,
    steps: Vec<Option<Parts<T>>>,
    /// Σ_p da of every step, and how large its terms are.
    da: Vec<Option<(Scaled<T>, f64)>>,
}

impl<T: Real> Recorder<T> {
    fn record(
        &mut self,
        network: &Network<T>,
        cache: &ForwardCache<T>,
        index: usize,
        step: &Step<'_, T>,
        batch: usize,
    ) {
        let (context, width) = (CellContext::new(network, index), network.output_width());
        let (spec, sizes) = (context.spec(), context.params.sizes());
        let (paths, hidden) = (&spec.paths, sizes.hidden);
        let shape = (step.classes, batch);
        let states = |numbers| View::new(step.exponents.len(), width, numbers);
        let gate_of = |p: usize| p.checked_sub(1);

        if self.span.contains(&step.t) {
            let whole = sum_of_classes(states(step.arrived), step.exponents, shape, |_, _| true);
            let mut seed = sum_of_classes(states(step.arrived), step.exponents, shape, |p, _| p == 0);
            let mut parts = Vec::new();
            if let Some((direct, pending)) = self.pending.take() {
                let minus: Vec<T> = direct.0.iter().map(|&v| -v).collect();
                add(&mut seed, &(minus, direct.1), width);
                parts = pending;
            }
            parts.insert(0, seed);
            parts.resize_with(1 + paths.names().len(), || (vec![T::zero(); batch * width], vec![0; batch]));
            let by_path = parts.iter().map(|part| Part::new(part, width)).collect();
            self.steps[step.t] = Some(Parts { whole: Part::new(&whole, width), by_path });
        }
        let sum = sum_of_classes(step.da(), step.exponents, shape, |_, _| true);
        let terms = step.da().data().chunks_exact(step.da().cols()).zip(step.exponents);
        let size = terms.map(|(row, &e)| norm(row) * kernel::power_of_two::<f64>(e - largest(&sum.1))).sum();
        self.da[step.t] = Some((sum, size));

        let cut: Vec<usize> = cache.boundaries().cuts_at(self.cell.direction, step.t).collect();
        let without_cut = |mut rows: Scaled<T>| {
            for &b in &cut {
                rows.0[b * width..(b + 1) * width].fill(T::zero());
            }
            rows
        };
        let on_path = |path: usize| {
            let is_here = |p: usize, gate: usize| paths.of(gate_of(p), Some(gate)) == path;
            let mut part = (vec![T::zero(); batch * width], vec![0; batch]);
            for (i, product) in context.products_to_output().enumerate() {
                let (group, weights) = (&product.group, &context.params.tensors()[product.param]);
                let d = step.adjoints[group.adjoint].columns(group.columns.clone());
                let first = group.columns.start;
                let (d, exponents) = sum_of_classes(d, step.exponents, shape, |p, column| {
                    is_here(p, (first + column) / hidden)
                });
                let mut through = vec![T::zero(); batch * width];
                let rows = weights.view().some_rows(group.rows.clone());
                kernel::product(&mut through, false, View::new(batch, group.columns.len(), &d), rows);
                let through = (through, exponents);
                if i == 0 { part = through } else { add(&mut part, &through, width) }
            }
            for saved in (0..spec.saved.len()).filter(|&saved| spec.saved[saved].passes_to == Some(0)) {
                if let Some(gate) = context.gate_of_saved(saved) {
                    let through = states(step.saved[saved]);
                    let joined = sum_of_classes(through, step.exponents, shape, |p, _| is_here(p, gate));
                    add(&mut part, &joined, width);
                }
            }
            let past = |p: usize, _| paths.of(gate_of(p), None) == path;
            add(&mut part, &sum_of_classes(states(step.passing), step.exponents, shape, past), width);
            without_cut(part)
        };
        let direct = sum_of_classes(states(step.passing), step.exponents, shape, |p, _| p == 0);
        self.pending = Some((without_cut(direct), (0..paths.names().len()).map(on_path).collect()));
    }

    /// ‖Σ_p da − da‖ relative to the size of its terms.
    fn deviation(&self, step: &Step<'_, T>) -> f64 {
        let Some((sum, size)) = &self.da[step.t] else { return f64::INFINITY };
        let mut difference = sum.clone();
        let minus = step.da().data().iter().map(|&v| -v).collect();
        add(&mut difference, &(minus, step.exponents.to_vec()), step.da().cols());
        let rows = difference.0.chunks_exact(step.da().cols()).zip(&difference.1);
        let distance: f64 =
            rows.map(|(row, &e)| norm(row) * kernel::power_of_two::<f64>(e - largest(&sum.1))).sum();
        if distance == 0.0 { 0.0 } else { distance / size }
    }

    fn finish(self, network: &Network<T>) -> PathSplit<T> {
        let paths = std::iter::once("seed").chain(network.spec().paths.names().iter().copied()).collect();
        PathSplit { k: self.k, cell: self.cell, paths, steps: self.steps }
    }
}
