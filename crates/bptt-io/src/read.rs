//! A recurrent module's tensors checked and read.

use std::sync::Arc;

use bptt::{CellParams, CellSpec, Error as CoreError, Matrix, Weights, cell_by_name};

use crate::Error;
use crate::conventions::{BIAS_N, Convention, Kind, Parameter, Undecided, to_pytorch};
use crate::module::Module;
use crate::outline::Outline;
use crate::tensor::{Dtype, shape};
use crate::tensors::{Size, Tensors};
use crate::unread::refuse_unread;

impl Outline {
    /// The module's numbers. `cell` is the cell's name where the file leaves it open.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape or type, or is not finite, or the cell is not known here; the message
    /// names it.
    pub fn read(&self, tensors: &Tensors, cell: Option<&str>) -> Result<Module, Error> {
        let module = match self.read_weights(tensors, cell) {
            Ok(module) => module,
            Err(error) => {
                // What a weight was made of tells more than that the weight is missing.
                if matches!(error, Error::ModelFile { .. }) && self.has_parts_of_weights(tensors) {
                    refuse_unread(tensors, self, &[])?;
                }
                return Err(error);
            }
        };
        refuse_unread(tensors, self, &module.sources)?;
        Ok(module)
    }

    fn read_weights(&self, tensors: &Tensors, cell: Option<&str>) -> Result<Module, Error> {
        let backward_alone = self.is_backward() && self.prefixes.len() == 1;
        if backward_alone {
            return Err(tensors.problem(format!(
                "{} is the backward half of a Bidirectional layer without its forward half",
                self.name
            )));
        }
        let rearranged = tensors.rearranged(&self.prefixes[0]);
        if let Some(Err(problem)) = rearranged.map(|module| &module.cell) {
            return Err(tensors.problem(format!("{}: {problem}", self.title())));
        }
        if let Some(Err(problem)) = tensors.settings().cell(self.path(), self.prefixes.len()) {
            return Err(tensors.problem(format!("{}: {problem}", self.title())));
        }
        if let Some(spec) = self.declares(tensors, cell)? {
            return self.read_declared(tensors, &spec);
        }
        if self.convention.is_numbered()
            && tensors.get(&self.tensor(Parameter::WeightHh, 0)).is_none()
            && self.prefixes.len() == 2
        {
            return Err(tensors.problem(format!(
                "{} has the tensors of a backward direction alone, {}; candle's Direction::Backward writes such a module, which reads \
                 forward: if it is one, give --layout candle",
                self.title(),
                self.tensor(Parameter::WeightHh, 1)
            )));
        }
        let (gates, hidden) = self.gates_and_hidden(tensors)?;
        let kind = self.convention.kind(gates).ok_or_else(|| {
            let layout = self.convention.title();
            tensors.problem(format!("{}: {layout} has no cell of {gates} gates", self.title()))
        })?;
        let biased = tensors.iter().any(|tensor| self.is_bias(&tensor.name));
        let is_ordered = rearranged.is_some_and(|module| !module.arrangement.is_empty());
        let given = if is_ordered || gates == 1 { None } else { self.given_order(tensors, gates)? };
        // Of each of PyTorch's gates its block.
        let order = given.as_ref().map_or(kind.order.to_vec(), |blocks| {
            (0..gates).filter_map(|gate| blocks.iter().position(|of| *of == gate)).collect()
        });
        let mut reader = Reader { outline: self, tensors, hidden, kind, order, biased, sources: Vec::new() };
        let bias = biased.then(|| tensors.get(&self.tensor(Parameter::BiasIh, 0))).flatten();
        let (cell, assumed) = self.cell(tensors, kind, bias.map(|bias| bias.shape.len()), cell)?;
        let registered = cell_by_name(&cell)?;
        let (mut layers, mut dtypes) = (Vec::new(), Vec::new());
        let cells = self.layers.saturating_mul(self.prefixes.len());
        for index in 0..cells {
            let inputs = match layers.first() {
                None => Size::Any("I"),
                Some(_) if self.cell_id(index).layer > 0 => Size::Is(self.prefixes.len() * hidden),
                Some(first) => Size::Is(CellParams::<f64>::inputs(first)),
            };
            let (params, types) = reader.cell(registered.spec(), index, inputs)?;
            layers.push(params);
            dtypes.push(types.to_vec());
        }
        let sources = reader.sources;
        let computed = sources.iter().filter_map(|name| tensors.computed(name)).map(String::from);
        let assumptions = assumed.into_iter().chain(computed).collect();
        let names = registered.spec().gate_names();
        let arrangement = match (rearranged, &given) {
            (Some(module), _) if is_ordered => module.arrangement.clone(),
            (_, Some(blocks)) => {
                self.convention.arranged(&blocks.iter().map(|&gate| names[gate]).collect::<Vec<_>>())
            }
            _ => self.convention.arrangement(&names),
        };
        let bidirectional = self.prefixes.len() == 2;
        let weights = Weights { cells: layers, bidirectional, readout: None };
        Ok(Module { outline: self.clone(), cell, weights, dtypes, sources, arrangement, assumptions })
    }

