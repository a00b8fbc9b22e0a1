//! The making of a ledger: the reverse scan with a row for each loss, in blocks of losses, and the check that its components
//! add up to the ordinary gradient.

use std::sync::Arc;

use super::balance::{Parts, balance};
use super::blocks::{BlockQueue, BlockResults, LedgerJob, work};
use super::entries::{Entry, Ledger, PerLoss};
use super::loss_row::{LossRecords, LossRow};
use super::measured::{Measured, MeasuredParam};
use super::one_sequence::OneSequence;
use super::operands::{OperandNorms, Operands, exponent_of, scale, times_power};
use super::options::ItemizeOptions;
use super::projections::{Projecting, UpdateProjections};
use super::records::Records;
use super::step_products::gram_norm;
use super::sums::Sums;
use crate::array::{Sequence, View};
use crate::forward::{ForwardCache, GradientSpan, Losses};
use crate::gradient::{
    Gradient, GradientOptions, Threads, add_cell_gradient, add_readout_gradient, gradient, zero_gradient,
};
use crate::kernel::{Real, norm};
use crate::model::cell::StateSpec;
use crate::model::{Network, Parameter, Weights};
use crate::reverse::{Adjoints, MergedRow, SIDE_BY_SIDE, losses_of_a_block};
use crate::{Error, kernel};

/// The ledger of a forward scan, see [`Network::itemize`].
pub(crate) fn itemize<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    options: &ItemizeOptions<'_, T>,
) -> Result<Ledger, Error> {
    // Inside the pool as a whole: from outside, every parallel part would wake a thread of the pool and wait for it.
    rayon::scope(|_| itemize_here(network, cache, losses, options))
}

