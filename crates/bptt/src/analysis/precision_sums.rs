//! What bf16 loses where a gradient is added up over steps, and the bf16 gradients that PyTorch and JAX would have.
//!
//! The gradient of a parameter is the sum of what each step contributes. Frameworks add it up in different ways, and a sum that
//! is kept in bf16, with 8 binary digits, stops growing as soon as it is 256 times what is added: the steps that come last in
//! the backward pass, the first ones of the sequence, are then lost, however exact each contribution is.

use super::bf16_pass::bf16_pass;
use super::bf16_unit::Bf16Cell;
use super::precision::{Rounded, rounded_to};
use crate::Error;
use crate::array::Matrix;
use crate::forward::{Inputs, Objective, ScanOptions, losses, scan_with};
use crate::gradient::{GradientOptions, Threads, add_cell_gradient, gradient};
use crate::kernel::{Format, norm};
use crate::model::cell::{CellSpec, ParamKind, Role};
use crate::model::{CellId, CellParams, Network, State};
use crate::reverse::{Numbers, Plan, RowOptions, Source, reverse_layers};

/// A way to train in bf16 on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framework {
    /// A module of PyTorch 2 with all weights in bf16.
    PyTorch,
    /// `lax.scan` of JAX, over weights that were cast from f32 to bf16 before the scan.
    JaxCastOutside,
    /// `lax.scan` of JAX over weights in f32, each step casting them to bf16. Gradients are in f32.
    JaxCastInside,
}

impl Framework {
    /// All of them, in the order of [`Network::precision_sums`].
    pub const ALL: [Self; 3] = [Self::PyTorch, Self::JaxCastOutside, Self::JaxCastInside];

    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PyTorch => "pytorch",
            Self::JaxCastOutside => "jax_cast_outside",
            Self::JaxCastInside => "jax_cast_inside",
        }
    }

    /// How the gradient of parameter `param` is added up.
    ///
    /// PyTorch forms the product with the input for all steps before the time loop, so its weights and bias have one product.
    /// What multiplies states, and the bias of that side, meets autograd once in each step, which adds in bf16. An LSTM without
    /// projection is computed by oneDNN as a whole, in f32. JAX adds in the format of the weights that the scan reads, which a
    /// bias reaches as a sum over the batch in bf16.
    pub fn order(self, spec: &CellSpec, param: usize) -> SumOrder {
        let of = &spec.params[param];
        match self {
            Self::PyTorch => {
                let is_fused = Bf16Cell::of_pytorch(spec).is_some_and(Bf16Cell::is_fused);
                let of_input = matches!(of.role, Role::Input | Role::InputBias);
                if is_fused || of_input { SumOrder::OneProduct } else { SumOrder::StepsInFormat }
            }
            Self::JaxCastOutside => SumOrder::StepsInFormat,
            Self::JaxCastInside if of.kind == ParamKind::Matrix => SumOrder::OneProduct,
            Self::JaxCastInside => SumOrder::StepsInF32,
        }
    }
}

/// How the contributions of the steps become one gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SumOrder {
    /// One product over all steps, which adds in f32.
    OneProduct,
    /// Each step's contribution is rounded to bf16, and these are added in f32, from the last step to the first.
    StepsInF32,
    /// The same, added in bf16: the sum is rounded after every step.
    StepsInFormat,
}

impl SumOrder {
    /// All of them, in the order of [`ParameterSums::sums`].
    pub const ALL: [Self; 3] = [Self::OneProduct, Self::StepsInF32, Self::StepsInFormat];

    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneProduct => "one_product",
            Self::StepsInF32 => "steps_in_f32",
            Self::StepsInFormat => "steps_in_format",
        }
    }
}

/// The bf16 gradients of a network in one framework.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FrameworkSums {
    /// Which one.
    pub framework: Framework,
    /// Whether every result within a step is rounded as the framework rounds it. Otherwise the gradients in the framework's
    /// order are not its own: only what a step leaves (states, gates, dh, dc and da) is rounded, and by some percent they may
    /// differ even where the sum loses nothing.
    pub rounds_within_steps: bool,
    /// Every parameter of every cell.
    pub parameters: Vec<ParameterSums>,
}

