//! Where a network, its inputs and its losses come from, and what was assumed about them because it was not given.

use std::path::Path;

use bptt::Network;
use bptt_train::{Config, run as runs};
use serde_json::{Map, Value, json};

/// Named values and assumptions, for the JSON and for stderr.
#[derive(Clone, Debug, Default)]
pub(super) struct Provenance {
    values: Map<String, Value>,
    assumptions: Vec<String>,
}

impl Provenance {
    /// Of the run in `folder`.
    pub fn of_run(folder: &Path, config: &Config) -> Self {
        let mut provenance = Self::default();
        provenance.set("run", folder.to_string_lossy());
        match &config.task {
            Some(task) => provenance.set("task", task.as_str()),
            None => provenance.set("level", config.level.to_string()),
        }
        provenance.set("seed", config.seed);
        if !runs::has_digests(folder) {
            provenance.assume("the files of the run are those that were written: runs of the first version have no checksums");
        }
        provenance
    }

    /// Adds a value.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.into(), value.into());
    }

    /// Adds the values of a network. Every command computes in f64, whatever the precision of the file.
    pub fn set_network(&mut self, network: &Network<f64>) {
        self.set("cell", network.spec().name.as_str());
        let sizes = [
            ("layers", network.depth()),
            ("directions", network.directions()),
            ("inputs", network.inputs()),
            ("hidden", network.hidden()),
        ];
        for (key, size) in sizes {
            self.set(key, size);
        }
        self.set("precision", "f64");
    }

    /// Adds a sentence, without a full stop.
    pub fn assume(&mut self, sentence: impl Into<String>) {
        self.assumptions.push(sentence.into());
    }

    /// The sentences.
    pub fn assumptions(&self) -> &[String] {
        &self.assumptions
    }

    /// The values.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Adds both to a JSON object.
    pub fn put_into(&self, object: &mut Value) {
        object["provenance"] = Value::Object(self.values.clone());
        object["assumptions"] = json!(self.assumptions);
    }

    /// Prints the assumptions on stderr. `--quiet` does not silence them.
    pub fn say(&self) {
        say([self]);
    }
}

/// Prints the assumptions of several networks on stderr, each sentence once.
pub(super) fn say<'a>(all: impl IntoIterator<Item = &'a Provenance>) {
    let mut said: Vec<&String> = Vec::new();
    for sentence in all.into_iter().flat_map(|provenance| &provenance.assumptions) {
        if !said.contains(&sentence) {
            eprintln!("assumed: {sentence}");
            said.push(sentence);
        }
    }
}
