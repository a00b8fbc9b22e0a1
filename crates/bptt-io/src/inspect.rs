//! The contents of a file: its recurrent modules with measures of their weights, and its other tensors.

use bptt::cell::{CellSizes, Role};
use bptt::dynamics::{sigma_max, spectral_radius};
use bptt::{CellId, Matrix, cell_by_name};
use rayon::prelude::*;
use serde::Serialize;

use crate::Error;
use crate::choose::none_found;
use crate::module::Module;
use crate::outline::find;
use crate::tensors::Tensors;

/// The schema of the report as JSON; NOTATION.md documents it.
const SCHEMA: &str = "bptt.inspect/1";

/// The contents of a file.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// `"bptt.inspect/1"`.
    pub schema: &'static str,
    /// The recurrent modules.
    pub modules: Vec<ModuleReport>,
    /// Those that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Every tensor that belongs to no recurrent module that was read.
    pub others: Vec<Other>,
}

/// A recurrent module or an array that cannot be read.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Unreadable {
    /// Its name.
    pub name: String,
    /// Why not.
    pub problem: String,
}

/// A recurrent module.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ModuleReport {
    /// Its name; empty if the file holds it alone.
    pub name: String,
    /// Its cell.
    pub cell: String,
    /// Layers.
    pub layers: usize,
    /// D, 1 or 2.
    pub directions: usize,
    /// I.
    pub inputs: usize,
    /// H.
    pub hidden: usize,
    /// P, the width of its output in one direction.
    pub output: usize,
    /// How many numbers it has in the file.
    pub parameters: usize,
    /// The types of its numbers.
    pub dtypes: Vec<String>,
    /// Every gate of every cell.
    pub blocks: Vec<Block>,
    /// Peculiarities of its weights, and what was assumed or computed in reading it, a sentence each.
    pub notes: Vec<String>,
}

/// One gate of one cell.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Block {
    /// From 0 at the input.
    pub layer: usize,
    /// `"forward"` or `"reverse"`.
    pub direction: &'static str,
    /// The gate's letter.
    pub gate: &'static str,
    /// The largest singular value of its (H, P) block of W_hh; none in a cell without W_hh.
    pub sigma_max: Option<f64>,
    /// The largest modulus of an eigenvalue of that block; none where P is not H.
    pub spectral_radius: Option<f64>,
    /// Of the sum of its biases: mean, smallest, largest.
    pub bias: Option<[f64; 3]>,
}

/// A tensor that belongs to no recurrent module.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Other {
    /// Its name.
    pub name: String,
    /// The type of its numbers.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Lists the contents of a file. `cell` is the cell's name where the file leaves it open.
///
/// # Errors
/// If it has one recurrent module and that cannot be read, or a weight of one is not finite.
pub fn inspect(tensors: &Tensors, cell: Option<&str>) -> Result<Report, Error> {
    let (mut modules, mut unreadable) = (Vec::new(), Vec::new());
    let outlines = find(tensors);
    if outlines.is_empty() && tensors.layout().source().is_some() {
        return Err(tensors.problem(none_found(tensors)));
    }
    for outline in &outlines {
        match outline.read(tensors, cell) {
            Ok(module) => modules.push(module),
            Err(Error::ModelFile { problem, .. }) if outlines.len() > 1 => {
                unreadable.push(Unreadable { name: outline.name.clone(), problem });
            }
            Err(error) => return Err(error),
        }
    }
    for (name, problem) in tensors.unreadable() {
        unreadable.push(Unreadable { name: name.into(), problem: problem.into() });
    }
    let others = tensors.iter().filter(|tensor| !modules.iter().any(|module| module.owns(tensor)));
    let others = others.map(|tensor| Other {
        name: tensor.name.clone(),
        dtype: tensor.dtype.to_string(),
        shape: tensor.shape.clone(),
    });
    Ok(Report {
        schema: SCHEMA,
        unreadable,
        others: others.collect(),
        modules: modules.iter().map(|module| report(tensors, module)).collect::<Result<_, _>>()?,
    })
}

fn report(tensors: &Tensors, module: &Module) -> Result<ModuleReport, Error> {
    let weights = &module.weights;
    let &CellSizes { inputs, hidden, output, .. } = weights.cells[0].sizes();
    let directions = if weights.bidirectional { 2 } else { 1 };
    let blocks = blocks(module)?;
    let owned = tensors.iter().filter(|tensor| module.owns(tensor));
    Ok(ModuleReport {
        name: module.outline.name.clone(),
        cell: module.cell.clone(),
        layers: weights.cells.len() / directions,
        directions,
        inputs,
        hidden,
        output,
        parameters: owned.map(|tensor| tensor.shape.iter().product::<usize>()).sum(),
        dtypes: module.dtypes().iter().map(ToString::to_string).collect(),
        blocks,
        notes: (0..weights.cells.len())
            .filter_map(|index| doubled(module, index))
            .chain([module.reading()])
            .chain(module.assumptions.iter().cloned())
            .collect(),
    })
}

/// Every gate of every cell, measured in parallel.
fn blocks(module: &Module) -> Result<Vec<Block>, Error> {
    let kind = cell_by_name(&module.cell)?;
    let gates = kind.spec().gate_names();
    let places: Vec<(usize, usize)> = (0..module.weights.cells.len())
        .flat_map(|cell| (0..kind.spec().gate_count()).map(move |gate| (cell, gate)))
        .collect();
    let measure = |&(index, gate): &(usize, usize)| -> Result<Block, Error> {
        let p = &module.weights.cells[index];
        let CellId { layer, direction } = module.weights.cell_id(index);
        let block = p.recurrent_block(gate);
        let named = p.spec().params.iter().zip(p.tensors());
        let biases = named.filter(|(param, _)| matches!(param.role, Role::InputBias | Role::RecurrentBias));
        let mut sums = vec![0.0; p.hidden()];
        for (_, bias) in biases {
            sums.iter_mut().zip(gate_bias(bias, gate, p.hidden())).for_each(|(sum, bias)| *sum += bias);
        }
        let bias = [mean(&sums), sums.iter().copied().fold(f64::INFINITY, f64::min), max(&sums)];
        Ok(Block {
            layer,
            direction: direction.as_str(),
            gate: gates[gate],
            sigma_max: block.map(sigma_max),
            spectral_radius: block.filter(|block| block.rows() == block.cols()).map(spectral_radius),
            bias: module.biased().then_some(bias),
        })
    };
    places.par_iter().map(measure).collect()
}

/// An LSTM's forget bias that was probably set to 1 in both of PyTorch's biases, which add up.
fn doubled(module: &Module, index: usize) -> Option<String> {
    let p = &module.weights.cells[index];
    let kind = cell_by_name(&module.cell).ok()?;
    let forget = kind.spec().gate("f").filter(|_| kind.spec().gate_count() == 4)?;
    let mean_of = |bias| mean(&gate_bias(bias, forget, p.hidden()).collect::<Vec<_>>());
    let (ih, hh) = (mean_of(p.get("bias_ih")?), mean_of(p.get("bias_hh")?));
    (ih > 0.5 && hh > 0.5).then(|| {
        format!(
            "forget bias of {} doubled: PyTorch adds both biases, {ih:.3} + {hh:.3} = {:.3} on average",
            module.weights.cell_id(index).suffix(),
            ih + hh
        )
    })
}

fn gate_bias(bias: &Matrix<f64>, gate: usize, hidden: usize) -> impl Iterator<Item = f64> + '_ {
    bias.data()[gate * hidden..(gate + 1) * hidden].iter().copied()
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

fn max(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}
