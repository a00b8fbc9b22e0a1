//! The laboratory: a small untrained network with settings from the page, and its ledger.

use bptt::cell::GateSpec;
use bptt::dynamics::sigma_max;
use bptt::in_f64;
use bptt::{
    CellParams, ForwardCache, Inputs, ItemizeOptions, Ledger, Losses, Matrix, Network, Objective, Reduction,
    ScanOptions, Sequence, Symbols, Targets, Weights, cell_by_name,
};
use bptt_train::diagnose::{Evidence, diagnose};
use bptt_train::vocabulary::Unknown;
use bptt_train::{Config, Init, Level, Vocabulary, article::article, init};
use bptt_view::report::{self, Block, LossUnit, Report, Stage, Subject};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::work::Cancelled;

/// The largest number of steps.
pub(crate) const MOST_STEPS: usize = 200;

/// The largest number of hidden units.
const MOST_HIDDEN: usize = 128;

/// The largest possible singular value.
const MOST_SIGMA: f64 = 100.0;

/// A request to the laboratory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Laboratory {
    /// The input.
    pub example: Example,
    /// The text, of [`Example::Text`].
    #[serde(default)]
    pub text: String,
    /// The unit of a symbol: char or word.
    #[serde(default)]
    pub level: Level,
    /// The name of the cell, see [`bptt::cells`].
    pub cell: String,
    /// H; the example of the article has 4 units.
    #[serde(default = "usual_hidden")]
    pub hidden: usize,
    /// The initialization of W_hh, see [`Init`], or `article` for the weights of the article.
    pub init: String,
    /// Scales each gate's block of W_hh to this largest singular value.
    #[serde(default)]
    pub sigma_max: Option<f64>,
    /// The seed of the weights.
    #[serde(default)]
    pub seed: u64,
    /// The largest T; a short text has fewer steps.
    pub steps: usize,
}

/// The input of the laboratory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Example {
    /// The three steps of the article, with its gradients of the losses.
    Article,
    /// A text; the target of each symbol is the next one.
    Text,
}

fn usual_hidden() -> usize {
    32
}

/// A network with a forward scan and losses.
pub(crate) struct Experiment {
    pub network: Network<f64>,
    pub trace: ForwardCache<f64>,
    pub losses: Losses<f64>,
    symbols: Vec<String>,
    targets: Option<Vec<String>>,
    /// The largest possible number of steps.
    most_steps: usize,
}

impl Laboratory {
    /// Refuses expensive and impossible requests.
    fn check(&self) -> Result<(), Problem> {
        let refuse = |option: &str, given: String, expected: String| {
            Err(Problem::of_request(format!("{option}: {given} is not possible; expected {expected}")))
        };
        if self.steps == 0 || self.steps > MOST_STEPS {
            return refuse("steps", self.steps.to_string(), format!("1 to {MOST_STEPS}"));
        }
        if self.hidden == 0 || self.hidden > MOST_HIDDEN {
            return refuse("hidden", self.hidden.to_string(), format!("1 to {MOST_HIDDEN}"));
        }
        match self.sigma_max {
            Some(sigma) if !(sigma > 0.0 && sigma <= MOST_SIGMA) => {
                refuse("sigma_max", sigma.to_string(), format!("above 0 and at most {MOST_SIGMA}"))
            }
            _ => Ok(()),
        }
    }

    /// Creates the network and runs it.
    pub(crate) fn experiment(&self) -> Result<Experiment, Problem> {
        self.check()?;
        match self.example {
            Example::Article => self.article(),
            Example::Text => self.text(),
        }
    }

    /// The initial network of a run with these settings.
    fn initial_network(&self, inputs: usize, hidden: usize) -> Result<Network<f64>, Problem> {
        let init: Init = self.init.parse()?;
        let (cell, sigma_max, seed) = (self.cell.clone(), self.sigma_max, self.seed);
        let config = Config { cell, hidden, init, sigma_max, seed, ..Config::default() };
        config.check()?;
        Ok(config.network(inputs, inputs)?.cast()?)
    }

    fn text(&self) -> Result<Experiment, Problem> {
        // A symbol has at least one byte, and few words are longer than 64 bytes.
        if self.text.len() > 64 * MOST_STEPS {
            return Err(Problem::of_request(format!(
                "text: too long; expected at most {MOST_STEPS} symbols"
            )));
        }
        let vocabulary = Vocabulary::build(&self.text, self.level, Unknown::Refuse, 1)?;
        let mut ids = vocabulary.encode(&self.text)?;
        ids.truncate(MOST_STEPS + 1);
        if ids.len() < 2 {
            return Err(Problem::of_request("text has nothing to predict; expected at least two symbols"));
        }
        let most_steps = ids.len() - 1;
        let steps = self.steps.min(most_steps);
        let symbols = |ids: &[u32]| Symbols::new(steps, 1, ids.to_vec());
        let show =
            |ids: &[u32]| -> Vec<String> { ids.iter().map(|&id| vocabulary.show(id).into_owned()).collect() };
        let (read, next) = (&ids[..steps], &ids[1..=steps]);
        let network = self.initial_network(vocabulary.len(), self.hidden)?;
        let trace = in_f64::scan(&network, Inputs::Symbols(symbols(read)?), &network.zero_state(1))?;
        let targets = Targets::CrossEntropy(symbols(next)?);
        let losses =
            in_f64::losses(&network, &trace, &Objective { targets, mask: None, reduction: Reduction::Sum })?;
        let (symbols, targets) = (show(read), Some(show(next)));
        Ok(Experiment { network, trace, losses, symbols, targets, most_steps })
    }

