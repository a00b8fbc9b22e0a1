//! Tensors that stand where a module's own do and that nothing reads: with them the file holds another cell than the one that
//! would be read.

use crate::Error;
use crate::outline::{Outline, find};
use crate::tensor::{Dtype, Tensor, shape};
use crate::tensors::Tensors;

/// What frameworks keep beside the weights and do not compute with.
const BOOKKEEPING: [&str; 3] = ["seed_generator_state", "num_batches_tracked", "_flat_weights"];

/// Endings that name what a weight was made of, what that is, and how to get the weight back.
const REPARAMETRIZED: [(&str, &str); 6] = [
    (
        "_g",
        "a part of a weight normalization that is not known here; torch.nn.utils.remove_weight_norm(module, \"NAME\") before \
         saving leaves the weight",
    ),
    (
        "_v",
        "a part of a weight or spectral normalization that is not known here; torch.nn.utils.remove_weight_norm or \
         remove_spectral_norm(module, \"NAME\") before saving leaves the weight",
    ),
    (
        "_u",
        "a part of a spectral normalization; torch.nn.utils.remove_spectral_norm(module, \"NAME\") before saving leaves the \
         weight",
    ),
    (
        "_orig",
        "a weight before spectral normalization or pruning; torch.nn.utils.remove_spectral_norm(module, \"NAME\") or \
         torch.nn.utils.prune.remove(module, \"NAME\") before saving leaves the weight",
    ),
    (
        "_mask",
        "the mask of a pruned weight; torch.nn.utils.prune.remove(module, \"NAME\") before saving leaves the weight",
    ),
    (
        "_raw",
        "a weight before weight dropout, of which the weight itself may be an old copy; save it under the weight's name",
    ),
];

const PARAMETRIZED: &str = "a part of a parametrization; torch.nn.utils.parametrize.remove_parametrizations(module, \"NAME\") \
                            before saving leaves the weight";

/// Refuses tensors beside those that `outline` reads, `sources`, that stand under the module's prefix or are what one of its
/// weights was made of, unless they are ignored or other modules' own.
pub(crate) fn refuse_unread(tensors: &Tensors, outline: &Outline, sources: &[String]) -> Result<(), Error> {
    let others: Vec<Outline> = find(tensors).into_iter().filter(|other| other != outline).collect();
    let is_of_other = |name: &str, prefix: &str| {
        let longer = |other: &String| other.len() > prefix.len() && name.starts_with(other.as_str());
        others.iter().flat_map(|other| &other.prefixes).any(longer)
    };
    let stands_here = |name: &str| {
        let mut prefixes = outline.prefixes.iter();
        prefixes.any(|prefix| is_under(tensors, prefix, name, outline) && !is_of_other(name, prefix))
    };
    let unread = |name: &str| {
        !sources.iter().any(|source| source == name)
            && !tensors.is_ignored(name)
            && !BOOKKEEPING.iter().any(|known| name.trim_end_matches(":0").ends_with(known))
            && (stands_here(name) || origin_of(outline, name).is_some())
    };
    let readable = tensors.iter().filter(|tensor| unread(&tensor.name) && !is_counter(tensor));
    let readable =
        readable.map(|tensor| (tensor.name.as_str(), format!("of shape {}", shape(&tensor.shape))));
    let unreadable = tensors.unreadable().filter(|(name, _)| unread(name));
    let unreadable = unreadable.map(|(name, problem)| (name, format!("({problem})")));
    let found: Vec<(&str, String)> = readable.chain(unreadable).collect();
    // What explains itself comes first.
    let explained = found.iter().find_map(|(name, _)| Some((*name, origin_of(outline, name)?)));
    let Some((first, what)) = found.first() else { return Ok(()) };
    let title = outline.title();
    let ignored: Vec<String> = found.iter().map(|(name, _)| format!("--ignore {name}")).collect();
    let way_out = format!("; if the computation does without, give {}", ignored.join(" "));
    if let Some((name, why)) = explained {
        return Err(tensors.problem(format!("tensor {name} of {title} is {why}{way_out}")));
    }
    let more = if found.len() > 1 { format!(" and {} more", found.len() - 1) } else { String::new() };
    let (layout, known) = (outline.convention.title(), outline.convention.known().join(", "));
    Err(tensors.problem(format!(
        "tensor {first} {what}{more} stands beside the weights of {title} and nothing reads it; known of a module of {layout}: \
         {known}{way_out}"
    )))
}

impl Outline {
    /// Whether the file has what one of its weights was made of.
    pub(crate) fn has_parts_of_weights(&self, tensors: &Tensors) -> bool {
        tensors.iter().any(|tensor| origin_of(self, &tensor.name).is_some())
    }
}

/// The module's weight that the tensor called `name` is a part of, as what, and how to get it back.
fn origin_of(outline: &Outline, name: &str) -> Option<String> {
    let (path, parameter) = if let Some((path, rest)) = name.split_once("parametrizations.") {
        (path, rest.split('.').next()?)
    } else {
        name.split_at(name.rfind('.').map_or(0, |dot| dot + 1))
    };
    let is_its_path = outline.prefixes.iter().any(|prefix| prefix.starts_with(path));
    let is_weight = |name: &str| {
        let own = outline.convention.names();
        own.iter()
            .chain(&["weight_hr"])
            .any(|own| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with("_l")))
    };
    if !is_its_path {
        return None;
    }
    if path.len() + parameter.len() < name.len() {
        return is_weight(parameter).then(|| PARAMETRIZED.replace("NAME", parameter));
    }
    REPARAMETRIZED.iter().find_map(|(ending, what)| {
        let weight = parameter.strip_suffix(ending).filter(|weight| is_weight(weight))?;
        Some(what.replace("NAME", weight))
    })
}

/// Whether a tensor of this name stands directly where the module's own do. Without a prefix these are the names without a
/// module's, and vectors that scale or shift something: what else a whole model has are matrices with their biases.
fn is_under(tensors: &Tensors, prefix: &str, name: &str, outline: &Outline) -> bool {
    let Some(rest) = name.strip_prefix(prefix) else { return false };
    if outline.convention.beside().contains(&rest) {
        return false;
    }
    if !prefix.is_empty() {
        return true;
    }
    let Some(end) = name.rfind(['.', '/']) else { return true };
    let of_module = |tensor: &&Tensor| tensor.name.starts_with(&name[..=end]);
    tensors.iter().filter(of_module).all(|tensor| tensor.shape.len() < 2)
}

/// Whether it is a number or a few that count something.
pub(crate) fn is_counter(tensor: &Tensor) -> bool {
    let is_float = matches!(tensor.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
    !is_float && tensor.shape.iter().product::<usize>() <= 8
}
