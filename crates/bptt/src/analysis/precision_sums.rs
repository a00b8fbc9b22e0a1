//! What a number format of few digits loses where a gradient is added up over steps.
//!
//! The gradient of a parameter is the sum of what each step contributes. Frameworks add it up in different ways, and a sum that
//! is kept in bf16, with 8 binary digits, stops growing as soon as it is 256 times what is added: the steps that come last in
//! the backward pass, the first ones of the sequence, are then lost, however exact each contribution is.

use super::precision::Rounded;
use crate::Error;
use crate::array::Matrix;
use crate::forward::{Inputs, Objective, ScanOptions, losses, scan_with};
use crate::gradient::{GradientOptions, Threads, add_cell_gradient, gradient};
use crate::kernel::{Format, norm};
use crate::model::cell::{CellSpec, Role, usual_params};
use crate::model::{Activation, CellId, Network, State};
use crate::reverse::{Numbers, Plan, RowOptions, Source, reverse_layers};

/// How the contributions of the steps become one gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SumOrder {
    /// One product over all steps, which adds in f32 and is rounded once.
    OneProduct,
    /// Each step's contribution is rounded to the format, and these are added in f32, from the last step to the first.
    StepsInF32,
    /// The same, added in the format: the sum is rounded after every step.
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

    /// How PyTorch 2.15 adds up the bf16 gradient of parameter `param` on a CPU.
    ///
    /// The product with the input is formed for all steps before the time loop, so its weights and bias have one product.
    /// What multiplies states, and the bias of that side, meets autograd once in each step, which adds in bf16. An LSTM
    /// without projection is computed by oneDNN as a whole, in f32.
    pub fn of_pytorch(spec: &CellSpec, param: usize) -> Self {
        let gates = [Activation::Sigmoid, Activation::Sigmoid, Activation::Tanh, Activation::Sigmoid];
        let is_lstm = spec.states.len() == 2
            && spec.params == usual_params(4)
            && spec.gates.iter().map(|gate| gate.activation).eq(gates);
        let of_input = matches!(spec.params[param].role, Role::Input | Role::InputBias);
        if is_lstm || of_input { Self::OneProduct } else { Self::StepsInFormat }
    }
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
    /// The order that PyTorch uses on a CPU, see [`SumOrder::of_pytorch`].
    pub pytorch: SumOrder,
}

impl ParameterSums {
    /// The sum in this order.
    pub fn of(&self, order: SumOrder) -> &SumInFormat {
        &self.sums[order as usize]
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

/// The bf16 or f32 gradients of every parameter of every cell, added up in every order; see [`Network::precision_sums`].
pub(crate) fn precision_sums(
    network: &Network<f64>,
    inputs: &Inputs<f64>,
    initial: &State<f64>,
    options: &ScanOptions<f64>,
    objective: &Objective<f64>,
    format: Format,
) -> Result<Vec<ParameterSums>, Error> {
    let cache = scan_with(network, inputs.clone(), initial, options.clone())?;
    cache.check_finite()?;
    let losses = losses(network, &cache, objective)?;
    losses.check_finite()?;
    let exact = gradient(network, &cache, &losses, GradientOptions::default())?;
    let rounded = Rounded::new(network, format, inputs, initial, options, objective)?;
    let spec = network.spec();
    let mut all = Vec::new();
    for (index, of_cell) in rounded.sums().into_iter().enumerate() {
        for (param, sums) in of_cell.into_iter().enumerate() {
            let exact = &exact.weights.cells[index].tensors()[param];
            all.push(ParameterSums {
                cell: network.weights().cell_id(index),
                parameter: spec.params[param].name,
                sums: sums.map(|sum| sum.finish(exact, format)),
                pytorch: SumOrder::of_pytorch(spec, param),
            });
        }
    }
    Ok(all)
}

/// A sum over steps under way.
struct Sum {
    total: Vec<f32>,
    /// For each step gone: Σ |contribution| that left the sum unchanged, and Σ |contribution|.
    unchanged: Vec<(f64, f64)>,
}

impl Sum {
    /// Adds one step's contribution.
    fn add(&mut self, order: SumOrder, format: Format, contribution: &[f32]) {
        let mut added = contribution.to_vec();
        if order != SumOrder::OneProduct {
            format.round(&mut added);
        }
        let before = self.total.clone();
        self.total.iter_mut().zip(&added).for_each(|(sum, c)| *sum += c);
        if order == SumOrder::StepsInFormat {
            format.round(&mut self.total);
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

    /// What is left in the format at the end.
    fn finish(self, exact: &Matrix<f64>, format: Format) -> SumInFormat {
        let lost_from = self.lost_from();
        let mut total = self.total;
        format.round(&mut total);
        let difference: Vec<f64> = total.iter().zip(exact.data()).map(|(&g, e)| f64::from(g) - e).collect();
        let gradient = Matrix::new(exact.rows(), exact.cols(), total).expect("the parameter's shape");
        SumInFormat { gradient, difference: norm(&difference) / norm(exact.data()), lost_from }
    }
}

impl Rounded {
    /// For each cell and parameter the sum in each order.
    fn sums(&self) -> Vec<Vec<[Sum; 3]>> {
        let Self { format, network, cache, losses } = self;
        let none = |tensor: &Matrix<f32>| {
            SumOrder::ALL.map(|_| Sum { total: vec![0.0; tensor.data().len()], unchanged: Vec::new() })
        };
        let cells = &network.weights().cells;
        let mut sums: Vec<Vec<[Sum; 3]>> =
            cells.iter().map(|params| params.tensors().iter().map(none).collect()).collect();
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
            for (sums, contribution) in sums[index].iter_mut().zip(contribution.tensors()) {
                for (sum, order) in sums.iter_mut().zip(SumOrder::ALL) {
                    sum.add(order, *format, contribution.data());
                }
            }
        });
        sums
    }
}
