//! The settings of a training run, as in its `config.toml`.

mod initial_network;

use std::path::PathBuf;
use std::str::FromStr;

use bptt::cell_by_name;
use serde::{Deserialize, Serialize};

use crate::tasks::{Task, check_length, task_by_name};
use crate::text::Level;
use crate::{Error, Init, OptimizerKind, Schedule, corpus};

/// The settings of a run. Together with the text they determine all of its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The task to learn in place of a text, see [`crate::tasks()`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// L, the length of the sequences of the task; `None` for its usual length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// The text to learn; `None` to generate one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// Number of sentences to generate if there is no text.
    pub sentences: usize,
    /// The unit of a symbol.
    pub level: Level,
    /// Whether unknown symbols of later texts are read as `<unk>`.
    pub unk: bool,
    /// Symbols that occur fewer times than this become `<unk>`.
    pub min_count: usize,
    /// Fraction of the text, at its end, that is held out.
    pub held_out: f64,

    /// The name of the cell, see [`bptt::cells`].
    pub cell: String,
    /// H, the number of hidden units of each layer.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Whether each layer reads each window in both directions. The network then reads the symbols that it predicts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bidirectional: bool,
    /// Dropout probability of the outputs between layers, in training only.
    pub dropout: f64,
    /// Initialization of each gate's block of W_hh.
    pub init: Init,
    /// Initialization of all other parameters: by default uniform in ±1/√H, as in PyTorch.
    pub init_others: Init,
    /// Whether biases are initialized to 0, except those that other settings set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero_biases: bool,
    /// Scales each gate's block of W_hh to this largest singular value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_max: Option<f64>,
    /// Scales each gate's block of W_hh to this spectral radius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spectral_radius: Option<f64>,

    /// Initial bias b_ih + b_hh of the forget gates of an LSTM (Gers et al. 2000; Jozefowicz et al. 2015 recommend 1);
    /// `None`: initialized as the other parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_bias: Option<f64>,
    /// Initial bias of the input gates of an LSTM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_bias: Option<f64>,
    /// Initial biases for lags of up to this many steps (Tallec and Ollivier 2018): ln u for each forget gate, −ln u for
    /// the input gate, with u uniform between 1 and one less than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chrono: Option<usize>,

    /// Number of updates.
    pub steps: u64,
    /// B, the number of parallel streams or sequences.
    pub batch: usize,
    /// T, the time steps of a text per update: the truncation window. The sequences of a task have their own T.
    pub window: usize,
    /// Detach the state every this many steps: truncation within a window or a sequence of a task; 0 for never.
    pub detach_every: usize,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// The learning rate before the schedule.
    pub learning_rate: f64,
    /// The learning rate schedule.
    pub schedule: Schedule,
    /// Clip gradients to this global norm; 0 for never.
    pub clip_norm: f64,
    /// Clip gradient entries to this size; 0 for never.
    pub clip_value: f64,
    /// The weight λ of the regularizer of Pascanu et al.: λ ∂Ω/∂W_hh is added to the gradient, see [`bptt::Omega`]; 0 for
    /// none.
    pub omega: f64,
    /// Number of updates before training that move Lyapunov exponents to 0 (gradient flossing, see [`bptt::Flossing`]), at
    /// the base learning rate.
    pub floss: u64,
    /// Number of exponents to floss, the largest first; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floss_exponents: Option<usize>,
    /// Measure the held-out loss every this many updates and at the end; 0 for the end only.
    pub evaluate_every: u64,
    /// Which network is kept at the end.
    #[serde(skip_serializing_if = "is_default")]
    pub keep: Keep,
    /// Stop after this many evaluations in a row without a smaller held-out loss; 0 for never.
    #[serde(skip_serializing_if = "is_default")]
    pub patience: u64,
    /// Make a ledger of one sequence every this many updates; 0 for never.
    pub trace_every: u64,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// Which network of a training is kept at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// That of the last update.
    #[default]
    Last,
    /// That of the evaluation with the smallest held-out loss.
    Best,
}

impl FromStr for Keep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "last" => Ok(Self::Last),
            "best" => Ok(Self::Best),
            _ => Err(Error::setting("keep", text, "last or best")),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            task: None,
            length: None,
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
            init_others: Init::Uniform { bound: None },
            zero_biases: false,
            sigma_max: None,
            spectral_radius: None,
            forget_bias: None,
            input_bias: None,
            chrono: None,
            steps: 2_000,
            batch: 32,
            window: 64,
            detach_every: 0,
            optimizer: OptimizerKind::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
            learning_rate: 2e-3,
            schedule: Schedule::Constant,
            clip_norm: 5.0,
            clip_value: 0.0,
            omega: 0.0,
            floss: 0,
            floss_exponents: None,
            evaluate_every: 500,
            keep: Keep::Last,
            patience: 0,
            trace_every: 100,
            seed: 1,
        }
    }
}