/// The same on this thread of a pool.
fn itemize_here<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    options: &ItemizeOptions<'_, T>,
) -> Result<Ledger, Error> {
    cache.check_finite()?;
    losses.check_finite()?;
    let gradient = gradient(network, cache, losses, GradientOptions { inputs: options.inputs })?;
    gradient.check_finite()?;
    let update = options.update.unwrap_or(&gradient.weights);
    check_update(network, update)?;
    check_tolerance(network, options.tolerance)?;
    let cells = network.weights().cells.len();
    let measure = |index: usize| {
        let inputs = options.inputs && network.weights().cell_id(index).layer == 0;
        Measured::new(&network.weights().cells[index], inputs, options.gates)
    };
    let measured: Vec<Measured> = (0..cells).map(measure).collect();
    let operands_of =
        |index: usize| Operands::new(cache, network.spec(), network.weights().cell_id(index).layer, index);
    let operands: Vec<Operands<'_, T>> = (0..cells).map(operands_of).collect();

    let (steps, batch) = cache.inputs().shape();
    let present = losses.active(cache);
    let ks: Vec<usize> = (0..steps).filter(|&k| present[k]).collect();
    let spans: Arc<[GradientSpan]> = (0..steps).map(|k| losses.span(cache, k)).collect();
    let blocks: Vec<&[usize]> = ks.chunks(losses_of_a_block(ks.len(), batch)).collect();
    let projecting = if blocks.len() > 1 { Projecting::AllSteps } else { Projecting::Windows };
    let project = |index: usize| {
        UpdateProjections::new(&operands[index], &gradient, update, index, &measured[index], projecting)
    };
    let projections: Vec<_> = (0..cells).map(project).collect();
    let pack = |index: usize| {
        let of_cell = (&operands[index], &network.weights().cells[index]);
        OneSequence::new(of_cell, (&measured[index], &projections[index])).map(Arc::new)
    };
    let packed: Vec<_> = (0..cells).map(pack).collect();
    let job = &LedgerJob {
        network,
        cache,
        losses,
        spans: &spans,
        operands: &operands,
        measured: &measured,
        projections: &projections,
        packed: &packed,
        options,
    };
    if let Some(control) = options.control {
        control.expect(work(&ks));
    }
    let done = measure_blocks(job, &blocks);
    if job.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let mut rows: Vec<Vec<Option<LossRow>>> =
        (0..cells).map(|_| (0..steps).map(|_| None).collect()).collect();
    let mut all_sums = Vec::with_capacity(done.len());
    let mut parts = Parts::default();
    let mut merged: Vec<Vec<MergedRow<T>>> = (0..cells).map(|_| Vec::new()).collect();
    for BlockResults { rows: of_losses, merged: of_cells, sums, parts: of_rows } in done {
        parts.add(&of_rows);
        merged.iter_mut().zip(of_cells).for_each(|(merged, of_cell)| merged.extend(of_cell));
        all_sums.push(sums);
        for (index, k, row) in of_losses {
            rows[index][k] = Some(row);
        }
    }
    let mut all_sums = all_sums.into_iter();
    let mut sums = all_sums.next().unwrap_or_else(|| Sums::zeros(network, cache, options.inputs, steps));
    sums.extend(steps);
    sums.add(all_sums.as_slice());
    let remainder = options.tolerance.map(|_| job.measure_remainder(merged, &mut sums, &mut parts));
    let mut remainder = remainder.into_iter().flatten();

    let mut itemized = gradient_of_sums(network, cache, sums, options.inputs);
    let norms: Vec<_> = measured.iter().zip(&operands).map(operand_norms).collect();
    let (mut entries, mut per_loss) = (Vec::new(), Vec::new());
    for (index, rows) in rows.into_iter().enumerate() {
        let remainder = remainder.next();
        per_loss.extend(initial_states(network, &rows, remainder.as_ref(), &projections[index], index));
        let sequences = options.sequences.then(|| Arc::clone(&norms[index]));
        let row = |row: Option<LossRow>| {
            row.map_or((0..0, LossRecords::Full(Vec::new())), |row| (row.span, row.records))
        };
        let records = Records::new(
            job.layout(index),
            packed[index].clone(),
            rows.into_iter().map(row).collect(),
            remainder.map(|row| row.records),
        );
        let of_cell = (&measured[index], &projections[index]);
        entries.extend(entries_of_cell(
            network,
            records,
            &spans,
            &gradient,
            of_cell,
            index,
            sequences.as_ref(),
        ));
    }
    per_loss.extend(readout_diagonal(&mut itemized.weights, cache, losses, update, &mut parts));

    let sizes = parts.of_gradient(network.weights(), &measured, (&operands, &norms), ks.len());
    let (tolerance, balance) = (options.tolerance, balance(&itemized, &gradient, &sizes)?);
    Ok(Ledger { steps, present, spans, tolerance, entries, per_loss, balance })
}

/// The gradient that components with these sums over losses add up to; zeros for a readout.
fn gradient_of_sums<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    sums: Sums<T>,
    inputs: bool,
) -> Gradient<T> {
    let (steps, _) = cache.inputs().shape();
    let mut itemized = zero_gradient(network, cache, GradientOptions::default());
    for (index, adjoints) in sums.adjoints.iter().enumerate() {
        let adjoints: Adjoints<'_, T> = std::array::from_fn(|i| match adjoints.get(i) {
            Some(adjoint) => adjoint.rows(0..steps),
            None => View::new(0, 0, &[]),
        });
        let x = cache.inputs_of(network.weights().cell_id(index).layer).all();
        let gradient = &mut itemized.weights.cells[index];
        add_cell_gradient(gradient, cache, index, 0..steps, &adjoints, Some(x), Threads::All);
    }
    itemized.inputs = inputs.then_some(sums.dx);
    itemized.initial = sums.initial;
    itemized
}

