//! The recurrent nodes of a graph.
//!
//! Source: docs/Operators.md of ONNX 1.23 (LSTM-22, GRU-22, RNN-22) and docs/ContribOperators.md of ONNX Runtime 1.32
//! (DynamicQuantizeLSTM): W (D, G·H, I), R (D, G·H, H), B (D, 2·G·H), gates i, o, f, c and z, r, h; quantized weights are
//! (D, I, G·H).

use std::collections::BTreeMap;

use super::graph::{Array, Attribute, Graph, Model, Node};
use crate::keras::Settings;
use crate::tensor::{Dtype, Tensor};

/// Graphs within graphs, at most.
const DEEPEST: usize = 16;

/// Tensors by name, those that cannot be read with the reason, and which cell each module is.
type Found = (BTreeMap<String, Tensor>, BTreeMap<String, String>, Settings);

/// The arrays of the graph by their names, and the weights of its recurrent nodes by the nodes' names with PyTorch's.
///
/// # Errors
/// If the file is damaged.
pub(crate) fn read(bytes: &[u8]) -> Result<Found, String> {
    let graph = Model::graph_of(bytes)?;
    let mut reader = Reader {
        arrays: BTreeMap::new(),
        used: Vec::new(),
        tensors: BTreeMap::new(),
        settings: Settings::default(),
    };
    reader.graph(&graph, 0);
    let mut unreadable = BTreeMap::new();
    let Reader { arrays, used, mut tensors, settings } = reader;
    for (name, array) in arrays.iter().filter(|(name, _)| !used.contains(name)) {
        match array.tensor(name) {
            Ok(tensor) => drop(tensors.insert(name.clone(), tensor)),
            // Indices and shapes are of no interest.
            Err(_) if array.sizes.len() < 2 => {}
            Err(problem) => drop(unreadable.insert(name.clone(), problem)),
        }
    }
    Ok((tensors, unreadable, settings))
}

struct Reader {
    /// Initializers and constants.
    arrays: BTreeMap<String, Array>,
    /// Those that are weights of recurrent nodes.
    used: Vec<String>,
    tensors: BTreeMap<String, Tensor>,
    settings: Settings,
}

impl Reader {
    fn graph(&mut self, graph: &Graph, depth: usize) {
        for array in &graph.initializers {
            self.arrays.insert(array.name.clone(), array.clone());
        }
        for node in graph.nodes.iter().filter(|node| node.kind == "Constant") {
            let value = node.attributes.iter().find_map(|attribute| attribute.array.clone());
            if let (Some(value), Some(output)) = (value, node.outputs.first()) {
                self.arrays.insert(output.clone(), value);
            }
        }
        for node in &graph.nodes {
            if let "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM" = node.kind.as_str() {
                let given = if node.name.is_empty() { node.outputs.concat() } else { node.name.clone() };
                let mut name = given.trim_matches('/').replace('/', ".");
                // Names may become equal, and those of branches may be.
                while self.tensors.contains_key(&format!("{name}.weight_hh_l0")) {
                    name.push('\'');
                }
                let cell = self.node(node, &name);
                // A place for a module that cannot be read, so that it is refused by its name.
                if cell.is_err() {
                    let place = format!("{name}.weight_hh_l0");
                    let none = Tensor::of_floats(place.clone(), Dtype::F32, vec![0, 0], &[]);
                    self.tensors.insert(place, none);
                }
                self.settings.set(&name, cell);
            }
            if depth < DEEPEST {
                node.attributes
                    .iter()
                    .filter_map(|of| of.graph.as_ref())
                    .for_each(|graph| self.graph(graph, depth + 1));
            }
        }
    }

