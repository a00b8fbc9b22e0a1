//! Heads and embeddings: the linear maps around a recurrent module.

use bptt::{Matrix, Readout};

use crate::Error;
use crate::module::Module;
use crate::tensor::{Tensor, shape};
use crate::tensors::{Size, Tensors};

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

    fn line(&self) -> String {
        format!("{}  {}", self.name, shape(&self.weight.shape))
    }
}

/// Whatever is called `NAME.weight` (PyTorch) or `NAME/kernel`, `NAME/embeddings` (Keras).
fn candidates(tensors: &Tensors) -> impl Iterator<Item = Candidate<'_>> {
    tensors.iter().filter_map(|weight| {
        let name = weight.name.trim_end_matches(":0");
        let endings = [(".weight", false), ("/embeddings", false), ("/kernel", true)];
        let (name, transposed) = endings
            .into_iter()
            .find_map(|(ending, transposed)| Some((name.strip_suffix(ending)?, transposed)))?;
        // A kernel beside a recurrent one is of a recurrent cell.
        let recurrent = weight.name.replace("/kernel", "/recurrent_kernel");
        (!transposed || tensors.get(&recurrent).is_none()).then_some(Candidate { name, weight, transposed })
    })
}

fn is_embedding(name: &str) -> bool {
    name.to_lowercase().contains("emb")
}

/// The map from a module's output to the scores: the one called `name`; without a name the one called `head`, or the
/// only one with the module's D·H columns.
///
/// # Errors
/// If there is none or there are several, or a tensor has the wrong shape, type or numbers.
pub fn head(tensors: &Tensors, module: &Module, name: Option<&str>) -> Result<Readout<f64>, Error> {
    let width = module.width();
    let fits = |c: &Candidate<'_>| c.shape().is_some_and(|(_, features)| features == width);
    let is_head = |c: &Candidate<'_>| c.name.rsplit('.').next() == Some("head");
    let all = || candidates(tensors).filter(|c| fits(c) && !is_embedding(c.name) && !module.owns(c.weight));
    let heads: Vec<_> = all().filter(is_head).collect();
    let heads = if heads.len() == 1 { heads } else { all().collect() };
    let chosen = match (name, heads.as_slice()) {
        (Some(name), _) => named(tensors, name, "head")?,
        (None, [only]) => only.name,
        (None, []) => {
            return Err(tensors.problem(format!(
                "it holds no head: no tensor NAME.weight of shape (V, {width}); give --grad-output in place of --target"
            )));
        }
        (None, several) => return Err(choice(tensors, "head", "heads", several)),
    };
    let found = candidates(tensors).find(|c| c.name == chosen).expect("it was found by this name");
    let features = Size::Is(width);
    let sizes = if found.transposed { [features, Size::Any("V")] } else { [Size::Any("V"), features] };
    let (_, numbers) = tensors.floats(&found.weight.name, &sizes)?;
    let outputs = numbers.len() / width;
    let numbers = if found.transposed {
        crate::conventions::to_pytorch(&numbers, outputs, &[0], true)
    } else {
        numbers
    };
    let bias = ["weight", "kernel"].iter().find_map(|ending| {
        let (before, after) = found.weight.name.rsplit_once(ending)?;
        let bias = format!("{before}bias{after}");
        tensors.get(&bias).map(|_| bias)
    });
    let b_y = match bias {
        Some(bias) => tensors.floats(&bias, &[Size::Is(outputs)])?.1,
        None => vec![0.0; outputs],
    };
    Ok(Readout { w_hy: Matrix::new(outputs, width, numbers)?, b_y: Matrix::new(1, outputs, b_y)? })
}

/// The vectors, (N, I), that ids stand for: those called `name`; without a name the only ones with the module's I
/// columns and a name with "emb" in it, if there are any.
///
/// # Errors
/// If there are several, none is called `name`, or the tensor has the wrong shape, type or numbers.
pub fn embedding(
    tensors: &Tensors,
    module: &Module,
    name: Option<&str>,
) -> Result<Option<(String, Matrix<f64>)>, Error> {
    let inputs = module.weights.cells[0].inputs();
    let fits = |c: &Candidate<'_>| c.shape().is_some_and(|(_, features)| features == inputs);
    let found: Vec<_> = candidates(tensors).filter(|c| fits(c) && is_embedding(c.name)).collect();
    let chosen = match (name, found.as_slice()) {
        (Some(name), _) => named(tensors, name, "embedding")?,
        (None, []) => return Ok(None),
        (None, [only]) => only.name,
        (None, several) => return Err(choice(tensors, "embedding", "embeddings", several)),
    };
    let found = candidates(tensors).find(|c| c.name == chosen).expect("it was found by this name");
    let (_, numbers) = tensors.floats(&found.weight.name, &[Size::Any("N"), Size::Is(inputs)])?;
    Ok(Some((chosen.into(), Matrix::new(numbers.len() / inputs, inputs, numbers)?)))
}

/// The candidate called `name`.
fn named<'a>(tensors: &'a Tensors, name: &str, option: &'static str) -> Result<&'a str, Error> {
    candidates(tensors).map(|c| c.name).find(|&candidate| candidate == name).ok_or_else(|| {
        let names: Vec<&str> = candidates(tensors).map(|c| c.name).collect();
        Error::UnknownName {
            option,
            given: format!("{name:?}, which is not in {},", tensors.path().display()),
            expected: if names.is_empty() { "a file with NAME.weight".into() } else { names.join(", ") },
        }
    })
}

fn choice(tensors: &Tensors, option: &'static str, what: &str, several: &[Candidate<'_>]) -> Error {
    Error::Choice {
        path: tensors.path().into(),
        what: format!("{} {what} that fit", several.len()),
        option,
        choices: several.iter().map(Candidate::line).collect(),
    }
}

/// A tensor that is of no recurrent module, with PyTorch's name and arrangement: of Keras' `Dense` and `Embedding` the
/// matrix and the bias, anything else as it is.
pub(crate) fn to_pytorch(tensors: &Tensors, tensor: &Tensor) -> Tensor {
    let mut written = tensor.clone();
    let name = tensor.name.trim_end_matches(":0");
    let dotted = |module: &str, parameter: &str| format!("{}.{parameter}", module.replace('/', "."));
    let has_kernel =
        |module: &str| candidates(tensors).any(|c| c.transposed && c.name == module && c.shape().is_some());
    if let Some(module) = name.strip_suffix("/embeddings") {
        written.name = dotted(module, "weight");
    } else if let Some(module) = name.strip_suffix("/bias").filter(|module| has_kernel(module)) {
        written.name = dotted(module, "bias");
    } else if let Some(module) = name.strip_suffix("/kernel").filter(|module| has_kernel(module)) {
        written.name = dotted(module, "weight");
        written.transpose();
    }
    written
}
