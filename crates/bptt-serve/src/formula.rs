//! One cell (k, t) of the heatmap of the laboratory as a formula with numbers: the chain rule, step by step.

use bptt::cell::{Block, Operand, ParamKind, ParamSpec, Role};
use bptt::in_f64;
use bptt::{CellSpec, Component, ForwardCache, Inputs, Matrix, Parameter, Select};
use serde_json::{Map, Value, json};

use crate::lab::{Experiment, Laboratory};
use crate::problem::Problem;
use crate::work::Cancelled;

/// The largest number of units with Jacobians written out.
const WRITTEN: usize = 6;

/// The contribution of step t to loss k, with all factors.
pub(crate) fn formula(
    laboratory: &Laboratory,
    k: usize,
    t: usize,
    cancelled: &Cancelled,
) -> Result<Value, Problem> {
    let experiment = laboratory.experiment()?;
    cancelled.check()?;
    let Experiment { network, trace, losses, .. } = &experiment;
    let components = in_f64::components(network, trace, losses, Select::Loss(k))?;
    cancelled.check()?;
    let of = |step: usize| components.iter().find(|component| component.t == step);
    let Some(here) = of(t) else {
        return Err(Problem::of_request(format!(
            "t: {t} is not possible; expected 0 to {k}: no other step contributes to loss {k}"
        )));
    };
    let chain: Vec<Value> = (t..=k)
        .rev()
        .filter_map(|step| {
            let component = of(step)?;
            let before = of(step + 1).map(|later| norm(recurrent_bias(later)));
            let slope = experiment.slope(step);
            let largest = slope.as_ref().map(|s| s.iter().copied().fold(0.0, f64::max));
            let mean = slope.as_ref().map(|s| s.iter().sum::<f64>() / s.len() as f64);
            Some(json!({
                "step": step, "da": numbers(recurrent_bias(component)), "norm": norm(recurrent_bias(component)),
                "factor": before.map(|before| norm(recurrent_bias(component)) / before).filter(|f| f.is_finite()),
                "slope_largest": largest, "slope_mean": mean, "factors": factor(&experiment, step, k),
            }))
        })
        .collect();
    let h_prev = trace.cells()[0].h().at(t, 0);
    Ok(json!({
        "k": k, "t": t,
        "gates": network.spec().gate_names(),
        "hidden": network.hidden(),
        "x": input(trace, t),
        "h_prev": h_prev,
        "h_prev_norm": length(h_prev),
        "x_norm": length(&input_values(trace, t)),
        "da": numbers(input_bias(here)), "da_norm": norm(input_bias(here)),
        "da_hh_norm": norm(recurrent_bias(here)),
        "contributions": contributions(here, t),
        "chain": chain,
    }))
}

/// diag(φ'(a_t)) W_hhᵀ, which maps da_{t+1} to da_t, for vanilla cells with few units and steps before k.
fn factor(experiment: &Experiment, t: usize, k: usize) -> Option<Vec<Vec<f64>>> {
    let hidden = experiment.network.hidden();
    if t == k || hidden > WRITTEN {
        return None;
    }
    let slope = experiment.slope(t)?;
    let w_hh = &experiment.network.weights().cells[0]["weight_hh"];
    Some((0..hidden).map(|i| (0..hidden).map(|j| slope[i] * w_hh.row(j)[i]).collect()).collect())
}

/// By parameter: what the contribution is a product of, as a formula, and its norm.
fn contributions(of: &Component<f64>, t: usize) -> Value {
    let spec = of.params.spec();
    let mut all = Map::new();
    let mut insert = |name: &str, formula: String, of: &Matrix<f64>| {
        all.insert(name.into(), json!({ "formula": formula, "norm": norm(of) }));
    };
    for (param, tensor) in spec.params.iter().zip(of.params.tensors()) {
        insert(param.name, product(spec, param, t), tensor);
        if param.role == Role::Input {
            let d = adjoint(spec, param.blocks[0].adjoint, t);
            insert(Parameter::INPUT.as_str(), format!("W_{{ih}}^{{⊤}} {d}"), &of.input);
        }
    }
    // What a ledger calls the bias: biases have it in common.
    let bias = spec.params.iter().find(|param| param.kind == ParamKind::Bias);
    if let (Some(param), Some(tensor)) = (bias, of.get(Parameter::BIAS)) {
        insert(Parameter::BIAS.as_str(), product(spec, param, t), tensor);
    }
    all.into()
}

