//! Everything that decides a training run; what a run's `config.toml` holds.

use std::path::PathBuf;

use bptt::{Cell, CellParams, Matrix, Network, Readout, Real, Weights, cell_by_name};
use serde::{Deserialize, Serialize};

use crate::text::Level;
use crate::{Error, Init, OptimizerKind, Rng, Schedule, corpus, init};

/// The settings of a run. Together with the text they determine every number of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The text to learn; without one it is generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// Sentences to generate where no text is given.
    pub sentences: usize,
    /// What a symbol is.
    pub level: Level,
    /// Whether unknown symbols of later texts become `<unk>`.
    pub unk: bool,
    /// Symbols rarer than this become `<unk>`.
    pub min_count: usize,
    /// The fraction of the text, at its end, that is never learned from.
    pub held_out: f64,

    /// The kind of cell, see [`bptt::cells`].
    pub cell: String,
    /// H, hidden units of each layer.
    pub hidden: usize,
    /// Layers, each reading the one below.
    pub layers: usize,
    /// Whether each layer reads each window in both directions. Then the network reads the very symbol it is to predict.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bidirectional: bool,
    /// The probability with which an output of a layer drops out before the next layer reads it, in training only.
    pub dropout: f64,
    /// How each gate's block of W_hh begins; everything else begins uniform in ±1/√H, as in PyTorch.
    pub init: Init,
    /// Scales each gate's block of W_hh to this largest singular value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_max: Option<f64>,
    /// Scales each gate's block of W_hh to this spectral radius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spectral_radius: Option<f64>,

    /// What an LSTM's forget gates begin with as bias, b_ih + b_hh (Gers et al. 2000; Jozefowicz et al. 2015 recommend 1);
    /// without it they begin as everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_bias: Option<f64>,

    /// Updates to make.
    pub steps: u64,
    /// B, streams side by side.
    pub batch: usize,
    /// T, steps from one update to the next: the truncation window.
    pub window: usize,
    /// Which optimizer.
    pub optimizer: OptimizerKind,
    /// The learning rate before the schedule.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Scales gradients down to this global norm; 0 for never.
    pub clip_norm: f64,
    /// Limits gradient entries to this size; 0 for never.
    pub clip_value: f64,
    /// Measures the held-out loss every so many updates, and at the end; 0 for the end only.
    pub evaluate_every: u64,
    /// Takes the gradient of one sequence apart every so many updates; 0 for never.
    pub trace_every: u64,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            text: None,
            sentences: 20_000,
            level: Level::Char,
            unk: false,
            min_count: 1,
            held_out: corpus::HELD_OUT,
            cell: "rnn".into(),
            hidden: 128,
            layers: 1,
            bidirectional: false,
            dropout: 0.0,
            init: Init::Uniform { bound: None },
            sigma_max: None,
            spectral_radius: None,
            forget_bias: None,
            steps: 2_000,
            batch: 32,
            window: 64,
            optimizer: OptimizerKind::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
            learning_rate: 2e-3,
            schedule: Schedule::Constant,
            clip_norm: 5.0,
            clip_value: 0.0,
            evaluate_every: 500,
            trace_every: 100,
            seed: 1,
        }
    }
}

/// A W_hh of this size has 4 GiB a gate.
const MOST_HIDDEN: usize = 32_768;

/// Streams of random numbers that a run draws from, so that one does not shift another.
const INITIALIZATION: u64 = 1;