/// The gradient of one parameter, added up in every [`SumOrder`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ParameterSums {
    /// Which cell.
    pub cell: CellId,
    /// The parameter's name in the cell's specification.
    pub parameter: &'static str,
    /// In the order of [`SumOrder::ALL`].
    pub sums: [SumInFormat; 3],
    /// The framework's order, see [`Framework::order`].
    pub order: SumOrder,
}

impl ParameterSums {
    /// The sum in this order.
    pub fn of(&self, order: SumOrder) -> &SumInFormat {
        &self.sums[order as usize]
    }

    /// The sum in the framework's order.
    pub fn in_framework(&self) -> &SumInFormat {
        self.of(self.order)
    }
}

/// A gradient as it was added up.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SumInFormat {
    /// The gradient, in the parameter's shape.
    pub gradient: Matrix<f32>,
    /// ‖gradient − exact gradient‖ / ‖exact gradient‖, the exact one being that of the network in f64. NaN if that is zero.
    pub difference: f64,
    /// How many steps the backward pass had gone when the sum stopped growing: from there on, at every step, more than half
    /// of what was added, by absolute values, left the sum unchanged. `None` if it grew to the end.
    pub lost_from: Option<usize>,
}

/// The bf16 gradients of every framework, see [`Network::precision_sums`].
pub(crate) fn precision_sums(
    network: &Network<f64>,
    inputs: &Inputs<f64>,
    initial: &State<f64>,
    options: &ScanOptions<f64>,
    objective: &Objective<f64>,
) -> Result<Vec<FrameworkSums>, Error> {
    let cache = scan_with(network, inputs.clone(), initial, options.clone())?;
    cache.check_finite()?;
    let losses = losses(network, &cache, objective)?;
    losses.check_finite()?;
    let exact = gradient(network, &cache, &losses, GradientOptions::default())?;
    let (spec, weights) = (network.spec(), network.weights());
    let mut between_steps: Option<Vec<Vec<[Sum; 3]>>> = None;
    let mut all = Vec::new();
    for framework in Framework::ALL {
        let known = match framework {
            Framework::PyTorch => Bf16Cell::of_pytorch(spec),
            // XLA divides sums over more than 32 sequences into parts.
            Framework::JaxCastOutside | Framework::JaxCastInside => {
                Bf16Cell::of_jax(spec).filter(|_| inputs.shape().1 <= 32)
            }
        };
        let known = known.filter(|_| *options == ScanOptions::default());
        let sums = if let Some(cell) = known {
            within_steps(network, cell, inputs, initial, objective)?
        } else if let Some(sums) = &between_steps {
            sums.clone()
        } else {
            let rounded = Rounded::new(network, Format::Bf16, inputs, initial, options, objective)?;
            between_steps.insert(rounded.sums()).clone()
        };
        let mut parameters = Vec::new();
        for (index, of_cell) in sums.into_iter().enumerate() {
            for (param, sums) in of_cell.into_iter().enumerate() {
                let exact = &exact.weights.cells[index].tensors()[param];
                parameters.push(ParameterSums {
                    cell: weights.cell_id(index),
                    parameter: spec.params[param].name,
                    sums: sums.map(|sum| sum.finish(exact, framework != Framework::JaxCastInside)),
                    order: framework.order(spec, param),
                });
            }
        }
        all.push(FrameworkSums { framework, rounds_within_steps: known.is_some(), parameters });
    }
    Ok(all)
}

/// For each cell and parameter the sum in each order, of contributions that are rounded as in a framework.
fn within_steps(
    network: &Network<f64>,
    cell: Bf16Cell,
    inputs: &Inputs<f64>,
    initial: &State<f64>,
    objective: &Objective<f64>,
) -> Result<Vec<Vec<[Sum; 3]>>, Error> {
    let (network, inputs, initial) = rounded_to(Format::Bf16, network, inputs, initial)?;
    let mut sums = no_sums(&network.weights().cells);
    bf16_pass(&network, cell, &inputs, &initial, objective, |index, of_step| {
        add(&mut sums[index], of_step);
    })?;
    Ok(sums)
}