/// The largest counts of anything: their products stay far below 2⁶³.
const MOST: usize = 1 << 30;

/// The largest learning rates, scales and biases: far beyond what f32 can learn with.
const LARGEST: f64 = 1e6;

/// A W_hh of this size takes 4 GiB per gate.
const MOST_HIDDEN: usize = 32_768;

impl Config {
    /// Refuses impossible settings.
    ///
    /// # Errors
    /// The message names the setting, its value and the possible values.
    pub fn check(&self) -> Result<(), Error> {
        let refuse =
            |setting: &str, given: String, expected: &str| Err(Error::setting(setting, given, expected));
        let unsupported = |setting: &'static str, given: String, expected: &str| {
            Err(Error::Unsupported { setting, given, expected: expected.into() })
        };
        self.check_counts()?;
        if !(self.learning_rate > 0.0 && self.learning_rate <= LARGEST) {
            let expected = format!("a number above 0 and at most {LARGEST:e}");
            return refuse("learning_rate", self.learning_rate.to_string(), &expected);
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
            if value.is_some_and(|value| !(value > 0.0 && value <= LARGEST)) {
                let expected = format!("a number above 0 and at most {LARGEST:e}");
                return refuse(option, value.unwrap_or_default().to_string(), &expected);
            }
        }
        if self.sigma_max.is_some() && self.spectral_radius.is_some() {
            return Err(Error::Conflict { settings: "sigma_max with spectral_radius" });
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", self.dropout.to_string(), "a probability, at least 0 and below 1");
        }
        if self.dropout > 0.0 && self.layers < 2 {
            let given = format!("{} with one layer", self.dropout);
            return refuse("dropout", given, "at least two layers: it acts between them");
        }
        if !(self.omega >= 0.0 && self.omega <= LARGEST) {
            let expected = format!("a number above 0 and at most {LARGEST:e}, or 0 for no regularizer");
            return refuse("omega", self.omega.to_string(), &expected);
        }
        let cell = cell_by_name(&self.cell)?;
        if self.omega > 0.0 && cell.spec().vanilla.is_none() {
            let given = format!("{} with cell {}", self.omega, self.cell);
            return unsupported("omega", given, "a vanilla cell: rnn, rnn_relu or rnn_identity");
        }
        if self.floss > 0 && (cell.spec().vanilla.is_none() || self.layers > 1 || self.bidirectional) {
            let given = format!("{} with cell {}, {} layers", self.floss, self.cell, self.layers);
            return unsupported("floss", given, "one forward layer of rnn, rnn_relu or rnn_identity");
        }
        if let Some(count) = self.floss_exponents {
            if self.floss == 0 {
                return refuse("floss_exponents", count.to_string(), "floss above 0");
            }
            if !(1..=self.hidden).contains(&count) {
                return refuse("floss_exponents", count.to_string(), &format!("1 to {}", self.hidden));
            }
        }
        if self.chrono.is_some_and(|longest| longest < 3) {
            return refuse("chrono", self.chrono.unwrap_or_default().to_string(), "at least 3 steps");
        }
        if self.chrono.is_some() && (self.forget_bias.is_some() || self.input_bias.is_some()) {
            return Err(Error::Conflict { settings: "chrono with forget_bias or input_bias" });
        }
        let biases = [
            ("forget_bias", self.forget_bias, "f", "forget gates: lstm"),
            ("input_bias", self.input_bias, "i", "input gates: lstm or lstm_1997"),
            ("chrono", self.chrono.map(|longest| longest as f64), "f", "forget gates: lstm"),
        ];
        for (option, bias, name, expected) in biases {
            let Some(bias) = bias else { continue };
            if bias.is_nan() || bias.abs() > LARGEST {
                return refuse(option, format!("{bias:e}"), &format!("a number of size at most {LARGEST:e}"));
            }
            if cell.spec().gate(name).is_none() {
                let given = format!("{bias} with cell {}", self.cell);
                return unsupported(option, given, &format!("a cell with {expected}"));
            }
        }
        self.check_evaluations()?;
        self.check_task()
    }

    /// L of the sequences of `task`: as set, otherwise its usual one.
    pub fn length_of(&self, task: &dyn Task) -> usize {
        self.length.unwrap_or_else(|| task.usual_length())
    }

    /// Refuses counts that are 0 or too large.
    fn check_counts(&self) -> Result<(), Error> {
        let refuse =
            |setting: &str, given: String, expected: &str| Err(Error::setting(setting, given, expected));
        let counts = [
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("batch", self.batch),
            ("window", self.window),
        ];
        if let Some((option, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(option, "0".into(), "at least 1");
        }
        let counts = counts.into_iter().chain([("sentences", self.sentences)]);
        if let Some((option, count)) = counts.into_iter().find(|(_, count)| *count > MOST) {
            return refuse(option, count.to_string(), &format!("at most {MOST}"));
        }
        if self.hidden > MOST_HIDDEN {
            return refuse(
                "hidden",
                self.hidden.to_string(),
                "at most 32768: W_hh alone would fill the memory",
            );
        }
        let written = [
            ("steps", self.steps),
            ("floss", self.floss),
            ("evaluate_every", self.evaluate_every),
            ("patience", self.patience),
            ("trace_every", self.trace_every),
            ("seed", self.seed),
            ("min_count", self.min_count as u64),
            ("detach_every", self.detach_every as u64),
            ("chrono", self.chrono.unwrap_or_default() as u64),
        ];
        if let Some((option, number)) =
            written.into_iter().find(|(_, number)| i64::try_from(*number).is_err())
        {
            let expected = format!("at most {}: the file of the settings has no larger numbers", i64::MAX);
            return refuse(option, number.to_string(), &expected);
        }
        if self.text.is_none() && self.sentences == 0 {
            return refuse("sentences", "0".into(), "at least 1, or a text");
        }
        Ok(())
    }

    /// Refuses to wait for evaluations that are not made.
    fn check_evaluations(&self) -> Result<(), Error> {
        let evaluates = self.evaluate_every > 0 && (self.task.is_some() || self.held_out > 0.0);
        if evaluates || (self.keep == Keep::Last && self.patience == 0) {
            return Ok(());
        }
        let expected = "evaluate_every above 0 and held-out data: both need evaluations";
        Err(match self.keep {
            Keep::Best => Error::setting("keep", "best", expected),
            Keep::Last => Error::setting("patience", self.patience, expected),
        })
    }

    /// Refuses unknown tasks and impossible lengths.
    fn check_task(&self) -> Result<(), Error> {
        let refuse =
            |setting: &str, given: String, expected: &str| Err(Error::setting(setting, given, expected));
        match (&self.task, self.length) {
            (Some(_), _) if self.text.is_some() => Err(Error::Conflict { settings: "task with text" }),
            (Some(name), _) => {
                let task = task_by_name(name)?;
                check_length(&*task, self.length_of(&*task))
            }
            (None, Some(length)) => refuse("length", length.to_string(), "a task"),
            (None, None) => Ok(()),
        }
    }
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
        assert_eq!(message, "learning_rate: NaN is not possible; expected a number above 0 and at most 1e6");
        assert!(Config { cell: "gru_with:hard_sigmoid,tanh".into(), ..Config::default() }.check().is_ok());
        assert!(refused(Config { cell: "perceptron".into(), ..Config::default() }).contains("rnn_relu"));
        let message = refused(Config { dropout: 0.5, ..Config::default() });
        let expected =
            "dropout: 0.5 with one layer is not possible; expected at least two layers: it acts between them";
        assert_eq!(message, expected);
        assert!(refused(Config { dropout: 1.0, layers: 2, ..Config::default() }).contains("below 1"));
        let refusal = refused(Config { seed: 1 << 63, ..Config::default() });
        assert!(
            refusal.starts_with("seed: 9223372036854775808 is not possible; expected at most"),
            "{refusal}"
        );
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn tasks_and_remedies_that_do_not_fit_are_named() {
        let refused = |config: Config| config.check().unwrap_err().to_string();
        let task = |name: &str| Config { task: Some(name.into()), ..Config::default() };
        let message = refused(Config { length: Some(5), ..task("adding") });
        assert_eq!(message, "length: 5 for adding is not possible; expected at least 6");
        assert!(refused(task("subtracting")).contains("adding, multiplication, copy_memory"));
        assert!(refused(task("delayed_xor:delay=3")).contains("delayed_xor:delay=10 (even)"));
        let message = refused(Config { length: Some(5), ..Config::default() });
        assert_eq!(message, "length: 5 is not possible; expected a task");
        assert!(
            refused(Config { text: Some("a.txt".into()), ..task("adding") }).starts_with("task with text")
        );
        let message = refused(Config { omega: 1.0, cell: "gru".into(), ..Config::default() });
        let expected =
            "omega: 1 with cell gru is not possible; expected a vanilla cell: rnn, rnn_relu or rnn_identity";
        assert_eq!(message, expected);
        assert!(Config { length: Some(6), ..task("adding") }.check().is_ok());
    }
}
