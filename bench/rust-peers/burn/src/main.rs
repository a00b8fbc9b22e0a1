//! The peer burn: one pass of training with burn's autodiff on its CPU backend Flex.

mod hand;
mod job;
mod modules;

use common::{Case, Job, Peer, Result, keep_to_threads, serve};

const PEER: Peer = Peer { name: "burn", version: "0.22.1", forms: &["nn", "hand"], prepare };

fn main() -> Result<()> {
    keep_to_threads()?;
    serve(&PEER)
}

#[expect(clippy::unnecessary_wraps, reason = "other peers cannot do everything")]
fn prepare(case: &Case, form: &str) -> Result<Box<dyn Job>> {
    Ok(if form == "nn" { Box::new(modules::training(case)) } else { Box::new(hand::training(case)) })
}