impl Config {
    /// Refuses settings that no run can have.
    ///
    /// # Errors
    /// Names the setting, its value and what it may be.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |option: &str, given: String, expected: &str| {
            Err(Error::Option { option: option.into(), given, expected: expected.into() })
        };
        let counts = [
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("batch", self.batch),
            ("window", self.window),
        ];
        if let Some((option, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(option, "0".into(), "at least 1");
        }
        if self.hidden > MOST_HIDDEN {
            return refuse(
                "hidden",
                self.hidden.to_string(),
                "at most 32768: W_hh alone would fill the memory",
            );
        }
        if self.text.is_none() && self.sentences == 0 {
            return refuse("sentences", "0".into(), "at least 1, or a text");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return refuse("learning_rate", self.learning_rate.to_string(), "a finite number above 0");
        }
        if !(0.0..1.0).contains(&self.held_out) {
            return refuse("held_out", self.held_out.to_string(), "a fraction, at least 0 and below 1");
        }
        for (option, value) in [("clip_norm", self.clip_norm), ("clip_value", self.clip_value)] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(option, value.to_string(), "a finite number above 0, or 0 for no clipping");
            }
        }
        let scales = [("sigma_max", self.sigma_max), ("spectral_radius", self.spectral_radius)];
        for (option, value) in scales {
            if value.is_some_and(|value| !(value > 0.0 && value.is_finite())) {
                return refuse(option, value.unwrap_or_default().to_string(), "a finite number above 0");
            }
        }
        if self.sigma_max.is_some() && self.spectral_radius.is_some() {
            return refuse("sigma_max with spectral_radius", "both".into(), "one of the two");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", self.dropout.to_string(), "a probability, at least 0 and below 1");
        }
        if self.dropout > 0.0 && self.layers < 2 {
            let given = format!("{} with one layer", self.dropout);
            return refuse("dropout", given, "at least two layers: it acts between them");
        }
        let cell = cell_by_name::<f32>(&self.cell)?;
        if let Some(bias) = self.forget_bias {
            if !bias.is_finite() {
                return refuse("forget_bias", bias.to_string(), "a finite number");
            }
            if forget_gate(cell).is_none() {
                let given = format!("{bias} with cell {}", self.cell);
                return refuse("forget_bias", given, "a cell with forget gates: lstm");
            }
        }
        Ok(())
    }

    /// The network this run begins with: one-hot symbols in, one score a symbol out.
    ///
    /// # Errors
    /// If the cell is unknown or W_hh cannot be scaled.
    pub fn network(&self, symbols: usize) -> Result<Network<f32>, Error> {
        let mut rng = Rng::new(self.seed, INITIALIZATION);
        let cell = cell_by_name(&self.cell)?;
        let (gates, hidden) = (cell.gates().len(), self.hidden);
        let uniform = Init::Uniform { bound: None };
        let directions = if self.bidirectional { 2 } else { 1 };
        let mut layers = Vec::with_capacity(directions * self.layers);
        let mut readout = None;
        for index in 0..directions * self.layers {
            let mut matrix = |rows, cols| init::matrix(uniform, rows, cols, hidden, &mut rng);
            let w_ih = matrix(gates * hidden, if index < directions { symbols } else { directions * hidden });
            let mut b_ih = matrix(1, gates * hidden);
            let mut b_hh = matrix(1, gates * hidden);
            if let (Some(bias), Some(gate)) = (self.forget_bias, forget_gate(cell)) {
                // PyTorch has two biases and adds them.
                b_ih.data_mut()[gate * hidden..(gate + 1) * hidden].fill(0.0);
                b_hh.data_mut()[gate * hidden..(gate + 1) * hidden].fill(f32::of(bias));
            }
            if index == 0 {
                readout =
                    Some(Readout { w_hy: matrix(symbols, directions * hidden), b_y: matrix(1, symbols) });
            }
            let w_hh = self.recurrent_weights(gates, &mut rng)?;
            layers.push(CellParams { w_ih, w_hh, b_ih, b_hh });
        }
        Ok(Network::new(cell, Weights { layers, bidirectional: self.bidirectional, readout })?)
    }

    /// W_hh, each gate's block begun and scaled by itself.
    fn recurrent_weights(&self, gates: usize, rng: &mut Rng) -> Result<Matrix<f32>, Error> {
        let hidden = self.hidden;
        let mut w_hh = Matrix::zeros(gates * hidden, hidden);
        for gate in w_hh.data_mut().chunks_exact_mut(hidden * hidden) {
            let mut block = init::matrix(self.init, hidden, hidden, hidden, rng);
            if let Some(target) = self.sigma_max {
                init::scale_to_sigma_max(&mut block, target)?;
            }
            if let Some(target) = self.spectral_radius {
                init::scale_to_spectral_radius(&mut block, target)?;
            }
            gate.copy_from_slice(block.data());
        }
        Ok(w_hh)
    }
}

