//! Itemizing: the reverse scan with a row for each loss, in blocks of losses, and the proof that its pieces add up.
//! What is measured of a row stands in `measure.rs`.

use std::sync::Arc;

use rayon::prelude::*;

use crate::bounds::Reach;
use crate::bptt::{Carry, Reverse, reverse_layers};
use crate::gradient::{Gradient, add_cell_gradient, add_readout_gradient};
use crate::ledger::{Balance, Entry, Grid, Ledger, Parameter, PerLoss, SequenceNorms};
use crate::loss::Losses;
use crate::measure::{Against, LossAtStep, LossRow, StepProducts, gram_norm, measured, norm};
use crate::network::{Network, Place, State, Weights};
use crate::rows::{Plan, Rows};
use crate::scan::Trace;
use crate::sequence::{Matrix, Sequence, View};
use crate::{Error, Real, kernel};

/// Rows (k, b) of one block of losses: enough for a product to run at speed, few enough to stay in cache.
const ROWS_OF_A_BLOCK: usize = 64;
/// Blocks measured before their sums are folded: bounds the memory to this many (T, B, G·H) arrays.
const BLOCKS_AT_ONCE: usize = 8;

/// What to measure besides the norms and shares of the batch sum.
#[derive(Clone, Copy, Debug)]
pub struct ItemizeOptions<'a, T> {
    /// Keep the norms of every single sequence too, T²·B more numbers.
    pub sequences: bool,
    /// Keep the norms of each gate's rows too, of a cell with several: G more numbers for each of the others.
    pub gates: bool,
    /// The update U that shares are measured against; `None`: the total gradient. h0's and the inputs' shares are
    /// always measured against their total gradient, since no update is applied to them.
    pub update: Option<&'a Weights<T>>,
}

impl<T> Default for ItemizeOptions<'_, T> {
    fn default() -> Self {
        Self { sequences: true, gates: false, update: None }
    }
}

impl<T: Real> Network<T> {
    /// Takes the gradient of every single loss L_k apart into the contribution of every step that a path leads from:
    /// t ≤ k, and in a bidirectional network the later ones too.
    ///
    /// One reverse scan with a row for each loss, in blocks that run on the threads of the caller's rayon pool; the
    /// result does not depend on their number. Working memory is O(T·B·(G·H + I)); the ledger has T²/2 numbers for
    /// each norm and each share (W_ih, W_hh, b, x), and no matrix is formed for any (k, t).
    ///
    /// # Errors
    /// [`Error::Balance`] if the components do not add up to the ordinary gradient, [`Error::NotFinite`] if a hidden
    /// state or a seed is not finite, [`Error::Exploded`] if the gradient is not, [`Error::Shape`] if `losses` or the
    /// update do not belong here.
    pub fn itemize(
        &self,
        trace: &Trace<T>,
        losses: &Losses<T>,
        options: &ItemizeOptions<'_, T>,
    ) -> Result<Ledger, Error> {
        trace.check_finite()?;
        losses.check_finite()?;
        let gradient = self.gradient(trace, losses, true)?;
        for (name, tensor) in gradient.weights.tensors() {
            if tensor.data().iter().any(|g| !g.is_finite()) {
                return Err(Error::Exploded { parameter: name });
            }
        }
        let update = options.update.unwrap_or(&gradient.weights);
        self.check_update(update)?;
        let cells = self.weights().layers.len();
        let against: Vec<_> = (0..cells)
            .map(|index| Against::new(trace, &gradient, update, index, self.cell().splits()))
            .collect();

        let (steps, batch) = trace.inputs().shape();
        let present = losses.heard(trace);
        let ks: Vec<usize> = (0..steps).filter(|&k| present[k]).collect();
        let reach: Arc<[Reach]> = (0..steps).map(|k| losses.reach(trace, k)).collect();
        let blocks: Vec<&[usize]> = ks.chunks((ROWS_OF_A_BLOCK / batch).max(1)).collect();
        let mut sums = Sums::zeros(self, trace);
        let mut rows: Vec<Vec<Option<LossRow>>> =
            (0..cells).map(|_| (0..steps).map(|_| None).collect()).collect();
        for blocks in blocks.chunks(BLOCKS_AT_ONCE) {
            let measure = |ks: &&[usize]| self.measure_block(trace, losses, ks, &reach, &against, options);
            let measured: Vec<_> = blocks.par_iter().map(measure).collect();
            for (block, block_sums) in measured {
                sums.add(&block_sums);
                for (rows, block) in rows.iter_mut().zip(block) {
                    for (k, row) in block {
                        rows[k] = Some(row);
                    }
                }
            }
        }

        let mut itemized = self.zero_gradient(trace, false);
        for (index, da) in sums.da.iter().enumerate() {
            let all = 0..steps;
            let da = (da.da.rows(all.clone()), da.da_hh.as_ref().unwrap_or(&da.da).rows(all));
            add_cell_gradient(&mut itemized.weights, trace, index, da, None);
        }
        itemized.inputs = Some(sums.dx);
        itemized.initial = sums.initial;
        let (mut entries, mut per_loss) = (Vec::new(), Vec::new());
        for (index, (rows, against)) in rows.iter().zip(&against).enumerate() {
            let sequences =
                options.sequences.then(|| Arc::new(sequence_norms(rows, trace, index, self.depth())));
            entries.extend(self.entries(rows, &reach, &gradient, against, index, sequences.as_ref()));
            per_loss.extend(initial_states(rows, against, self.weights().place(index)));
        }
        per_loss.extend(readout_diagonal(&mut itemized.weights, trace, losses, update));

        Ok(Ledger { steps, present, reach, entries, per_loss, balance: balance(&itemized, &gradient)? })
    }

