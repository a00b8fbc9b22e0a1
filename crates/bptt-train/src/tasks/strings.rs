//! The embedded Reber grammar.

use std::ops::RangeInclusive;

use super::{Example, Task, Values};
use crate::Rng;

/// The symbols, in the order of their ids.
const SYMBOLS: [char; 7] = ['B', 'T', 'P', 'S', 'X', 'V', 'E'];

/// The Reber grammar: for each state the possible symbols, equally likely, and their next states. The last state is the
/// end.
const EDGES: [&[(char, usize)]; 7] = [
    &[('B', 1)],
    &[('T', 2), ('P', 3)],
    &[('S', 2), ('X', 4)],
    &[('T', 3), ('V', 5)],
    &[('X', 3), ('S', 6)],
    &[('P', 4), ('V', 6)],
    &[('E', END)],
];
const END: usize = 7;

/// Number of symbols around the inner string: B and T or P before it, the same T or P and E after it.
const AROUND: usize = 4;

/// The embedded Reber grammar (Fahlman 1991; Hochreiter and Schmidhuber 1997, experiment 1): the target is the next symbol
/// of a string of L; the last but one equals the second. Strings are drawn with the probabilities of the grammar, given
/// their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EmbeddedReber;

/// For every state the probability to reach the end in exactly this many symbols, `[remaining][state]`.
fn chances(length: usize) -> Vec<[f64; END + 1]> {
    let mut chances = vec![[0.0; END + 1]];
    chances[0][END] = 1.0;
    for remaining in 1..=length {
        let mut now = [0.0; END + 1];
        for (state, edges) in EDGES.iter().enumerate() {
            let each = 1.0 / edges.len() as f64;
            now[state] = edges.iter().map(|&(_, next)| each * chances[remaining - 1][next]).sum();
        }
        chances.push(now);
    }
    chances
}

fn id(symbol: char) -> u32 {
    let place = SYMBOLS.iter().position(|&known| known == symbol).expect("a symbol of the grammar");
    u32::try_from(place).expect("seven symbols")
}

impl EmbeddedReber {
    /// The inner string, of `length` symbols.
    fn inner(length: usize, rng: &mut Rng) -> Vec<u32> {
        let chances = chances(length);
        let mut state = 0;
        let mut string = Vec::with_capacity(length);
        for remaining in (0..length).rev() {
            let edges = EDGES[state];
            let first = chances[remaining][edges[0].1];
            let all: f64 = edges.iter().map(|&(_, next)| chances[remaining][next]).sum();
            let edge = if rng.uniform() * all < first { edges[0] } else { edges[edges.len() - 1] };
            string.push(id(edge.0));
            state = edge.1;
        }
        string
    }
}

impl Task for EmbeddedReber {
    fn name(&self) -> String {
        "reber".into()
    }

    fn about(&self) -> &'static str {
        "every next of L symbols of the embedded Reber grammar (Hochreiter and Schmidhuber 1997, experiment 1)"
    }

    fn inputs(&self) -> usize {
        SYMBOLS.len()
    }

    fn outputs(&self) -> usize {
        SYMBOLS.len()
    }

    fn usual_length(&self) -> usize {
        12
    }

    fn least_length(&self) -> usize {
        AROUND + 5
    }

    fn steps(&self, length: usize) -> usize {
        length - 1
    }

    /// From the prediction of the last but one symbol to the second symbol.
    fn lag(&self, length: usize) -> RangeInclusive<usize> {
        length - 4..=length - 4
    }

    /// The entropy of the grammar if the position in the inner string is known, and of T or P twice.
    fn baseline_loss(&self, length: usize) -> f64 {
        let inner = length - AROUND;
        let chances = chances(inner);
        // The entropy of the remaining symbols, `[state]`.
        let mut open = [0.0; END + 1];
        for remaining in 1..=inner {
            let mut now = [0.0; END + 1];
            for (state, edges) in EDGES.iter().enumerate() {
                let all: f64 = edges.iter().map(|&(_, next)| chances[remaining - 1][next]).sum();
                for &(_, next) in edges.iter().filter(|(_, next)| chances[remaining - 1][*next] > 0.0) {
                    let p = chances[remaining - 1][next] / all;
                    now[state] += p * (open[next] - p.ln());
                }
            }
            open = now;
        }
        (open[0] + 2.0 * 2.0_f64.ln()) / self.steps(length) as f64
    }

    fn example(&self, length: usize, rng: &mut Rng) -> Example {
        let embedding = id(*rng.choose(&['T', 'P']));
        let mut string = vec![id('B'), embedding];
        string.extend(Self::inner(length - AROUND, rng));
        string.extend([embedding, id('E')]);
        let steps = self.steps(length);
        Example {
            inputs: Values::Symbols(string[..steps].to_vec()),
            targets: Values::Symbols(string[1..].to_vec()),
            has_loss: vec![true; steps],
            judged: (0..steps).map(|t| t == length - 3).collect(),
        }
    }
}
