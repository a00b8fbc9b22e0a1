//! This project's side of every case.

use bptt::{Entry, ItemizeOptions, Ledger, Losses, Network, Parameter, Weights};
use bptt_train::{Batch, Config, Shards, Window};
use serde_json::{Value, json};

use crate::case::{Case, Data, Kind};

/// A job that can be repeated.
pub struct Job {
    case: Case,
    network: Network<f32>,
    data: Data,
    batch: Batch,
    shards: Shards,
    ledger: Option<Ledger>,
}

impl Job {
    /// The job of `case`.
    pub fn new(case: &Case) -> Self {
        let data = Data::new(case);
        let network = data.network(case);
        let window = Window { inputs: data.ids.clone(), targets: data.targets.clone(), fresh: true };
        let batch = Batch::of_text(window, case.batch).expect("an id for each step and sequence");
        let shards = Shards::new(&network, &Config { batch: case.batch, ..Config::default() });
        Self { case: case.clone(), network, data, batch, shards, ledger: None }
    }

    /// Runs it once.
    pub fn run(&mut self) {
        // As after an update: packed weights are invalid.
        self.network.tensors_mut();
        match self.case.kind {
            Kind::Train => {
                let learned = self.shards.learn(&self.network, &self.batch);
                std::hint::black_box(learned.expect("data that fits").expect("finite numbers"));
            }
            Kind::Itemize => self.ledger = Some(self.itemize()),
        }
    }

    /// A copy of the network's parameters.
    pub fn weights(&self) -> Weights<f32> {
        self.network.weights().clone()
    }

    /// Drops the last result.
    pub fn forget(&mut self) {
        self.ledger = None;
    }

    fn itemize(&self) -> Ledger {
        let (case, data) = (&self.case, &self.data);
        let trace = self.network.scan(data.inputs(case), &self.network.zero_state(case.batch));
        let mut losses = Losses::from_seeds(data.seeds(case));
        let first = case.losses.map_or(0, |count| case.steps.saturating_sub(count));
        losses.present[..first].fill(false);
        let options = ItemizeOptions { sequences: false, inputs: false, ..ItemizeOptions::default() };
        let ledger = self.network.itemize(&trace.expect("data that fits"), &losses, &options);
        ledger.expect("a ledger that balances")
    }

    /// The numbers by which the driver checks that all participants computed the same.
    pub fn check(&mut self) -> Value {
        self.ledger
            .as_ref()
            .map_or_else(|| Self::train_check(&mut self.shards, &self.network, &self.batch), itemize_check)
    }

    fn train_check(shards: &mut Shards, network: &Network<f32>, batch: &Batch) -> Value {
        let learned = shards.learn(network, batch).expect("data that fits");
        let (loss, gradient) = learned.expect("finite numbers");
        let norm = |numbers: &[f32]| numbers.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let names = ["w_ih", "w_hh", "b_ih", "b_hh", "w_hy", "b_y"];
        let norms =
            names.iter().zip(gradient.tensors()).map(|(name, (_, g))| ((*name).to_owned(), norm(g.data())));
        let mut check: serde_json::Map<_, _> = norms.map(|(name, norm)| (name, json!(norm))).collect();
        check.insert("loss".into(), json!(loss));
        Value::Object(check)
    }
}

fn itemize_check(ledger: &Ledger) -> Value {
    let entry = |parameter| ledger.entry(0, parameter);
    let bias = entry(Parameter::BIAS).or_else(|| entry(Parameter::BIAS_IH)).expect("every cell has a bias");
    let [w_ih, w_hh] =
        [Parameter::WEIGHT_IH, Parameter::WEIGHT_HH].map(|p| entry(p).expect("every cell has weights"));
    let steps = w_ih.steps();
    let norm = |entry: &Entry, k: usize, t: usize| entry.norm(k, t).unwrap_or(0.0);
    let sum = |entry| {
        (0..steps).flat_map(|k| (0..=k).map(move |t| (k, t))).map(|(k, t)| norm(entry, k, t)).sum::<f64>()
    };
    let last = steps - 1;
    let probes =
        [(last, last), (last, last - 1), (last, steps.saturating_sub(9)), (steps / 2, steps / 4), (1, 0)]
            .map(|(k, t)| json!([k, t, norm(w_ih, k, t), norm(w_hh, k, t), norm(bias, k, t)]));
    json!({"w_ih": sum(w_ih), "w_hh": sum(w_hh), "bias": sum(bias), "probes": probes})
}
