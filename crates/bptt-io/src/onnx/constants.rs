//! Arrays that a graph holds or computes from those it holds by moving numbers about, as exporters write weights.
//!
//! Source: docs/Operators.md of ONNX 1.23; axes are attributes of old operators and inputs of new ones.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::graph::{Array, Graph, Node};

/// Operators behind operators, at most.
const DEEPEST: usize = 64;

/// What looking at one operator costs, in numbers, so that a graph of nothing but operators ends, too.
const OPERATOR: usize = 64;

/// Numbers that may be held beyond half of the file's bytes.
const HELD: usize = 4 << 20;

/// Numbers that may be made beyond eight for each of the file's bytes.
const MADE: usize = 1 << 24;

const TOO_MANY: &str = "its weights are computed from more than the file can hold";

/// The arrays of a graph and how it computes others.
pub(super) struct Constants {
    /// Initializers and constants by their names.
    pub arrays: BTreeMap<String, Array>,
    /// The node and the place of every other output.
    outputs: BTreeMap<String, (Rc<Node>, usize)>,
    /// How many numbers may be held at a time.
    most: usize,
    /// How many are held.
    held: Cell<usize>,
    /// How many may still be made.
    left: Cell<usize>,
}

/// An array of a graph.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub shape: Vec<usize>,
    pub numbers: Vec<f64>,
    /// The arrays of the file that it was made of.
    pub sources: BTreeSet<String>,
}

