//! One cell (k, t) of the heatmap of the laboratory as a formula with numbers: the chain rule, step by step.

use bptt::in_f64;
use bptt::{Component, ForwardCache, Inputs, Matrix, Parameter, Select};
use serde_json::{Value, json};

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
        "norms": norms(here),
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

fn norms(of: &Component<f64>) -> Value {
    let norm_of = |parameter| of.get(parameter).map(norm);
    json!({
        "weight_ih": norm_of(Parameter::WEIGHT_IH), "weight_hh": norm_of(Parameter::WEIGHT_HH),
        "bias": norm_of(Parameter::BIAS), "input": norm_of(Parameter::INPUT),
    })
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
