//! The recurrent nodes of a graph.
//!
//! Source: docs/Operators.md of ONNX 1.23 (LSTM-22, GRU-22, RNN-22) and docs/ContribOperators.md of ONNX Runtime 1.32
//! (DynamicQuantizeLSTM): W (D, G·H, I), R (D, G·H, H), B (D, 2·G·H), gates i, o, f, c and z, r, h, peepholes P (D, 3·H) of i, o, f;
//! quantized weights are (D, I, G·H).

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{cell, directions};
use super::constants::{self, Constants, Values};
use super::graph::{Graph, Model, Node};
use crate::keras::Settings;
use crate::tensor::{Dtype, Tensor, shape};

/// Graphs within graphs, at most.
const DEEPEST: usize = 16;

/// Bytes that weights, of which several nodes may have the same, and arrays under further names may have beyond sixteen times the
/// file's: one of int8 is eight of f64.
const BEYOND: usize = 16 << 20;

/// Lengths that are said one by one, at most.
const SHOWN: usize = 32;

/// Tensors by name, those that cannot be read with the reason, and which cell each module is.
type Found = (BTreeMap<String, Tensor>, BTreeMap<String, String>, Settings);

/// The arrays of the graph by their names, and the weights of its recurrent nodes by the nodes' names with PyTorch's.
///
/// # Errors
/// If the file is damaged.
pub(crate) fn read(bytes: &[u8]) -> Result<Found, String> {
    let graph = Model::graph_of(bytes)?;
    let mut reader = Reader {
        constants: Constants::new(bytes.len()),
        left: bytes.len().saturating_mul(16).saturating_add(BEYOND),
        used: BTreeSet::new(),
        tensors: BTreeMap::new(),
        settings: Settings::default(),
    };
    reader.graph(&graph, 0);
    let mut unreadable = BTreeMap::new();
    let Reader { constants, mut left, used, mut tensors, settings } = reader;
    for (name, array) in constants.arrays.iter().filter(|(name, _)| !used.contains(*name)) {
        match array.tensor(name) {
            Ok(tensor) => drop(tensors.insert(name.clone(), tensor)),
            // Indices and shapes are of no interest.
            Err(_) if array.sizes.len() < 2 => {}
            Err(problem) => drop(unreadable.insert(name.clone(), problem)),
        }
    }
    for (alias, name, array) in constants.aliases().filter(|(_, name, _)| !used.contains(*name)) {
        let Ok(tensor) = array.tensor(alias) else { continue };
        left = left
            .checked_sub(tensor.bytes.len())
            .ok_or_else(|| format!("it gives {name} more names than a file of its length may"))?;
        tensors.entry(alias.into()).or_insert(tensor);
    }
    Ok((tensors, unreadable, settings))
}

struct Reader {
    constants: Constants,
    /// Bytes that weights and arrays under further names may still have.
    left: usize,
    /// The arrays that are weights of recurrent nodes.
    used: BTreeSet<String>,
    tensors: BTreeMap<String, Tensor>,
    settings: Settings,
}

