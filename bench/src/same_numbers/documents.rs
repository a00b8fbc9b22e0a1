//! What a command left behind, as numbers by path, and the comparison of two of them.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

/// Numbers that are not reproducible, by the last part of their path.
const EXCLUDED: [&str; 1] = ["seconds"];

/// Texts that are compared like numbers, by the last part of their path before any index.
const COMPARED_TEXTS: [&str; 2] = ["state", "text"];

/// Keys by which the objects of a list are identified; lists without them are matched by position. Each row has
/// the names of one key in both builds.
const IDENTITY: [&[&str]; 8] =
    [&["event"], &["step"], &["layer"], &["direction"], &["parameter"], &["gate"], &["lag"], &["name"]];

/// Paths that have another name in the new build: (old, new). Parts are separated by `/`; `*` stands for one part and is put
/// in place of the `*` of the new path. A rule holds for everything below its path. The first part is the document's schema.
const RENAMED: [(&str, &str); 3] = [
    ("ledger/loss_steps", "ledger/steps"),
    ("ledger/uncut", "ledger/gradient_span"),
    ("tasks/tasks/pantry", "tasks/tasks/cue_sentences"),
];

/// Beginnings of words in labels, keys and tables that the new build writes otherwise: (old, new).
const RENAMED_WORDS: [(&str, &str); 1] = [("initial_memory", "initial_cell_state")];

/// Paths whose numbers are known to differ; `*` stands for one part.
const CHANGED: [&str; 5] = [
    // In the precision audit the old build rounded numbers to bf16 without regard to their last three bits (`half` 2.7,
    // `bf16::from_f64`), so that some went to the farther neighbor.
    "diagnosis/precision/lags/*/bf16",
    // The bf16 gradients of cells that PyTorch has are rounded within each step, too.
    "diagnosis/precision/bf16_sums",
    // The error of a sum is now relative to the sum of the norms of what was added, not to the norm of the sum.
    "ledger/balance",
    "diagnosis/measured/reach/balance",
    // The shares of an update follow from the trainer's own rule, in its order of operations: their last digits differ.
    "diagnosis/update/lags/*/update",
];

/// Everything a command left behind, flat.
#[derive(Default)]
pub struct Document {
    numbers: BTreeMap<String, String>,
    texts: BTreeMap<String, String>,
}

/// What distinguishes two documents.
#[derive(Default)]
pub struct Comparison {
    /// How many numbers were compared.
    pub numbers: usize,
    /// Numbers that differ or are missing in the new document.
    pub unequal: Vec<String>,
    /// Texts that differ or are missing.
    pub texts: Vec<String>,
    /// What only the new document has.
    pub added: Vec<String>,
}

impl Document {
    /// Adds a number as it is written.
    pub fn number(&mut self, path: &str, number: &str) {
        self.numbers.insert(path.into(), number.into());
    }