    /// The order of gates that was asked for.
    fn given_order(&self, tensors: &Tensors, gates: usize) -> Result<Option<Vec<usize>>, Error> {
        let layout = tensors.layout();
        match layout.order(gates) {
            None if layout.has_gates() => {
                Err(tensors
                    .problem(format!("{}: --gate-order does not fit, it has {gates} gates", self.title())))
            }
            order => Ok(order),
        }
    }

    /// Says that other libraries give other cells the names of PyTorch's single cells, or asks for the cell where the path is
    /// that of such a library's layers.
    fn of_any_library(&self, tensors: &Tensors, possible: &[&str]) -> Result<String, Error> {
        let (title, cell) = (self.title(), possible[0]);
        let last = self.name.rsplit_once('.').filter(|(_, number)| number.parse::<usize>().is_ok());
        // torchrecurrent 0.2.5: its 32 layers keep their cells so, among them ones with the shapes of each of PyTorch's.
        if last.is_some_and(|(list, _)| list.rsplit('.').next() == Some("cells")) {
            let tinygrad =
                if cell == "lstm" { ", or --layout tinygrad for a stack of its LSTMCell" } else { "" };
            return Err(tensors.problem(format!(
                "{title} has the names and shapes of torch.nn's {cell} cell, but the path of torchrecurrent's layers, whose cells \
                 compute something else; if it is that cell, give --cell {cell}{tinygrad}"
            )));
        }
        Ok(format!(
            "{title} is torch.nn's {cell} cell, whose names and shapes it has; other libraries use them for other cells (--cell)"
        ))
    }

    /// Whether a registered cell has the parameters of PyTorch's cells of so many gates, so that their names and shapes may be its.
    fn has_cell(&self, name: &str, gates: usize) -> bool {
        let is_one = |spec: &CellSpec| spec.gate_count() == gates && self.convention.has(spec);
        !self.convention.transposed() && cell_by_name(name).is_ok_and(|known| is_one(known.spec()))
    }

    /// The cell of a layer of Keras without a configuration, whose activations are the defaults of the version that wrote the file,
    /// and what is assumed. CuDNN's layers have no others.
    fn keras_default(&self, tensors: &Tensors, base: &str) -> (String, String) {
        let title = self.title();
        let way_out = format!(
            "steps are read from the first to the last; give --cell {base}_with:GATES,STATE if it has others"
        );
        if tensors.computed(&self.tensor(Parameter::WeightHh, 0)).is_some() {
            return (
                base.into(),
                format!("the steps of {title} are read from the first to the last, which is not in the file"),
            );
        }
        match tensors.settings().version_of_hard_gates() {
            Some(version) => (
                format!("{base}_with:hard_sigmoid_0.2,tanh"),
                format!(
                    "the activations of {title} are hard_sigmoid (0.2 a + 0.5) and tanh, the defaults of Keras {version}, which wrote the \
                     file without its configuration, and {way_out}"
                ),
            ),
            None => (
                base.into(),
                format!(
                    "the activations of {title} are sigmoid and tanh, which are not in the file; before Keras 2.3 the default of the \
                     gates was hard_sigmoid; {way_out}"
                ),
            ),
        }
    }