    /// Puts a node's weights among the tensors; its cell.
    fn node(&mut self, node: &Node, name: &str) -> Result<String, String> {
        let (order, gates): (&[usize], usize) = match node.kind.as_str() {
            "GRU" => (&[1, 0, 2], 3),
            "RNN" => (&[0], 1),
            _ => (&[0, 2, 3, 1], 4),
        };
        let attribute = |name: &str| node.attributes.iter().find(|attribute| attribute.name == name);
        let cell = cell(&node.kind, &attribute)?;
        let directions = match attribute("direction").map_or(&b"forward"[..], |of| &of.text) {
            b"forward" => 1,
            b"bidirectional" => 2,
            _ => {
                return Err(
                    "it reads backwards (direction reverse), which is not read; reverse its inputs".into()
                );
            }
        };
        let input = |place: usize| node.inputs.get(place).filter(|name| !name.is_empty());
        let quantized = node.kind == "DynamicQuantizeLSTM";
        if node.kind != "RNN" && node.kind != "GRU" && input(7).is_some() {
            return Err("it has peepholes (input P), which are not read".into());
        }
        let hidden =
            attribute("hidden_size").and_then(|of| usize::try_from(of.int).ok()).filter(|hidden| *hidden > 0);
        let hidden = hidden.ok_or("it has no hidden_size")?;
        let rows = gates * hidden;
        let [w, r] = [1, 2].map(|place| input(place).cloned().unwrap_or_default());
        let scales = |place: usize| [place, place + 1].map(|place| input(place).cloned().unwrap_or_default());
        let [w, r] = if quantized {
            [
                self.quantized(&w, &scales(8), rows, directions)?,
                self.quantized(&r, &scales(10), rows, directions)?,
            ]
        } else {
            [self.numbers(&w)?, self.numbers(&r)?]
        };
        let b = input(3).cloned().map(|b| self.numbers(&b)).transpose()?;
        let inputs = w.len() / (directions * rows).max(1);
        if w.len() != directions * rows * inputs || r.len() != directions * rows * hidden {
            return Err(format!("its weights do not fit hidden_size {hidden}"));
        }
        if b.as_ref().is_some_and(|b| b.len() != directions * 2 * rows) {
            return Err(format!("its bias does not fit hidden_size {hidden}"));
        }
        for d in 0..directions {
            let suffix = if d == 0 { "_l0" } else { "_l0_reverse" };
            let mut put = |parameter: &str, numbers: &[f64], shape: Vec<usize>| {
                let width = numbers.len() / rows;
                let block = |gate: &usize| &numbers[gate * hidden * width..(gate + 1) * hidden * width];
                let ordered: Vec<f64> = order.iter().flat_map(block).copied().collect();
                let full = format!("{name}.{parameter}{suffix}");
                self.tensors.insert(full.clone(), Tensor::of_floats(full, Dtype::F64, shape, &ordered));
            };
            put("weight_ih", &w[d * rows * inputs..][..rows * inputs], vec![rows, inputs]);
            put("weight_hh", &r[d * rows * hidden..][..rows * hidden], vec![rows, hidden]);
            if let Some(b) = &b {
                put("bias_ih", &b[d * 2 * rows..][..rows], vec![rows]);
                put("bias_hh", &b[(d * 2 + 1) * rows..][..rows], vec![rows]);
            }
        }
        if quantized {
            self.settings.said.push(format!(
                "the weights of {name} are quantized; they are read as (q − zero point) · scale"
            ));
        }
        if input(4).is_some() {
            self.settings
                .said
                .push(format!("{name} is given lengths in the graph; give --lengths if sequences end early"));
        }
        Ok(cell)
    }

    fn numbers(&mut self, name: &str) -> Result<Vec<f64>, String> {
        let array = self.arrays.get(name).ok_or_else(|| {
            format!("its weights {name:?} are computed in the graph; save the model with them as arrays (initializers)")
        })?;
        let tensor = array.tensor(name)?;
        self.used.push(name.into());
        let integers = || Some(tensor.integers()?.into_iter().map(|number| number as f64).collect());
        tensor.floats().or_else(integers).ok_or_else(|| format!("{name} has no numbers"))
    }

