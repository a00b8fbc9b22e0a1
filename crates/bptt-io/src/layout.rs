//! Which source a file is said to be from, and in which order its gates stand, where names cannot tell.

use crate::Error;
use crate::conventions::Convention::{
    self, Burn, Candle, Chainer, Cs231n, Equinox, Flax, FlaxNnx, Haiku, Haste, Keras, Mlx, Paddle, PyTorch,
    PyTorchCell, PyTorchShort, TensorFlowJs, Tinygrad,
};

/// The names of sources, and the rows of the table that each stands for.
const SOURCES: [(&str, &[Convention]); 14] = [
    ("pytorch", &[PyTorch, PyTorchCell, PyTorchShort]),
    ("keras", &[Keras]),
    ("tensorflow.js", &[TensorFlowJs]),
    ("haste", &[Haste]),
    ("cs231n", &[Cs231n]),
    ("mlx", &[Mlx]),
    ("flax", &[Flax, FlaxNnx]),
    ("haiku", &[Haiku]),
    ("equinox", &[Equinox]),
    ("paddle", &[Paddle, PyTorchCell]),
    ("candle", &[Candle, PyTorchCell]),
    ("burn", &[Burn]),
    ("tinygrad", &[Tinygrad]),
    ("chainer", &[Chainer]),
];

/// The letters of gates in PyTorch's order, with other letters for the same gate.
const LSTM: [&[&str]; 4] = [&["i"], &["f"], &["g", "c", "a", "j"], &["o"]];
const GRU: [&[&str]; 3] = [&["r"], &["z", "u"], &["n", "h", "c", "g", "a"]];

/// How a file is read where its names leave it open: from which source, with which order of gates. By default neither is
/// given: names and shapes decide.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    source: Option<(&'static str, &'static [Convention])>,
    gates: Option<Vec<String>>,
}

impl Layout {
    /// From the name of a source, `"haste"`, and an order of gates, `"i,g,f,o"` or `"z,r,n"`.
    ///
    /// # Errors
    /// If the source is not known, or the letters are not those of an LSTM's or a GRU's gates, each once.
    pub fn new(source: Option<&str>, gates: Option<&str>) -> Result<Self, Error> {
        let source = source.map(|given| {
            SOURCES.iter().find(|(name, _)| *name == given).copied().ok_or_else(|| Error::UnknownName {
                option: "layout",
                given: format!("{given:?}"),
                expected: SOURCES.map(|(name, _)| name).join(", "),
            })
        });
        let gates: Option<Vec<String>> =
            gates.map(|given| given.split(',').map(|letter| letter.trim().to_lowercase()).collect());
        let layout = Self { source: source.transpose()?, gates };
        match &layout.gates {
            Some(gates) if layout.order(4).is_none() && layout.order(3).is_none() => Err(Error::UnknownName {
                option: "gate-order",
                given: format!("{:?}", gates.join(",")),
                expected: "i, f, g (or c, a) and o of an LSTM or r, z (or u) and n (or h, c) of a GRU, each once, with commas"
                    .into(),
            }),
            _ => Ok(layout),
        }
    }

    /// The source's name, if it is given.
    pub(crate) fn source(&self) -> Option<&'static str> {
        self.source.map(|(name, _)| name)
    }

    /// Whether modules of this row are asked for by name.
    pub(crate) fn asks_for(&self, convention: Convention) -> bool {
        self.source.is_some_and(|(_, rows)| rows.contains(&convention))
    }

    /// Whether modules of this row are read: it is asked for, or none is.
    pub(crate) fn allows(&self, convention: Convention) -> bool {
        self.source.is_none() || self.asks_for(convention)
    }

    /// Whether an order of gates is given.
    pub(crate) fn has_gates(&self) -> bool {
        self.gates.is_some()
    }

    /// For each block of a matrix, in the given order, which of PyTorch's `gates` gates it is; `None` if no order is given or it
    /// is not of so many gates.
    pub(crate) fn order(&self, gates: usize) -> Option<Vec<usize>> {
        let known: &[&[&str]] = if gates == 4 { &LSTM } else { &GRU };
        let given = self.gates.as_ref().filter(|given| given.len() == gates && known.len() == gates)?;
        let place = |letter: &String| known.iter().position(|names| names.contains(&letter.as_str()));
        let order: Option<Vec<usize>> = given.iter().map(place).collect();
        order.filter(|order| (0..gates).all(|gate| order.contains(&gate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_for_pytorchs_gates() {
        let order = |gates: &str, count| Layout::new(None, Some(gates)).unwrap().order(count);
        assert_eq!(order("i,g,f,o", 4), Some(vec![0, 2, 1, 3]));
        assert_eq!(order("f, i, o, c", 4), Some(vec![1, 0, 3, 2]));
        assert_eq!(order("z,r,h", 3), Some(vec![1, 0, 2]));
        assert_eq!(order("z,r,h", 4), None);
        for wrong in ["i,f,o", "i,f,g,g", "i,f,g,x", ""] {
            let refused = Layout::new(None, Some(wrong)).unwrap_err().to_string();
            assert!(refused.starts_with("gate-order: "), "{refused}");
        }
        let refused = Layout::new(Some("hasty"), None).unwrap_err().to_string();
        assert!(
            refused.starts_with("layout: \"hasty\" is not possible; expected pytorch, keras,"),
            "{refused}"
        );
    }
}
