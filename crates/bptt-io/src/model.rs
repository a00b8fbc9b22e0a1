//! A network as a safetensors file with PyTorch's names: `rnn.weight_ih_l0`, …, `head.weight`, `head.bias`.

use std::collections::BTreeMap;
use std::path::Path;

use bptt::cell::ParamKind;
use bptt::{Network, cell_by_name};

use crate::module::shape_in_pytorch;
use crate::tensors::{Stamp, write};
use crate::{Dtype, Error, Tensor, Tensors, choose, head};

/// The module name of the recurrent layers.
const MODULE: &str = "rnn";

/// PyTorch's name of a parameter.
fn on_disk(name: &str) -> String {
    if name.starts_with("head.") { name.to_owned() } else { format!("{MODULE}.{name}") }
}

/// Writes `network` atomically; the same network gives the same bytes.
///
/// # Errors
/// If the file cannot be written.
pub fn save(network: &Network<f32>, path: &Path) -> Result<(), Error> {
    let mut tensors = BTreeMap::new();
    let cells = network.weights().cells.iter();
    let kinds = cells.flat_map(|cell| cell.spec().params.iter().map(|param| param.kind));
    // The readout's two come last.
    let kinds = kinds.chain([ParamKind::Matrix, ParamKind::Bias]);
    for ((name, matrix), kind) in network.weights().tensors().into_iter().zip(kinds) {
        let shape = shape_in_pytorch(kind, (matrix.rows(), matrix.cols()));
        let numbers: Vec<f64> = matrix.data().iter().copied().map(f64::from).collect();
        let name = on_disk(&name);
        tensors.insert(name.clone(), Tensor::of_floats(name, Dtype::F32, shape, &numbers));
    }
    let stamp = Stamp::new(network.spec().name.as_str(), &tensors);
    write(path, &tensors, Some(&stamp))
}

/// Reads a network that [`save`] wrote.
///
/// # Errors
/// If the file cannot be read, is damaged, or contains something else.
pub fn load(path: &Path) -> Result<Network<f32>, Error> {
    let tensors = Tensors::read(path)?;
    let stamp = tensors
        .stamp()
        .ok_or_else(|| tensors.problem("it says nothing of its cell (no \"bptt\" metadata)"))?;
    cell_by_name(&stamp.cell)?;
    if let Some(other) = tensors.iter().find(|tensor| tensor.dtype != Dtype::F32) {
        return Err(tensors.problem(format!("tensor {} is {:?}, expected F32", other.name, other.dtype)));
    }
    let module = choose(&tensors, Some(MODULE), None)?;
    let (_, readout) = head(&tensors, &module, Some("head"), None)?;
    let network = module.network(Some(readout)).map_err(|error| tensors.problem(error.to_string()))?;
    Ok(network.cast()?)
}