impl Reader {
    fn graph(&mut self, graph: &Graph, depth: usize) {
        self.constants.add(graph);
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
        let attribute = |name: &str| node.attribute(name);
        let input = |place: usize| node.inputs.get(place).filter(|name| !name.is_empty());
        let quantized = node.kind == "DynamicQuantizeLSTM";
        let peepholes = input(7).filter(|_| order.len() == 4).cloned();
        let cell = cell(&node.kind, peepholes.is_some(), &attribute)?;
        let directions = directions(&attribute)?;
        let hidden = attribute("hidden_size").and_then(|of| usize::try_from(of.int).ok());
        let hidden =
            hidden.filter(|hidden| (1..=1 << 32).contains(hidden)).ok_or("it has no possible hidden_size")?;
        let rows = gates * hidden;
        let [w, r] = [1, 2].map(|place| input(place).cloned().unwrap_or_default());
        let scales = |place: usize| [place, place + 1].map(|place| input(place).cloned().unwrap_or_default());
        let [w, r] = if quantized {
            [
                self.quantized(&w, &scales(8), rows, directions)?,
                self.quantized(&r, &scales(10), rows, directions)?,
            ]
        } else {
            [self.values(&w)?, self.values(&r)?]
        };
        let b = input(3).cloned().map(|b| self.values(&b)).transpose()?;
        let inputs = w.shape.last().copied().unwrap_or_default();
        if w.shape != [directions, rows, inputs] || r.shape != [directions, rows, hidden] {
            return Err(format!("its weights do not fit hidden_size {hidden} and its direction"));
        }
        if b.as_ref().is_some_and(|b| b.shape != [directions, 2 * rows]) {
            return Err(format!("its bias does not fit hidden_size {hidden} and its direction"));
        }
        let p = peepholes.map(|p| self.values(&p)).transpose()?;
        if p.as_ref().is_some_and(|p| p.shape != [directions, 3 * hidden]) {
            return Err(format!("its peepholes do not fit hidden_size {hidden} and its direction"));
        }
        let [w, r] = [w, r].map(|values| values.numbers);
        let b = b.map(|values| values.numbers);
        let p = p.map(|values| values.numbers);
        let vectors = [&b, &p].map(|numbers| numbers.as_ref().map_or(0, Vec::len));
        let bytes = 8 * (w.len() + r.len() + vectors.iter().sum::<usize>());
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or("its weights are those of more nodes than a file of its length may have")?;
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
            for (place, parameter) in ["peephole_i", "peephole_o", "peephole_f"].into_iter().enumerate() {
                let Some(p) = &p else { continue };
                let own = &p[(3 * d + place) * hidden..][..hidden];
                let full = format!("{name}.{parameter}{suffix}");
                self.tensors.insert(full.clone(), Tensor::of_floats(full, Dtype::F64, vec![hidden], own));
            }
        }
        if quantized {
            self.settings.said.push(format!(
                "the weights of {name} are quantized; they are read as (q − zero point) · scale"
            ));
        }
        self.say_what_it_is_given(name, node);
        Ok(cell)
    }

    /// Says which lengths and initial states the graph gives a node, of which a module here has none.
    fn say_what_it_is_given(&mut self, name: &str, node: &Node) {
        let input = |place: usize| node.inputs.get(place).filter(|name| !name.is_empty());
        let said = &mut self.settings.said;
        if let Some(lengths) = input(4) {
            said.push(match self.constants.values(lengths) {
                Ok(values) if values.numbers.len() <= SHOWN => format!(
                    "{name} is given the lengths {:?} in the graph; give --lengths if sequences end early",
                    constants::integers(&values)
                ),
                _ => format!("{name} is given lengths in the graph; give --lengths if sequences end early"),
            });
        }
        for (place, what, option) in [(5, "initial_h", "--h0"), (6, "initial_c", "--c0")] {
            let Some(state) = input(place).filter(|state| !self.constants.is_zero(state)) else { continue };
            said.push(match self.constants.values(state) {
                Ok(values) => format!(
                    "{name} begins with {what} in the graph, the array {state:?} of shape {}, which is not zero; give it with \
                     {option}",
                    shape(&values.shape)
                ),
                Err(_) => format!(
                    "{name} is given {what} {state:?} in the graph, which is an input or computed; give {option} if it is not \
                     zero"
                ),
            });
        }
    }

    fn values(&mut self, name: &str) -> Result<Values, String> {
        let values = self.constants.values(name)?;
        self.used.extend(values.sources.iter().cloned());
        Ok(values)
    }

    /// (q − zero point) · scale as (D, rows, width), from (D, width, rows); scales for all of a direction or for each of its rows.
    fn quantized(
        &mut self,
        name: &str,
        scales: &[String; 2],
        rows: usize,
        directions: usize,
    ) -> Result<Values, String> {
        let (Values { shape, numbers: q, sources }, scale) =
            (self.values(name)?, self.values(&scales[0])?.numbers);
        let zero = if scales[1].is_empty() { vec![0.0] } else { self.values(&scales[1])?.numbers };
        let width = shape.get(1).copied().unwrap_or_default();
        let known = |numbers: &[f64]| [1, directions, directions * rows].contains(&numbers.len());
        if shape != [directions, width, rows] || !known(&scale) || !known(&zero) {
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
        let numbers = all.map(|(d, row, i)| number(d, row, i)).collect();
        Ok(Values { shape: vec![directions, rows, width], numbers, sources })
    }
}
