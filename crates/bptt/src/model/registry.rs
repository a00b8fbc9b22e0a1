//! Every cell there is, by name.

use super::cell::{Activation, Cell, Gru, GruResetBefore, Leaky, Lstm, Rnn};
use crate::Error;
use crate::kernel::Real;

/// Every cell there is; [`Leaky`] with its default leak.
pub fn cells<T: Real>() -> [&'static dyn Cell<T>; 8] {
    [
        &Rnn { activation: Activation::Tanh },
        &Rnn { activation: Activation::Relu },
        &Rnn { activation: Activation::Identity },
        &Leaky::DEFAULT,
        &Lstm { forgets: true },
        &Lstm { forgets: false },
        &Gru,
        &GruResetBefore,
    ]
}

/// The cell called `name`, which may be `rnn_leaky:0.25`, with a leak.
///
/// # Errors
/// If there is none; the message lists those there are.
pub fn cell_by_name<T: Real>(name: &str) -> Result<&'static dyn Cell<T>, Error> {
    if let Some(alpha) = name.strip_prefix("rnn_leaky:") {
        return Ok(Leaky::of(alpha)?);
    }
    let known = cells::<T>();
    known.iter().find(|cell| cell.name() == name).copied().ok_or_else(|| Error::Option {
        option: "cell".into(),
        given: format!("{name:?}"),
        expected: known.map(Cell::name).join(", "),
    })
}
