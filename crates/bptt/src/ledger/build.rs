//! Itemizing: the reverse scan with a row for each loss, in blocks of losses, and the proof that its pieces add up.
//! What is measured of a row is in `norms.rs`.

use std::sync::Arc;

use super::balance::balance;
use super::blocks::{Chain, Measured, Work};
use super::entries::{Entry, Ledger, Parameter, PerLoss, SequenceSizes};
use super::norms::LossRow;
use super::options::ItemizeOptions;
use super::projections::{Against, gram_norm, measured};
use super::records::Records;
use super::sums::Sums;
use crate::array::Sequence;
use crate::forward::{Losses, Reach, Trace};
use crate::gradient::{Gradient, Threads, add_cell_gradient, add_readout_gradient};
use crate::kernel::{Real, norm};
use crate::model::{Network, Place, Weights};
use crate::reverse::losses_of_a_block;
use crate::reverse::{Fallen, SIDE_BY_SIDE};
use crate::{Error, kernel};

impl<T: Real> Network<T> {
    /// Takes the gradient of every single loss L_k apart into the contribution of every step that a path leads from:
    /// t ≤ k, and in a bidirectional network the later ones too.
    ///
    /// One reverse scan with a row for each loss, in blocks that run on the threads of the caller's rayon pool; the
    /// result does not depend on their number. Working memory is O(T·B·(G·H + I)); the ledger has T²/2 numbers for
    /// each norm and each share (W_ih, W_hh, b, x), and no matrix is formed for any (k, t). With a
    /// [tolerance](ItemizeOptions::tolerance) time and numbers are those of the components that are told apart, and of one
    /// row more for the rest.
    ///
    /// # Errors
    /// [`Error::Balance`] if the components do not add up to the ordinary gradient, [`Error::NotFinite`] if a hidden
    /// state or a seed is not finite, [`Error::Exploded`] if the gradient is not, [`Error::Shape`] if `losses` or the
    /// update do not belong here, [`Error::Option`] if the tolerance is not one or the network reads in both directions.
    pub fn itemize(
        &self,
        trace: &Trace<T>,
        losses: &Losses<T>,
        options: &ItemizeOptions<'_, T>,
    ) -> Result<Ledger, Error> {
        // In the pool as a whole: its parts are handed from thread to thread there, without anybody being woken for it.
        rayon::scope(|_| self.itemize_here(trace, losses, options))
    }

    /// The same on this thread of a pool.
    fn itemize_here(
        &self,
        trace: &Trace<T>,
        losses: &Losses<T>,
        options: &ItemizeOptions<'_, T>,
    ) -> Result<Ledger, Error> {
        trace.check_finite()?;
        losses.check_finite()?;
        let gradient = self.gradient(trace, losses, options.inputs)?;
        gradient.check_finite()?;
        let update = options.update.unwrap_or(&gradient.weights);
        self.check_update(update)?;
        self.check_tolerance(options.tolerance)?;
        let cells = self.weights().layers.len();
        let against: Vec<_> = (0..cells)
            .map(|index| Against::new(trace, &gradient, update, index, self.cell().splits()))
            .collect();

        let (steps, batch) = trace.inputs().shape();
        let present = losses.heard(trace);
        let ks: Vec<usize> = (0..steps).filter(|&k| present[k]).collect();
        let reach: Arc<[Reach]> = (0..steps).map(|k| losses.reach(trace, k)).collect();
        let blocks: Vec<&[usize]> = ks.chunks(losses_of_a_block(ks.len(), batch)).collect();
        let work = &Work { network: self, trace, losses, reach: &reach, against: &against, options };
        // The last losses have the most steps to go back, so their blocks come first, and the chains take turns.
        let chains = SIDE_BY_SIDE.min(blocks.len());
        let mut done: Vec<Option<_>> = (0..chains).map(|_| None).collect();
        rayon::in_place_scope_fifo(|scope| {
            for (first, done) in done.iter_mut().enumerate() {
                let blocks = blocks.iter().rev().copied().skip(first).step_by(SIDE_BY_SIDE);
                scope.spawn_fifo(|scope| go_on(scope, work.chain(blocks), done));
            }
        });
        let mut rows: Vec<Vec<Option<LossRow>>> =
            (0..cells).map(|_| (0..steps).map(|_| None).collect()).collect();
        let mut all_sums = Vec::with_capacity(done.len());
        let mut fallen: Vec<Vec<Fallen<T>>> = (0..cells).map(|_| Vec::new()).collect();
        for Measured { rows: measured, fallen: of_cells, sums } in done.into_iter().flatten() {
            fallen.iter_mut().zip(of_cells).for_each(|(fallen, of_cell)| fallen.extend(of_cell));
            all_sums.push(sums);
            for (index, k, row) in measured {
                rows[index][k] = Some(row);
            }
        }
        let mut all_sums = all_sums.into_iter();
        let mut sums = all_sums.next().unwrap_or_else(|| Sums::zeros(self, trace, options.inputs, steps));
        sums.extend(steps);
        sums.add(all_sums.as_slice());
        let remainder = options.tolerance.map(|_| work.measure_remainder(fallen, &mut sums));
        let mut remainder = remainder.into_iter().flatten();

        let mut itemized = self.zero_gradient(trace, false);
        for (index, da) in sums.da.iter().enumerate() {
            let all = 0..steps;
            let da = (da.da.rows(all.clone()), da.da_hh.as_ref().map(|da_hh| da_hh.rows(all)));
            let x = trace.inputs_of(self.weights().place(index).layer).all();
            add_cell_gradient(&mut itemized.weights, trace, index, 0..steps, da, Some(x), Threads::All);
        }
        itemized.inputs = options.inputs.then_some(sums.dx);
        itemized.initial = sums.initial;
        let (mut entries, mut per_loss) = (Vec::new(), Vec::new());
        for (index, (rows, against)) in rows.into_iter().zip(&against).enumerate() {
            let remainder = remainder.next();
            let place = self.weights().place(index);
            per_loss.extend(initial_states(&rows, remainder.as_ref(), against, place));
            let sequences = options.sequences.then(|| Arc::new(sequence_sizes(trace, index, self.depth())));
            let row = |row: Option<LossRow>| row.map_or((0..0, Vec::new()), |row| (row.span, row.records));
            let records = Records::new(
                work.form(index),
                rows.into_iter().map(row).collect(),
                remainder.map(|row| row.records),
            );
            entries.extend(self.entries(records, &reach, &gradient, against, index, sequences.as_ref()));
        }
        per_loss.extend(readout_diagonal(&mut itemized.weights, trace, losses, update));

        let (tolerance, balance) = (options.tolerance, balance(&itemized, &gradient)?);
        Ok(Ledger { steps, present, reach, tolerance, entries, per_loss, balance })
    }

