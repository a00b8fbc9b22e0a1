//! Heads and embeddings: the linear maps around a recurrent module.

use bptt::{Matrix, Readout};

use crate::Error;
use crate::module::Module;
use crate::tensor::{Tensor, shape};
use crate::tensors::{Size, Tensors};
use crate::unread::is_counter;

/// In place of an embedding's name: integers are one-hot inputs.
pub const NO_EMBEDDING: &str = "none";

/// A map's name and the names of its matrix, its bias and how the matrix stands.
struct Candidate<'a> {
    name: &'a str,
    weight: &'a Tensor,
    /// (features, V), Keras', in place of PyTorch's (V, features).
    transposed: bool,
}

impl Candidate<'_> {
    /// (V, features) of `torch.nn.Linear`, (N, I) of an embedding.
    fn shape(&self) -> Option<(usize, usize)> {
        match *self.weight.shape {
            [features, outputs] if self.transposed => Some((outputs, features)),
            [outputs, features] => Some((outputs, features)),
            _ => None,
        }
    }

    /// Whether it reads so many features.
    fn reads(&self, width: usize) -> bool {
        self.shape().is_some_and(|(_, features)| features == width)
    }

    fn line(&self) -> String {
        format!("{}  {}", self.name, shape(&self.weight.shape))
    }

    /// The name of its bias, if it has one.
    fn bias(&self, tensors: &Tensors) -> Option<String> {
        [("weight", "bias"), ("kernel", "bias"), ("/w", "/b"), ("/W", "/b"), ("_w", "_b")].iter().find_map(
            |(ending, bias)| {
                let (before, after) = self.weight.name.rsplit_once(ending)?;
                let bias = format!("{before}{bias}{after}");
                tensors.get(&bias).map(|_| bias)
            },
        )
    }
}

impl Tensors {
    /// Lets the map called `name` stand where a recurrent module's own tensors do: it is used otherwise.
    pub fn expect_map(&mut self, name: &str) {
        let found = candidates(self).find(|c| c.name == name);
        let names = found.map(|c| [Some(c.weight.name.clone()), c.bias(self)]);
        for name in names.into_iter().flatten().flatten() {
            // It was just found.
            let _ = self.ignore(&name);
        }
    }
}

/// Whatever is called `NAME.weight` (PyTorch), `NAME/kernel`, `NAME/embeddings` (Keras), `NAME/w` (Haiku), `NAME/W` (Chainer),
/// `NAME_w` or `…emb` (for NumPy).
fn candidates(tensors: &Tensors) -> impl Iterator<Item = Candidate<'_>> {
    let transposed = tensors.transposes_linear();
    tensors.iter().filter_map(move |weight| {
        let name = weight.name.trim_end_matches(":0");
        let endings = [
            (".weight", transposed),
            ("/embeddings", false),
            ("/embedding", false),
            ("/kernel", true),
            (".kernel", true),
            ("/w", true),
            ("/W", false),
            ("_w", false),
        ];
        let ending = endings.into_iter().find_map(|(ending, transposed)| {
            let name = name.strip_suffix(ending)?;
            Some((name, transposed && !(ending == ".weight" && is_embedding(name))))
        });
        // Vectors may be called by the embedding's name alone.
        let (name, transposed) = ending.or_else(|| name.ends_with("emb").then_some((name, false)))?;
        // A kernel beside a recurrent one is of a recurrent cell.
        let recurrent = weight.name.replace("/kernel", "/recurrent_kernel");
        (!transposed || tensors.get(&recurrent).is_none()).then_some(Candidate { name, weight, transposed })
    })
}

fn is_embedding(name: &str) -> bool {
    name.to_lowercase().contains("emb")
}

