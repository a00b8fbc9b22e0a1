//! `--components` and `--states`: matrices and states as arrays in files.

use std::collections::BTreeMap;
use std::path::Path;

use bptt::cell::ParamKind;
use bptt::{CellId, Direction, Network, Parameter, Real, in_f64};
use bptt_io::{Dtype, Tensor, arrays};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::Traced;
use crate::Failure;
use crate::args::{Reading, TraceArgs};

/// The file types.
pub(in crate::commands) const ENDINGS: [&str; 2] = ["npz", "safetensors"];

/// More bytes of components than this are not made: they are in memory until they are written.
const MOST_BYTES: usize = 2 << 30;

/// The array of one parameter of one cell.
struct Part {
    name: String,
    cell: CellId,
    /// The parameter; `None` for the inputs.
    param: Option<usize>,
    /// Of one component.
    shape: Vec<usize>,
}

impl Part {
    fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The arrays that the arguments choose.
fn parts<T: Real>(args: &TraceArgs, network: &Network<T>, batch: usize) -> Result<Vec<Part>, Failure> {
    let wanted = args.parameter.as_ref().map(|name| name.to_lowercase().replace('-', "_"));
    let mut parts = Vec::new();
    for (index, params) in network.weights().cells.iter().enumerate() {
        let cell = network.weights().cell_id(index);
        let direction = match cell.direction {
            Direction::Forward => Reading::Forward,
            Direction::Reverse => Reading::Reverse,
        };
        if args.layer.is_some_and(|layer| layer != cell.layer)
            || args.direction.is_some_and(|chosen| chosen != direction)
        {
            continue;
        }
        for (i, (param, tensor)) in params.spec().params.iter().zip(params.tensors()).enumerate() {
            let is_bias = param.kind == ParamKind::Bias;
            let is_wanted =
                wanted.as_deref().is_none_or(|name| param.name == name || (is_bias && name == "bias"));
            if is_wanted {
                let all = [tensor.rows(), tensor.cols()];
                let shape =
                    if param.kind == ParamKind::Matrix { all.to_vec() } else { vec![tensor.data().len()] };
                let name = format!("{}_{}", param.name, cell.suffix());
                parts.push(Part { name, cell, param: Some(i), shape });
            }
        }
        if wanted.as_deref() == Some(Parameter::INPUT.as_str()) {
            let name = format!("input_{}", cell.suffix());
            parts.push(Part { name, cell, param: None, shape: vec![batch, params.inputs()] });
        }
    }
    if parts.is_empty() {
        let spec = network.spec();
        let names: Vec<&str> = spec.params.iter().map(|param| param.name).collect();
        return Err(Failure::Usage(format!(
            "--components: no cell has what --parameter, --layer and --direction choose; parameters are {}, input",
            names.join(", ")
        )));
    }
    Ok(parts)
}

/// The losses whose components are written.
fn chosen_losses(args: &TraceArgs, present: &[bool]) -> Vec<usize> {
    let chosen = |k: &usize| present[*k] && args.loss_step.is_none_or(|only| only == *k);
    (0..present.len()).filter(chosen).collect()
}

/// Refuses components that are too large, before anything is computed. `present`: the steps that have a loss.
pub(in crate::commands) fn check<T: Real>(
    args: &TraceArgs,
    network: &Network<T>,
    present: &[bool],
    batch: usize,
) -> Result<(), Failure> {
    if args.components.is_none() {
        return Ok(());
    }
    let (losses, steps) = (chosen_losses(args, present).len(), present.len());
    let numbers: usize = parts(args, network, batch)?.iter().map(Part::size).sum();
    let bytes = [losses, steps, 8].into_iter().fold(numbers, usize::saturating_mul);
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "--components: {losses} losses × {steps} steps × {numbers} numbers are {bytes} bytes; at most {MOST_BYTES} are written. \
         Choose one loss with --loss-step, and parameters with --parameter, --layer and --direction"
    )))
}