    /// Measures the losses `ks` (ascending) at every step: rows by cell and loss.
    fn measure_block(
        &self,
        trace: &Trace<T>,
        losses: &Losses<T>,
        ks: &[usize],
        reach: &[Reach],
        against: &[Against<T>],
        options: &ItemizeOptions<'_, T>,
    ) -> (Vec<Vec<(usize, LossRow)>>, Sums<T>) {
        let (steps, batch) = trace.inputs().shape();
        let features = self.inputs();
        let plan = Plan::apart(steps, ks);
        let gates = options.gates && self.cell().gates().len() > 1;
        let blocks = if gates || self.cell().reads_kept() { self.cell().gates().len() } else { 1 };
        let mut sums = Sums::zeros(self, trace);
        let row = |index: usize, k: usize| {
            let parameters = measured(self.cell().splits(), self.weights().place(index));
            LossRow::new(
                self.span(index, k, reach[k].end),
                batch,
                parameters,
                options.sequences,
                (blocks, gates),
            )
        };
        let rows_of = |index| plan.groups().iter().map(|&k| row(index, k)).collect();
        let mut rows: Vec<Vec<LossRow>> = (0..against.len()).map(rows_of).collect();
        let mut dx = vec![T::zero(); plan.groups().len() * batch * features];

        let mut reverse = Vec::new();
        reverse_layers(self, trace, &losses.seeds, &plan, Carry::InRange, &mut reverse, |index, step| {
            let layer = self.weights().place(index).layer;
            let dx = (layer == 0).then(|| {
                let dx = &mut dx[..step.da.rows() * features];
                kernel::product(dx, false, step.da, self.weights().layers[index].w_ih.view());
                View::new(step.da.rows(), features, &*dx)
            });
            let products = StepProducts::new(trace, layer, index, step.t);
            for (i, row) in rows[index].iter_mut().take(step.da.rows() / batch).enumerate() {
                let at = LossAtStep {
                    t: step.t,
                    da: step.da.rows_of(i, batch),
                    da_hh: self.cell().splits().then(|| step.da_hh.rows_of(i, batch)),
                    dx: dx.map(|dx| dx.rows_of(i, batch)),
                    exponents: &step.exponents[i * batch..(i + 1) * batch],
                };
                row.measure(&at, &products, &against[index]);
                sums.add_step(index, &at);
            }
        });
        for (index, Reverse { rows: end, .. }) in reverse.iter().enumerate() {
            for (i, row) in rows[index].iter_mut().enumerate() {
                row.measure_initial(end, i, &against[index]);
            }
            sums.add_initial(index, end);
        }
        let by_loss = |rows: Vec<LossRow>| plan.groups().iter().copied().zip(rows).collect();
        (rows.into_iter().map(by_loss).collect(), sums)
    }

