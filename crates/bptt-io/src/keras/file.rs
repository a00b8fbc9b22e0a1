//! The weights of Keras' HDF5 files: `.h5` of Keras 1, 2 and, saved so, 3, and `.weights.h5` of Keras 3.

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
    let settings = match text("model_config") {
        Some(config) => settings(config, text("keras_version").unwrap_or_default())?,
        None => Settings::without_configuration(text("keras_version")),
    };
    let has = |name: &str| groups.iter().any(|group| group == name);
    let mut walk = Walk {
        left: (bytes.len() as u64).saturating_mul(4).saturating_add(BEYOND),
        tensors: BTreeMap::new(),
        unreadable: BTreeMap::new(),
    };
    if has("layers") {
        walk.numbered(&root, "", &mut Vec::new())?;
    } else {
        let weights = if has("model_weights") { root.group("model_weights").map_err(damaged)? } else { root };
        walk.group(&weights, &mut Vec::new())?;
    }
    Ok((walk.tensors, walk.unreadable, settings))
}

/// What a model's configuration says, as `version` of Keras writes it.
///
/// # Errors
/// If it is no JSON.
pub(crate) fn settings(config: &str, version: &str) -> Result<Settings, String> {
    let config: Value =
        serde_json::from_str(config).map_err(|error| format!("its configuration: {error}"))?;
    Ok(Settings::new(&config, version))
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
            // A layer's group has its name, and its variables have it again, sometimes behind the model's.
            let again = (1..path.len().min(3)).rev().find(|&i| path[i] == path[0]).unwrap_or(0);
            let full = path[again..].iter().map(String::as_str).chain([name.as_str()]);
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

    /// Variables by their numbers, as Keras 3 writes them: `layers/lstm/cell/vars/0`. The name of a layer is an attribute of its
    /// `vars`; `kind` is what the group is called, `path` the names of the layer and of what is in it.
    fn numbered(&mut self, group: &Group, kind: &str, path: &mut Vec<String>) -> Result<(), String> {
        if path.len() > DEEPEST {
            return Err(format!("its groups are more than {DEEPEST} deep"));
        }
        let problem = |error: hdf5_pure::Error| format!("it is cut off or damaged ({error})");
        for name in group.groups().map_err(problem)? {
            let within = group.group(&name).map_err(problem)?;
            match name.as_str() {
                "layers" => {
                    for layer in within.groups().map_err(problem)? {
                        let of_layer = within.group(&layer).map_err(problem)?;
                        let own = name_of(&of_layer).unwrap_or_else(|| layer.clone());
                        path.push(own);
                        self.numbered(&of_layer, &layer, path)?;
                        path.pop();
                    }
                }
                "vars" => {
                    for number in within.datasets().map_err(problem)? {
                        let variable = variable(kind, &number).unwrap_or(&number);
                        let full =
                            path.iter().map(String::as_str).chain([variable]).collect::<Vec<_>>().join("/");
                        match self.dataset(&within, &number, &full) {
                            Ok(tensor) => drop(self.tensors.insert(full, tensor)),
                            Err(problem) => drop(self.unreadable.insert(full, problem)),
                        }
                    }
                }
                // The state of a generator of random numbers; what an optimizer keeps.
                "seed_generator" | "optimizer" => {}
                _ => {
                    path.push(name_of(&within).unwrap_or_else(|| name.clone()));
                    self.numbered(&within, &name, path)?;
                    path.pop();
                }
            }
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

/// The name of the layer, or of the part of one, whose group this is.
fn name_of(group: &Group) -> Option<String> {
    let attributes = group.group("vars").ok()?.attrs().ok()?;
    attributes.get("name").and_then(AttrValue::as_str).map(String::from)
}

/// What the numbered variables of a cell, a dense layer and an embedding are.
fn variable(kind: &str, number: &str) -> Option<&'static str> {
    let names: &[&str] = match kind {
        "cell" => &["kernel", "recurrent_kernel", "bias"],
        _ if kind.starts_with("dense") => &["kernel", "bias"],
        _ if kind.starts_with("embedding") => &["embeddings"],
        _ => &[],
    };
    names.get(number.parse::<usize>().ok()?).copied()
}
