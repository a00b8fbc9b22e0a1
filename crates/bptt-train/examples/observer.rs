//! A training that an observer watches and ends: `cargo run --release -p bptt-train --example observer`.

use bptt_train::data_source::DataSource;
use bptt_train::{Config, Error, Event, Flow, task_by_name, train};

fn main() -> Result<(), Error> {
    let config = Config {
        task: Some("temporal_order".into()),
        length: Some(20),
        cell: "lstm".into(),
        hidden: 16,
        steps: 300,
        trace_every: 100,
        ..Config::default()
    };
    let task = task_by_name("temporal_order")?;
    let mut observer = |event: &Event<'_>| match event {
        Event::Step { step, loss, .. } if step % 50 == 0 => {
            println!("update {step}: {loss:.3}");
            if *loss < 0.1 { Flow::Stop } else { Flow::Continue }
        }
        Event::Ledger { step, horizon: Some(horizon), .. } => {
            println!("update {step}: 99 % of the gradient comes from the last {horizon} steps");
            Flow::Continue
        }
        _ => Flow::Continue,
    };
    let outcome = train(&config, &DataSource::task(&*task, &config), &mut observer)?;
    println!("{} updates, {:?}", outcome.steps, outcome.ending);
    Ok(())
}