    /// Adds a JSON value. Numbers are read exactly and written as the shortest text that reads back as the same, so that equal
    /// texts are equal bits. Booleans and null count as numbers: null stands for NaN and for what does not exist.
    pub fn json(&mut self, path: &str, value: &Value) {
        let join = |part: &str| format!("{path}/{part}");
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| self.json(&join(key), value)),
            Value::Array(list) => {
                let labels = labels(list);
                list.iter().zip(labels).for_each(|(value, label)| self.json(&join(&label), value));
            }
            Value::String(text) if !is_compared(path) => {
                self.texts.insert(path.into(), text.clone());
            }
            Value::String(text) => self.number(path, text),
            _ if EXCLUDED.contains(&last_part(path)) => {}
            number => self.number(path, &number.to_string()),
        }
    }

    /// Adds comma-separated values with a header; every field counts as a number.
    pub fn table(&mut self, path: &str, file: &Path) -> Result<(), Box<dyn Error>> {
        let text = read(file)?;
        let text = String::from_utf8(text)?;
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        for (row, line) in lines.enumerate() {
            for (column, field) in header.iter().zip(line.split(',')) {
                self.number(&format!("{path}/{row}/{column}"), field);
            }
        }
        Ok(())
    }

    /// Adds a safetensors file: the bytes of each tensor are one number.
    pub fn tensors(&mut self, path: &str, file: &Path) -> Result<(), Box<dyn Error>> {
        let bytes = read(file)?;
        for (name, tensor) in SafeTensors::deserialize(&bytes)?.iter() {
            let hex: String = tensor.data().iter().map(|byte| format!("{byte:02x}")).collect();
            self.number(&format!("{path}/{name}"), &format!("{} {:?} {hex}", tensor.dtype(), tensor.shape()));
        }
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        for (key, text) in header.metadata().iter().flatten() {
            self.texts.insert(format!("{path}/metadata/{key}"), text.clone());
        }
        Ok(())
    }

    /// Adds a run's folder: settings, vocabulary, metrics, weights and snapshots.
    pub fn run(&mut self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let config = String::from_utf8(read(&folder.join("config.toml"))?)?;
        self.json("config", &toml::from_str(&config)?);
        let vocabulary = folder.join("vocabulary.json");
        if vocabulary.exists() {
            self.json("vocabulary", &serde_json::from_slice(&read(&vocabulary)?)?);
        }
        let metrics = String::from_utf8(read(&folder.join("metrics.jsonl"))?)?;
        let lines: Result<Vec<Value>, _> = metrics.lines().map(serde_json::from_str).collect();
        self.json("metrics", &Value::Array(lines?));
        self.tensors("weights", &folder.join("model.safetensors"))?;
        let snapshots = folder.join("snapshots");
        if snapshots.exists() {
            for snapshot in std::fs::read_dir(snapshots)? {
                let file = snapshot?.path();
                let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                self.tensors(&format!("snapshots/{name}"), &file)?;
            }
        }
        Ok(())
    }

    /// Compares a new document with this one.
    pub fn compare(&self, new: &Self) -> Comparison {
        self.compare_with(new, &RENAMED)
    }

    /// Whether the old build's `number` is this document's: the same, or part of a row that is null as a whole because its step
    /// has no loss. The old build wrote such rows as nulls and as states `m`, masked.
    fn has(&self, path: &str, number: &str) -> bool {
        let masked = !number.is_empty() && number.chars().all(|letter| letter == 'm');
        let row = path.rsplit_once('/').map_or("", |(row, _)| row);
        match self.numbers.get(path).map(String::as_str) {
            Some(found) => *found == word(number) || (found == "null" && masked),
            None => number == "null" && self.numbers.get(row).is_some_and(|row| row == "null"),
        }
    }

    fn compare_with(&self, new: &Self, rules: &[(&str, &str)]) -> Comparison {
        let mut found = Comparison { numbers: self.numbers.len(), ..Comparison::default() };
        let mut known = Vec::new();
        for (path, number) in &self.numbers {
            let path = renamed(path, rules);
            if !new.has(&path, number) && !is_changed(&path) {
                let instead = new.numbers.get(&path).map_or("nothing".into(), |number| short(number));
                found.unequal.push(format!("{path}: {instead} instead of {}", short(number)));
            }
            known.push(path);
        }
        for (path, text) in &self.texts {
            let path = renamed(path, rules);
            match new.texts.get(&path) {
                Some(same) if same == text => {}
                Some(other) => found.texts.push(format!("{path}: {other:?} instead of {text:?}")),
                None => found.texts.push(format!("{path}: missing, {text:?} in the old build")),
            }
            known.push(path);
        }
        known.sort();
        let added = new.numbers.keys().chain(new.texts.keys());
        found.added = added.filter(|path| known.binary_search(path).is_err()).cloned().collect();
        found
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()).into())
}