fn no_sums(cells: &[CellParams<f32>]) -> Vec<Vec<[Sum; 3]>> {
    let none = |tensor: &Matrix<f32>| {
        SumOrder::ALL.map(|_| Sum { total: vec![0.0; tensor.data().len()], unchanged: Vec::new() })
    };
    cells.iter().map(|params| params.tensors().iter().map(none).collect()).collect()
}

/// Adds what a step contributes to the gradient of each parameter.
fn add(sums: &mut [[Sum; 3]], of_step: &[Matrix<f32>]) {
    for (sums, contribution) in sums.iter_mut().zip(of_step) {
        for (sum, order) in sums.iter_mut().zip(SumOrder::ALL) {
            sum.add(order, contribution.data());
        }
    }
}

/// A sum over steps under way.
#[derive(Clone)]
struct Sum {
    total: Vec<f32>,
    /// For each step gone: Σ |contribution| that left the sum unchanged, and Σ |contribution|.
    unchanged: Vec<(f64, f64)>,
}

impl Sum {
    /// Adds one step's contribution.
    fn add(&mut self, order: SumOrder, contribution: &[f32]) {
        let mut added = contribution.to_vec();
        if order != SumOrder::OneProduct {
            Format::Bf16.round(&mut added);
        }
        let before = self.total.clone();
        self.total.iter_mut().zip(&added).for_each(|(sum, c)| *sum += c);
        if order == SumOrder::StepsInFormat {
            Format::Bf16.round(&mut self.total);
        }
        let size = |c: f32| f64::from(c).abs();
        let all = contribution.iter().map(|&c| size(c)).sum();
        let entries = self.total.iter().zip(&before).zip(contribution);
        let lost = entries.filter(|((after, before), _)| after == before).map(|(_, &c)| size(c)).sum();
        self.unchanged.push((lost, all));
    }

    fn lost_from(&self) -> Option<usize> {
        // A step that contributes nothing says nothing.
        let is_lost = |&(lost, all): &(f64, f64)| all == 0.0 || lost > 0.5 * all;
        let first = self.unchanged.iter().rposition(|step| !is_lost(step)).map_or(0, |last| last + 1);
        self.unchanged[first..].iter().any(|&(_, all)| all > 0.0).then_some(first)
    }

    /// What is left at the end, in bf16 or in f32.
    fn finish(self, exact: &Matrix<f64>, in_bf16: bool) -> SumInFormat {
        let lost_from = self.lost_from();
        let mut total = self.total;
        if in_bf16 {
            Format::Bf16.round(&mut total);
        }
        let difference: Vec<f64> = total.iter().zip(exact.data()).map(|(&g, e)| f64::from(g) - e).collect();
        let gradient = Matrix::new(exact.rows(), exact.cols(), total).expect("the parameter's shape");
        SumInFormat { gradient, difference: norm(&difference) / norm(exact.data()), lost_from }
    }
}

impl Rounded {
    /// For each cell and parameter the sum in each order.
    fn sums(&self) -> Vec<Vec<[Sum; 3]>> {
        let Self { format, network, cache, losses } = self;
        let cells = &network.weights().cells;
        let mut sums = no_sums(cells);
        let active = losses.active(cache);
        let plan = Plan::new(active.iter().map(|&has_loss| has_loss.then_some(0)));
        let options = RowOptions { numbers: Numbers::Rounded(*format), ..RowOptions::default() };
        let source = Source::Losses(losses);
        reverse_layers(network, cache, source, &plan, options, &mut Vec::new(), |index, step| {
            let t = step.t;
            let mut contribution = cells[index].zeros_like();
            let x = cache.inputs_of(network.weights().cell_id(index).layer).step(t);
            let adjoints = &step.adjoints;
            add_cell_gradient(&mut contribution, cache, index, t..t + 1, adjoints, Some(x), Threads::This);
            add(&mut sums[index], contribution.tensors());
        });
        sums
    }
}
