//! Puts the parameters of sources that PyTorch's reader does not know together, with PyTorch's names and arrangement, before
//! modules are looked for. `conventions/recipes.rs` says how.

use std::collections::BTreeMap;

use crate::conventions::recipe::{Form, Names, Part, Recipe, Stack};
use crate::conventions::recipes::RECIPES;
use crate::conventions::{Convention, Parameter};
use crate::layout::Layout;
use crate::tensor::{Dtype, FLOATS, Tensor, shape};

/// A module that was put together.
#[derive(Clone, Debug)]
pub(crate) struct Rearranged {
    /// Whose names its tensors had.
    pub convention: Convention,
    /// The registered cell, none if its names tell it, or why the module cannot be read.
    pub cell: Result<Option<&'static str>, String>,
    /// How its tensors were arranged, in a sentence's part; empty if they were not put together.
    pub arrangement: String,
    /// What is assumed of it, behind its name; empty for nothing.
    pub assumes: &'static str,
    /// The names by which its source is known, if others may have them, too; else empty.
    pub known_by: String,
}

type Named = BTreeMap<String, Tensor>;

/// Replaces the tensors of each such module by those that PyTorch would have, `PREFIXweight_hh_l0` and so on. Returns the
/// modules by their prefixes. One that lacks something is left, with an empty `PREFIXweight_hh_l0` in its place, so that it is
/// refused by its name.
pub(crate) fn rearrange(tensors: &mut Named, layout: &Layout) -> BTreeMap<String, Rearranged> {
    let mut found = BTreeMap::new();
    for group in group(matches(tensors, layout)) {
        let Group { base, recipe, cells } = group;
        let cells = cells.and_then(|cells| {
            let assembled = cells.iter().map(|cell| cell.fit.assemble(tensors, recipe));
            assembled.collect::<Result<Vec<_>, _>>().map(|parameters| (cells, parameters))
        });
        let mut known_by = String::new();
        let (arrangement, cell) = match cells {
            Ok((cells, parameters)) => {
                let arrangement = cells[0].fit.arrangement(recipe);
                if recipe.names == Names::Shared {
                    known_by = cells[0].fit.sources.join(", ");
                }
                for (cell, parameters) in cells.iter().zip(parameters) {
                    for name in &cell.fit.sources {
                        tensors.remove(name);
                    }
                    for (parameter, mut tensor) in parameters {
                        let direction = if cell.reverse { "_reverse" } else { "" };
                        let name = Convention::PyTorch.name(parameter);
                        tensor.name = format!("{base}{name}_l{}{direction}", cell.layer);
                        tensors.insert(tensor.name.clone(), tensor);
                    }
                }
                (arrangement, Ok(Some(recipe.cell)))
            }
            Err(problem) => {
                let place = format!("{base}weight_hh_l0");
                let none = Tensor::of_floats(place.clone(), Dtype::F32, vec![0, 0], &[]);
                tensors.entry(place).or_insert(none);
                (String::new(), Err(problem))
            }
        };
        let rearranged = Rearranged {
            convention: recipe.convention,
            cell,
            arrangement,
            assumes: recipe.assumes,
            known_by,
        };
        found.insert(base, rearranged);
    }
    found
}

/// A module's prefix and recipe, and where its tensors are, or why they are not all there.
struct Match {
    prefix: String,
    recipe: &'static Recipe,
    fit: Result<Fit, String>,
}

/// The sizes of a module, and what its tensors are called in the file.
struct Fit {
    gates: usize,
    hidden: usize,
    inputs: usize,
    /// For each part of the recipe its name in the file, if it is there.
    names: Vec<Option<String>>,
    /// For each part, which of PyTorch's gates its blocks are.
    orders: Vec<Vec<usize>>,
    sources: Vec<String>,
}

/// A name with slashes alone, without TensorFlow's ending.
fn path(name: &str) -> String {
    name.trim_end_matches(":0").replace('.', "/")
}