/// The linear map from a module's output to the scores, and its name: the one called `name`; without a name the only one there
/// is, if nothing else is in the file that may stand between or behind. `embedding` is what the module reads, if that is known.
///
/// # Errors
/// If there is none or it is not certain, or a tensor has the wrong shape, type or numbers.
pub fn head(
    tensors: &Tensors,
    module: &Module,
    name: Option<&str>,
    embedding: Option<&str>,
) -> Result<(String, Readout<f64>), Error> {
    let width = module.width();
    let fits = |c: &Candidate<'_>| c.reads(width);
    let maps: Vec<_> =
        candidates(tensors).filter(|c| c.shape().is_some() && !module.owns(c.weight)).collect();
    let is_vectors = |c: &Candidate<'_>| is_embedding(c.name) || embedding == Some(c.name);
    let fitting: Vec<_> = maps.iter().filter(|c| fits(c) && !is_vectors(c)).collect();
    let chosen = match (name, fitting.as_slice()) {
        (Some(name), _) => name,
        (None, []) => {
            let tied = maps.iter().find(|c| fits(c));
            let tied =
                tied.map(|c| format!("; if outputs and inputs share their vectors, --head {}", c.name));
            return Err(tensors.problem(format!(
                "it holds no head: no tensor NAME.weight of shape (V, {width}); give --grad-output in place of --target{}",
                tied.unwrap_or_default()
            )));
        }
        (None, [only]) if stands_alone(tensors, module, only, embedding) => only.name,
        (None, _) => {
            let line = |c: &Candidate<'_>| {
                if fits(c) { c.line() } else { format!("{}, which does not fit", c.line()) }
            };
            return Err(Error::Choice {
                path: tensors.path().into(),
                what: "more than one tensor that fits behind the module, and names do not tell which map follows it directly"
                    .into(),
                option: "head",
                choices: maps.iter().filter(|c| !is_vectors(c) || fits(c)).map(line).collect(),
            });
        }
    };
    if let Some(activation) = tensors.settings().activation(chosen) {
        return Err(tensors.problem(format!(
            "the activation of {chosen} is {activation}; give --head {chosen},{activation} for its outputs"
        )));
    }
    Ok((chosen.into(), map(tensors, chosen, width)?))
}

/// The linear map called `name` from `width` features.
///
/// # Errors
/// If there is none, or a tensor has the wrong shape, type or numbers.
pub(crate) fn map(tensors: &Tensors, name: &str, width: usize) -> Result<Readout<f64>, Error> {
    let found = named(tensors, name, "head")?;
    let features = Size::Is(width);
    let sizes = if found.transposed { [features, Size::Any("V")] } else { [Size::Any("V"), features] };
    let (_, numbers) = tensors.floats(&found.weight.name, &sizes)?;
    let outputs = numbers.len() / width;
    let numbers = if found.transposed {
        crate::conventions::to_pytorch(&numbers, outputs, &[0], true)
    } else {
        numbers
    };
    let b_y = match found.bias(tensors) {
        Some(bias) => tensors.floats(&bias, &[Size::Is(outputs)])?.1,
        None => vec![0.0; outputs],
    };
    Ok(Readout { w_hy: Matrix::new(outputs, width, numbers)?, b_y: Matrix::new(1, outputs, b_y)? })
}

/// Whether no other tensor of the file fits between the module and this map or behind it, by its shape, besides one embedding of
/// the module's inputs.
fn stands_alone(tensors: &Tensors, module: &Module, map: &Candidate<'_>, embedding: Option<&str>) -> bool {
    let inputs = module.weights.cells[0].inputs();
    let is_vectors =
        |c: &Candidate<'_>| embedding.map_or_else(|| is_embedding(c.name), |name| c.name == name);
    let known: Vec<&str> = candidates(tensors)
        .filter(|c| c.reads(inputs) && is_vectors(c))
        .map(|c| c.weight.name.as_str())
        .collect();
    let (bias, width) = (map.bias(tensors), module.width());
    let outputs = map.shape().map_or(0, |(outputs, _)| outputs);
    let meets = |size: &usize| *size == width || (*size == outputs && outputs > 1);
    let may_stand_between = |tensor: &&Tensor| {
        !module.owns(tensor)
            && tensor.shape.iter().any(meets)
            && tensor.name != map.weight.name
            && bias.as_ref() != Some(&tensor.name)
            && !known.contains(&tensor.name.as_str())
            && !tensors.is_ignored(&tensor.name)
            && !is_counter(tensor)
    };
    known.len() <= 1 && !tensors.iter().any(|tensor| may_stand_between(&tensor))
}

