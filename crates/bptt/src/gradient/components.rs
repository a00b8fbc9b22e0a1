//! The exact components themselves, for those who want the matrices.

use super::ordinary::check_losses;
use super::params::{Threads, add_cell_gradient};
use crate::array::Matrix;
use crate::forward::{ForwardCache, Losses};
use crate::kernel::Real;
use crate::model::cell::ParamSpec;
use crate::model::{CellId, CellParams, Direction, Network, ParamKind, Parameter};
use crate::reverse::{Adjoints, Plan, RowOptions, Source, reverse_layers};
use crate::{Error, kernel};

/// Which components to form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Select {
    /// What step t contributed to loss k.
    One {
        /// The loss.
        k: usize,
        /// The step.
        t: usize,
    },
    /// What every step contributed to loss k.
    Loss(usize),
    /// What every step contributed to every loss: T²/2 components, mind the memory.
    All,
}

/// What step t contributed to the gradient of loss k, summed over the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Component<T> {
    /// The loss.
    pub k: usize,
    /// The step.
    pub t: usize,
    /// The cell.
    pub cell: CellId,
    /// Its contribution to every parameter of the cell; in an upper layer x is the output of the one below.
    pub params: CellParams<T>,
    /// dL_k/dx_t by way of this cell, (B, I).
    pub input: Matrix<T>,
    /// dL_k/d of each initial state (h_0, and c_0 where there is one), (B, width); with the step that the cell reads first.
    pub initial: Option<Vec<Matrix<T>>>,
}

impl<T: Real> Component<T> {
    /// The contribution to one of a ledger's parameters: a parameter of the cell, the input, or the bias, which stands for
    /// biases that have the same gradient. `None` if the cell has no such parameter.
    pub fn get(&self, parameter: Parameter) -> Option<&Matrix<T>> {
        let is_bias = |param: &ParamSpec| param.kind == ParamKind::Bias;
        match parameter {
            Parameter::INPUT => Some(&self.input),
            Parameter::BIAS => {
                let index = self.params.spec().params.iter().position(is_bias)?;
                Some(&self.params.tensors()[index])
            }
            _ => self.params.get(parameter.as_str()),
        }
    }
}

/// Forms what every step contributed to loss `k`, one component after another, see [`Network::visit_components`].
pub(crate) fn visit_components<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    k: usize,
    mut visit: impl FnMut(Component<T>),
) -> Result<(), Error> {
    check_losses(network, cache, losses)?;
    let (steps, batch) = cache.inputs().shape();
    losses.check_loss(cache, k)?;
    let (plan, end) = (Plan::apart(steps, &[k]), losses.span(cache, k).end);
    let (source, mut buffers) = (Source::Losses(losses), Vec::new());
    reverse_layers(network, cache, source, &plan, RowOptions::default(), &mut buffers, |index, step| {
        if step.da().rows() >= batch && network.span(index, k, end).contains(&step.t) {
            visit(form(network, cache, index, k, step.t, &step.adjoints));
        }
    });
    Ok(())
}

/// The selected components, see [`Network::components`].
pub(crate) fn components<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    select: Select,
) -> Result<Vec<Component<T>>, Error> {
    check_losses(network, cache, losses)?;
    let (steps, batch) = cache.inputs().shape();
    let present = losses.active(cache);
    let (ks, only): (Vec<usize>, Option<usize>) = match select {
        Select::One { k, t } => (vec![k], Some(t)),
        Select::Loss(k) => (vec![k], None),
        Select::All => ((0..steps).filter(|&k| present[k]).collect(), None),
    };
    if let (Select::One { .. } | Select::Loss(_), &[k]) = (select, &ks[..])
        && (k >= steps
            || !present[k]
            || only.is_some_and(|t| t >= steps || (t > k && !network.weights().bidirectional)))
    {
        return Err(Error::Value {
            option: "selection".into(),
            given: format!("{select:?}"),
            expected: format!("t ≤ k < {steps} and a loss at step k"),
        });
    }

    let ends: Vec<usize> = (0..steps).map(|k| losses.span(cache, k).end).collect();
    let plan = Plan::apart(steps, &ks);
    let mut components = Vec::new();
    let mut buffers = Vec::new();
    let source = Source::Losses(losses);
    reverse_layers(network, cache, source, &plan, RowOptions::default(), &mut buffers, |index, step| {
        if only.is_some_and(|t| t != step.t) {
            return;
        }
        for (row, &k) in plan.groups().iter().take(step.da().rows() / batch).enumerate() {
            if network.span(index, k, ends[k]).contains(&step.t) {
                let adjoints = step.adjoints.map(|all| match all.rows() {
                    0 => all,
                    _ => all.rows_of(row, batch),
                });
                components.push((index, row, form(network, cache, index, k, step.t, &adjoints)));
            }
        }
    });
    for (index, row, component) in &mut components {
        let forward = component.cell.direction == Direction::Forward;
        if component.t != if forward { 0 } else { ends[component.k] - 1 } {
            continue;
        }
        let rows = &buffers[*index].rows;
        let state = |state: usize| {
            let of_row = *row * batch..(*row + 1) * batch;
            let numbers = of_row.flat_map(|r| rows.row(state, r).to_vec()).collect();
            Matrix::new(batch, rows.width(state), numbers)
        };
        component.initial = Some((0..rows.states.len()).map(state).collect::<Result<_, _>>()?);
    }
    components.sort_by_key(|(index, _, c)| (c.k, c.t, *index));
    Ok(components.into_iter().map(|(_, _, component)| component).collect())
}

fn form<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    index: usize,
    k: usize,
    t: usize,
    adjoints: &Adjoints<'_, T>,
) -> Component<T> {
    let (of_cell, cell) = (&network.weights().cells[index], network.weights().cell_id(index));
    let mut params = of_cell.zeros_like();
    let x = cache.inputs_of(cell.layer).step(t);
    add_cell_gradient(&mut params, cache, index, t..t + 1, adjoints, Some(x), Threads::This);
    let d = adjoints[of_cell.spec().input_adjoint()];
    let mut input = Matrix::zeros(d.rows(), of_cell.inputs());
    kernel::product(input.data_mut(), false, d, of_cell.input_weights().view());
    Component { k, t, cell, params, input, initial: None }
}
