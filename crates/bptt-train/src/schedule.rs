//! Learning rate schedules.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::options::Options;

/// A learning rate schedule.
///
/// Written, on the command line and in files, as `constant`, `cosine:warmup=100,floor=0.1` or `step:every=1000,factor=0.5`;
/// values that are not given have their defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    /// The base rate.
    #[default]
    Constant,
    /// A linear warmup, then half a cosine down to the floor (Loshchilov and Hutter 2017).
    Cosine {
        /// Steps of the warmup; 0 by default.
        warmup: u64,
        /// The last rate as a fraction of the base rate; 0 by default.
        floor: f64,
    },
    /// Multiplication by a factor at regular intervals.
    Step {
        /// Steps between two changes; 1000 by default.
        every: u64,
        /// The factor; 0.5 by default.
        factor: f64,
    },
}

impl Schedule {
    /// The rate of step `step` (from 0) of `total` steps. Only the cosine depends on `total`; beyond it, it stays at its
    /// floor.
    pub fn rate(&self, base: f64, step: u64, total: u64) -> f64 {
        match *self {
            Self::Constant => base,
            Self::Cosine { warmup, .. } if step < warmup => base * (step + 1) as f64 / warmup as f64,
            Self::Cosine { floor, .. } if step >= total => base * floor,
            Self::Cosine { warmup, floor } => {
                let progress = (step - warmup) as f64 / (total - warmup) as f64;
                base * (floor + (1.0 - floor) * (1.0 + (PI * progress).cos()) / 2.0)
            }
            Self::Step { every, factor } => base * factor.powf((step / every) as f64),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Cosine { warmup, floor } => write!(f, "cosine:warmup={warmup},floor={floor:?}"),
            Self::Step { every, factor } => write!(f, "step:every={every},factor={factor:?}"),
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        let expected = "constant, cosine:warmup=100,floor=0.1 (a fraction) or step:every=1000,factor=0.5";
        let mut options = Options::parse("schedule", expected, given);
        let schedule = match options.name() {
            "constant" => Self::Constant,
            "cosine" => Self::Cosine {
                warmup: options.take("warmup", |_| true)?.unwrap_or(0),
                floor: options.take("floor", |floor| (0.0..=1.0).contains(floor))?.unwrap_or(0.0),
            },
            "step" => Self::Step {
                every: options.take("every", |&every| every > 0)?.unwrap_or(1000),
                factor: options
                    .take("factor", |&factor: &f64| factor > 0.0 && factor.is_finite())?
                    .unwrap_or(0.5),
            },
            _ => return Err(options.error()),
        };
        options.finish(schedule)
    }
}

impl TryFrom<String> for Schedule {
    type Error = Error;

    fn try_from(given: String) -> Result<Self, Error> {
        given.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosine_rises_falls_and_stays() {
        let schedule: Schedule = "cosine:warmup=4,floor=0.1".parse().unwrap();
        let expected = [
            (0, 0.5),
            (3, 2.0),
            (4, 2.0),
            (8, 2.0 * (0.1 + 0.9 * (1.0 + 0.5_f64.sqrt()) / 2.0)),
            (12, 1.1),
            (20, 0.2),
            (99, 0.2),
        ];
        for (step, rate) in expected {
            assert!((schedule.rate(2.0, step, 20) - rate).abs() < 1e-15, "step {step}");
        }
    }

    #[test]
    fn steps_multiply() {
        let schedule = Schedule::Step { every: 10, factor: 0.5 };
        assert_eq!([0, 9, 10, 39].map(|step| schedule.rate(8.0, step, 0)), [8.0, 8.0, 4.0, 1.0]);
        assert_eq!(Schedule::Constant.rate(8.0, 39, 0), 8.0);
    }

    #[test]
    fn schedules_are_read_as_they_are_shown() {
        for text in ["constant", "cosine:warmup=100,floor=0.1", "step:every=5,factor=0.5"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        assert_eq!("cosine:7".parse::<Schedule>().unwrap(), Schedule::Cosine { warmup: 7, floor: 0.0 });
        for text in ["linear", "constant:1", "cosine:floor=2", "step:every=0", "step:0.5", "cosine:warm=3"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        let json = serde_json::to_string(&Schedule::Constant).unwrap();
        assert_eq!(json, "\"constant\"");
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), Schedule::Constant);
    }
}
