//! The weights of Keras' HDF5 files (`.h5` of Keras 1, 2 and, saved so, 3).

use std::collections::BTreeMap;

use hdf5_pure::{AttrValue, DType, File, Group};
use serde_json::Value;

use super::settings::Settings;
use crate::tensor::{Dtype, Tensor};

/// Groups within groups, at most.
const DEEPEST: usize = 24;

/// Bytes that arrays may have beyond four times the file's: compressed ones may be of any size.
const BEYOND: u64 = 64 << 20;

/// Tensors by name, those that cannot be read with the reason, and what the configuration says of the layers.
type Found = (BTreeMap<String, Tensor>, BTreeMap<String, String>, Settings);

/// Whether the bytes begin as an HDF5 file does.
pub(crate) fn is_hdf5(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89HDF\r\n\x1a\n")
}

/// The weights by the names of layers and variables: `lstm/lstm_cell/kernel:0`.
///
/// # Errors
/// What is not understood, in words.
pub(crate) fn read(bytes: &[u8]) -> Result<Found, String> {
    let damaged = |error: hdf5_pure::Error| format!("it is cut off or damaged ({error})");
    let file = File::from_bytes(bytes.to_vec()).map_err(damaged)?;
    let root = file.root();
    let (groups, attributes) = (root.groups().map_err(damaged)?, root.attrs().map_err(damaged)?);
    let text = |key: &str| attributes.get(key).and_then(AttrValue::as_str);
    let weights = match groups.iter().any(|group| group == "model_weights") {
        true => root.group("model_weights").map_err(damaged)?,
        false if groups.iter().any(|group| group == "layers" || group.starts_with('_')) => {
            return Err("its variables have numbers in place of names, as Keras 3 writes them; save the weights by name: \
                        numpy.savez(\"model.npz\", **{w.path: w.numpy() for w in model.weights})"
                .into());
        }
        false => root,
    };
    let settings = match text("model_config") {
        Some(config) => {
            let config: Value =
                serde_json::from_str(config).map_err(|error| format!("its configuration: {error}"))?;
            Settings::new(&config, text("keras_version").unwrap_or_default())
        }
        None => Settings::default(),
    };
    let mut walk = Walk {
        left: (bytes.len() as u64).saturating_mul(4).saturating_add(BEYOND),
        tensors: BTreeMap::new(),
        unreadable: BTreeMap::new(),
    };
    walk.group(&weights, &mut Vec::new())?;
    Ok((walk.tensors, walk.unreadable, settings))
}

struct Walk {
    /// Bytes that arrays may still have.
    left: u64,
    tensors: BTreeMap<String, Tensor>,
    unreadable: BTreeMap<String, String>,
}

impl Walk {
    fn group(&mut self, group: &Group, path: &mut Vec<String>) -> Result<(), String> {
        if path.len() > DEEPEST {
            return Err(format!("its groups are more than {DEEPEST} deep"));
        }
        let problem = |error: hdf5_pure::Error| format!("it is cut off or damaged ({error})");
        for name in group.datasets().map_err(problem)? {
            // A layer's group has its name, and so have its variables.
            let twice = path.len() > 1 && path[0] == path[1];
            let full = path[usize::from(twice)..].iter().map(String::as_str).chain([name.as_str()]);
            let full = full.collect::<Vec<_>>().join("/");
            match self.dataset(group, &name, &full) {
                Ok(tensor) => drop(self.tensors.insert(full, tensor)),
                Err(problem) => drop(self.unreadable.insert(full, problem)),
            }
        }
        for name in group.groups().map_err(problem)? {
            if path.is_empty() && name == "optimizer_weights" {
                continue;
            }
            let within = group.group(&name).map_err(problem)?;
            path.push(name);
            self.group(&within, path)?;
            path.pop();
        }
        Ok(())
    }

    fn dataset(&mut self, group: &Group, name: &str, full: &str) -> Result<Tensor, String> {
        let problem = |error: hdf5_pure::Error| error.to_string();
        let dataset = group.dataset(name).map_err(problem)?;
        let dtype = match dataset.dtype().map_err(problem)? {
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            _ => return Err("its type is none of f32 and f64".into()),
        };
        let shape = dataset.shape().map_err(problem)?;
        let bytes = shape.iter().try_fold(8u64, |bytes, &size| bytes.checked_mul(size));
        self.left = bytes
            .and_then(|bytes| self.left.checked_sub(bytes))
            .ok_or("it is larger than the file can hold")?;
        let shape: Option<Vec<usize>> = shape.iter().map(|&size| usize::try_from(size).ok()).collect();
        let shape = shape.ok_or("its shape is too large")?;
        let numbers = dataset.read_f64().map_err(problem)?;
        if numbers.len() != shape.iter().product::<usize>() {
            return Err("it has not as many numbers as its shape says".into());
        }
        Ok(Tensor::of_floats(full.into(), dtype, shape, &numbers))
    }
}