impl Constants {
    /// Without any array, of a file of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let left = Cell::new(bytes.saturating_mul(8).saturating_add(MADE));
        let (most, held) = (bytes / 2 + HELD, Cell::new(0));
        Self { arrays: BTreeMap::new(), outputs: BTreeMap::new(), most, held, left }
    }

    /// Adds what one graph holds and computes.
    pub fn add(&mut self, graph: &Graph) {
        for array in &graph.initializers {
            self.arrays.insert(array.name.clone(), array.clone());
        }
        for node in &graph.nodes {
            let constant = (node.kind == "Constant").then(|| node.constant()).flatten();
            match (constant, node.outputs.first()) {
                (Some(array), Some(output)) => drop(self.arrays.insert(output.clone(), array)),
                // The bodies of branches and loops are graphs of their own.
                _ if node.attributes.iter().any(|of| of.graph.is_some()) => {}
                _ => {
                    let node = Rc::new(node.clone());
                    for (place, output) in node.outputs.iter().enumerate() {
                        self.outputs.insert(output.clone(), (Rc::clone(&node), place));
                    }
                }
            }
        }
    }

    /// The array called `name`.
    ///
    /// # Errors
    /// If it is computed from what is not in the file, or otherwise than by moving numbers.
    pub fn values(&self, name: &str) -> Result<Values, String> {
        self.held.set(0);
        self.follow(name, 0)
    }

    /// Further names of arrays, as exporters give them to equal ones (Identity), with the first name and the array.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str, &Array)> {
        self.outputs.keys().filter_map(|alias| {
            let mut name = alias;
            for _ in 0..DEEPEST {
                let (node, _) = self.outputs.get(name).filter(|(node, _)| node.kind == "Identity")?;
                name = node.inputs.first()?;
                if let Some(array) = self.arrays.get(name) {
                    return Some((alias.as_str(), name.as_str(), array));
                }
            }
            None
        })
    }

    /// Whether the array called `name` is zeros, however many.
    pub fn is_zero(&self, name: &str) -> bool {
        self.is_zero_at(name, 0)
    }

    fn is_zero_at(&self, name: &str, depth: usize) -> bool {
        if depth > DEEPEST || self.spend(OPERATOR).is_err() {
            return false;
        }
        if let Some(array) = self.arrays.get(name) {
            let numbers = array.numbers().unwrap_or_default();
            let is_zero = !numbers.is_empty() && numbers.iter().all(|&number| number == 0.0);
            return self.spend(numbers.len()).is_ok() && is_zero;
        }
        let Some((node, _)) = self.outputs.get(name) else { return false };
        let of_input = |input: &String| self.is_zero_at(input, depth + 1);
        match node.kind.as_str() {
            "ConstantOfShape" => node
                .attribute("value")
                .and_then(|of| of.array.as_ref())
                .is_none_or(|array| array.numbers().is_ok_and(|numbers| numbers == [0.0])),
            "Concat" => !node.inputs.is_empty() && node.inputs.iter().all(of_input),
            "Identity" | "Cast" | "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Slice" | "Split"
            | "Gather" | "Expand" | "Tile" => node.inputs.first().is_some_and(of_input),
            _ => false,
        }
    }

    /// Counts numbers that are made.
    fn spend(&self, numbers: usize) -> Result<(), String> {
        let left = self.left.get().checked_sub(numbers);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or_else(|| TOO_MANY.into())
    }

    /// Counts numbers that are kept beside `before` others.
    fn hold(&self, before: usize, numbers: usize) -> Result<(), String> {
        self.spend(numbers)?;
        self.held.set(before.saturating_add(numbers));
        if self.held.get() > self.most { Err(TOO_MANY.into()) } else { Ok(()) }
    }

    fn follow(&self, name: &str, depth: usize) -> Result<Values, String> {
        if depth > DEEPEST {
            return Err(format!("its weights are computed in more than {DEEPEST} steps"));
        }
        self.spend(OPERATOR)?;
        let before = self.held.get();
        if let Some(array) = self.arrays.get(name) {
            let numbers = array.numbers()?;
            self.hold(before, numbers.len())?;
            let shape = array.sizes.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
            return Ok(Values { shape, numbers, sources: BTreeSet::from([name.to_owned()]) });
        }
        let Some((node, place)) = self.outputs.get(name) else {
            return Err(format!(
                "its weights {name:?} are an input of the graph; save the model with them as arrays (initializers)"
            ));
        };
        let input = |place: usize| -> Result<Values, String> {
            let name = node.inputs.get(place).filter(|name| !name.is_empty());
            self.follow(name.ok_or_else(|| format!("a {} of it lacks an input", node.kind))?, depth + 1)
        };
        let made = match node.kind.as_str() {
            "Identity" => Some(input(0)?),
            "Cast" => cast(input(0)?, node),
            "Transpose" => transpose(&input(0)?, node),
            "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => {
                let argument =
                    node.inputs.get(1).filter(|name| !name.is_empty()).map(|_| input(1)).transpose()?;
                reshape(input(0)?, node, argument)
            }
            "Concat" => {
                let parts: Result<Vec<Values>, String> = (0..node.inputs.len()).map(input).collect();
                concat(&parts?, node)
            }
            "Slice" => {
                let given = (1..node.inputs.len().min(5)).map(|place| {
                    if node.inputs[place].is_empty() { Ok(None) } else { input(place).map(Some) }
                });
                slice(&input(0)?, node, &given.collect::<Result<Vec<_>, String>>()?)
            }
            "Split" => {
                let sizes =
                    node.inputs.get(1).filter(|name| !name.is_empty()).map(|_| input(1)).transpose()?;
                split(&input(0)?, node, *place, sizes.as_ref())
            }
            _ => None,
        };
        let made = made.ok_or_else(|| {
            format!(
                "its weights {name:?} are computed in the graph by a {} that is not followed; save the model with them as arrays \
                 (initializers), as constant folding leaves them",
                node.kind
            )
        })?;
        // What it was made of is gone.
        self.hold(before, made.numbers.len())?;
        Ok(made)
    }
}

/// `axis` of an array of `rank` axes, counted from the end if negative.
fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    usize::try_from(axis).ok().filter(|_| axis < rank)
}

/// Its numbers, which are integers.
pub(super) fn integers(values: &Values) -> Vec<i64> {
    #[allow(clippy::cast_possible_truncation)] // they were integers
    values.numbers.iter().map(|&number| number as i64).collect()
}

/// The product of some sizes.
fn count(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size))
}

