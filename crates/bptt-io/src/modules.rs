//! Recurrent modules in a file: found by the names of their weights, checked and read.

use std::collections::BTreeMap;

use bptt::{CellParams, Direction, Matrix, Place, Weights, cell_by_name};

use crate::Error;
use crate::conventions::{self, Layout, Part, RESET_BEFORE, SEPARATORS, recognize, to_pytorch};
use crate::module::Module;
use crate::tensor::{Dtype, shape};
use crate::tensors::{Size, Tensors};

/// A recurrent module as the names in a file show it; nothing of it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its name in the file; empty if the file holds its tensors alone.
    pub name: String,
    /// Whose names its tensors have.
    pub layout: Layout,
    /// What stands before its tensors' names, for each direction (the same for both, but in Keras).
    pub(super) prefixes: Vec<String>,
    /// What stands behind them.
    tail: String,
    pub(super) layers: usize,
}

/// The recurrent modules of a file, in the order of their names.
pub fn find(tensors: &Tensors) -> Vec<Outline> {
    let mut found: BTreeMap<(&str, &str), Outline> = BTreeMap::new();
    for tensor in tensors.iter() {
        let Some(weight) = recognize(&tensor.name) else { continue };
        // Anyone may call a matrix Wh; it is CS231n's beside a Wx.
        if weight.layout == Layout::Cs231n
            && tensors.get(&format!("{}Wx{}", weight.prefix, weight.tail)).is_none()
        {
            continue;
        }
        let outline = found.entry((weight.prefix, weight.tail)).or_insert_with(|| Outline {
            name: weight.prefix.trim_end_matches(SEPARATORS).into(),
            layout: weight.layout,
            prefixes: vec![weight.prefix.into()],
            tail: weight.tail.into(),
            layers: 0,
        });
        outline.layers = outline.layers.max(weight.layer.saturating_add(1));
        if weight.reverse && outline.prefixes.len() == 1 {
            outline.prefixes.push(weight.prefix.into());
        }
    }
    let mut outlines: Vec<Outline> = found.into_values().collect();
    join_bidirectional(&mut outlines);
    outlines
}

/// Keras' `Bidirectional` is a forward and a backward layer with names of their own; here they are one.
fn join_bidirectional(outlines: &mut Vec<Outline>) {
    let backward: Vec<Outline> = outlines.iter().filter(|outline| outline.is_backward()).cloned().collect();
    for half in backward {
        let forward = half.prefixes[0].replacen("backward", "forward", 1);
        if let Some(first) = outlines.iter_mut().find(|outline| outline.prefixes == [forward.as_str()]) {
            first.name = first.name.replacen("forward_", "", 1);
            first.prefixes.extend(half.prefixes.iter().cloned());
            outlines.retain(|outline| *outline != half);
        }
    }
}

impl Outline {
    fn is_backward(&self) -> bool {
        self.layout == Layout::Keras && self.prefixes[0].contains("backward")
    }

    fn place(&self, index: usize) -> Place {
        let directions = self.prefixes.len();
        let direction =
            if index.is_multiple_of(directions) { Direction::Forward } else { Direction::Reverse };
        Place { layer: index / directions, direction }
    }

    /// The name in the file of a parameter of cell `index`.
    fn tensor(&self, part: Part, index: usize) -> String {
        let prefix = &self.prefixes[index % self.prefixes.len()];
        format!("{prefix}{}{}", self.layout.name(part, self.place(index)), self.tail)
    }

