//! Ordinary gradients, of all losses together or of groups of them: the reverse scan with a row for each group.

use super::params::{Threads, add_cell_gradient, add_input_bias_gradient, add_readout_gradient};
use crate::Error;
use crate::array::{Sequence, View};
use crate::forward::{BySymbol, ForwardCache, Inputs, Losses, StepInput};
use crate::kernel::{Real, Start};
use crate::model::{Network, ParamKind, Readout, State, Weights, Width};
use crate::reverse::{Adjoints, BackwardBuffers, Kept, Plan, RowOptions, Source, Step, reverse_layers};

/// The gradient of a (group of) losses with respect to everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient<T> {
    /// With respect to the parameters.
    pub weights: Weights<T>,
    /// With respect to the inputs, (T, B, I), if it was asked for; for one-hot inputs, to the one-hot vectors.
    pub inputs: Option<Sequence<T>>,
    /// With respect to the initial state of each cell.
    pub initial: State<T>,
}

impl<T: Real> Gradient<T> {
    /// Refuses a gradient whose weights' part is not finite.
    pub(crate) fn check_finite(&self) -> Result<(), Error> {
        let tensors = self.weights.tensors();
        match tensors.into_iter().find(|(_, tensor)| tensor.data().iter().any(|g| !g.is_finite())) {
            Some((parameter, _)) => Err(Error::Exploded { parameter }),
            None => Ok(()),
        }
    }
}

/// What a gradient has besides the weights' and the initial states' part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GradientOptions {
    /// The gradient with respect to the inputs: one more product for each step.
    pub inputs: bool,
}

/// The gradient of all losses together, see [`Network::gradient`].
pub(crate) fn gradient<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    options: GradientOptions,
) -> Result<Gradient<T>, Error> {
    let mut gradient = zero_gradient(network, cache, options);
    gradient_into(
        network,
        &mut gradient,
        &mut GradientWorkspace::new(Threads::All),
        cache,
        losses,
        |_, _| (),
    )?;
    Ok(gradient)
}

/// The same in the memory of an older gradient, and with that of an older backward pass. It has what that one had: with or
/// without the inputs'. After an error it is of no use. `visit` sees every step of the backward pass, see [`reverse_layers`].
pub(crate) fn gradient_into<T: Real>(
    network: &Network<T>,
    gradient: &mut Gradient<T>,
    workspace: &mut GradientWorkspace<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    visit: impl FnMut(usize, &Step<'_, T>),
) -> Result<(), Error> {
    let group_of: Vec<_> = losses.present.iter().map(|&present| present.then_some(0)).collect();
    let plan = plan(network, cache, losses, &group_of)?;
    let (steps, batch) = cache.inputs().shape();
    for tensor in gradient.weights.tensors_mut() {
        tensor.data_mut().fill(T::zero());
    }
    if let Some(dx) = &mut gradient.inputs {
        dx.reshape(steps, batch, network.inputs());
        dx.data_mut().fill(T::zero());
    }
    if gradient.initial.cells.first().is_none_or(|cell| cell[0].rows() != batch) {
        gradient.initial = network.zero_state(batch);
    }
    if plan.groups().is_empty() {
        for state in gradient.initial.matrices_mut() {
            state.data_mut().fill(T::zero());
        }
        return Ok(());
    }
    run_backward(network, std::slice::from_mut(gradient), workspace, cache, losses, &plan, visit);
    Ok(())
}

/// The gradient of each group of losses, see [`Network::group_gradients`].
pub(crate) fn group_gradients<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    group_of: &[Option<usize>],
    options: GradientOptions,
) -> Result<Vec<Gradient<T>>, Error> {
    let plan = plan(network, cache, losses, group_of)?;
    let mut gradients: Vec<_> =
        plan.groups().iter().map(|_| zero_gradient(network, cache, options)).collect();
    run_backward(
        network,
        &mut gradients,
        &mut GradientWorkspace::new(Threads::All),
        cache,
        losses,
        &plan,
        |_, _| (),
    );
    let mut gradients: Vec<_> = plan.groups().iter().zip(gradients).collect();
    gradients.sort_by_key(|(group, _)| **group);
    Ok(gradients.into_iter().map(|(_, gradient)| gradient).collect())
}