/// The vectors, (N, I), that ids stand for, and their name: those called `name`; without a name the only ones with the
/// module's I columns and "emb" in their name, if any others may be the head. `None` if the ids are one-hot inputs: there are no
/// such vectors, or `name` is [`NO_EMBEDDING`]. `head` is the map to the outputs, if it is known.
///
/// # Errors
/// If it is not certain, none is called `name`, or the tensor has the wrong shape, type or numbers.
pub fn embedding(
    tensors: &Tensors,
    module: &Module,
    name: Option<&str>,
    head: Option<&str>,
) -> Result<Option<(String, Matrix<f64>)>, Error> {
    let inputs = module.weights.cells[0].inputs();
    let may_be = |c: &Candidate<'_>| c.reads(inputs) && !module.owns(c.weight) && Some(c.name) != head;
    let found: Vec<_> = candidates(tensors).filter(may_be).collect();
    let chosen = match (name, found.as_slice()) {
        (Some(NO_EMBEDDING), _) | (None, []) => return Ok(None),
        (Some(name), _) => name,
        (None, several) => {
            let (vectors, others): (Vec<_>, Vec<_>) = several.iter().partition(|c| is_embedding(c.name));
            let may_be_head = |c: &&Candidate<'_>| c.reads(module.width());
            if let ([only], true) = (vectors.as_slice(), others.iter().all(may_be_head)) {
                return read_vectors(tensors, module, only.name).map(Some);
            }
            let mut choices: Vec<String> = several.iter().map(Candidate::line).collect();
            choices.push(format!("{NO_EMBEDDING}  the integers are one-hot inputs"));
            return Err(Error::Choice {
                path: tensors.path().into(),
                what: format!("what integers may stand for: matrices with {inputs} columns"),
                option: "embedding",
                choices,
            });
        }
    };
    read_vectors(tensors, module, chosen).map(Some)
}

fn read_vectors(tensors: &Tensors, module: &Module, name: &str) -> Result<(String, Matrix<f64>), Error> {
    let inputs = module.weights.cells[0].inputs();
    let found = named(tensors, name, "embedding")?;
    let (_, numbers) = tensors.floats(&found.weight.name, &[Size::Any("N"), Size::Is(inputs)])?;
    Ok((name.into(), Matrix::new(numbers.len() / inputs, inputs, numbers)?))
}

/// The candidate called `name`.
fn named<'a>(tensors: &'a Tensors, name: &str, option: &'static str) -> Result<Candidate<'a>, Error> {
    candidates(tensors).find(|c| c.name == name).ok_or_else(|| {
        let names: Vec<&str> = candidates(tensors).map(|c| c.name).collect();
        Error::UnknownName {
            option,
            given: format!("{name:?}, which is not in {},", tensors.path().display()),
            expected: if names.is_empty() { "a file with NAME.weight".into() } else { names.join(", ") },
        }
    })
}

/// A tensor that is of no recurrent module, with PyTorch's name and arrangement: of linear maps and embeddings the matrix and
/// the bias, anything else as it is.
pub(crate) fn to_pytorch(tensors: &Tensors, tensor: &Tensor) -> Tensor {
    let mut written = tensor.clone();
    let dotted = |module: &str, parameter: &str| format!("{}.{parameter}", module.replace('/', "."));
    let of_source = |c: &Candidate<'_>| {
        c.transposed || c.weight.name.trim_end_matches(":0").rfind('/') == Some(c.name.len())
    };
    let mut maps = candidates(tensors).filter(|c| c.shape().is_some() && of_source(c));
    let found = maps.find_map(|c| {
        let is_bias = c.bias(tensors).as_ref() == Some(&tensor.name);
        (is_bias || c.weight.name == tensor.name).then(|| (is_bias, c.transposed, c.name.to_owned()))
    });
    if let Some((is_bias, transposed, name)) = found {
        written.name = dotted(&name, if is_bias { "bias" } else { "weight" });
        if transposed && !is_bias {
            written.transpose();
        }
    }
    written
}
