//! Costs beyond the forward and backward pass: clipping, the optimizer, and a ledger during training.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use bptt::Matrix;
use bptt_train::{Config, Corpus, DataSource, Event, Flow, Optimizer, Rng, clip, train};

use crate::case::{CELLS, Case, Kind};
use crate::own::Job;
use crate::summary::{head, machine, median, ms, publish, row, three};

/// Updates of one training; the last one makes a ledger.
const UPDATES: u64 = 100;

/// Measures, prints the tables and writes `costs.md`.
pub fn run(rounds: usize, out: &Path) -> Result<(), Box<dyn Error>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let mut text = format!(
        "# Costs beyond the forward and backward pass\n\n{}\nTwo threads; milliseconds, medians of {rounds} turns.\n\n",
        machine()
    );
    text += "## Clipping by norm and Adam\n\n";
    text += &head(&["shape", "forward and backward", "clipping", "relative", "Adam", "relative"]);
    for case in Case::all().iter().filter(|case| case.kind == Kind::Train && case.threads == 2) {
        eprintln!("{case}: clipping and Adam");
        let [step, clipping, adam] = pool.install(|| step_and_update(case, rounds));
        let of = |part: f64| format!("{} %", three(100.0 * part / step));
        text += &row(&[case.to_string(), ms(step), ms(clipping), of(clipping), ms(adam), of(adam)]);
    }
    text += "\n## `--trace-every 100`\n\nThe ledger of one sequence, in f64, once in 100 updates, at B = 64, T = 128, H = 256, V = 96.\n\n";
    text += &head(&["cell", "update", "ledger", "of 100 updates"]);
    for cell in CELLS {
        eprintln!("{cell}: a ledger in {UPDATES} updates");
        let mut turns = Vec::new();
        for _ in 0..rounds {
            turns.push(pool.install(|| traced(cell))?);
        }
        let [update, ledger] = [0, 1].map(|i| median(turns.iter().map(|turn: &[f64; 2]| turn[i]).collect()));
        let share = 100.0 * ledger / (update * UPDATES as f64);
        text += &row(&[cell.to_owned(), ms(update), ms(ledger), format!("{} %", three(share))]);
    }
    publish(out, "costs.md", &text)
}

/// Seconds of forward and backward, of clipping, and of Adam.
fn step_and_update(case: &Case, rounds: usize) -> [f64; 3] {
    let mut job = Job::new(case);
    let (mut parameters, mut gradients) = (job.weights(), job.weights());
    let sizes: Vec<usize> = parameters.tensors_mut().iter().map(|tensor| tensor.data().len()).collect();
    let mut adam = Optimizer::new(Config::default().optimizer, &sizes);
    let mut seconds = [(); 3].map(|()| Vec::new());
    for turn in 0..10 * rounds {
        let mut lap = Instant::now();
        let mut stop = |i: usize| {
            if turn > 0 {
                seconds[i].push(lap.elapsed().as_secs_f64());
            }
            lap = Instant::now();
        };
        job.run();
        stop(0);
        let mut clipped: Vec<_> = gradients.tensors_mut().into_iter().map(Matrix::data_mut).collect();
        std::hint::black_box(clip::clip_by_norm(&mut clipped, 1e9));
        stop(1);
        let clipped: Vec<&[f32]> = clipped.iter().map(|gradient| &**gradient).collect();
        let mut moved: Vec<_> = parameters.tensors_mut().into_iter().map(Matrix::data_mut).collect();
        adam.step(1e-3, &mut moved, &clipped);
        stop(2);
    }
    seconds.map(median)
}

/// Seconds of an update without a ledger, and the seconds a ledger adds.
fn traced(cell: &str) -> Result<[f64; 2], bptt_train::Error> {
    let config = Config {
        cell: cell.into(),
        hidden: 256,
        batch: 64,
        window: 128,
        steps: UPDATES,
        trace_every: UPDATES,
        evaluate_every: 0,
        ..Config::default()
    };
    let mut rng = Rng::new(3, 0);
    #[allow(clippy::cast_possible_truncation)] // ids are small
    let ids = (0..64 * 128 * 12).map(|_| rng.below(96) as u32).collect();
    let corpus = Corpus::split(ids, 0.0)?;
    let mut updates = Vec::new();
    let mut note = |event: &Event<'_>| {
        if let Event::Step { .. } = event {
            updates.push(Instant::now());
        }
        Flow::Continue
    };
    train(&config, &DataSource::Text { corpus: &corpus, symbols: 96 }, &mut note)?;
    let seconds: Vec<f64> = updates.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    let (last, others) = seconds.split_last().expect("more than one update");
    let update = median(others.to_vec());
    Ok([update, last - update])
}