    /// The ledger's entries of cell `index`.
    fn entries(
        &self,
        rows: &[Option<LossRow>],
        reach: &Arc<[Reach]>,
        gradient: &Gradient<T>,
        against: &Against<T>,
        index: usize,
        sequences: Option<&Arc<SequenceNorms>>,
    ) -> Vec<Entry> {
        let exponent = Arc::new(grid(rows, |row| &row.exponent));
        let (layer, place) = (&gradient.weights.layers[index], self.weights().place(index));
        let inputs = gradient.inputs.as_ref().expect("itemizing asks for the inputs' gradient");
        let whole = |parameter: Parameter| match parameter {
            Parameter::WeightIh => layer.w_ih.data(),
            Parameter::WeightHh => layer.w_hh.data(),
            Parameter::BiasHh => layer.b_hh.data(),
            Parameter::Input => inputs.data(),
            _ => layer.b_ih.data(),
        };
        let by_gate = |i: usize| {
            let measured = rows.iter().flatten().any(|row| !row.slots[i].by_gate.is_empty());
            measured.then(|| grid(rows, |row| &row.slots[i].by_gate))
        };
        let entry = |(i, &parameter): (usize, &Parameter)| Entry {
            place,
            parameter,
            mantissa: grid(rows, |row| &row.slots[i].norm),
            exponent: Arc::clone(&exponent),
            reach: Arc::clone(reach),
            inner: grid(rows, |row| &row.slots[i].inner),
            by_gate: by_gate(i),
            gates: self.cell().gates(),
            total_inner: against.totals()[i],
            total: norm(whole(parameter)),
            smallest_normal: T::min_positive_value().f64(),
            sequences: sequences.cloned(),
        };
        measured(self.cell().splits(), place).iter().enumerate().map(entry).collect()
    }

    fn check_update(&self, update: &Weights<T>) -> Result<(), Error> {
        let shapes = |w: &Weights<T>| -> Vec<_> {
            w.tensors().into_iter().map(|(name, m)| (name, m.rows(), m.cols())).collect()
        };
        let (expected, given) = (shapes(self.weights()), shapes(update));
        if expected == given {
            return Ok(());
        }
        let differs = expected.iter().zip(&given).find(|(e, g)| e != g);
        let show = |s: Option<&(String, usize, usize)>| s.map_or("nothing".into(), |s| format!("{s:?}"));
        Err(Error::Shape {
            what: "update".into(),
            expected: show(differs.map(|d| d.0).or_else(|| expected.get(given.len()))),
            given: show(differs.map(|d| d.1).or_else(|| given.get(expected.len()))),
        })
    }
}

/// Σ over losses of what the reverse scan shows, in full (exponents put back in).
struct Sums<T> {
    /// Σ_k da of each cell.
    da: Vec<Preactivations<T>>,
    /// Σ_k dx, (T, B, I).
    dx: Sequence<T>,
    /// Σ_k of the gradients with respect to the initial state.
    initial: State<T>,
}

/// Gradients with respect to the pre-activations of all steps.
struct Preactivations<T> {
    /// As the input side sees them, (T, B, G·H).
    da: Sequence<T>,
    /// As the recurrent side sees them, if the cell splits them.
    da_hh: Option<Sequence<T>>,
}

impl<T: Real> Preactivations<T> {
    fn zeros(network: &Network<T>, steps: usize, batch: usize) -> Self {
        let width = network.weights().layers[0].w_ih.rows();
        let zeros = || Sequence::zeros(steps, batch, width);
        Self { da: zeros(), da_hh: network.cell().splits().then(zeros) }
    }
}