/// Writes the files that were asked for. `json` is the ledger's object, of which provenance and assumptions are stored.
pub(super) fn write(
    args: &TraceArgs,
    network: &Network<f64>,
    traced: &Traced,
    json: &dyn Fn() -> Value,
    quiet: bool,
) -> Result<(), Failure> {
    let write = |path: &Path, schema: &str, tensors: &[Tensor]| -> Result<(), Failure> {
        let object = json();
        let mut notes = BTreeMap::from([("schema".to_owned(), schema.to_owned())]);
        for key in ["provenance", "assumptions"] {
            notes.insert(key.into(), object[key].to_string());
        }
        arrays::write(path, tensors, &notes)?;
        eprintln!("wrote {}", path.display());
        Ok(())
    };
    if let Some(path) = &args.components {
        write(path, "bptt.components/1", &components(args, network, traced, quiet)?)?;
    }
    if let Some(path) = &args.states {
        write(path, "bptt.states/1", &states(args.reading.model.time_major, network, traced))?;
    }
    Ok(())
}

/// For each part (K, T, …), zeros where no path leads from the step to the loss, and the losses' steps (K).
fn components(
    args: &TraceArgs,
    network: &Network<f64>,
    traced: &Traced,
    quiet: bool,
) -> Result<Vec<Tensor>, Failure> {
    let steps = traced.ledger.steps();
    let (_, batch) = traced.trace.inputs().shape();
    let present: Vec<bool> = (0..steps).map(|k| traced.ledger.has_loss(k)).collect();
    let losses = chosen_losses(args, &present);
    let parts = parts(args, network, batch)?;
    let array = |part: &Part| {
        let shape = [&[losses.len(), steps][..], &part.shape].concat();
        let bytes = vec![0; 8 * shape.iter().product::<usize>()];
        Tensor { name: part.name.clone(), dtype: Dtype::F64, shape, bytes }
    };
    let mut tensors: Vec<Tensor> = parts.iter().map(array).collect();
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(losses.len() as u64), target);
    let style = "components of {pos}/{len} losses  {bar:24}  {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
    for (row, &k) in losses.iter().enumerate() {
        in_f64::visit_components(network, &traced.trace, &traced.losses, k, &mut |component| {
            for (part, tensor) in
                parts.iter().zip(&mut tensors).filter(|(part, _)| part.cell == component.cell)
            {
                let matrix = part.param.map_or(&component.input, |param| &component.params.tensors()[param]);
                let first = 8 * (row * steps + component.t) * part.size();
                let place = &mut tensor.bytes[first..][..8 * part.size()];
                for (to, number) in place.as_chunks_mut::<8>().0.iter_mut().zip(matrix.data()) {
                    *to = number.to_le_bytes();
                }
            }
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let bytes = losses.iter().flat_map(|&k| (k as u64).to_le_bytes()).collect();
    tensors.push(Tensor { name: "loss_steps".into(), dtype: Dtype::U64, shape: vec![losses.len()], bytes });
    Ok(tensors)
}

/// Every state of every cell after every step, (B, T, width) or (T, B, width); zeros behind the end of a sequence.
fn states(time_major: bool, network: &Network<f64>, traced: &Traced) -> Vec<Tensor> {
    let (steps, batch) = traced.trace.inputs().shape();
    let lengths = traced.trace.lengths();
    let mut tensors = Vec::new();
    for (index, of) in traced.trace.cells().iter().enumerate() {
        let cell = network.weights().cell_id(index);
        let first = usize::from(of.direction() == Direction::Forward);
        for (i, state) in network.spec().states.iter().enumerate() {
            let Some(numbers) = of.state(i) else { continue };
            let width = numbers.features();
            let at = |(t, b): (usize, usize)| {
                let read = lengths.is_none_or(|lengths| t < lengths[b]);
                if read { numbers.at(first + t, b).to_vec() } else { vec![0.0; width] }
            };
            let (values, shape): (Vec<f64>, _) = if time_major {
                let places = (0..steps).flat_map(|t| (0..batch).map(move |b| (t, b)));
                (places.flat_map(at).collect(), vec![steps, batch, width])
            } else {
                let places = (0..batch).flat_map(|b| (0..steps).map(move |t| (t, b)));
                (places.flat_map(at).collect(), vec![batch, steps, width])
            };
            let name = format!("{}_{}", state.name, cell.suffix());
            tensors.push(Tensor::of_floats(name, Dtype::F64, shape, &values));
        }
    }
    tensors
}
