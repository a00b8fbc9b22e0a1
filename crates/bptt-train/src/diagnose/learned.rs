//! What a training learned, from its losses and those of simple models.

use super::Training;

/// The smallest number of updates from which on a training can be said to have learned nothing.
pub const TRAINED: u64 = 50;

/// How far below a simple model's loss, relative to it, a loss has to be to be better.
pub const BETTER: f64 = 0.01;

/// The fraction of solved sequences from which on a task is learned.
pub const SOLVED: f64 = 0.99;

/// How far above the best held-out loss, relative to it, the last one is after a loss of what was learned.
pub const LOST: f64 = 0.02;

/// The smallest ‖change of the weights‖ / ‖weights‖ of a first update with which updates are too large: nothing of the
/// initial weights is left after two of them.
pub const TOO_LARGE: f64 = 0.5;

/// The largest sum over the updates of ‖change‖ / ‖weights‖ with which updates are too small: a hundredth of the weights.
pub const TOO_SMALL: f64 = 0.01;

/// The fraction of the gradient's norm that clipping leaves below which it is the reason for updates that are too small.
pub const CLIPPED_AWAY: f64 = 0.01;

/// The outcome of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Nothing to compare with, or too few updates.
    Unknown,
    /// No better than a model without memory.
    Nothing,
    /// No better than counting symbols, in a text where counting pairs is no better either.
    NoStructure,
    /// Better on the training data than on others, and worse on others than before.
    Overfit,
    /// Worse than before, on all data.
    Worsened,
    /// Better than a model without memory; for a text, than counting symbols.
    Part,
    /// For a text, better than counting pairs.
    BeyondPairs,
    /// A task is solved.
    Solved,
}

impl Outcome {
    pub fn of(training: &Training) -> Self {
        let Some(loss) = training.held_out else { return Self::Unknown };
        if training.updates < TRAINED {
            return Self::Unknown;
        }
        let memoryless = if training.of_text { training.unigram } else { training.memoryless };
        let Some(memoryless) = memoryless else { return Self::Unknown };
        if training.solved.is_some_and(|solved| solved >= SOLVED) {
            return Self::Solved;
        }
        let is_better = |than: f64| loss < (1.0 - BETTER) * than;
        let learned_by_heart =
            |[first, best, last]: [f64; 3]| last < best.min(first) && last < memoryless.min(loss);
        let lost = training.best.is_some_and(|best| {
            best.updates < training.updates && loss - best.loss > LOST * memoryless && best.loss < memoryless
        });
        if training.of_text
            && (lost || !is_better(memoryless))
            && training.losses.is_some_and(learned_by_heart)
        {
            // Between losses so close there is nothing to learn by heart.
            if lost || training.losses.is_some_and(|[.., last]| last < (1.0 - 10.0 * BETTER) * loss) {
                return Self::Overfit;
            }
        }
        if lost {
            return Self::Worsened;
        }
        if !is_better(memoryless) {
            let structured = training.bigram.is_none_or(|bigram| bigram < (1.0 - BETTER) * memoryless);
            return if structured || loss > (1.0 + LOST) * memoryless {
                Self::Nothing
            } else {
                Self::NoStructure
            };
        }
        if training.bigram.is_some_and(is_better) { Self::BeyondPairs } else { Self::Part }
    }
}

/// What was learned, in a clause: `"10.500 bits per symbol on held-out text, 8.200 by counting symbols"`. `None` if there is
/// nothing to compare with.
pub(super) fn losses(training: &Training) -> Option<String> {
    let loss = training.held_out?;
    if training.of_text {
        let unigram =
            training.unigram.map_or(String::new(), |bits| format!(", {} by counting symbols", shown(bits)));
        let bigram =
            training.bigram.map_or(String::new(), |bits| format!(", {} by counting pairs", shown(bits)));
        return Some(format!("{} bits per symbol on held-out text{unigram}{bigram}", shown(loss)));
    }
    let memoryless = training.memoryless?;
    let solved = training
        .solved
        .map_or(String::new(), |solved| format!(", {:.1} % of the sequences solved", 100.0 * solved));
    Some(format!(
        "a loss of {} on held-out sequences, {} without memory{solved}",
        shown(loss),
        shown(memoryless)
    ))
}

/// The held-out loss that was lost again, in a clause.
pub(super) fn best(training: &Training) -> Option<String> {
    let (best, loss) = (training.best?, training.held_out?);
    let unit = training.unit();
    let after = if best.updates == training.updates {
        "at the end".into()
    } else {
        format!("after {} updates", best.updates)
    };
    Some(format!(
        "the held-out loss was lowest {after}, {}{unit}, and ended at {}",
        shown(best.loss),
        shown(loss)
    ))
}

/// The training losses at the best evaluation and at the end.
pub(super) fn training_losses(training: &Training) -> Option<String> {
    let [_, best, last] = training.losses?;
    Some(format!("the training loss went from {} to {}", shown(best), shown(last)))
}

/// A loss with three decimals; large and small ones with powers.
fn shown(loss: f64) -> String {
    match loss.abs() {
        // Without the sign of a zero.
        ..1e-15 => "0".into(),
        1e-3..1e4 => format!("{loss:.3}"),
        _ => format!("{loss:.2e}"),
    }
}

/// Why updates teach nothing, if their size is the reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Size {
    /// This ratio of the first change to the weights.
    TooLarge(f64),
    /// The median ratio, and what clipping leaves of a gradient if that is the reason.
    TooSmall(f64, Option<f64>),
}

impl Size {
    pub fn of(training: &Training) -> Option<Self> {
        let grows = training.losses.is_some_and(|[first, _, last]| last > 2.0 * first);
        let [first, median] = training.update_ratios?;
        if first > TOO_LARGE || (grows && first > TOO_LARGE / 10.0) {
            return Some(Self::TooLarge(first));
        }
        let clipped = training.clipped.filter(|left| *left < CLIPPED_AWAY);
        (median * (training.updates as f64) < TOO_SMALL).then_some(Self::TooSmall(median, clipped))
    }
}
