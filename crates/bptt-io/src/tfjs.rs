//! Layers models of TensorFlow.js: `model.json` with the configuration, names and shapes, and files of weights beside it.
//!
//! Source: @tensorflow/tfjs-core 4.22.0, `dist/io/types.d.ts`, `ModelJSON`, and `dist/io/io_utils.js`, `decodeWeights`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::Value;

use crate::files;
use crate::keras::Settings;
use crate::tensor::{Dtype, Tensor};

/// Tensors by name, those that cannot be read with the reason, and what the configuration says of the layers.
type Found = (BTreeMap<String, Tensor>, BTreeMap<String, String>, Settings);

/// The key that no other JSON file has.
const MANIFEST: &[u8] = b"\"weightsManifest\"";

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    format: String,
    #[serde(rename = "modelTopology", default)]
    topology: Value,
    #[serde(rename = "weightsManifest")]
    groups: Vec<Group>,
}

/// Weights that stand one behind the other in files.
#[derive(Deserialize)]
struct Group {
    paths: Vec<String>,
    weights: Vec<Weight>,
}

#[derive(Deserialize)]
struct Weight {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    /// `"optimizer"` for what an optimizer keeps.
    group: Option<String>,
    quantization: Option<Quantization>,
}

#[derive(Deserialize)]
struct Quantization {
    dtype: String,
    min: Option<f64>,
    scale: Option<f64>,
}

/// Whether a file is a `model.json`.
pub(crate) fn is_model(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
        && bytes.windows(MANIFEST.len()).any(|window| window == MANIFEST)
}

/// The weights by their names; `folder` has the files of weights, if the bytes are those of a file.
///
/// # Errors
/// What is not understood or not there, in words.
pub(crate) fn read(bytes: &[u8], folder: Option<&Path>) -> Result<Found, String> {
    let model: Model = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is a model.json of TensorFlow.js that is damaged ({error})"))?;
    // A graph model's topology has nodes.
    if model.format == "graph-model" || model.topology.get("node").is_some() {
        return Err("it is a graph model of TensorFlow.js, which is not read; give the Keras file that it was converted from, or convert \
                    it with --output_format=tfjs_layers_model"
            .into());
    }
    let folder = folder.ok_or("its weights are in files beside it; read it from its folder")?;
    let topology = &model.topology;
    let config = topology.get("model_config").unwrap_or(topology);
    if config.get("class_name").is_none() {
        return Err(
            "it is a model.json of TensorFlow.js without a modelTopology, which says what its layers are"
                .into(),
        );
    }
    let version = topology["keras_version"].as_str().unwrap_or_default();
    let mut settings = Settings::new(config, version);
    let (mut tensors, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
    refuse_twice("file of weights", model.groups.iter().flat_map(|group| &group.paths))?;
    refuse_twice("weight", model.groups.iter().flat_map(|group| &group.weights).map(|weight| &weight.name))?;
    for group in &model.groups {
        let data = shards(folder, &group.paths)?;
        let mut rest = data.as_slice();
        for weight in &group.weights {
            let name = &weight.name;
            let tensor = weight.take(&mut rest)?;
            if weight.group.as_deref() == Some("optimizer") {
                continue;
            }
            if let Some(quantization) = &weight.quantization {
                let how = "read as TensorFlow.js does, q · scale + min for integers";
                settings
                    .said
                    .push(format!("the weight {name} is quantized to {}; it is {how}", quantization.dtype));
            }
            if let Some(tensor) = tensor {
                tensors.insert(name.clone(), tensor);
            } else {
                unreadable.insert(name.clone(), format!("its type is {}; expected float32", weight.dtype));
            }
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes of {} belong to no weight", rest.len(), group.paths.join(", ")));
        }
    }
    Ok((tensors, unreadable, settings))
}

/// Refuses a name that stands there twice.
fn refuse_twice<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut known = BTreeSet::new();
    let mut names = names.map(|name| name.trim_start_matches("./"));
    match names.find(|name| !known.insert(*name)) {
        Some(twice) => Err(format!("it names the {what} {twice} twice")),
        None => Ok(()),
    }
}

/// The files of a group, one behind the other.
fn shards(folder: &Path, paths: &[String]) -> Result<Vec<u8>, String> {
    let mut data = Vec::new();
    for path in paths {
        let mut parts = Path::new(path).components();
        let is_beside = parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_beside || path.contains(['\\', ':']) {
            return Err(format!(
                "its weights are in {path:?}, which is not beside it; put it there and name it so"
            ));
        }
        let read = files::read(&folder.join(path));
        data.extend(read.map_err(|error| {
            let reason =
                std::error::Error::source(&error).map_or(String::new(), |reason| format!(" ({reason})"));
            format!("its weights are in {path}, which cannot be read beside it{reason}")
        })?);
    }
    Ok(data)
}

impl Weight {
    /// Takes the weight's bytes from the beginning of `rest`; the weight, if it is one of real numbers.
    fn take(&self, rest: &mut &[u8]) -> Result<Option<Tensor>, String> {
        let name = &self.name;
        let stored = self.quantization.as_ref().map_or(&self.dtype, |quantization| &quantization.dtype);
        let size = match stored.as_str() {
            "float32" | "int32" => 4,
            "float16" | "uint16" => 2,
            "bool" | "uint8" => 1,
            "complex64" => 8,
            other => return Err(format!("weight {name} has the type {other}, which is not read")),
        };
        let bytes = self.shape.iter().try_fold(size, |bytes: usize, &size| bytes.checked_mul(size));
        let (own, behind) = bytes
            .and_then(|bytes| rest.split_at_checked(bytes))
            .ok_or_else(|| format!("weight {name} is longer than the files of weights; copy them again"))?;
        *rest = behind;
        if self.dtype != "float32" {
            return Ok(None);
        }
        let plain =
            |dtype| Tensor { name: name.clone(), dtype, shape: self.shape.clone(), bytes: own.to_vec() };
        let steps: Vec<f64> = match stored.as_str() {
            "float32" => return Ok(Some(plain(Dtype::F32))),
            "float16" => return Ok(Some(plain(Dtype::F16))),
            "uint8" => own.iter().copied().map(f64::from).collect(),
            "uint16" => own.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes).into()).collect(),
            _ => return Ok(None),
        };
        let range =
            self.quantization.as_ref().and_then(|quantization| quantization.min.zip(quantization.scale));
        let (min, scale) =
            range.ok_or_else(|| format!("weight {name} is quantized without min and scale"))?;
        let numbers: Vec<f64> = steps.into_iter().map(|q| q * scale + min).collect();
        // TensorFlow.js rounds to float32, too.
        Ok(Some(Tensor::of_floats(name.clone(), Dtype::F32, self.shape.clone(), &numbers)))
    }
}