/// Which of the cell's gates is the forget gate.
fn forget_gate(cell: &dyn Cell<f32>) -> Option<usize> {
    cell.gates().iter().position(|&gate| gate == "f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_survives_its_file() {
        let config = Config { sigma_max: Some(1.5), text: Some("a.txt".into()), ..Config::default() };
        let file = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&file).unwrap(), config);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = toml::from_str::<Config>("hidden = 3\nlayer = 2\n").unwrap_err().to_string();
        assert!(error.contains("line 2, column 1") && error.contains("layer"), "{error}");
    }

    #[test]
    fn impossible_settings_are_named() {
        let refused = |config: Config| config.check().unwrap_err().to_string();
        let message = refused(Config { hidden: 0, ..Config::default() });
        assert_eq!(message, "hidden: 0 is not possible; expected at least 1");
        let message = refused(Config { learning_rate: f64::NAN, ..Config::default() });
        assert_eq!(message, "learning_rate: NaN is not possible; expected a finite number above 0");
        assert!(refused(Config { cell: "perceptron".into(), ..Config::default() }).contains("rnn_relu"));
        let message = refused(Config { dropout: 0.5, ..Config::default() });
        let expected =
            "dropout: 0.5 with one layer is not possible; expected at least two layers: it acts between them";
        assert_eq!(message, expected);
        assert!(refused(Config { dropout: 1.0, layers: 2, ..Config::default() }).contains("below 1"));
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn both_directions_of_every_layer_begin_at_the_asked_scale() {
        let both =
            Config { hidden: 8, layers: 2, bidirectional: true, sigma_max: Some(1.25), ..Config::default() };
        let network = both.network(7).unwrap();
        assert_eq!((network.directions(), network.depth()), (2, 2));
        let layers = &network.weights().layers;
        assert!(layers.iter().all(|layer| (init::sigma_max(&layer.w_hh) - 1.25).abs() < 1e-6));
        assert!(layers[0].w_hh != layers[1].w_hh);
        assert_eq!(
            (layers[2].w_ih.cols(), network.weights().readout.as_ref().unwrap().w_hy.cols()),
            (16, 16)
        );
        assert!(!toml::to_string(&Config::default()).unwrap().contains("bidirectional"));
    }

    #[test]
    fn forget_gates_begin_with_the_bias_that_is_asked_for_and_nothing_else_changes() {
        let config = Config { cell: "lstm".into(), hidden: 3, layers: 2, ..Config::default() };
        let plain = config.network(5).unwrap();
        let biased = Config { forget_bias: Some(1.5), ..config.clone() }.network(5).unwrap();
        for (plain, biased) in plain.weights().layers.iter().zip(&biased.weights().layers) {
            assert_eq!((&plain.w_ih, &plain.w_hh), (&biased.w_ih, &biased.w_hh));
            let sums: Vec<f32> =
                biased.b_ih.data().iter().zip(biased.b_hh.data()).map(|(a, b)| a + b).collect();
            assert_eq!(sums[3..6], [1.5; 3]);
            assert_eq!(
                (&plain.b_hh.data()[..3], &plain.b_ih.data()[6..]),
                (&biased.b_hh.data()[..3], &biased.b_ih.data()[6..])
            );
        }
        let refused = Config { cell: "gru".into(), forget_bias: Some(1.0), ..config }.check().unwrap_err();
        let message = "forget_bias: 1 with cell gru is not possible; expected a cell with forget gates: lstm";
        assert_eq!(refused.to_string(), message);
    }

    #[test]
    fn a_network_starts_within_pytorchs_bounds_and_at_the_asked_scale() {
        let config = Config { hidden: 16, sigma_max: Some(1.25), ..Config::default() };
        let network = config.network(7).unwrap();
        let weights = network.weights();
        assert!(weights.layers[0].w_ih.data().iter().all(|w| w.abs() <= 0.25));
        assert!((init::sigma_max(&weights.layers[0].w_hh) - 1.25).abs() < 1e-6);
        assert_eq!(config.network(7).unwrap().weights(), weights);
    }
}