/// Which loss enters which row: a row for each group.
fn plan<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    group_of: &[Option<usize>],
) -> Result<Plan, Error> {
    check_losses(network, cache, losses)?;
    if group_of.len() != losses.present.len() {
        return Err(Error::Shape {
            what: "groups of losses".into(),
            expected: format!("{} entries, one a step", losses.present.len()),
            given: format!("{} entries", group_of.len()),
        });
    }
    let active = losses.active(cache);
    Ok(Plan::new(group_of.iter().zip(&active).map(|(&group, &present)| group.filter(|_| present))))
}

/// The reverse scan with a row for each group, whose gradients are added to `gradients`, zeros before.
fn run_backward<T: Real>(
    network: &Network<T>,
    gradients: &mut [Gradient<T>],
    workspace: &mut GradientWorkspace<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    plan: &Plan,
    mut visit: impl FnMut(usize, &Step<'_, T>),
) {
    let (steps, batch) = cache.inputs().shape();
    let groups = gradients.len();
    let (spec, sizes) = (network.spec(), *network.weights().cells[0].sizes());
    let (to_input, width) = (spec.input_adjoint(), sizes.of(Width::Gates));
    let GradientWorkspace { cells, by_symbol, threads } = workspace;
    let threads = *threads;
    let by_cell = if let Inputs::Symbols(_) = cache.inputs() { network.directions() } else { 0 };
    by_symbol.resize_with(by_cell * groups, BySymbol::default);
    for sums in by_symbol.iter_mut() {
        sums.clear(network.inputs(), width);
    }
    // What is handed to several threads should be large.
    let together = if threads == Threads::All { steps } else { NEAR_ROWS.div_ceil(batch) };
    let options = RowOptions { buffered_steps: Some(together), ..RowOptions::default() };
    let source = Source::Losses(losses);
    reverse_layers(network, cache, source, plan, options, cells, |index, step| {
        visit(index, step);
        // What a symbol's column gets is added up while it is in cache.
        if let (Inputs::Symbols(symbols), Some(sums)) =
            (cache.inputs(), by_symbol.get_mut(index * groups..(index + 1) * groups))
        {
            let d = step.adjoints[to_input];
            for (row, sums) in sums.iter_mut().take(d.rows() / batch).enumerate() {
                sums.add(symbols.step(step.t), d.rows_of(row, batch));
            }
        }
        if let Some(kept) = &step.kept {
            for (row, gradient) in gradients.iter_mut().enumerate() {
                add_kept(network, gradient, cache, index, kept, (row, groups), threads);
            }
        }
    });
    for (row, gradient) in gradients.iter_mut().enumerate() {
        let of_symbols = by_symbol.iter().skip(row).step_by(groups);
        for (params, sums) in gradient.weights.cells.iter_mut().zip(of_symbols) {
            let mut of_bias = vec![T::zero(); width];
            sums.add_rows_to(&mut of_bias);
            for (param, tensor) in params.tensors_mut().iter_mut().enumerate() {
                if param == spec.input_weights() {
                    sums.add_to(tensor);
                } else if spec.params[param].kind == ParamKind::Bias {
                    add_input_bias_gradient(spec, param, tensor, &of_bias, &sizes);
                }
            }
        }
        for (of_cell, BackwardBuffers { rows, .. }) in gradient.initial.cells.iter_mut().zip(&*cells) {
            for (state, to) in of_cell.iter_mut().enumerate() {
                (0..batch).for_each(|b| to.row_mut(b).copy_from_slice(rows.row(state, row * batch + b)));
            }
        }
        add_row_of_readout(&mut gradient.weights, cache, losses, plan, row);
    }
}

/// Adds what some steps contribute to row `row` of `groups`.
fn add_kept<T: Real>(
    network: &Network<T>,
    gradient: &mut Gradient<T>,
    cache: &ForwardCache<T>,
    index: usize,
    kept: &Kept<'_, T>,
    (row, groups): (usize, usize),
    threads: Threads,
) {
    let (_, batch) = cache.inputs().shape();
    let params = &network.weights().cells[index];
    let rows = kept.steps.len() * batch;
    let one_row = |d: &[T]| -> Option<Vec<T>> {
        let size = d.len() / (kept.steps.len() * groups);
        let of_row = |step: &[T]| step[row * size..(row + 1) * size].to_vec();
        (groups > 1 && size > 0).then(|| d.chunks_exact(groups * size).flat_map(of_row).collect())
    };
    let of_row = kept.adjoints.map(one_row);
    let adjoints: Adjoints<'_, T> = std::array::from_fn(|i| {
        let numbers = of_row[i].as_deref().unwrap_or(kept.adjoints[i]);
        View::new(if numbers.is_empty() { 0 } else { rows }, numbers.len() / rows, numbers)
    });
    let layer = network.weights().cell_id(index).layer;
    let inputs = match cache.inputs_of(layer).steps(kept.steps.clone()) {
        StepInput::Symbols(_) => None,
        dense @ StepInput::Dense(_) => Some(dense),
    };
    let steps = kept.steps.clone();
    add_cell_gradient(&mut gradient.weights.cells[index], cache, index, steps, &adjoints, inputs, threads);
    if let (Some(dx), 0) = (&mut gradient.inputs, layer) {
        let w_ih = network.packed().inputs_back(index, params);
        let dx = &mut dx.data_mut()[kept.steps.start * batch * params.inputs()..];
        T::multiply(dx, params.inputs(), Start::Out, adjoints[params.spec().input_adjoint()], w_ih);
    }
}