impl Values {
    /// Numbers before, along and behind an axis.
    fn around(&self, axis: usize) -> Option<[usize; 3]> {
        Some([count(&self.shape[..axis])?, self.shape[axis], count(&self.shape[axis + 1..])?])
    }

    /// The entries `chosen` along an axis.
    fn select(&self, axis: usize, chosen: &[usize]) -> Option<Self> {
        let [before, along, behind] = self.around(axis)?;
        let row = |outer: usize, place: usize| &self.numbers[(outer * along + place) * behind..][..behind];
        let rows = (0..before).flat_map(|outer| chosen.iter().map(move |&place| (outer, place)));
        let numbers = rows.flat_map(|(outer, place)| row(outer, place)).copied().collect();
        let mut shape = self.shape.clone();
        shape[axis] = chosen.len();
        Some(Self { shape, numbers, sources: self.sources.clone() })
    }
}

fn cast(mut values: Values, node: &Node) -> Option<Values> {
    match node.attribute("to").map(|of| of.int) {
        #[allow(clippy::cast_possible_truncation)] // rounding is what the graph does
        Some(1) => values.numbers.iter_mut().for_each(|number| *number = f64::from(*number as f32)),
        Some(11) => {}
        // Of indices.
        Some(6 | 7) if values.numbers.iter().all(|number| number.fract() == 0.0) => {}
        _ => return None,
    }
    Some(values)
}

fn transpose(values: &Values, node: &Node) -> Option<Values> {
    let rank = values.shape.len();
    let order: Vec<usize> = match node.attribute("perm") {
        None => (0..rank).rev().collect(),
        Some(of) => of.ints.iter().map(|&axis| axis_of(axis, rank)).collect::<Option<_>>()?,
    };
    if order.iter().collect::<BTreeSet<_>>().len() != rank || order.len() != rank {
        return None;
    }
    let strides: Vec<usize> =
        (0..rank).map(|axis| count(&values.shape[axis + 1..])).collect::<Option<_>>()?;
    let shape: Vec<usize> = order.iter().map(|&axis| values.shape[axis]).collect();
    let from = |mut rest: usize| {
        let mut place = 0;
        for (&axis, &size) in order.iter().zip(&shape).rev() {
            place += rest % size * strides[axis];
            rest /= size;
        }
        values.numbers[place]
    };
    let numbers = (0..values.numbers.len()).map(from).collect();
    Some(Values { shape, numbers, sources: values.sources.clone() })
}

/// Squeeze, Unsqueeze, Reshape and Flatten: the numbers stay where they are.
fn reshape(mut values: Values, node: &Node, argument: Option<Values>) -> Option<Values> {
    let given = argument.as_ref().map(integers);
    let axes = given.clone().or_else(|| node.attribute("axes").map(|of| of.ints.clone()));
    let (rank, shape) = (values.shape.len(), &values.shape);
    let shape: Vec<usize> = match node.kind.as_str() {
        "Squeeze" => {
            let axes: Option<Vec<usize>> = match axes {
                Some(axes) => Some(axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Option<_>>()?),
                None => None,
            };
            let goes = |axis: usize| axes.as_ref().map_or(shape[axis] == 1, |axes| axes.contains(&axis));
            (0..rank).filter(|&axis| !goes(axis)).map(|axis| shape[axis]).collect()
        }
        "Unsqueeze" => {
            let axes = axes?;
            let rank = rank + axes.len();
            let axes: Vec<usize> = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Option<_>>()?;
            let mut old = shape.iter().copied();
            let new = (0..rank).map(|axis| if axes.contains(&axis) { Some(1) } else { old.next() });
            new.collect::<Option<_>>()?
        }
        "Flatten" => {
            let axis = node.attribute("axis").map_or(1, |of| of.int);
            let axis = axis_of(axis, rank + 1)?;
            vec![count(&shape[..axis])?, count(&shape[axis..])?]
        }
        _ => {
            let wanted = given?;
            let keep = node.attribute("allowzero").is_none_or(|of| of.int == 0);
            // 0: as it was; -1: what is left.
            let size = |(place, &size): (usize, &i64)| match size {
                0 if keep => shape.get(place).copied(),
                -1 => Some(1),
                size => usize::try_from(size).ok(),
            };
            let mut sizes: Vec<usize> = wanted.iter().enumerate().map(size).collect::<Option<_>>()?;
            if let Some(open) = wanted.iter().position(|&size| size == -1) {
                sizes[open] = values.numbers.len() / count(&sizes)?.max(1);
            }
            sizes
        }
    };
    if count(&shape)? != values.numbers.len() {
        return None;
    }
    values.shape = shape;
    values.sources.extend(argument.into_iter().flat_map(|argument| argument.sources));
    Some(values)
}