/// The ledger's entries of cell `index`.
fn entries_of_cell<T: Real>(
    network: &Network<T>,
    records: Records,
    spans: &Arc<[GradientSpan]>,
    gradient: &Gradient<T>,
    (measured, projections): (&Measured, &UpdateProjections<T>),
    index: usize,
    sequences: Option<&Arc<OperandNorms>>,
) -> Vec<Entry> {
    let records = Arc::new(records);
    let gates: Arc<[&'static str]> = network.spec().gate_names().into();
    let whole = |param: &MeasuredParam| match param.params.first() {
        Some(&first) => gradient.weights.cells[index].tensors()[first].data(),
        None => gradient.inputs.as_ref().map_or(&[][..], Sequence::data),
    };
    let entry = |(slot, param): (usize, &MeasuredParam)| Entry {
        cell: network.weights().cell_id(index),
        parameter: param.parameter,
        records: Arc::clone(&records),
        slot,
        gates: Arc::clone(&gates),
        spans: Arc::clone(spans),
        total_inner: projections.totals()[slot],
        inner_exponent: projections.exponents()[slot],
        total: norm(whole(param)),
        smallest_normal: T::min_positive_value().f64(),
        sequence: param.sequence,
        sequences: sequences.cloned(),
        errors: None,
    };
    measured.params.iter().enumerate().map(entry).collect()
}

/// What every loss has left at the initial states of cell `index`.
fn initial_states<T: Real>(
    network: &Network<T>,
    rows: &[Option<LossRow>],
    remainder: Option<&LossRow>,
    projections: &UpdateProjections<T>,
    index: usize,
) -> Vec<PerLoss> {
    let id = network.weights().cell_id(index);
    let states = network.spec().states.iter().zip(projections.initial_totals()).enumerate();
    let entry = |(i, (state, &total_inner)): (usize, (&StateSpec, &f64))| {
        let mut of = PerLoss::masked(Some(id), state.initial, rows.len());
        of.total_inner = total_inner;
        of.remainder = remainder.map(|row| (row.initial[i].norm, row.initial[i].inner));
        for (k, row) in rows.iter().enumerate() {
            if let Some(m) = row.as_ref().and_then(|row| row.initial.get(i)) {
                of.set(k, m.norm, m.log10_norm, m.inner);
            }
        }
        of
    };
    states.map(entry).collect()
}

fn check_tolerance<T: Real>(network: &Network<T>, tolerance: Option<f64>) -> Result<(), Error> {
    match tolerance {
        Some(tolerance) if !(0.0..1.0).contains(&tolerance) => Err(Error::Value {
            option: "tolerance".into(),
            given: tolerance.to_string(),
            expected: "a fraction from 0 to below 1".into(),
        }),
        Some(tolerance) if network.directions() == 2 => Err(Error::Unsupported {
            what: "tolerance".into(),
            given: format!("{tolerance} with a network that reads in both directions"),
            expected: "none: here it is for networks that read forward only".into(),
        }),
        _ => Ok(()),
    }
}

fn check_update<T: Real>(network: &Network<T>, update: &Weights<T>) -> Result<(), Error> {
    let shapes = |w: &Weights<T>| -> Vec<_> {
        w.tensors().into_iter().map(|(name, m)| (name, m.rows(), m.cols())).collect()
    };
    let (expected, given) = (shapes(network.weights()), shapes(update));
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

/// Measures all blocks. The last losses have the most steps to go back, so their blocks come first, and the queues take turns.
fn measure_blocks<T: Real>(job: &LedgerJob<'_, T>, blocks: &[&[usize]]) -> Vec<BlockResults<T>> {
    let mut done: Vec<Option<_>> = (0..SIDE_BY_SIDE.min(blocks.len())).map(|_| None).collect();
    rayon::in_place_scope_fifo(|scope| {
        for (first, done) in done.iter_mut().enumerate() {
            let blocks = blocks.iter().rev().copied().skip(first).step_by(SIDE_BY_SIDE);
            scope.spawn_fifo(|scope| run_next_block(scope, job.queue(blocks), done));
        }
    });
    done.into_iter().flatten().collect()
}

/// Measures the next block of a queue. Then the other queues have their turns, on this thread or any other: so all threads
/// end within the time of a short block of each other.
fn run_next_block<'s, T: Real, B: Iterator<Item = &'s [usize]> + Send + 's>(
    scope: &rayon::ScopeFifo<'s>,
    mut queue: BlockQueue<'s, T, B>,
    done: &'s mut Option<BlockResults<T>>,
) {
    if queue.measure_next() {
        scope.spawn_fifo(move |scope| run_next_block(scope, queue, done));
    } else {
        *done = Some(queue.results());
    }
}

/// The norm of every operand at every step and sequence.
fn operand_norms<T: Real>((measured, operands): (&Measured, &Operands<'_, T>)) -> Arc<OperandNorms> {
    Arc::new(OperandNorms(measured.operands.iter().map(|&operand| operands.norms(operand)).collect()))
}

/// Adds the readout's contributions loss by loss, dy_k h_kᵀ, and measures them.
fn readout_diagonal<T: Real>(
    itemized: &mut Weights<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    update: &Weights<T>,
    parts: &mut Parts,
) -> Vec<PerLoss> {
    let (Some(sum), Some(update), Some(dy)) = (&mut itemized.readout, &update.readout, losses.dy()) else {
        return Vec::new();
    };
    let mut weight = PerLoss::masked(None, Parameter::HEAD_WEIGHT, losses.present.len());
    let mut bias = PerLoss::masked(None, Parameter::HEAD_BIAS, losses.present.len());
    let (mut scaled_h, mut scaled_dy) = (Vec::new(), Vec::new());
    for k in (0..losses.present.len()).filter(|&k| losses.present[k]) {
        let (h, dy) = (cache.output().step(k), dy.step(k));
        add_readout_gradient(sum, h, dy);
        // In range for their products, whatever their size.
        let (h, h_exponent) = in_range(h, &mut scaled_h);
        let (dy, dy_exponent) = in_range(dy, &mut scaled_dy);
        let of_pair = |a, b| kernel::dot(dy.row(a), dy.row(b)).f64() * kernel::dot(h.row(a), h.row(b)).f64();
        let (norm, exponent) = (gram_norm(dy.rows(), of_pair), h_exponent + dy_exponent);
        parts.readout[0] += times_power((0..dy.rows()).map(|b| of_pair(b, b).sqrt()).sum::<f64>(), exponent);
        let mut projected = vec![T::zero(); dy.data().len()];
        kernel::product_transposed(&mut projected, false, h, update.w_hy.view());
        let log10 = |norm: f64, exponent: i32| norm.log10() + f64::from(exponent) * std::f64::consts::LOG10_2;
        let inner = times_power(kernel::dot(dy.data(), &projected).f64(), exponent);
        weight.set(k, times_power(norm, exponent), log10(norm, exponent), inner);
        let mut summed = vec![T::zero(); dy.cols()];
        kernel::add_rows(&mut summed, dy);
        let inner = times_power(kernel::dot(&summed, update.b_y.data()).f64(), dy_exponent);
        let norm = kernel::dot(&summed, &summed).f64().sqrt();
        let of_row = |b: usize| kernel::dot(dy.row(b), dy.row(b)).f64().sqrt();
        parts.readout[1] += times_power((0..dy.rows()).map(of_row).sum::<f64>(), dy_exponent);
        bias.set(k, times_power(norm, dy_exponent), log10(norm, dy_exponent), inner);
    }
    weight.total_inner = kernel::dot(sum.w_hy.data(), update.w_hy.data()).f64();
    bias.total_inner = kernel::dot(sum.b_y.data(), update.b_y.data()).f64();
    vec![weight, bias]
}

/// The rows, divided by a power of two in `scaled` where their squares would leave the format's range, and its exponent.
fn in_range<'a, T: Real>(rows: View<'a, T>, scaled: &'a mut Vec<T>) -> (View<'a, T>, i32) {
    let exponent = exponent_of(rows.data());
    if exponent == 0 {
        return (rows, 0);
    }
    scaled.clear();
    scaled.extend_from_slice(rows.data());
    scale(scaled, -exponent);
    (View::new(rows.rows(), rows.cols(), scaled), exponent)
}