fn matches(tensors: &Named, layout: &Layout) -> Vec<Match> {
    let names: BTreeMap<String, &str> = tensors.keys().map(|name| (path(name), name.as_str())).collect();
    let mut candidates: BTreeMap<&str, Vec<&'static Recipe>> = BTreeMap::new();
    for recipe in &RECIPES {
        let is_open = recipe.names != Names::Asked || layout.asks_for(recipe.convention);
        if !is_open || !layout.allows(recipe.convention) {
            continue;
        }
        for (path, name) in &names {
            let Some(prefix) = path.strip_suffix(recipe.parts[0].name) else { continue };
            let is_whole = prefix.is_empty() || prefix.ends_with('/');
            let module = prefix.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            let is_named =
                layout.asks_for(recipe.convention) || module.to_lowercase().contains(recipe.within);
            if is_whole && is_named {
                candidates.entry(&name[..prefix.len()]).or_default().push(recipe);
            }
        }
    }
    let mut found = Vec::new();
    for (prefix, recipes) in candidates {
        let fits = recipes.iter().map(|recipe| (*recipe, Fit::new(tensors, &names, prefix, recipe, layout)));
        let mut fits: Vec<_> = fits.collect();
        let is_certain = |recipe: &Recipe| recipe.names == Names::Alone || layout.asks_for(recipe.convention);
        let chosen = fits
            .iter()
            .position(|(_, fit)| fit.is_ok())
            .or_else(|| fits.iter().position(|(recipe, _)| is_certain(recipe)));
        if let Some(chosen) = chosen {
            let (recipe, fit) = fits.swap_remove(chosen);
            found.push(Match { prefix: prefix.into(), recipe, fit });
        }
    }
    found
}

impl Fit {
    fn new(
        tensors: &Named,
        names: &BTreeMap<String, &str>,
        prefix: &str,
        recipe: &Recipe,
        layout: &Layout,
    ) -> Result<Self, String> {
        let find =
            |part: &Part| names.get(&format!("{}{}", path(prefix), part.name)).map(|name| (*name).to_owned());
        let found: Vec<Option<String>> = recipe.parts.iter().map(find).collect();
        let gates = recipe.parts.iter().flat_map(|part| part.gates).max().map_or(1, |last| last + 1);
        let is_there = |part: &Part| find(part).is_some();
        let some_optional = recipe.parts.iter().any(|part| part.optional && is_there(part));
        for (part, name) in recipe.parts.iter().zip(&found) {
            if name.is_none() && (!part.optional || some_optional) {
                let (title, known) = (recipe.convention.title(), recipe.parts.iter().map(|part| part.name));
                return Err(format!(
                    "tensor {prefix}{} is missing; {title}'s {} has {}, and its other cells are not read",
                    part.name,
                    recipe.cell,
                    known.collect::<Vec<_>>().join(", ")
                ));
            }
        }
        let orders: Result<Vec<Vec<usize>>, String> = recipe
            .parts
            .iter()
            .map(|part| match layout.order(gates) {
                Some(order) if part.gates.len() == gates => Ok(order),
                _ if layout.has_gates() && gates > 1 && part.to == Parameter::WeightHh => Err(format!(
                    "--gate-order does not fit: it has {gates} gates, in {} matrices",
                    if part.gates.len() == gates { "whole" } else { "separate" }
                )),
                _ => Ok(part.gates.to_vec()),
            })
            .collect();
        let mut fit =
            Self { gates, hidden: 0, inputs: 0, names: found, orders: orders?, sources: Vec::new() };
        fit.sources = fit.names.iter().flatten().cloned().collect();
        fit.measure(tensors, recipe)?;
        Ok(fit)
    }

    /// H and I, and whether every shape is as they say.
    fn measure(&mut self, tensors: &Named, recipe: &Recipe) -> Result<(), String> {
        let of = |name: &Option<String>| name.as_ref().map(|name| tensors[name].shape.clone());
        for (part, name) in recipe.parts.iter().zip(&self.names) {
            let (Some(shape), blocks) = (of(name), part.gates.len()) else { continue };
            let (rows, width) = match (part.form, shape.as_slice()) {
                (_, [rows]) => (*rows, 0),
                (Form::Columns | Form::Both, [width, rows]) | (_, [rows, width]) => (*rows, *width),
                _ => (0, 0),
            };
            self.hidden = self.hidden.max(rows / blocks);
            match (part.form, part.to) {
                (Form::Both, _) => self.inputs = width.saturating_sub(rows / blocks),
                (_, Parameter::WeightIh) => self.inputs = width,
                _ => {}
            }
        }
        let sized = self.hidden > 0 && self.inputs > 0;
        for (part, name) in recipe.parts.iter().zip(&self.names) {
            let Some(name) = name else { continue };
            let (given, expected) = (&tensors[name].shape, self.shape(part));
            if !sized || *given != expected {
                return Err(format!(
                    "tensor {name}: expected {}, given {}",
                    if sized { shape(&expected) } else { "a matrix".into() },
                    shape(given)
                ));
            }
        }
        Ok(())
    }

