//! Remedies: named changes of the settings that are said to let a network learn longer dependencies.

use std::str::FromStr;

use crate::options::Options;
use crate::{Config, Error, Init};

/// A remedy.
#[derive(Clone, Copy, Debug)]
pub struct Remedy {
    /// Its name.
    pub name: &'static str,
    /// Its option with the default value, if it has one: `"norm=1"`.
    pub option: Option<&'static str>,
    /// One sentence.
    pub about: &'static str,
    /// Applies it to the settings of a run on sequences of this many steps.
    apply: fn(&mut Config, &mut Options<'_>, usize) -> Result<(), Error>,
}

impl Remedy {
    const fn new(
        name: &'static str,
        option: Option<&'static str>,
        about: &'static str,
        apply: fn(&mut Config, &mut Options<'_>, usize) -> Result<(), Error>,
    ) -> Self {
        Self { name, option, about, apply }
    }
}

/// Every remedy.
pub const REMEDIES: [Remedy; 18] = [
    Remedy::new("none", None, "No change.", |_, _, _| Ok(())),
    Remedy::new(
        "clip",
        Some("norm=1"),
        "Clip gradients to this global norm (Pascanu et al. 2013).",
        |config, options, _| {
            config.clip_norm = positive(options, "norm", 1.0)?;
            Ok(())
        },
    ),
    Remedy::new(
        "clip-value",
        Some("size=1"),
        "Clip each entry of the gradient to this size.",
        |config, options, _| {
            config.clip_value = positive(options, "size", 1.0)?;
            Ok(())
        },
    ),
    Remedy::new(
        "orthogonal",
        None,
        "Initialize W_hh as a random orthogonal matrix (Saxe et al. 2014).",
        |config, _, _| {
            config.init = Init::Orthogonal;
            Ok(())
        },
    ),
    Remedy::new(
        "identity",
        None,
        "Relu units with W_hh initialized to the identity, other weights with a standard deviation of 0.001 and biases to 0 \
         (IRNN, Le et al. 2015).",
        |config, _, _| {
            config.cell = "rnn_relu".into();
            (config.init, config.init_others) = (Init::Identity, Init::Normal { std: 0.001 });
            config.zero_biases = true;
            Ok(())
        },
    ),
    Remedy::new(
        "scaled",
        Some("rho=1"),
        "Scale the initial W_hh to this spectral radius.",
        |config, options, _| {
            let rho = positive(options, "rho", 1.0)?;
            (config.spectral_radius, config.sigma_max) = (Some(rho), None);
            Ok(())
        },
    ),
    Remedy::new(
        "sparse",
        Some("rho=0.95"),
        "Initialize W_hh with 15 entries per row, scaled to this spectral radius (Martens and Sutskever 2011, Pascanu et al. \
         2013).",
        |config, options, _| {
            let rho = positive(options, "rho", 0.95)?;
            config.init = Init::Sparse { nonzeros: 15, std: 0.01 };
            (config.spectral_radius, config.sigma_max) = (Some(rho), None);
            Ok(())
        },
    ),
    Remedy::new("relu", None, "Relu units in place of tanh units.", |config, _, _| {
        config.cell = "rnn_relu".into();
        Ok(())
    }),
    Remedy::new("linear", None, "Units without an activation function.", |config, _, _| {
        config.cell = "rnn_identity".into();
        Ok(())
    }),
    Remedy::new(
        "leaky",
        Some("alpha=0.1"),
        "Leaky units, which keep 1 − α of their state at each step (α = dt/τ).",
        |config, options, _| {
            let alpha = options.take("alpha", |alpha| *alpha > 0.0 && *alpha <= 1.0)?.unwrap_or(0.1);
            config.cell = format!("rnn_leaky:{alpha:?}");
            Ok(())
        },
    ),
    Remedy::new(
        "lstm",
        None,
        "An LSTM (Hochreiter and Schmidhuber 1997, Gers et al. 2000).",
        |config, _, _| {
            config.cell = "lstm".into();
            Ok(())
        },
    ),
    Remedy::new(
        "forget-bias",
        Some("bias=1"),
        "An LSTM whose forget gates are initialized with this bias (Gers et al. 2000, Jozefowicz et al. 2015).",
        |config, options, _| {
            config.cell = "lstm".into();
            config.forget_bias = Some(options.take("bias", |bias: &f64| bias.is_finite())?.unwrap_or(1.0));
            config.chrono = None;
            Ok(())
        },
    ),
    Remedy::new(
        "chrono",
        Some("longest=T"),
        "An LSTM whose gate biases are initialized for lags of up to this many steps (Tallec and Ollivier 2018).",
        |config, options, steps| {
            config.cell = "lstm".into();
            config.chrono = Some(options.take("longest", |longest| *longest >= 3)?.unwrap_or(steps.max(3)));
            (config.forget_bias, config.input_bias) = (None, None);
            Ok(())
        },
    ),
    Remedy::new(
        "lstm-1997",
        None,
        "An LSTM without forget gates (Hochreiter and Schmidhuber 1997).",
        |config, _, _| {
            config.cell = "lstm_1997".into();
            (config.forget_bias, config.chrono) = (None, None);
            Ok(())
        },
    ),
    Remedy::new("gru", None, "A GRU (Cho et al. 2014).", |config, _, _| {
        config.cell = "gru".into();
        (config.forget_bias, config.input_bias, config.chrono) = (None, None, None);
        Ok(())
    }),
    Remedy::new(
        "omega",
        Some("weight=1"),
        "The regularizer that preserves the norm of gradients from step to step (Pascanu et al. 2013).",
        |config, options, _| {
            config.omega = positive(options, "weight", 1.0)?;
            Ok(())
        },
    ),
    Remedy::new(
        "flossing",
        Some("updates=50"),
        "Before training, this many updates move the leading quarter of the Lyapunov exponents to 0 (Engelken 2023).",
        |config, options, _| {
            config.floss = options.take("updates", |updates| *updates > 0)?.unwrap_or(50);
            config.floss_exponents = Some((config.hidden / 4).max(1));
            Ok(())
        },
    ),
    Remedy::new(
        "truncated",
        Some("window=T/4"),
        "Detach the state after this many steps.",
        |config, options, steps| {
            let window = options.take("window", |window| *window > 0)?;
            config.detach_every = window.unwrap_or((steps / 4).max(1));
            Ok(())
        },
    ),
];

fn positive(options: &mut Options<'_>, key: &str, default: f64) -> Result<f64, Error> {
    let positive = |value: &f64| *value > 0.0 && value.is_finite();
    Ok(options.take(key, positive)?.unwrap_or(default))
}

/// `config` with the remedies that `given` names: one, or several joined by `+`, each with its option if it is not the
/// default: `clip`, `clip:0.5`, `orthogonal+clip:norm=2`. Sequences have `steps` steps.
///
/// # Errors
/// If a remedy is unknown or its option is impossible; the message lists the remedies.
pub fn remedied(config: &Config, given: &str, steps: usize) -> Result<Config, Error> {
    let named = |remedy: &Remedy| match remedy.option {
        Some(option) => format!("{}:{option}", remedy.name),
        None => remedy.name.to_owned(),
    };
    let known = REMEDIES.each_ref().map(named).join(", ");
    let expected = format!("one of {known}, or several of them joined by +");
    let mut config = config.clone();
    for part in given.split('+') {
        let mut options = Options::parse("remedy", &expected, part);
        let remedy = REMEDIES.iter().find(|remedy| remedy.name == options.name());
        let remedy = remedy.ok_or_else(|| options.error())?;
        (remedy.apply)(&mut config, &mut options, steps)?;
        options.finish(())?;
    }
    Ok(config)
}

/// What a comparison keeps equal in addition to the number of updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// The floating-point operations of a training: every network has the largest number of units that does not cost more
    /// than the network without a remedy.
    #[default]
    Flops,
    /// The number of hidden units; the operations may differ.
    Units,
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        match given {
            "flops" => Ok(Self::Flops),
            "units" => Ok(Self::Units),
            _ => {
                let expected = "flops or units".into();
                Err(Error::UnknownChoice { choice: "budget", given: format!("{given:?}"), expected })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_change_what_they_say_and_nothing_else() {
        let base = Config { clip_norm: 0.0, ..Config::default() };
        let of = |given: &str| remedied(&base, given, 40).unwrap();
        assert_eq!(of("none"), base);
        assert_eq!(of("clip"), Config { clip_norm: 1.0, ..base.clone() });
        assert_eq!(of("clip:0.5"), Config { clip_norm: 0.5, ..base.clone() });
        let both = Config { clip_norm: 2.0, init: Init::Orthogonal, ..base.clone() };
        assert_eq!(of("orthogonal+clip:norm=2"), both);
        assert_eq!(of("chrono"), Config { cell: "lstm".into(), chrono: Some(40), ..base.clone() });
        assert_eq!(of("truncated"), Config { detach_every: 10, ..base.clone() });
        assert_eq!(of("leaky:0.25"), Config { cell: "rnn_leaky:0.25".into(), ..base.clone() });
        for remedy in REMEDIES {
            assert!(of(remedy.name).check().is_ok(), "{}", remedy.name);
            assert!(remedy.about.ends_with('.'), "{}", remedy.name);
        }
    }

    #[test]
    fn unknown_remedies_are_refused_by_name_with_the_list() {
        let refused = |given: &str| remedied(&Config::default(), given, 40).unwrap_err().to_string();
        let message = refused("clip+prayer");
        assert!(message.starts_with("remedy: prayer is not possible; expected one of none, clip:norm=1, "));
        assert!(message.contains("lstm-1997") && message.ends_with("joined by +"), "{message}");
        for given in ["clip:0", "clip:norm=x", "none:1", "leaky:2", "chrono:2", ""] {
            assert!(refused(given).starts_with(&format!("remedy: {given} is not")), "{given}");
        }
    }
}
