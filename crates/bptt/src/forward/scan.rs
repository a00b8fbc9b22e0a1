//! The forward time loop.

use super::boundaries::{ScanOptions, SequenceBoundaries, check_dropout};
use super::cache::{CellCache, ForwardCache};
use super::inputs::{Inputs, Reading};
use crate::array::{Sequence, View};
use crate::kernel::{Format, Real, Start};
use crate::model::{Direction, Forward, InputProjection, MAX_SAVED, MAX_STATES, Network, State, StepWeights};
use crate::{Error, kernel};

/// Runs the network over `inputs` from `initial`, see [`Network::scan_with`].
pub(crate) fn scan_with<T: Real>(
    network: &Network<T>,
    inputs: Inputs<T>,
    initial: &State<T>,
    options: ScanOptions<T>,
) -> Result<ForwardCache<T>, Error> {
    let mut cache = ForwardCache::default();
    scan_into(network, &mut cache, inputs, initial, options)?;
    Ok(cache)
}

/// The same, with what every step leaves rounded to a format.
pub(crate) fn scan_rounded<T: Real>(
    network: &Network<T>,
    inputs: Inputs<T>,
    initial: &State<T>,
    options: ScanOptions<T>,
    format: Format,
) -> Result<ForwardCache<T>, Error> {
    let cell = || CellCache { format: Some(format), ..CellCache::default() };
    let cells = network.weights().cells.iter().map(|_| cell()).collect();
    let mut cache = ForwardCache { cells, ..ForwardCache::default() };
    scan_into(network, &mut cache, inputs, initial, options)?;
    Ok(cache)
}

/// The same in the memory of an older cache, whatever it was of. After an error it is of no use.
pub(crate) fn scan_into<T: Real>(
    network: &Network<T>,
    cache: &mut ForwardCache<T>,
    mut inputs: Inputs<T>,
    initial: &State<T>,
    options: ScanOptions<T>,
) -> Result<(), Error> {
    let (steps, batch) = inputs.shape();
    let (directions, width) = (network.directions(), network.output_width());
    cache.boundaries = SequenceBoundaries::new(&options, steps, batch)?;
    check_dropout(&options.dropout, network.depth(), (steps, batch, directions * width))?;
    inputs.clear(|t, b| cache.boundaries.is_padding(t, b));
    inputs.check(network.inputs())?;
    cache.inputs = inputs;
    cache.dropout = options.dropout;
    cache.outputs.resize_with(network.depth(), || None);
    cache.cells.resize_with(network.weights().cells.len(), CellCache::default);
    for layer in 0..network.depth() {
        let mask = cache.dropout.get(layer);
        let apart = directions == 2 || mask.is_some() || !cache.boundaries.leaves_states_alone();
        let mut output = cache.outputs[layer].take().unwrap_or_default();
        output.reshape(steps, batch, if apart { directions * width } else { 0 });
        for d in 0..directions {
            let index = layer * directions + d;
            // A cell's cache is written while those of the layers below are read.
            let mut cell = std::mem::take(&mut cache.cells[index]);
            let output = apart.then_some((&mut output, d * width));
            scan_cell(network, &mut cell, index, cache.inputs_of(layer), initial, &cache.boundaries, output)?;
            cache.cells[index] = cell;
        }
        if let Some(mask) = mask {
            kernel::multiply_by(output.data_mut(), mask.data());
        }
        cache.outputs[layer] = apart.then_some(output);
    }
    Ok(())
}