impl<T: Real> Sums<T> {
    fn zeros(network: &Network<T>, trace: &Trace<T>) -> Self {
        let (steps, batch) = trace.inputs().shape();
        let cells = network.weights().layers.iter();
        Self {
            da: cells.map(|_| Preactivations::zeros(network, steps, batch)).collect(),
            dx: Sequence::zeros(steps, batch, network.inputs()),
            initial: network.zero_state(batch),
        }
    }

    fn add(&mut self, other: &Self) {
        let add = |sum: &mut [T], other: &[T]| kernel::add_scaled(sum, T::one(), other);
        for (sum, other) in self.da.iter_mut().zip(&other.da) {
            add(sum.da.data_mut(), other.da.data());
            if let (Some(sum), Some(other)) = (&mut sum.da_hh, &other.da_hh) {
                add(sum.data_mut(), other.data());
            }
        }
        add(self.dx.data_mut(), other.dx.data());
        let sums = self.initial.h.iter_mut().chain(&mut self.initial.c);
        for (sum, other) in sums.zip(other.initial.h.iter().chain(&other.initial.c)) {
            add(sum.data_mut(), other.data());
        }
    }

    fn add_step(&mut self, index: usize, at: &LossAtStep<'_, T>) {
        for (b, &exponent) in at.exponents.iter().enumerate() {
            let factor = kernel::power_of_two(exponent);
            kernel::add_scaled(self.da[index].da.at_mut(at.t, b), factor, at.da.row(b));
            if let (Some(sum), Some(da_hh)) = (&mut self.da[index].da_hh, at.da_hh) {
                kernel::add_scaled(sum.at_mut(at.t, b), factor, da_hh.row(b));
            }
            if let Some(dx) = at.dx {
                kernel::add_scaled(self.dx.at_mut(at.t, b), factor, dx.row(b));
            }
        }
    }

    fn add_initial(&mut self, index: usize, end: &Rows<T>) {
        for (r, &exponent) in end.exponents.iter().enumerate() {
            let (b, factor) = (r % end.batch(), kernel::power_of_two(exponent));
            kernel::add_scaled(self.initial.h[index].row_mut(b), factor, end.dh(r));
            kernel::add_scaled(self.initial.c[index].row_mut(b), factor, end.dc(r));
        }
    }
}

/// ‖sum − gradient‖ / ‖gradient‖ for every parameter.
fn balance<T: Real>(itemized: &Gradient<T>, gradient: &Gradient<T>) -> Result<Vec<Balance>, Error> {
    let named = |g: &Gradient<T>| -> Vec<(String, Vec<T>)> {
        let weights = g.weights.tensors().into_iter().map(|(name, m)| (name, m.data().to_vec()));
        let inputs = g.inputs.iter().map(|x| ("input".to_string(), x.data().to_vec()));
        let states = |name: &'static str, states: &[Matrix<T>]| -> Vec<(String, Vec<T>)> {
            let known = states.iter().enumerate().filter(|(_, state)| state.cols() > 0);
            known
                .map(|(i, state)| (format!("{name}_{}", g.weights.place(i).suffix()), state.data().to_vec()))
                .collect()
        };
        let (h, c) = (states("initial_state", &g.initial.h), states("initial_memory", &g.initial.c));
        weights.chain(inputs).chain(h).chain(c).collect()
    };
    let mut balance = Vec::new();
    for ((parameter, sum), (_, whole)) in named(itemized).into_iter().zip(named(gradient)) {
        let differences: Vec<f64> = sum.iter().zip(&whole).map(|(a, b)| a.f64() - b.f64()).collect();
        let (difference, size) = (norm(&differences), norm(&whole));
        // Below the format's normal numbers the ordinary gradient itself has no relative precision left.
        let floor = T::min_positive_value().f64() * (whole.len() as f64).sqrt() / T::BALANCE_TOLERANCE;
        let relative_error = if difference == 0.0 { 0.0 } else { difference / size.max(floor) };
        // Not "greater than": a NaN must not pass.
        if !matches!(relative_error.partial_cmp(&T::BALANCE_TOLERANCE), Some(std::cmp::Ordering::Less)) {
            return Err(Error::Balance { parameter, relative_error, tolerance: T::BALANCE_TOLERANCE });
        }
        balance.push(Balance { parameter, relative_error });
    }
    Ok(balance)
}