pub(crate) fn zero_gradient<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    options: GradientOptions,
) -> Gradient<T> {
    let (steps, batch) = cache.inputs().shape();
    Gradient {
        weights: network.weights().zeros_like(),
        inputs: options.inputs.then(|| Sequence::zeros(steps, batch, network.inputs())),
        initial: network.zero_state(batch),
    }
}

/// Refuses losses that were not made from `cache`.
pub(crate) fn check_losses<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
) -> Result<(), Error> {
    let (steps, batch) = cache.inputs().shape();
    let (what, axis, features) = if losses.at_readout {
        ("gradients dL/dy", "V", network.weights().readout.as_ref().map_or(0, Readout::outputs))
    } else {
        ("seeds dL/dh", "D·H", network.directions() * network.output_width())
    };
    let expected = (steps, batch, features);
    let given = (losses.seeds.steps(), losses.seeds.batch(), losses.seeds.features());
    if expected != given || losses.present.len() != steps {
        return Err(Error::Shape {
            what: what.into(),
            expected: format!("(T, B, {axis}) = {expected:?}"),
            given: format!("(T, B, {axis}) = {given:?}, {} steps marked", losses.present.len()),
        });
    }
    if let Some(dc) = &losses.cell_seeds {
        if network.spec().states.len() < 2 {
            return Err(Error::Unsupported {
                what: "seeds dL/dc".into(),
                given: format!("with the cell {}", network.spec().name),
                expected: "a cell with a cell state".into(),
            });
        }
        let (expected, given) = (
            (
                steps,
                batch,
                network.directions() * network.weights().cells[0].sizes().of(network.spec().states[1].width),
            ),
            (dc.steps(), dc.batch(), dc.features()),
        );
        if expected != given {
            return Err(Error::Shape {
                what: "seeds dL/dc".into(),
                expected: format!("(T, B, D·H) = {expected:?}"),
                given: format!("(T, B, D·H) = {given:?}"),
            });
        }
    }
    Ok(())
}

/// Rows of da, about, from which one thread forms weight gradients: many enough for a large product, and few enough to be
/// near when it comes.
const NEAR_ROWS: usize = 256;

/// What a backward pass leaves of every cell, and works with; its memory is used again.
#[derive(Clone, Debug)]
pub(crate) struct GradientWorkspace<T> {
    cells: Vec<BackwardBuffers<T>>,
    /// Of one-hot inputs, for each cell of the bottom layer and each group of losses.
    by_symbol: Vec<BySymbol<T>>,
    threads: Threads,
}

impl<T> GradientWorkspace<T> {
    pub(crate) fn new(threads: Threads) -> Self {
        Self { cells: Vec::new(), by_symbol: Vec::new(), threads }
    }
}

/// Adds the readout's part of row `row`, if there is one.
fn add_row_of_readout<T: Real>(
    gradient: &mut Weights<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    plan: &Plan,
    row: usize,
) {
    let (steps, _) = cache.inputs().shape();
    if let (Some(readout), Some(dy)) = (&mut gradient.readout, losses.dy()) {
        let active = losses.active(cache);
        let belongs = |t: usize| plan.row(t) == Some(row) || !active[t];
        if (0..steps).all(belongs) {
            add_readout_gradient(readout, cache.output().rows(0..steps), dy.rows(0..steps));
        } else {
            for t in (0..steps).filter(|&t| belongs(t)) {
                add_readout_gradient(readout, cache.output().step(t), dy.step(t));
            }
        }
    }
}
