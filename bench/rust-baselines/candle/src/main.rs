//! The baseline candle: one pass of training with candle's autograd.

mod hand;
mod job;
mod modules;

use common::{Baseline, Case, Job, Result, keep_to_threads, serve};

const BASELINE: Baseline = Baseline { name: "candle", version: "0.11.1", forms: &["nn", "hand"], prepare };

fn main() -> Result<()> {
    keep_to_threads()?;
    serve(&BASELINE)
}

fn prepare(case: &Case, form: &str) -> Result<Box<dyn Job>> {
    Ok(Box::new(if form == "nn" { modules::training(case)? } else { hand::training(case)? }))
}
