//! The ledger of a PyTorch model: `cargo run -p bptt-io --example pytorch_model -- model.safetensors MODULE`.
//!
//! Without arguments it reads a GRU that lies beside the tests. The model reads a sine, and every step has a loss whose gradient
//! with respect to the module's output is all ones.

use bptt::{Inputs, ItemizeOptions, Losses, Sequence};
use bptt_io::{Tensors, choose};

fn main() -> Result<(), bptt_io::Error> {
    let mut arguments = std::env::args().skip(1);
    let beside_the_tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gru.safetensors");
    let file = arguments.next().unwrap_or_else(|| beside_the_tests.into());
    let tensors = Tensors::read(file.as_ref())?;
    let module = choose(&tensors, arguments.next().as_deref(), None)?;
    println!("{}: {}", module.python(), module.description());
    let network = module.network(None)?;

    let (steps, inputs) = (20, network.inputs());
    let wave: Vec<f64> = (0..steps * inputs).map(|i| (0.7 * i as f64).sin()).collect();
    let x = Sequence::new(steps, 1, inputs, &wave)?;
    let cache = network.scan(Inputs::Dense(x), &network.zero_state(1))?;
    let features = network.directions() * network.output_width();
    let losses = Losses::from_seeds(Sequence::new(steps, 1, features, &vec![1.0; steps * features])?);
    let ledger = network.itemize(&cache, &losses, &ItemizeOptions::default())?;
    let entry = ledger.recurrent(0).expect("every cell has an input side");
    for t in (0..steps).rev().take(8) {
        println!("step {t:2} → loss {}: {:.3e}", steps - 1, entry.norm(steps - 1, t).unwrap_or(0.0));
    }
    println!("99 % of the norms lie within {:?} steps", entry.horizon(0.99));
    Ok(())
}