    /// The shape of a part.
    fn shape(&self, part: &Part) -> Vec<usize> {
        let rows = part.gates.len() * self.hidden;
        let width = match (part.form, part.to) {
            (_, Parameter::BiasIh | Parameter::BiasHh) => return vec![rows],
            (Form::Both, _) => self.inputs + self.hidden,
            (_, Parameter::WeightIh) => self.inputs,
            (_, Parameter::WeightHh) => self.hidden,
        };
        if matches!(part.form, Form::Columns | Form::Both) { vec![width, rows] } else { vec![rows, width] }
    }

    /// PyTorch's parameters.
    fn assemble(&self, tensors: &Named, recipe: &Recipe) -> Result<Vec<(Parameter, Tensor)>, String> {
        let rows = self.gates * self.hidden;
        let widths = [self.inputs, self.hidden, 1, 1];
        let mut parameters = widths.map(|width| vec![0.0; rows * width]);
        let mut dtypes = [None; 4];
        for ((part, name), order) in recipe.parts.iter().zip(&self.names).zip(&self.orders) {
            let Some(name) = name else { continue };
            let tensor = &tensors[name];
            let numbers = tensor
                .floats()
                .ok_or_else(|| format!("tensor {name} has the type {}; expected {FLOATS}", tensor.dtype))?;
            let targets: &[Parameter] = if part.form == Form::Both {
                &[Parameter::WeightIh, Parameter::WeightHh]
            } else {
                &[part.to]
            };
            let mut first = 0;
            for target in targets.iter().map(|target| *target as usize) {
                let width = widths[target];
                for (block, &gate) in order.iter().enumerate() {
                    for unit in 0..self.hidden {
                        for column in 0..width {
                            let from = self.place(part, block, unit, first + column, width);
                            parameters[target][(gate * self.hidden + unit) * width + column] = numbers[from];
                        }
                    }
                }
                first += width;
                dtypes[target] = dtypes[target].or(Some(tensor.dtype));
            }
        }
        if let Some(gate) = recipe.one_added {
            let bias = &mut parameters[Parameter::BiasIh as usize];
            bias[gate * self.hidden..][..self.hidden].iter_mut().for_each(|b| *b += 1.0);
            // A sum of 1 and a short number need not be one.
            dtypes[Parameter::BiasIh as usize] = Some(Dtype::F64);
        }
        if let Some((gate, _)) = recipe.negated {
            for (numbers, width) in parameters.iter_mut().zip(widths) {
                let of_gate = &mut numbers[gate * self.hidden * width..][..self.hidden * width];
                for w in of_gate {
                    *w = -*w;
                }
            }
        }
        let of_biases = dtypes[2].or(dtypes[3]);
        let all = [Parameter::WeightIh, Parameter::WeightHh, Parameter::BiasIh, Parameter::BiasHh];
        let made = all.into_iter().zip(parameters).filter_map(|(parameter, numbers)| {
            let place = parameter as usize;
            let (dtype, shape) = match parameter {
                Parameter::WeightIh | Parameter::WeightHh => (dtypes[place], vec![rows, widths[place]]),
                _ => (dtypes[place].or(of_biases), vec![rows]),
            };
            Some((parameter, Tensor::of_floats(String::new(), dtype?, shape, &numbers)))
        });
        Ok(made.collect())
    }

    /// Where in a part's numbers the weight of one unit's gate for one column is.
    fn place(&self, part: &Part, block: usize, unit: usize, column: usize, width: usize) -> usize {
        let blocks = part.gates.len();
        let is_bias = matches!(part.to, Parameter::BiasIh | Parameter::BiasHh);
        match part.form {
            Form::Interleaved => (unit * blocks + block) * width + column,
            Form::Columns | Form::Both if !is_bias => (column * blocks + block) * self.hidden + unit,
            _ => (block * self.hidden + unit) * width + column,
        }
    }

    fn arrangement(&self, recipe: &Recipe) -> String {
        let letters: &[&str] = if self.gates == 4 { &["i", "f", "g", "o"] } else { &["r", "z", "n"] };
        let place = recipe.parts.iter().position(|part| part.to == Parameter::WeightHh).unwrap_or(0);
        let (part, order) = (&recipe.parts[place], &self.orders[place]);
        let whole = self.gates > 1 && order.len() == self.gates;
        let rows = if whole { "gates · H" } else { "H" };
        let matrices = match part.form {
            Form::Rows | Form::Interleaved => format!("matrices ({rows}, inputs)"),
            Form::Columns => format!("matrices (inputs, {rows})"),
            Form::Both => format!("one matrix (inputs + H, {rows})"),
        };
        let mut text = if self.gates == 1 {
            matrices
        } else if whole {
            let order: Vec<&str> = order.iter().map(|&gate| letters[gate]).collect();
            format!("{matrices}, gates in the order {}", order.join(", "))
        } else {
            format!("{matrices} for each gate")
        };
        if part.form == Form::Interleaved {
            text += " for each unit";
        }
        if let Some(gate) = recipe.one_added {
            let letter = letters[gate];
            text += &format!("; 1 is added to the bias of {letter}, as the source does at every step");
        }
        if let Some((gate, why)) = recipe.negated {
            text += &format!("; the signs of {} are changed, because {why}", letters[gate]);
        }
        text
    }
}