    fn article(&self) -> Result<Experiment, Problem> {
        let data = article();
        let (most_steps, features, hidden) = (data.x[0].len(), data.wx.len(), data.b.len());
        let steps = self.steps.min(most_steps);
        let network = if self.init == "article" {
            let cell = cell_by_name(&self.cell)?;
            if cell.spec().vanilla.is_none() {
                let words =
                    format!("init: article with cell {} is not possible; expected a vanilla cell", self.cell);
                return Err(Problem::of_request(words));
            }
            let mut w_hh = transposed(&data.wh)?;
            if let Some(sigma) = self.sigma_max {
                init::scale_to_sigma_max(&mut w_hh, sigma)?;
            }
            let biases = [Matrix::new(1, hidden, data.b)?, Matrix::zeros(1, hidden)];
            let tensors = [transposed(&data.wx)?, w_hh].into_iter().chain(biases).collect();
            let layer = CellParams::new(cell.spec(), tensors)?;
            let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
            Network::new(cell, weights)?
        } else {
            self.initial_network(features, hidden)?
        };
        let first = |rows: &[Vec<Vec<f64>>], features| {
            let flat: Vec<f64> = rows[0][..steps].iter().flatten().copied().collect();
            Sequence::new(steps, 1, features, &flat)
        };
        let mut initial = network.zero_state(1);
        initial.cells[0][0] = Matrix::new(1, hidden, data.h0.concat())?;
        let trace = in_f64::scan(&network, Inputs::Dense(first(&data.x, features)?), &initial)?;
        let losses = Losses::from_seeds(first(&data.dh, hidden)?);
        let symbols = (1..=steps).map(|step| format!("x{step}")).collect();
        Ok(Experiment { network, trace, losses, symbols, targets: None, most_steps })
    }

    /// The data of the page: those of a report of this network, and the values of the sliders.
    pub(crate) fn report(&self, cancelled: &Cancelled) -> Result<Value, Problem> {
        let experiment = self.experiment()?;
        cancelled.check()?;
        let ledger = experiment.ledger()?;
        cancelled.check()?;
        let blocks = self.blocks(&experiment.network);
        let sigma_max = blocks.iter().map(|block| block.sigma_max).fold(0.0, f64::max);
        let slopes = experiment.slopes();
        let subject = Subject {
            name: "the laboratory".into(),
            cell: self.cell.clone(),
            facts: Vec::new(),
            verdict: diagnose(&Evidence::of_ledger(
                &experiment.network,
                &experiment.trace,
                &ledger,
                &ScanOptions::default(),
                None,
            ))
            .in_sentences(),
            losses: (!experiment.losses.values.is_empty())
                .then(|| experiment.losses.values.iter().map(|nats| nats / std::f64::consts::LN_2).collect()),
            unit: LossUnit::Bits,
            k: ledger.steps() - 1,
            blocks,
            saturation: in_f64::saturation(&experiment.network, &experiment.trace),
            metrics: Vec::new(),
            stages: vec![Stage { step: None, ledger }],
            symbols: experiment.symbols,
            targets: experiment.targets,
        };
        let (title, program) = (String::new(), String::new());
        let report = Report { title, program, reproduce: Vec::new(), subjects: vec![subject] };
        let (data, numbers) = report::data(&report)?;
        Ok(json!({
            "data": data, "numbers": numbers, "most_steps": experiment.most_steps, "sigma_max": sigma_max,
            "hidden": experiment.network.hidden(), "slopes": slopes,
        }))
    }

    /// σ_max of each gate's block: as requested, or measured.
    fn blocks(&self, network: &Network<f64>) -> Vec<Block> {
        let block = |(number, gate): (usize, &GateSpec)| {
            let block = network.weights().cells[0].recurrent_block(number)?;
            let sigma_max = self.sigma_max.unwrap_or_else(|| sigma_max(block));
            Some(Block { cell: network.weights().cell_id(0), gate: gate.name, sigma_max })
        };
        network.spec().gates.iter().enumerate().filter_map(block).collect()
    }
}

impl Experiment {
    pub(crate) fn ledger(&self) -> Result<Ledger, Problem> {
        let options = ItemizeOptions { sequences: false, ..ItemizeOptions::default() };
        Ok(in_f64::itemize(&self.network, &self.trace, &self.losses, &options)?)
    }

    /// φ'(a) of every unit at step t, for vanilla cells.
    pub(crate) fn slope(&self, t: usize) -> Option<Vec<f64>> {
        let h = self.trace.cells()[0].h().at(t + 1, 0);
        let activation = self.network.spec().vanilla?;
        Some(h.iter().map(|&h| activation.slope_of(h)).collect())
    }

    /// The largest and the mean slope over all steps and units, for vanilla cells.
    fn slopes(&self) -> Option<[f64; 2]> {
        let all: Vec<f64> =
            (0..self.symbols.len()).map(|t| self.slope(t)).collect::<Option<Vec<_>>>()?.concat();
        let largest = all.iter().copied().fold(0.0, f64::max);
        Some([largest, all.iter().sum::<f64>() / all.len() as f64])
    }
}

/// The transpose: matrices of the article are (rows, cols), ours (cols, rows).
fn transposed(rows: &[Vec<f64>]) -> Result<Matrix<f64>, Problem> {
    let cols = rows[0].len();
    let data = (0..cols).flat_map(|j| rows.iter().map(move |row| row[j])).collect();
    Ok(Matrix::new(cols, rows.len(), data)?)
}