    /// The module's numbers. `cell` is the cell's name where the file leaves it open.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape or type, or is not finite, or the cell is not known here; the message
    /// names it.
    pub fn read(&self, tensors: &Tensors, cell: Option<&str>) -> Result<Module, Error> {
        let backward_alone = self.is_backward() && self.prefixes.len() == 1;
        if backward_alone {
            return Err(tensors.problem(format!(
                "{} is the backward half of a Bidirectional layer without its forward half",
                self.name
            )));
        }
        if let Some(tensor) =
            tensors.get(&format!("{}weight_hr_{}", self.prefixes[0], self.place(0).suffix()))
        {
            return Err(tensors.problem(format!(
                "tensor {}: an LSTM with proj_size is not supported; expected one without",
                tensor.name
            )));
        }
        let (gates, hidden) = self.gates_and_hidden(tensors)?;
        let order = self.layout.gate_order(gates).ok_or_else(|| {
            tensors.problem(format!("{}: CS231n has no cell of {gates} gates; expected 1 or 4", self.name))
        })?;
        let biased = tensors.iter().any(|tensor| self.is_bias(&tensor.name));
        let mut reader = Reader { outline: self, tensors, hidden, order, biased, sources: Vec::new() };
        let (mut layers, mut dtypes) = (Vec::new(), Vec::new());
        let cells = self.layers.saturating_mul(self.prefixes.len());
        for index in 0..cells {
            let inputs = match layers.first() {
                None => Size::Any("I"),
                Some(_) if self.place(index).layer > 0 => Size::Is(self.prefixes.len() * hidden),
                Some(first) => Size::Is(CellParams::<f64>::inputs(first)),
            };
            let (params, types) = reader.cell(index, inputs)?;
            layers.push(params);
            dtypes.push(types);
        }
        let sources = reader.sources;
        let bias = biased.then(|| tensors.get(&self.tensor(Part::BiasIh, 0))).flatten();
        let (cell, assumed) = self.cell(tensors, gates, bias.map(|bias| bias.shape.len()), cell)?;
        let bidirectional = self.prefixes.len() == 2;
        let weights = Weights { layers, bidirectional, readout: None };
        Ok(Module { outline: self.clone(), cell, weights, dtypes, sources, assumed })
    }

    fn is_bias(&self, name: &str) -> bool {
        (0..self.prefixes.len().min(2)).any(|d| {
            let first = self.tensor(Part::BiasIh, d);
            // Any layer's, so that a lone one is missed in the others.
            match self.layout {
                Layout::PyTorch => ["bias_ih_l", "bias_hh_l"].iter().any(|bias| {
                    name.strip_prefix(&self.prefixes[d]).is_some_and(|rest| rest.starts_with(bias))
                }),
                _ => name == first || name == self.tensor(Part::BiasHh, d),
            }
        })
    }

    /// G and H, from the shape of the first recurrent weight.
    fn gates_and_hidden(&self, tensors: &Tensors) -> Result<(usize, usize), Error> {
        let name = self.tensor(Part::WeightHh, 0);
        let expected = if self.layout.transposed() { "(H, G·H)" } else { "(G·H, H)" };
        let tensor = tensors
            .get(&name)
            .ok_or_else(|| tensors.problem(format!("tensor {name} is missing; expected shape {expected}")))?;
        let (rows, hidden) = match *tensor.shape {
            [hidden, rows] if self.layout.transposed() => (rows, hidden),
            [rows, hidden] => (rows, hidden),
            _ => (0, 0),
        };
        match rows.checked_div(hidden) {
            Some(gates @ (1 | 3 | 4)) if rows == gates * hidden => Ok((gates, hidden)),
            _ => Err(tensors.problem(format!(
                "tensor {name}: expected {expected} with G = 1 (rnn), 3 (gru) or 4 (lstm), given {}",
                shape(&tensor.shape)
            ))),
        }
    }