fn concat(parts: &[Values], node: &Node) -> Option<Values> {
    let first = parts.first()?;
    let axis = axis_of(node.attribute("axis")?.int, first.shape.len())?;
    let others = |part: &Values| {
        let mut shape = part.shape.clone();
        (axis < shape.len()).then(|| shape.remove(axis)).map(|_| shape)
    };
    if parts.iter().any(|part| others(part) != others(first)) {
        return None;
    }
    let [before, ..] = first.around(axis)?;
    let (mut numbers, mut shape) = (Vec::new(), first.shape.clone());
    for outer in 0..before {
        for part in parts {
            let width = part.numbers.len() / before;
            numbers.extend_from_slice(&part.numbers[outer * width..][..width]);
        }
    }
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    let sources = parts.iter().flat_map(|part| part.sources.clone()).collect();
    Some(Values { shape, numbers, sources })
}

/// Starts, ends, axes and steps are attributes up to version 9 of the operators, and inputs from 10 on.
fn slice(values: &Values, node: &Node, given: &[Option<Values>]) -> Option<Values> {
    let argument = |place: usize, name: &str| {
        let input = given.get(place).and_then(Option::as_ref).map(integers);
        input.or_else(|| node.attribute(name).map(|of| of.ints.clone()))
    };
    let (starts, ends) = argument(0, "starts").zip(argument(1, "ends"))?;
    let axes = argument(2, "axes").unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = argument(3, "steps").unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return None;
    }
    let mut made = values.clone();
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = axis_of(axis, made.shape.len())?;
        let size = i64::try_from(made.shape[axis]).ok()?;
        let step = usize::try_from(step).ok().filter(|&step| step > 0)?;
        let place = |place: i64| if place < 0 { place.saturating_add(size).max(0) } else { place.min(size) };
        let bound = |place: i64| usize::try_from(place).unwrap_or(0);
        let chosen: Vec<usize> = (bound(place(start))..bound(place(end))).step_by(step).collect();
        made = made.select(axis, &chosen)?;
    }
    made.sources.extend(given.iter().flatten().flat_map(|given| given.sources.clone()));
    Some(made)
}

/// One of the parts of a Split, of the sizes that are given or of equal ones.
fn split(values: &Values, node: &Node, place: usize, sizes: Option<&Values>) -> Option<Values> {
    let axis = axis_of(node.attribute("axis").map_or(0, |of| of.int), values.shape.len())?;
    let given = sizes.map(integers).or_else(|| node.attribute("split").map(|of| of.ints.clone()));
    let length = values.shape[axis];
    let sizes: Vec<usize> = if let Some(sizes) = given {
        sizes.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?
    } else {
        // The last one is shorter where they cannot be equal.
        let parts = node.outputs.len();
        let size = length.div_ceil(parts.max(1));
        (0..parts).map(|part| length.saturating_sub(part * size).min(size)).collect()
    };
    let total = sizes.iter().try_fold(0usize, |total, &size| total.checked_add(size));
    if total != Some(length) || place >= sizes.len() {
        return None;
    }
    let start = sizes[..place].iter().sum::<usize>();
    values.select(axis, &(start..start + sizes[place]).collect::<Vec<_>>())
}
