//! The baseline rust-lstm: one pass of training with the parts of the crate rust-lstm, which works with
//! 64-bit floats alone.

mod training;

use common::{Baseline, Case, Cell, Job, Result, keep_to_threads, serve};

const BASELINE: Baseline = Baseline { name: "rust-lstm", version: "0.10.0", forms: &["nn"], prepare };

fn main() -> Result<()> {
    keep_to_threads()?;
    serve(&BASELINE)
}

fn prepare(case: &Case, _form: &str) -> Result<Box<dyn Job>> {
    match case.cell {
        Cell::Rnn => Err("rust-lstm has no tanh RNN".into()),
        Cell::Lstm => Ok(Box::new(training::Training::new(case)?)),
        Cell::Gru => Err("rust-lstm's GRU applies the reset gate before the product".into()),
    }
}