/// A grid from the same vector of every loss's row.
fn grid<V: Copy>(rows: &[Option<LossRow>], vector: impl Fn(&LossRow) -> &[V]) -> Grid<V> {
    let row = |row: &'_ LossRow| row.span.clone();
    Grid::from_rows(rows.iter().map(|r| r.as_ref().map(|r| (row(r), vector(r)))))
}

fn initial_states<T: Real>(rows: &[Option<LossRow>], against: &Against<T>, place: Place) -> Vec<PerLoss> {
    let state = |(i, (parameter, total_inner)): (usize, (Parameter, f64))| {
        let mut of = PerLoss::masked(Some(place), parameter, rows.len());
        of.total_inner = total_inner;
        for (k, row) in rows.iter().enumerate() {
            if let Some(m) = row.as_ref().map(|row| &row.initial[i]) {
                of.set(k, m.norm, m.log10_norm, m.inner);
            }
        }
        of
    };
    let parameters = [Parameter::InitialState, Parameter::InitialMemory];
    parameters.into_iter().zip(against.initial_totals().iter().copied()).enumerate().map(state).collect()
}

fn sequence_norms<T: Real>(
    rows: &[Option<LossRow>],
    trace: &Trace<T>,
    index: usize,
    depth: usize,
) -> SequenceNorms {
    let (steps, batch) = trace.inputs().shape();
    let layer = index / (trace.layers().len() / depth);
    let (x, recurrent) = (trace.inputs_of(layer).all(), trace.layers()[index].recurrent_inputs(0..steps));
    let h_prev = recurrent[0].1;
    let of = |i: usize| grid(rows, move |row| row.sequences.as_ref().map_or(&[][..], |s| &s[i]));
    SequenceNorms {
        batch,
        da: of(0),
        da_hh: of(1),
        input: of(2),
        x: (0..steps * batch).map(|i| x.dot(i, i).f64().sqrt()).collect(),
        h_prev: (0..steps * batch).map(|i| kernel::dot(h_prev.row(i), h_prev.row(i)).f64().sqrt()).collect(),
    }
}

/// Adds the readout's contributions loss by loss, dy_k h_kᵀ, and measures them.
fn readout_diagonal<T: Real>(
    itemized: &mut Weights<T>,
    trace: &Trace<T>,
    losses: &Losses<T>,
    update: &Weights<T>,
) -> Vec<PerLoss> {
    let (Some(sum), Some(update), Some(dy)) = (&mut itemized.readout, &update.readout, losses.dy()) else {
        return Vec::new();
    };
    let mut weight = PerLoss::masked(None, Parameter::HeadWeight, losses.present.len());
    let mut bias = PerLoss::masked(None, Parameter::HeadBias, losses.present.len());
    for k in (0..losses.present.len()).filter(|&k| losses.present[k]) {
        let (h, dy) = (trace.output().step(k), dy.step(k));
        add_readout_gradient(sum, h, dy);
        let norm = gram_norm(dy.rows(), |a, b| {
            kernel::dot(dy.row(a), dy.row(b)).f64() * kernel::dot(h.row(a), h.row(b)).f64()
        });
        let mut against = vec![T::zero(); dy.data().len()];
        kernel::product_transposed(&mut against, false, h, update.w_hy.view());
        weight.set(k, norm, norm.log10(), kernel::dot(dy.data(), &against).f64());
        let mut summed = vec![T::zero(); dy.cols()];
        kernel::add_rows(&mut summed, dy);
        let inner = kernel::dot(&summed, update.b_y.data()).f64();
        let norm = kernel::dot(&summed, &summed).f64().sqrt();
        bias.set(k, norm, norm.log10(), inner);
    }
    weight.total_inner = kernel::dot(sum.w_hy.data(), update.w_hy.data()).f64();
    bias.total_inner = kernel::dot(sum.b_y.data(), update.b_y.data()).f64();
    vec![weight, bias]
}
