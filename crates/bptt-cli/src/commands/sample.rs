//! `bptt sample`: generates text.

use bptt_train::{Rng, Run, Sampling, sample};
use serde_json::json;

use super::{print, print_json};
use crate::Failure;
use crate::args::SampleArgs;
use crate::memory::allow;

/// The random stream of samples.
pub(crate) const STREAM: u64 = 2;

pub(crate) fn run(args: &SampleArgs) -> Result<(), Failure> {
    let sampling = Sampling { temperature: args.temperature, top_k: args.top_k };
    sampling.check()?;
    // Ids, and their texts.
    let bytes = |length: f64| 16.0 * length;
    allow("a text of this length", bytes(args.length as f64), |limit| {
        Ok(Some(format!("--length {:.0}", (limit / bytes(1.0)).floor())))
    })?;
    let run = Run::open(&args.run)?;
    let vocabulary = run.vocabulary()?;
    let prime = vocabulary.encode(&args.prime)?;
    let mut rng = Rng::new(args.seed, STREAM);
    let drawn = sample(&run.network, vocabulary, &prime, args.length, &sampling, &mut rng)?;
    let whole: Vec<u32> = prime.iter().chain(&drawn).copied().collect();
    let text = vocabulary.decode(&whole);
    if args.json {
        return print_json(
            &json!({ "schema": "bptt.sample/1", "prime": args.prime, "text": text, "seed": args.seed }),
        );
    }
    print(&format!("{}\n", text.trim_end_matches('\n')))
}
