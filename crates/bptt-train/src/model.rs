//! A network as a safetensors file, with the names PyTorch gives: `rnn.weight_ih_l0`, …, `head.weight`, `head.bias`.

use std::collections::HashMap;
use std::path::Path;

use bptt::{CellParams, Direction, Matrix, Network, Place, Readout, Weights, cell_by_name};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{Error, files};

/// The one key of the file's metadata; its value is JSON, because the order of several keys would not be stable.
const METADATA: &str = "bptt";

/// What the tensors alone do not say.
#[derive(Serialize, Deserialize)]
struct Metadata {
    cell: String,
    /// Of all tensor bytes in the order of their names.
    blake3: String,
}

/// PyTorch's name of a parameter: the recurrent layers are a module called `rnn`.
fn on_disk(name: &str) -> String {
    if name.starts_with("head.") { name.to_owned() } else { format!("rnn.{name}") }
}

/// Writes `network`, whole or not at all; the same network gives the same bytes.
///
/// # Errors
/// If the file cannot be written.
pub fn save(network: &Network<f32>, path: &Path) -> Result<(), Error> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, matrix) in network.weights().tensors() {
        let bytes = matrix.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        let is_bias = name.contains("bias");
        let shape = if is_bias { vec![matrix.cols()] } else { vec![matrix.rows(), matrix.cols()] };
        tensors.push((on_disk(&name), shape, bytes));
    }
    tensors.sort();
    let digest = digest(tensors.iter().map(|(_, _, bytes)| bytes.as_slice()));
    let metadata = Metadata { cell: network.cell().name().into(), blake3: digest };
    let metadata = serde_json::to_string(&metadata).expect("names and digests are JSON");
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes were made for this shape");
        (name.as_str(), view)
    });
    let metadata = HashMap::from([(METADATA.to_owned(), metadata)]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("names are unique and shapes fit");
    files::write(path, &bytes)
}

fn digest<'a>(tensors: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    for bytes in tensors {
        hasher.update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// Reads a network that [`save`] wrote.
///
/// # Errors
/// If the file cannot be read, is damaged, or holds something else; the message says what.
pub fn load(path: &Path) -> Result<Network<f32>, Error> {
    let bytes = files::read(path)?;
    let damaged = |problem: String| Error::ModelFile { path: path.into(), problem };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let metadata = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
    let metadata =
        metadata.ok_or_else(|| damaged("it says nothing of its cell (no \"bptt\" metadata)".into()))?;
    let metadata: Metadata = serde_json::from_str(metadata).map_err(|error| damaged(error.to_string()))?;

    let mut names = file.names();
    names.sort_unstable();
    let views: Vec<_> = names.iter().filter_map(|name| file.tensor(name).ok()).collect();
    if digest(views.iter().map(TensorView::data)) != metadata.blake3 {
        return Err(damaged("its numbers are not the ones that were written (checksum)".into()));
    }

    let matrix = |name: &str| -> Result<Matrix<f32>, Error> {
        let disk = on_disk(name);
        let view = file.tensor(&disk).map_err(|_| damaged(format!("tensor {disk} is missing")))?;
        if view.dtype() != Dtype::F32 {
            return Err(damaged(format!("tensor {disk} is {:?}, expected F32", view.dtype())));
        }
        let (rows, cols) = match *view.shape() {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => return Err(damaged(format!("tensor {disk} has shape {:?}", view.shape()))),
        };
        let (numbers, _) = view.data().as_chunks::<4>();
        let data: Vec<f32> = numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        match data.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(damaged(format!("tensor {disk} is not finite at entry {i}"))),
            None => Ok(Matrix::new(rows, cols, data)?),
        }
    };
    let count = names.iter().filter(|name| name.starts_with(&on_disk("weight_ih_l"))).count();
    let bidirectional = names.iter().any(|name| name.ends_with("_reverse"));
    let directions = if bidirectional { 2 } else { 1 };
    let cell = |index: usize| -> Result<CellParams<f32>, Error> {
        let direction =
            if index.is_multiple_of(directions) { Direction::Forward } else { Direction::Reverse };
        let suffix = Place { layer: index / directions, direction }.suffix();
        Ok(CellParams {
            w_ih: matrix(&format!("weight_ih_{suffix}"))?,
            w_hh: matrix(&format!("weight_hh_{suffix}"))?,
            b_ih: matrix(&format!("bias_ih_{suffix}"))?,
            b_hh: matrix(&format!("bias_hh_{suffix}"))?,
        })
    };
    // A file without any layer is refused for want of the first.
    let layers = (0..count.max(1)).map(cell).collect::<Result<_, _>>()?;
    let readout = Readout { w_hy: matrix("head.weight")?, b_y: matrix("head.bias")? };
    let weights = Weights { layers, bidirectional, readout: Some(readout) };
    let cell = cell_by_name(&metadata.cell)?;
    Network::new(cell, weights).map_err(|error| damaged(error.to_string()))
}