/// The time loop of one cell, which writes its h into the columns of `output` from the given one on, if there is one.
fn scan_cell<T: Real>(
    network: &Network<T>,
    cache: &mut CellCache<T>,
    index: usize,
    inputs: Reading<'_, T>,
    initial: &State<T>,
    boundaries: &SequenceBoundaries,
    mut output: Option<(&mut Sequence<T>, usize)>,
) -> Result<(), Error> {
    let (steps, batch) = inputs.shape();
    let (cell, params) = (network.cell(), &network.weights().cells[index]);
    let (spec, id) = (network.spec(), network.weights().cell_id(index));
    // Where an episode begins, the state that is read is not the one that the step before left.
    let alone = spec.vanilla.is_some() && boundaries.leaves_states_alone();
    cache.reshape(params, (steps, batch), alone);
    cache.direction = id.direction;

    let first = if id.direction == Direction::Forward { 0 } else { steps };
    let given = initial.cells.get(index).map_or(&[][..], Vec::as_slice);
    if given.len() > spec.states.len() {
        return Err(Error::Shape {
            what: format!("initial state of {}", id.suffix()),
            expected: format!("{} matrices", spec.states.len()),
            given: format!("{} matrices", given.len()),
        });
    }
    for (i, (state, to)) in spec.states.iter().zip(&mut cache.states).enumerate() {
        let width = to.features();
        match given.get(i) {
            Some(m) if (m.rows(), m.cols()) == (batch, width) => {
                to.step_mut(first).copy_from_slice(m.data());
            }
            m => {
                return Err(Error::Shape {
                    what: format!("initial {} of {}", state.name, id.suffix()),
                    expected: format!("(B, H) = ({batch}, {width})"),
                    given: m.map_or("none".into(), |m| format!("({}, {})", m.rows(), m.cols())),
                });
            }
        }
    }

    let weights = StepWeights::new(params, network.packed().step(index, params));
    let table = match inputs {
        Reading::Symbols(_) => Some(network.packed().table(index, params)),
        Reading::Dense(x) => {
            let (weights, bias) = network.packed().inputs(index, params);
            let out = cache.preactivations();
            T::multiply(out, weights.cols(), Start::Row(bias), x.rows(0..steps), weights);
            None
        }
    };
    for i in 0..steps {
        let t = if id.direction == Direction::Forward { i } else { steps - 1 - i };
        let (before, after) = cache.places(t);
        for b in boundaries.resets_at(id.direction, t) {
            cache.states.iter_mut().for_each(|state| state.at_mut(before, b).fill(T::zero()));
        }
        let input = match (inputs, table) {
            (Reading::Symbols(symbols), Some(table)) => InputProjection::Table(table.view(), symbols.step(t)),
            _ => InputProjection::InPlace,
        };
        let mut prev = [View::new(0, 0, &[]); MAX_STATES];
        let mut next: [&mut [T]; MAX_STATES] = Default::default();
        for (state, (prev, next)) in cache.states.iter_mut().zip(prev.iter_mut().zip(&mut next)) {
            (*prev, *next) = state.two_steps(before, after);
        }
        let mut saved: [&mut [T]; MAX_SAVED] = Default::default();
        for (from, saved) in cache.saved.iter_mut().zip(&mut saved) {
            *saved = from.step_mut(t);
        }
        let gates = if alone { std::mem::take(&mut next[0]) } else { cache.gates.step_mut(t) };
        cell.step(&weights, Forward { input, prev, gates, saved, next });
        if let Some(format) = cache.format {
            let states = cache.states.iter_mut().map(|state| state.step_mut(after));
            states.for_each(|numbers| format.round(numbers));
            format.round(cache.gates.step_mut(t));
            cache.saved.iter_mut().for_each(|saved| format.round(saved.step_mut(t)));
        }
        for b in boundaries.padding_at(t) {
            for state in &mut cache.states {
                let (from, to) = state.two_steps(before, after);
                let width = from.cols();
                to[b * width..(b + 1) * width].copy_from_slice(from.row(b));
            }
        }
        if let Some((output, column)) = &mut output {
            for b in 0..batch {
                let h = cache.states[0].at(after, b);
                let to = &mut output.at_mut(t, b)[*column..*column + h.len()];
                if boundaries.is_padding(t, b) { to.fill(T::zero()) } else { to.copy_from_slice(h) }
            }
        }
    }
    Ok(())
}