/// The gradient of a step that a parameter is multiplied with, as a formula.
fn adjoint(spec: &CellSpec, number: usize, t: usize) -> String {
    let name = spec.adjoints[number].name.replace('_', ",");
    match name.split_once(',') {
        Some((name, side)) => format!("{name}_{{{side},{t}}}"),
        None => format!("{name}_{{{t}}}"),
    }
}

/// The contribution of step t to a parameter, block by block: an outer product with what the block multiplies, a product
/// number by number, or the gradient of the pre-activations itself.
fn product(spec: &CellSpec, param: &ParamSpec, t: usize) -> String {
    let before = |state: usize| match t {
        0 => format!("{}_{{init}}", spec.states[state].name),
        _ => format!("{}_{{{}}}", spec.states[state].name, t - 1),
    };
    // Where one operand meets several adjoints, the last repeats the others in their gates.
    let adjoints = param.blocks.iter().map(|block| block.adjoint);
    let is_one = param.blocks.iter().all(|block| block.operand == param.blocks[0].operand);
    let common = adjoints.max().filter(|_| is_one);
    let block = |block: &Block| {
        let operand = match block.operand {
            Operand::X => format!("x_{{{t}}}"),
            Operand::Prev(state) => before(state),
            Operand::State(state) => format!("{}_{{{t}}}", spec.states[state].name),
            Operand::Saved(saved) => match spec.saved[saved].name.split_once('_') {
                Some((name, side)) => format!("{name}_{{{side},{t}}}"),
                None => format!("{}_{{{t}}}", spec.saved[saved].name),
            },
            _ => String::new(),
        };
        let adjoint = adjoint(spec, common.unwrap_or(block.adjoint), t);
        let of_block = match param.kind {
            ParamKind::Matrix => format!("{adjoint} {operand}^{{⊤}}"),
            ParamKind::Elementwise => format!("{adjoint} ∘ {operand}"),
            _ => adjoint,
        };
        match &block.gates {
            Some(gates) if common.is_none() => {
                format!("{of_block} (gates {})", spec.gate_names()[gates.clone()].join(", "))
            }
            _ => of_block,
        }
    };
    let shown = if common.is_some() { 1 } else { param.blocks.len() };
    param.blocks[..shown].iter().map(block).collect::<Vec<_>>().join(", ")
}

/// The contribution to the bias of the input side, da.
fn input_bias(of: &Component<f64>) -> &Matrix<f64> {
    of.get(Parameter::BIAS).unwrap_or(&of.input)
}

/// The contribution to the bias of the recurrent side, which differs from da in some cells.
fn recurrent_bias(of: &Component<f64>) -> &Matrix<f64> {
    of.get(Parameter::BIAS_HH).unwrap_or_else(|| input_bias(of))
}

/// The input at step t: its numbers, or the index of its symbol.
fn input(trace: &ForwardCache<f64>, t: usize) -> Value {
    match trace.inputs() {
        Inputs::Dense(x) => json!(x.at(t, 0)),
        Inputs::Symbols(ids) => json!({ "symbol": ids.step(t)[0] }),
    }
}

fn input_values(trace: &ForwardCache<f64>, t: usize) -> Vec<f64> {
    match trace.inputs() {
        Inputs::Dense(x) => x.at(t, 0).to_vec(),
        Inputs::Symbols(_) => vec![1.0],
    }
}

fn numbers(row: &Matrix<f64>) -> &[f64] {
    row.data()
}

fn norm(matrix: &Matrix<f64>) -> f64 {
    length(matrix.data())
}

fn length(numbers: &[f64]) -> f64 {
    numbers.iter().map(|v| v * v).sum::<f64>().sqrt()
}