    /// (q − zero point) · scale as (D, rows, width), from (D, width, rows); scales for all of a direction or for each of its rows.
    fn quantized(
        &mut self,
        name: &str,
        scales: &[String; 2],
        rows: usize,
        directions: usize,
    ) -> Result<Vec<f64>, String> {
        let (q, scale) = (self.numbers(name)?, self.numbers(&scales[0])?);
        let zero = if scales[1].is_empty() { vec![0.0] } else { self.numbers(&scales[1])? };
        let width = q.len() / (directions * rows).max(1);
        let known = |numbers: &[f64]| [1, directions, directions * rows].contains(&numbers.len());
        if q.len() != directions * rows * width || !known(&scale) || !known(&zero) {
            return Err("its quantized weights do not fit".into());
        }
        let of = |numbers: &[f64], d: usize, row: usize| match numbers.len() {
            1 => numbers[0],
            n if n == directions => numbers[d],
            _ => numbers[d * rows + row],
        };
        let number = |d: usize, row: usize, i: usize| {
            (q[(d * width + i) * rows + row] - of(&zero, d, row)) * of(&scale, d, row)
        };
        let all =
            (0..directions).flat_map(|d| (0..rows).flat_map(move |row| (0..width).map(move |i| (d, row, i))));
        Ok(all.map(|(d, row, i)| number(d, row, i)).collect())
    }
}

/// The registered cell of a node.
fn cell<'a>(kind: &str, attribute: &impl Fn(&str) -> Option<&'a Attribute>) -> Result<String, String> {
    if attribute("clip").is_some_and(|of| of.float != 0.0) {
        return Err("it clips its pre-activations (clip), which no cell here does".into());
    }
    if attribute("input_forget").is_some_and(|of| of.int != 0) {
        return Err("its input and forget gates are one (input_forget), which no cell here has".into());
    }
    if attribute("activation_alpha").or(attribute("activation_beta")).is_some() {
        return Err(
            "its activations have parameters (activation_alpha, activation_beta), which are not read".into(),
        );
    }
    let given: Vec<String> = attribute("activations")
        .map(|of| of.texts.iter().map(|name| String::from_utf8_lossy(name).to_lowercase()).collect())
        .unwrap_or_default();
    let usual: &[&str] = match kind {
        "RNN" => &["tanh"],
        "GRU" => &["sigmoid", "tanh"],
        _ => &["sigmoid", "tanh", "tanh"],
    };
    let known = |name: &str| match name {
        // ONNX' HardSigmoid is clip(0.2 a + 0.5, 0, 1) by default.
        "hardsigmoid" => Some("hard_sigmoid_0.2"),
        "tanh" => Some("tanh"),
        "sigmoid" => Some("sigmoid"),
        "relu" => Some("relu"),
        _ => None,
    };
    let names: Option<Vec<&str>> = given.iter().map(|name| known(name)).collect();
    let names =
        names.ok_or_else(|| format!("its activations are {}, which are not known here", given.join(", ")))?;
    let names = if names.is_empty() { usual.to_vec() } else { names };
    let (first, rest) = names.split_at_checked(usual.len()).ok_or("it has too few activations")?;
    if !rest.is_empty() && rest != first {
        return Err("its two directions have different activations".into());
    }
    let before = attribute("linear_before_reset").is_none_or(|of| of.int == 0);
    Ok(match (kind, first) {
        ("RNN", ["tanh"]) => "rnn".into(),
        ("RNN", ["relu"]) => "rnn_relu".into(),
        ("RNN", _) => {
            return Err(format!("its activation is {}, which a vanilla layer has not here", first[0]));
        }
        ("GRU", _) => {
            let base = if before { "gru_reset_before" } else { "gru" };
            if first == usual { base.into() } else { format!("{base}_with:{}", first.join(",")) }
        }
        _ if first == usual => "lstm".into(),
        _ => format!("lstm_with:{}", first.join(",")),
    })
}