    /// G and H, from the shape of the first recurrent weight.
    fn gates_and_hidden(&self, tensors: &Tensors) -> Result<(usize, usize), Error> {
        let name = self.tensor(Parameter::WeightHh, 0);
        let expected = if self.convention.transposed() { "(H, G·H)" } else { "(G·H, H)" };
        let tensor = tensors
            .get(&name)
            .ok_or_else(|| tensors.problem(format!("tensor {name} is missing; expected shape {expected}")))?;
        let (rows, hidden) = match *tensor.shape {
            [hidden, rows] if self.convention.transposed() => (rows, hidden),
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

    /// The cell's name, and what was assumed in choosing it.
    fn cell(
        &self,
        tensors: &Tensors,
        kind: &Kind,
        bias: Option<usize>,
        told: Option<&str>,
    ) -> Result<(String, Vec<String>), Error> {
        let (gates, cells) = (kind.order.len(), kind.cells(bias));
        let possible = cells.names;
        let configured = tensors.settings().cell(self.path(), self.prefixes.len()).and_then(Result::ok);
        let rearranged = tensors.rearranged(&self.prefixes[0]);
        let of_source = rearranged.and_then(|module| module.cell.clone().ok().flatten());
        let stamped = tensors.stamp().map(|stamp| stamp.cell.as_str()).or(configured).or(of_source);
        let mut assumed = tensors.settings().said.clone();
        if let Some(module) = rearranged.filter(|module| !module.known_by.is_empty()) {
            let source = module.convention.title();
            assumed.push(format!("{} is of {source}, whose names it has: {}", self.title(), module.known_by));
        }
        if let Some(module) = rearranged.filter(|module| told.is_none() && !module.assumes.is_empty()) {
            assumed.push(format!("{} {}", self.title(), module.assumes));
        }
        let cell = match told.or(stamped) {
            // This project's own files may hold a cell of its own.
            Some(name)
                if told.is_none()
                    || possible.contains(&without_activations(name))
                    || self.has_cell(name, gates) =>
            {
                name.to_owned()
            }
            Some(name) => {
                return Err(CoreError::UnknownCell {
                    given: format!("{name} for {} with {gates} gates", self.title()),
                    expected: possible.join(", "),
                }
                .into());
            }
            None => {
                match cells.undecided {
                    Undecided::No => {}
                    Undecided::Assume(activation) => {
                        let others = possible[1..].join(" or ");
                        assumed.push(format!(
                            "{} is read with {activation}; if its activation is another, give --cell {others}",
                            self.title()
                        ));
                    }
                    Undecided::Ask(why) => return Err(tensors.problem(format!("{} {why}", self.title()))),
                }
                if self.convention == Convention::PyTorchCell {
                    assumed.push(self.of_any_library(tensors, possible)?);
                }
                if self.convention == Convention::Keras && gates > 1 {
                    let (cell, said) = self.keras_default(tensors, possible[0]);
                    assumed.push(said);
                    cell
                } else {
                    possible[0].to_owned()
                }
            }
        };
        if self.convention.is_keras() && self.prefixes.len() == 2 && configured.is_none() {
            assumed.push(format!(
                "the two directions of {} are read side by side (merge_mode concat), which is not in the file",
                self.title()
            ));
        }
        match cell_by_name(&cell) {
            Ok(known) if known.spec().gate_count() == gates => Ok((cell, assumed)),
            Ok(known) => Err(tensors.problem(format!(
                "{}: expected {} gates of its cell {cell}, given {gates}",
                self.title(),
                known.spec().gate_count()
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

/// The name of a cell without the activations that it is given.
fn without_activations(name: &str) -> &str {
    name.split_once("_with:").map_or(name, |(base, _)| base)
}

/// b_ih, b_hh, and their types in the file.
type Biases = (Matrix<f64>, Matrix<f64>, [Option<Dtype>; 2]);

/// Reads one module's tensors.
struct Reader<'a> {
    outline: &'a Outline,
    tensors: &'a Tensors,
    hidden: usize,
    kind: &'a Kind,
    /// Of each of PyTorch's gates its block in a matrix.
    order: Vec<usize>,
    biased: bool,
    sources: Vec<String>,
}

impl Reader<'_> {
    /// The parameters of cell `index`, and their types in the file.
    fn cell(
        &mut self,
        spec: &Arc<CellSpec>,
        index: usize,
        inputs: Size,
    ) -> Result<(CellParams<f64>, [Option<Dtype>; 4]), Error> {
        let rows = self.kind.order.len() * self.hidden;
        let (w_ih, ih) = self.weight(Parameter::WeightIh, index, inputs)?;
        let (w_hh, hh) = self.weight(Parameter::WeightHh, index, Size::Is(self.hidden))?;
        let zeros = || Matrix::zeros(1, rows);
        let (b_ih, b_hh, types) = if !self.biased {
            (zeros(), zeros(), [None, None])
        } else if self.outline.convention.transposed() {
            self.one_bias(index)?
        } else if self.outline.convention == Convention::Equinox {
            self.equinox_bias(index)?
        } else {
            let (b_ih, ih) = self.bias(Parameter::BiasIh, index)?;
            let (b_hh, hh) = self.bias(Parameter::BiasHh, index)?;
            (b_ih, b_hh, [Some(ih), Some(hh)])
        };
        let params = CellParams::new(spec, vec![w_ih, w_hh, b_ih, b_hh])?;
        Ok((params, [Some(ih), Some(hh), types[0], types[1]]))
    }

    fn read(
        &mut self,
        parameter: Parameter,
        index: usize,
        sizes: &[Size],
    ) -> Result<(Dtype, Vec<f64>), Error> {
        let name = self.outline.tensor(parameter, index);
        let (tensor, numbers) = self.tensors.floats(&name, sizes)?;
        self.sources.push(name);
        Ok((tensor.dtype, numbers))
    }

    /// A matrix as (G·H, width).
    fn weight(
        &mut self,
        parameter: Parameter,
        index: usize,
        width: Size,
    ) -> Result<(Matrix<f64>, Dtype), Error> {
        let rows = self.kind.order.len() * self.hidden;
        let transposed = self.outline.convention.transposed();
        let sizes = if transposed { [width, Size::Is(rows)] } else { [Size::Is(rows), width] };
        let (dtype, numbers) = self.read(parameter, index, &sizes)?;
        let numbers = to_pytorch(&numbers, self.hidden, &self.order, transposed);
        Ok((Matrix::new(rows, numbers.len() / rows, numbers)?, dtype))
    }

    fn bias(&mut self, parameter: Parameter, index: usize) -> Result<(Matrix<f64>, Dtype), Error> {
        let rows = self.kind.order.len() * self.hidden;
        let (dtype, numbers) = self.read(parameter, index, &[Size::Is(rows)])?;
        let numbers = to_pytorch(&numbers, self.hidden, &self.order, false);
        Ok((Matrix::new(1, rows, numbers)?, dtype))
    }

    /// Equinox' bias, b_ih, and what it has of b_hh.
    fn equinox_bias(&mut self, index: usize) -> Result<Biases, Error> {
        let (b_ih, dtype) = self.bias(Parameter::BiasIh, index)?;
        let mut b_hh = Matrix::zeros(1, b_ih.cols());
        if self.kind.order.len() == 3 {
            let name = self.outline.parameter(BIAS_N, index);
            let (_, numbers) = self.tensors.floats(&name, &[Size::Is(self.hidden)])?;
            b_hh.data_mut()[2 * self.hidden..].copy_from_slice(&numbers);
            self.sources.push(name);
        }
        Ok((b_ih, b_hh, [Some(dtype), Some(dtype)]))
    }

    /// The bias where both are one: b_ih, unless it has a row for each.
    fn one_bias(&mut self, index: usize) -> Result<Biases, Error> {
        let rows = self.kind.order.len() * self.hidden;
        let name = self.outline.tensor(Parameter::BiasIh, index);
        let two = self.tensors.get(&name).is_some_and(|tensor| tensor.shape.len() == 2);
        let two = two && self.kind.two_rows_of_bias;
        let sizes = if two { vec![Size::Is(2), Size::Is(rows)] } else { vec![Size::Is(rows)] };
        let (dtype, numbers) = self.read(Parameter::BiasIh, index, &sizes)?;
        let ordered = |row: &[f64]| to_pytorch(row, self.hidden, &self.order, true);
        let b_ih = Matrix::new(1, rows, ordered(&numbers[..rows]))?;
        let b_hh =
            if two { Matrix::new(1, rows, ordered(&numbers[rows..]))? } else { Matrix::zeros(1, rows) };
        Ok((b_ih, b_hh, [Some(dtype), Some(dtype)]))
    }
}