/// The path parts of a list's elements: what identifies an object, otherwise the position.
fn labels(list: &[Value]) -> Vec<String> {
    let label = |value: &Value| -> Option<String> {
        let object = value.as_object()?;
        let of = |names: &&[&str]| names.iter().find_map(|name| object.get(*name)).filter(|v| !v.is_array());
        let parts: Vec<String> =
            IDENTITY.iter().filter_map(of).map(|v| v.to_string().replace('"', "")).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    };
    let labels: Vec<Option<String>> = list.iter().map(label).collect();
    let mut sorted: Vec<&String> = labels.iter().flatten().collect();
    sorted.sort();
    sorted.dedup();
    if sorted.len() == list.len() {
        return labels.into_iter().flatten().collect();
    }
    (0..list.len()).map(|i| i.to_string()).collect()
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_compared(path: &str) -> bool {
    let part = path.rsplit('/').find(|part| part.parse::<usize>().is_err());
    part.is_some_and(|part| COMPARED_TEXTS.contains(&part))
}

fn is_changed(path: &str) -> bool {
    let begins = |known: &str| {
        let mut parts = path.split('/');
        known.split('/').all(|expected| parts.next().is_some_and(|part| expected == "*" || part == expected))
    };
    CHANGED.into_iter().any(begins)
}

/// A path under the first rule that holds for it.
fn renamed(path: &str, rules: &[(&str, &str)]) -> String {
    let apply = |(old, new): &(&str, &str)| -> Option<String> {
        let (mut rest, mut stars) = (path.split('/'), Vec::new());
        for expected in old.split('/') {
            let part = rest.next()?;
            match expected {
                "*" => stars.push(part),
                expected if expected == part => {}
                _ => return None,
            }
        }
        let mut stars = stars.into_iter();
        let parts = new.split('/').map(|part| if part == "*" { stars.next().unwrap_or("*") } else { part });
        Some(parts.chain(rest).collect::<Vec<_>>().join("/"))
    };
    let path = rules.iter().find_map(apply).unwrap_or_else(|| path.into());
    let part = |part: &str| part.split(' ').map(word).collect::<Vec<_>>().join(" ");
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// The new build's word: a name, which a cell's may follow, as in `initial_memory_l0`.
fn word(old: &str) -> String {
    let renamed = |(from, to): &(&str, &str)| {
        let rest = old.strip_prefix(from)?;
        (rest.is_empty() || rest.starts_with("_l")).then(|| format!("{to}{rest}"))
    };
    RENAMED_WORDS.iter().find_map(renamed).unwrap_or_else(|| old.into())
}

/// A value short enough for a line.
fn short(value: &str) -> String {
    let head: String = value.chars().take(60).collect();
    if head.len() < value.len() { head + " …" } else { head }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(value: &Value) -> Document {
        let mut document = Document::default();
        document.json("ledger", value);
        document
    }

    #[test]
    fn one_bit_is_a_difference_and_excluded_numbers_are_none() {
        let old = document(&json!({"a": [1.0, 0.0], "seconds": 1}));
        assert!(old.compare(&document(&json!({"a": [1.0, 0.0], "seconds": 2}))).unequal.is_empty());
        for other in [json!([1.0 + f64::EPSILON, 0.0]), json!([1.0, -0.0]), json!([1.0, null]), json!([1.0])]
        {
            let found = old.compare(&document(&json!({"a": other})));
            assert_eq!((found.numbers, found.unequal.len()), (2, 1), "{other}");
        }
    }

    #[test]
    fn rules_rename_everything_below_a_path() {
        let old = document(&json!({"entries": [{"layer": 0, "norm": {"rows": [1.5]}}], "K": 3}));
        let new = document(&json!({"cells": [{"layer": 0, "norms": {"rows": [1.5]}}], "K": 3, "more": 1}));
        let rules =
            [("ledger/entries/*/norm", "ledger/cells/*/norms"), ("ledger/entries/*", "ledger/cells/*")];
        let found = old.compare_with(&new, &rules);
        assert_eq!((found.unequal, found.added), (vec![], vec!["ledger/more".to_owned()]));
        assert_eq!(old.compare(&new).unequal.len(), 2);
    }

    #[test]
    fn entries_are_matched_by_what_they_are_of_and_not_by_position() {
        let entry = |parameter: &str, norm: f64| json!({"layer": 0, "parameter": parameter, "norm": norm});
        let old = document(&json!([entry("bias", 1.0), entry("input", 2.0)]));
        let new = document(&json!([entry("input", 2.0), entry("more", 3.0), entry("bias", 1.0)]));
        let found = old.compare(&new);
        assert!(found.unequal.is_empty());
        assert_eq!(found.added.len(), 3);
    }

    #[test]
    fn a_row_of_a_step_without_a_loss_may_be_null_as_a_whole() {
        let old = document(&json!({"norm": [[null, null], [1.0, 2.0]], "state": ["mm", "vv"]}));
        let null = document(&json!({"norm": [null, [1.0, 2.0]], "state": [null, "vv"]}));
        assert!(old.compare(&null).unequal.is_empty());
        let wrong = document(&json!({"norm": [[null, null], null], "state": ["mm", null]}));
        assert_eq!(old.compare(&wrong).unequal.len(), 3);
    }

    #[test]
    fn changed_texts_are_told_but_a_changed_state_fails() {
        let of = |words: &str, state: &str| document(&json!({"sentence": words, "state": [state, "v."]}));
        let found = of("one", "v.").compare(&of("two", "v0"));
        assert_eq!((found.unequal.len(), found.texts.len()), (1, 1));
    }
}
