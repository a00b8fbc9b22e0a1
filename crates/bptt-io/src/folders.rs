//! Folders that are given in place of a model's file.

use std::path::Path;

/// Files of Orbax 0.12 in the folder of a step or of an item of it.
const ORBAX: [&str; 4] = ["_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "ocdbt.process_0"];

/// What a folder is and what to do, as it is none of the files that are read.
pub(crate) fn what_it_is(folder: &Path) -> String {
    let has = |name: &str| folder.join(name).exists();
    if is_orbax(folder) {
        return "it is a folder of Orbax's, which is not read; restore it and write the parameters to a file: \
                open(\"model.msgpack\", \"wb\").write(flax.serialization.to_bytes(parameters))"
            .into();
    }
    if has("saved_model.pb") {
        return "it is a SavedModel of TensorFlow's, which is not read; save the model as a file of Keras': \
                model.save(\"model.keras\")"
            .into();
    }
    match ["model.json", "model.safetensors", "pytorch_model.bin"].into_iter().find(|name| has(name)) {
        Some(name) => format!("it is a folder; give the file {name} in it"),
        None => "it is a folder; give the file of the model".into(),
    }
}

/// Whether it is Orbax', or that of its `CheckpointManager`, which keeps a folder for each step.
fn is_orbax(folder: &Path) -> bool {
    let has_files = |folder: &Path| ORBAX.iter().any(|file| folder.join(file).exists());
    let steps = folder.read_dir().into_iter().flatten().flatten();
    has_files(folder) || steps.map(|entry| entry.path()).any(|step| step.is_dir() && has_files(&step))
}
