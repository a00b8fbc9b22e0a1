//! The temporal order problem.

use std::ops::RangeInclusive;

use super::{Example, Task, Values};
use crate::Rng;

/// The temporal order problem. The class at the last step encodes which of X and Y is at each of the relevant positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TemporalOrder {
    /// Hochreiter and Schmidhuber (1997), experiment 6a, with sequences of one length: a start and an end marker, and X or
    /// Y at steps L/10 to L/5 and L/2 to 3L/5.
    TwoSymbols,
    /// Experiment 6b: X or Y at steps L/10 to L/5, L/3 to L/3 + L/10 and 2L/3 to 2L/3 + L/10.
    ThreeSymbols,
    /// Pascanu, Mikolov and Bengio (2013): without start and end markers and without the last step of each range.
    Pascanu,
}

/// The symbols: four distractors, X, Y, the start and the end marker.
const FILLERS: [u32; 4] = [0, 1, 2, 3];
const X: u32 = 4;
const BEGINNING: u32 = 6;
const END: u32 = 7;

impl TemporalOrder {
    /// The range of each relevant position.
    fn places(self, length: usize) -> Vec<RangeInclusive<usize>> {
        let tenth = length / 10;
        match self {
            Self::TwoSymbols => vec![tenth..=length / 5, length / 2..=3 * length / 5],
            Self::ThreeSymbols => {
                let from = |start: usize| start..=start + tenth;
                vec![tenth..=length / 5, from(length / 3), from(2 * length / 3)]
            }
            Self::Pascanu => vec![tenth..=2 * tenth - 1, length / 2..=length / 2 + tenth - 1],
        }
    }
}

impl Task for TemporalOrder {
    fn name(&self) -> String {
        match self {
            Self::TwoSymbols => "temporal_order",
            Self::ThreeSymbols => "temporal_order_3",
            Self::Pascanu => "temporal_order_pascanu",
        }
        .into()
    }

    fn about(&self) -> &'static str {
        match self {
            Self::TwoSymbols => {
                "which of X and Y came first and which second, in L steps (Hochreiter and Schmidhuber 1997, exp. 6a)"
            }
            Self::ThreeSymbols => {
                "in which order three of X and Y came, in L steps (Hochreiter and Schmidhuber 1997, exp. 6b)"
            }
            Self::Pascanu => "which of X and Y came first and which second, in L steps (Pascanu et al. 2013)",
        }
    }

    fn inputs(&self) -> usize {
        if *self == Self::Pascanu { 6 } else { 8 }
    }

    fn outputs(&self) -> usize {
        if *self == Self::ThreeSymbols { 8 } else { 4 }
    }

    fn usual_length(&self) -> usize {
        if *self == Self::Pascanu { 50 } else { 100 }
    }

    fn least_length(&self) -> usize {
        10
    }

    fn lag(&self, length: usize) -> RangeInclusive<usize> {
        let places = self.places(length);
        let last = places.last().map_or(0, |places| *places.end());
        length - 1 - last..=length - 1 - *places[0].start()
    }

    /// All classes are equally likely.
    fn baseline_loss(&self, _: usize) -> f64 {
        (self.outputs() as f64).ln()
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let mut inputs: Vec<u32> = (0..length).map(|_| *rng.choose(&FILLERS)).collect();
        if *self != Self::Pascanu {
            (inputs[0], inputs[length - 1]) = (BEGINNING, END);
        }
        let mut class = 0;
        for places in self.places(length) {
            let place = places.start() + rng.below(places.clone().count());
            let symbol = *rng.choose(&[0, 1]);
            inputs[place] = X + symbol;
            class = 2 * class + symbol;
        }
        let mut targets = vec![0; length];
        targets[length - 1] = class;
        Example::of_last(Values::Symbols(inputs), Values::Symbols(targets), length)
    }
}