/// One cell of a module.
struct Cell {
    layer: usize,
    reverse: bool,
    fit: Fit,
}

/// A module's prefix and recipe, and its cells, or why it cannot be read.
struct Group {
    base: String,
    recipe: &'static Recipe,
    cells: Result<Vec<Cell>, String>,
}

/// The cells of a module by their numbers.
type Numbered = Vec<(usize, Result<Fit, String>)>;

/// Joins what are layers and directions of one module.
fn group(matches: Vec<Match>) -> Vec<Group> {
    let prefixes: Vec<(String, Convention)> =
        matches.iter().map(|found| (path(&found.prefix), found.recipe.convention)).collect();
    let has = |prefix: String, convention| prefixes.contains(&(prefix, convention));
    let mut groups: Vec<(String, &'static Recipe, Numbered)> = Vec::new();
    for Match { prefix, recipe, fit } in matches {
        let slashes = path(&prefix);
        let shorter = |end: &str| slashes.strip_suffix(end).map(|base| prefix[..base.len()].to_owned());
        let number =
            slashes.trim_end_matches('/').rsplit('/').next().and_then(|last| last.parse::<usize>().ok());
        let place = match recipe.stack {
            Stack::No => None,
            Stack::Directions(names) => names.iter().enumerate().find_map(|(index, name)| {
                let base = shorter(&format!("{name}/"))?;
                let is_pair =
                    names.iter().all(|name| has(format!("{}{name}/", path(&base)), recipe.convention));
                is_pair.then_some((base, index))
            }),
            Stack::Links => number.and_then(|n| Some((shorter(&format!("{n}/"))?, n))),
            Stack::Cells => number.and_then(|n| Some((shorter(&format!("cells/{n}/"))?, n))),
        };
        let (base, index) = place.unwrap_or((prefix, 0));
        match groups.iter_mut().find(|(known, of, _)| *known == base && of.convention == recipe.convention) {
            Some((.., cells)) => cells.push((index, fit)),
            None => groups.push((base, recipe, vec![(index, fit)])),
        }
    }
    groups
        .into_iter()
        .map(|(base, recipe, cells)| Group { base, recipe, cells: stack(recipe, cells) })
        .collect()
}

/// The layer and direction of each cell of a module.
fn stack(recipe: &Recipe, cells: Numbered) -> Result<Vec<Cell>, String> {
    let mut fits: Vec<(usize, Fit)> =
        cells.into_iter().map(|(index, fit)| Ok((index, fit?))).collect::<Result<_, String>>()?;
    fits.sort_by_key(|(index, _)| *index);
    let (count, hidden, inputs) = (fits.len(), fits[0].1.hidden, fits[0].1.inputs);
    let equal = fits.iter().all(|(_, fit)| fit.hidden == hidden && fit.gates == fits[0].1.gates);
    if !equal || fits.iter().enumerate().any(|(place, (index, _))| place != *index) {
        return Err(
            "its cells are not numbered from 0, or not of one size and kind; give them names of their own"
                .into(),
        );
    }
    let inputs_of = |index: usize| fits[index].1.inputs;
    let layers = (1..count).all(|index| inputs_of(index) == hidden);
    let both =
        count % 2 == 0 && inputs_of(1) == inputs && (2..count).all(|index| inputs_of(index) == 2 * hidden);
    let directions = match recipe.stack {
        Stack::Directions(_) if count == 2 => 2,
        Stack::Links if both && layers => {
            return Err(format!(
                "two links of {hidden} inputs and units may be two layers or two directions; save the weights with PyTorch's \
                 names, weight_ih_l0 and weight_ih_l1 or weight_ih_l0_reverse"
            ));
        }
        Stack::Links if both => 2,
        _ if layers => 1,
        _ => return Err(format!("its cells do not read each other: their inputs are not {hidden} units")),
    };
    Ok(fits
        .into_iter()
        .map(|(index, fit)| Cell { layer: index / directions, reverse: index % directions == 1, fit })
        .collect())
}
