//! Every cell there is, by name. Nothing else lists cells.

use std::sync::Arc;

use super::activation::Activation;
use super::cell::{
    CellKind, Gru, GruResetBefore, GruWith, Leaky, Lstm, LstmLayerNorm, LstmPeephole, LstmProjected,
    LstmWith, MinGru, Rnn,
};
use crate::Error;

/// Makes a cell from what follows its name's colon, if anything does.
type Make = fn(Option<&str>) -> Result<Arc<dyn CellKind>, Error>;

/// A line of the registry. A cell that cannot do without hyperparameters has an example of them in its name.
struct Registered {
    name: &'static str,
    make: Make,
}

/// A line for a cell without hyperparameters.
macro_rules! plain {
    ($name:literal, $cell:expr) => {
        Registered {
            name: $name,
            make: |given| match given {
                None => Ok(Arc::new($cell)),
                Some(given) => Err(Error::UnknownCell {
                    given: format!("{}:{given}", $name),
                    expected: concat!($name, ", which has no hyperparameter").into(),
                }),
            },
        }
    };
}

const REGISTRY: &[Registered] = &[
    plain!("rnn", Rnn::new(Activation::Tanh)),
    plain!("rnn_relu", Rnn::new(Activation::Relu)),
    plain!("rnn_identity", Rnn::new(Activation::Identity)),
    Registered { name: "rnn_leaky", make: |leak| Ok(Arc::new(Leaky::by_name(leak)?)) },
    plain!("lstm", Lstm::new()),
    plain!("lstm_1997", Lstm::without_forget_gate()),
    plain!("gru", Gru::new()),
    plain!("gru_reset_before", GruResetBefore::new()),
    plain!("lstm_projected", LstmProjected::new()),
    plain!("lstm_peephole", LstmPeephole::new()),
    Registered { name: "lstm_with:hard_sigmoid,tanh", make: |given| Ok(Arc::new(LstmWith::by_name(given)?)) },
    Registered {
        name: "gru_with:hard_sigmoid,tanh",
        make: |given| Ok(Arc::new(GruWith::reset_after(given)?)),
    },
    Registered {
        name: "gru_reset_before_with:hard_sigmoid,tanh",
        make: |given| Ok(Arc::new(GruWith::reset_before(given)?)),
    },
    Registered { name: "lstm_layer_norm", make: |epsilon| Ok(Arc::new(LstmLayerNorm::by_name(epsilon)?)) },
    plain!("min_gru", MinGru::new()),
];

/// The name of every cell; hyperparameters have their defaults, or an example where there are none.
pub fn cells() -> Vec<&'static str> {
    REGISTRY.iter().map(|line| line.name).collect()
}

/// The cell called `name`, which may end in a colon and hyperparameters: `rnn_leaky:0.25`.
///
/// # Errors
/// If there is none; the message lists those there are.
pub fn cell_by_name(name: &str) -> Result<Arc<dyn CellKind>, Error> {
    let (cell, given) = name.split_once(':').map_or((name, None), |(cell, given)| (cell, Some(given)));
    match REGISTRY.iter().find(|line| line.name.split(':').next() == Some(cell)) {
        Some(line) => (line.make)(given),
        None => Err(Error::UnknownCell { given: format!("{name:?}"), expected: cells().join(", ") }),
    }
}
