//! What the names of a file's tensors say.

use super::{Convention, Parameter};

/// What a recurrent weight's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recognized<'a> {
    pub convention: Convention,
    /// The module's prefix, separator included.
    pub prefix: &'a str,
    /// What follows the parameter's name: TensorFlow's `:0`, or nothing.
    pub suffix: &'a str,
    pub layer: usize,
    pub reverse: bool,
}

/// What separates a module's name from its parameter's.
pub(crate) const SEPARATORS: [char; 3] = ['.', '/', '_'];

/// The name as one of a recurrent module's weights, if it is one.
pub(crate) fn recognize(name: &str) -> Option<Recognized<'_>> {
    pytorch(name).or_else(|| {
        let (name, suffix) = name.strip_suffix(":0").map_or((name, ""), |short| (short, ":0"));
        [Convention::PyTorchShort, Convention::Keras, Convention::Cs231n].into_iter().find_map(|convention| {
            let prefix = name.strip_suffix(convention.row().names[Parameter::WeightHh as usize])?;
            let whole = prefix.is_empty() || prefix.ends_with(SEPARATORS);
            whole.then_some(Recognized { convention, prefix, suffix, layer: 0, reverse: false })
        })
    })
}

fn pytorch(name: &str) -> Option<Recognized<'_>> {
    let weight = ["weight_hh", "weight_ih"].into_iter().find_map(|weight| name.rfind(weight))?;
    let prefix = &name[..weight];
    let rest = &name[weight + "weight_hh".len()..];
    if rest.is_empty() {
        let convention = Convention::PyTorchCell;
        return Some(Recognized { convention, prefix, suffix: "", layer: 0, reverse: false });
    }
    let place = rest.strip_prefix("_l")?;
    let (layer, reverse) = place.strip_suffix("_reverse").map_or((place, false), |layer| (layer, true));
    let layer = layer.parse().ok()?;
    Some(Recognized { convention: Convention::PyTorch, prefix, suffix: "", layer, reverse })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_the_names_of_their_weights() {
        let cases = [
            ("weight_hh_l0", Convention::PyTorch, "", "", 0, false),
            ("net.actor.weight_ih_l12_reverse", Convention::PyTorch, "net.actor.", "", 12, true),
            ("cells.0.weight_hh", Convention::PyTorchCell, "cells.0.", "", 0, false),
            ("lstm/lstm_cell/recurrent_kernel:0", Convention::Keras, "lstm/lstm_cell/", ":0", 0, false),
            ("gru_recurrent_kernel", Convention::Keras, "gru_", "", 0, false),
            ("Wh", Convention::Cs231n, "", "", 0, false),
            ("enc_w_hh", Convention::PyTorchShort, "enc_", "", 0, false),
        ];
        for (name, convention, prefix, suffix, layer, reverse) in cases {
            assert_eq!(
                recognize(name),
                Some(Recognized { convention, prefix, suffix, layer, reverse }),
                "{name}"
            );
        }
        for name in ["head.weight", "weight_hh_l", "weight_hh_lx", "weight_hh_l0_backward", "kernel", "myWh"]
        {
            assert_eq!(recognize(name), None, "{name}");
        }
    }
}
