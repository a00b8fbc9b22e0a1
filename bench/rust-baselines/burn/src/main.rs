//! The baseline burn: one pass of training with burn's autodiff on its CPU backend Flex.

mod hand;
mod job;
mod modules;

use common::{Baseline, Case, Job, Result, keep_to_threads, serve};

const BASELINE: Baseline = Baseline { name: "burn", version: "0.22.1", forms: &["nn", "hand"], prepare };

fn main() -> Result<()> {
    keep_to_threads()?;
    serve(&BASELINE)
}

#[expect(clippy::unnecessary_wraps, reason = "other baselines refuse some cases")]
fn prepare(case: &Case, form: &str) -> Result<Box<dyn Job>> {
    Ok(if form == "nn" { Box::new(modules::training(case)) } else { Box::new(hand::training(case)) })
}