    /// The cell's name, and what was taken for granted.
    fn cell(
        &self,
        tensors: &Tensors,
        gates: usize,
        bias: Option<usize>,
        told: Option<&str>,
    ) -> Result<(String, Option<String>), Error> {
        let possible = conventions::cells(self.layout, gates, bias);
        let stamped = tensors.stamp().map(|stamp| stamp.cell.as_str());
        let mut assumed = None;
        let cell = match told.or(stamped) {
            // This project's own files may hold a cell of its own.
            Some(name) if told.is_none() || possible.contains(&name) => name,
            Some(name) => {
                return Err(Error::Option {
                    option: "cell".into(),
                    given: format!("{name} for {} with {gates} gates", self.title()),
                    expected: possible.join(", "),
                });
            }
            None if self.layout == Layout::Keras && possible.len() > 1 && gates == 3 => {
                return Err(tensors.problem(format!(
                    "{} is a Keras GRU without a bias, so the file does not say whether reset_after is set; give \
                     --cell gru (reset_after=True, Keras' default) or --cell {RESET_BEFORE}",
                    self.title()
                )));
            }
            None => {
                if gates == 1 {
                    assumed = Some(format!(
                        "{} is read with tanh; if its activation is another, give --cell rnn_relu or rnn_identity",
                        self.title()
                    ));
                }
                possible[0]
            }
        };
        match cell_by_name::<f64>(cell) {
            Ok(known) if known.gates().len() == gates => Ok((cell.into(), assumed)),
            Ok(known) => Err(tensors.problem(format!(
                "{}: expected {} gates of its cell {cell}, given {gates}",
                self.title(),
                known.gates().len()
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// The name, or that there is none.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { "the module without a name" } else { &self.name }
    }
}

/// b_ih, b_hh, and their types in the file.
type Biases = (Matrix<f64>, Matrix<f64>, [Option<Dtype>; 2]);

/// Reads one module's tensors.
struct Reader<'a> {
    outline: &'a Outline,
    tensors: &'a Tensors,
    hidden: usize,
    order: &'a [usize],
    biased: bool,
    sources: Vec<String>,
}

impl Reader<'_> {
    /// The parameters of cell `index`, and their types in the file.
    fn cell(&mut self, index: usize, inputs: Size) -> Result<(CellParams<f64>, [Option<Dtype>; 4]), Error> {
        let rows = self.order.len() * self.hidden;
        let (w_ih, ih) = self.weight(Part::WeightIh, index, inputs)?;
        let (w_hh, hh) = self.weight(Part::WeightHh, index, Size::Is(self.hidden))?;
        let zeros = || Matrix::zeros(1, rows);
        let (b_ih, b_hh, types) = if !self.biased {
            (zeros(), zeros(), [None, None])
        } else if self.outline.layout.transposed() {
            self.one_bias(index)?
        } else {
            let (b_ih, ih) = self.bias(Part::BiasIh, index)?;
            let (b_hh, hh) = self.bias(Part::BiasHh, index)?;
            (b_ih, b_hh, [Some(ih), Some(hh)])
        };
        Ok((CellParams { w_ih, w_hh, b_ih, b_hh }, [Some(ih), Some(hh), types[0], types[1]]))
    }

    fn read(&mut self, part: Part, index: usize, sizes: &[Size]) -> Result<(Dtype, Vec<f64>), Error> {
        let name = self.outline.tensor(part, index);
        let (tensor, numbers) = self.tensors.floats(&name, sizes)?;
        self.sources.push(name);
        Ok((tensor.dtype, numbers))
    }

    /// A matrix as (G·H, width).
    fn weight(&mut self, part: Part, index: usize, width: Size) -> Result<(Matrix<f64>, Dtype), Error> {
        let rows = self.order.len() * self.hidden;
        let transposed = self.outline.layout.transposed();
        let sizes = if transposed { [width, Size::Is(rows)] } else { [Size::Is(rows), width] };
        let (dtype, numbers) = self.read(part, index, &sizes)?;
        let numbers = to_pytorch(&numbers, self.hidden, self.order, transposed);
        Ok((Matrix::new(rows, numbers.len() / rows, numbers)?, dtype))
    }

    fn bias(&mut self, part: Part, index: usize) -> Result<(Matrix<f64>, Dtype), Error> {
        let rows = self.order.len() * self.hidden;
        let (dtype, numbers) = self.read(part, index, &[Size::Is(rows)])?;
        Ok((Matrix::new(1, rows, numbers)?, dtype))
    }

    /// The bias where both are one: b_ih, unless Keras' GRU has a row for each.
    fn one_bias(&mut self, index: usize) -> Result<Biases, Error> {
        let rows = self.order.len() * self.hidden;
        let name = self.outline.tensor(Part::BiasIh, index);
        let two = self.tensors.get(&name).is_some_and(|tensor| tensor.shape.len() == 2);
        let two = two && self.outline.layout == Layout::Keras && self.order.len() == 3;
        let sizes = if two { vec![Size::Is(2), Size::Is(rows)] } else { vec![Size::Is(rows)] };
        let (dtype, numbers) = self.read(Part::BiasIh, index, &sizes)?;
        let ordered = |row: &[f64]| to_pytorch(row, self.hidden, self.order, true);
        let b_ih = Matrix::new(1, rows, ordered(&numbers[..rows]))?;
        let b_hh =
            if two { Matrix::new(1, rows, ordered(&numbers[rows..]))? } else { Matrix::zeros(1, rows) };
        Ok((b_ih, b_hh, [Some(dtype), Some(dtype)]))
    }
}
