//! Tasks, and training in Rust.

use std::sync::{Arc, Mutex};

use bptt::{Control, Inputs, Targets};
use bptt_train::data_source::held_out_batch;
use bptt_train::{Config, DataSource, Ending, Event, Flow, run, task_by_name, tasks};
use numpy::PyArray2;
use pyo3::prelude::*;

use crate::arrays::{from_sequence, grid};
use crate::errors::{BpttError, of_training, to_python};
use crate::network::Network;
use crate::threads;

/// Name, description, usual length.
#[pyfunction]
pub fn task_list() -> Vec<(String, &'static str, usize)> {
    tasks().iter().map(|task| (task.name(), task.about(), task.usual_length())).collect()
}

/// Inputs, targets, where there is a loss (T, B), and the smallest and largest lag of the dependency.
type Drawn<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyArray2<bool>>>, (usize, usize));

/// Sequences of a task that training does not see.
#[pyfunction]
pub fn task_batch<'py>(
    py: Python<'py>,
    name: &str,
    length: Option<usize>,
    batch: usize,
    seed: u64,
) -> PyResult<Drawn<'py>> {
    let task = task_by_name(name).map_err(of_training)?;
    let length = length.unwrap_or_else(|| task.usual_length());
    let drawn = held_out_batch(&*task, length, batch, seed).map_err(of_training)?.batch;
    let symbols = |ids: &bptt::Symbols| {
        let (steps, batch) = ids.shape();
        grid(py, steps, batch, |t, b| i64::from(ids.step(t)[b])).into_any()
    };
    let inputs = match &drawn.inputs {
        Inputs::Dense(x) => from_sequence(py, x.view()).into_any(),
        Inputs::Symbols(ids) => symbols(ids),
    };
    let targets = match &drawn.targets {
        Targets::SquaredError(y) => from_sequence(py, y.view()).into_any(),
        Targets::CrossEntropy(ids) => symbols(ids),
    };
    let (steps, batch) = drawn.shape();
    let mask = drawn.mask.map(|mask| grid(py, steps, batch, |t, b| mask[t * batch + b]));
    let lag = task.lag(length);
    Ok((inputs, targets, mask, (*lag.start(), *lag.end())))
}

/// Columns of a training's events: of updates the number, loss, learning rate and norm of the gradient before and after
/// clipping; of ledgers the update, horizon and decay; of evaluations the update, loss and solved fraction.
#[derive(Default)]
struct History {
    updates: Vec<[f64; 5]>,
    ledgers: Vec<[f64; 3]>,
    evaluations: Vec<[f64; 3]>,
}

impl History {
    fn add(&mut self, event: &Event<'_>) {
        match event {
            Event::Step { step, loss, learning_rate, gradient, .. } => {
                self.updates.push([*step as f64, *loss, *learning_rate, gradient.before, gradient.after]);
            }
            Event::Ledger { step, horizon, decay, .. } => {
                let horizon = horizon.map_or(f64::NAN, |horizon| horizon as f64);
                self.ledgers.push([*step as f64, horizon, decay.unwrap_or(f64::NAN)]);
            }
            Event::Evaluation { step, loss, solved } => {
                self.evaluations.push([*step as f64, *loss, solved.unwrap_or(f64::NAN)]);
            }
            Event::Flossing { .. } | Event::Updated { .. } => {}
        }
    }
}

fn rows<'py, const N: usize>(py: Python<'py>, rows: &[[f64; N]]) -> Bound<'py, PyArray2<f64>> {
    grid(py, rows.len(), N, |i, j| rows[i][j])
}

/// Network, how it ended, symbols of a text, and the columns of the history.
type Trained<'py> = (
    Network,
    String,
    Option<Vec<String>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<f64>>,
);

/// Trains a network; `settings` is a JSON object with the names of a run's `config.toml`. `progress` is called with the part that is
/// done. Ctrl-C ends it.
#[pyfunction]
pub fn train<'py>(
    py: Python<'py>,
    settings: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Trained<'py>> {
    let config: Config =
        serde_json::from_str(settings).map_err(|error| BpttError::new_err(format!("settings: {error}")))?;
    config.check().map_err(of_training)?;
    let history = Arc::new(Mutex::new(History::default()));
    let control = Arc::new(Control::default());
    let (seen, kept) = (Arc::clone(&control), Arc::clone(&history));
    control.expect(usize::try_from(config.steps).unwrap_or(usize::MAX));
    let outcome = threads::compute(py, &control, progress, move || {
        let mut observe = |event: &Event<'_>| {
            kept.lock().expect("no panic while it is held").add(event);
            if let Event::Step { .. } = event {
                seen.advance(1);
            }
            if seen.is_cancelled() { Flow::Stop } else { Flow::Continue }
        };
        if let Some(name) = &config.task {
            let task = task_by_name(name)?;
            let outcome = bptt_train::train(&config, &DataSource::task(&*task, &config), &mut observe)?;
            return Ok((outcome, None));
        }
        let (vocabulary, corpus) = run::prepare(&config, &run::load_text(&config)?)?;
        let data = DataSource::Text { corpus: &corpus, symbols: vocabulary.len() };
        let outcome = bptt_train::train(&config, &data, &mut observe)?;
        Ok((outcome, Some(vocabulary.symbols().to_vec())))
    })?;
    let (outcome, symbols) = outcome.map_err(of_training)?;
    let ending = match outcome.ending {
        Ending::Finished => "finished".to_owned(),
        Ending::Stopped => "stopped".to_owned(),
        Ending::Early => "stopped early".to_owned(),
        Ending::NotFinite { step, what } => format!("{what} is not finite at update {step}"),
    };
    let network = Network::wrap(outcome.network.cast().map_err(to_python)?, Vec::new());
    let of = history.lock().expect("the training is over");
    Ok((network, ending, symbols, rows(py, &of.updates), rows(py, &of.ledgers), rows(py, &of.evaluations)))
}