    /// The ledger's entries of cell `index`.
    fn entries(
        &self,
        records: Records,
        reach: &Arc<[Reach]>,
        gradient: &Gradient<T>,
        against: &Against<T>,
        index: usize,
        sequences: Option<&Arc<SequenceSizes>>,
    ) -> Vec<Entry> {
        let records = Arc::new(records);
        let (layer, place) = (&gradient.weights.layers[index], self.weights().place(index));
        let whole = |parameter: Parameter| match parameter {
            Parameter::WeightIh => layer.w_ih.data(),
            Parameter::WeightHh => layer.w_hh.data(),
            Parameter::BiasHh => layer.b_hh.data(),
            Parameter::Input => gradient.inputs.as_ref().map_or(&[][..], Sequence::data),
            _ => layer.b_ih.data(),
        };
        let entry = |(slot, &parameter): (usize, &Parameter)| Entry {
            place,
            parameter,
            records: Arc::clone(&records),
            slot,
            gates: self.cell().gates(),
            reach: Arc::clone(reach),
            total_inner: against.totals()[slot],
            total: norm(whole(parameter)),
            smallest_normal: T::min_positive_value().f64(),
            sequences: sequences.cloned(),
        };
        let inputs = gradient.inputs.is_some();
        measured(self.cell().splits(), place, inputs).iter().enumerate().map(entry).collect()
    }

    fn check_tolerance(&self, tolerance: Option<f64>) -> Result<(), Error> {
        let refuse = |given: String, expected: &str| {
            Err(Error::Option { option: "tolerance".into(), given, expected: expected.into() })
        };
        match tolerance {
            Some(tolerance) if !(0.0..1.0).contains(&tolerance) => {
                refuse(tolerance.to_string(), "a fraction from 0 to below 1")
            }
            Some(tolerance) if self.directions() == 2 => refuse(
                format!("{tolerance} with a network that reads in both directions"),
                "none: here it is for networks that read forward only",
            ),
            _ => Ok(()),
        }
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

/// Measures the next block of a chain. Then the other chains have their turns, on this thread or any other: so all threads
/// end within the time of a short block of each other.
fn go_on<'s, T: Real, B: Iterator<Item = &'s [usize]> + Send + 's>(
    scope: &rayon::ScopeFifo<'s>,
    mut chain: Chain<'s, T, B>,
    done: &'s mut Option<Measured<T>>,
) {
    if chain.measure_next() {
        scope.spawn_fifo(move |scope| go_on(scope, chain, done));
    } else {
        *done = Some(chain.measured());
    }
}

fn initial_states<T: Real>(
    rows: &[Option<LossRow>],
    remainder: Option<&LossRow>,
    against: &Against<T>,
    place: Place,
) -> Vec<PerLoss> {
    let state = |(i, (parameter, total_inner)): (usize, (Parameter, f64))| {
        let mut of = PerLoss::masked(Some(place), parameter, rows.len());
        of.total_inner = total_inner;
        of.remainder = remainder.map(|row| (row.initial[i].norm, row.initial[i].inner));
        for (k, row) in rows.iter().enumerate() {
            if let Some(m) = row.as_ref().and_then(|row| row.initial.get(i)) {
                of.set(k, m.norm, m.log10_norm, m.inner);
            }
        }
        of
    };
    let parameters = [Parameter::InitialState, Parameter::InitialMemory];
    parameters.into_iter().zip(against.initial_totals().iter().copied()).enumerate().map(state).collect()
}

/// ‖x‖ and ‖h_prev‖ of every step and sequence.
fn sequence_sizes<T: Real>(trace: &Trace<T>, index: usize, depth: usize) -> SequenceSizes {
    let (steps, batch) = trace.inputs().shape();
    let layer = index / (trace.layers().len() / depth);
    let (x, recurrent) = (trace.inputs_of(layer).all(), trace.layers()[index].recurrent_inputs(0..steps));
    let h_prev = recurrent[0].1;
    SequenceSizes {
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
