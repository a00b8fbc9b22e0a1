//! How a batch is read, beside its inputs: where sequences end, where episodes begin, where gradients stop, and which
//! outputs drop out.

use std::ops::Range;

use crate::Error;
use crate::array::Sequence;
use crate::kernel::Real;
use crate::model::Direction;

/// How a batch is read, beside its inputs. The default reads every step of every sequence and lets everything through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanOptions<T> {
    /// The number of steps of each sequence, B numbers from 1 to T; what lies behind is padding. PyTorch's
    /// `PackedSequence`: padding changes no state, its outputs are zero, it has no loss, and a reverse cell starts at the
    /// true end. `None`: all have T.
    pub lengths: Option<Vec<usize>>,
    /// (T, B) time-major; `true` where an episode begins. Neither state nor gradient passes from step t − 1 to t, in
    /// either direction: the cell continues from zeros.
    pub resets: Option<Vec<bool>>,
    /// Steps s at which the state is detached: it passes from s − 1 to s, the gradient does not come back. Every K steps
    /// this is truncated backpropagation with carried state, see [`ScanOptions::detach_every`].
    pub detach: Vec<usize>,
    /// The first steps only warm the state up: they have no loss, and no gradient comes back into them.
    pub burn_in: usize,
    /// What each layer's output is multiplied with before the next layer reads it, (T, B, D·H): with probability p zero,
    /// otherwise 1/(1 − p). One for each layer below the top, or none at all.
    pub dropout: Vec<Sequence<T>>,
}

impl<T> ScanOptions<T> {
    /// The steps of [`ScanOptions::detach`] that cut `steps` steps into windows of `every`; none if `every` is 0.
    pub fn detach_every(every: usize, steps: usize) -> Vec<usize> {
        if every == 0 { Vec::new() } else { (every..steps).step_by(every).collect() }
    }
}

impl<T: Real> ScanOptions<T> {
    /// The same options in another precision.
    pub fn cast<U: Real>(&self) -> ScanOptions<U> {
        ScanOptions {
            lengths: self.lengths.clone(),
            resets: self.resets.clone(),
            detach: self.detach.clone(),
            burn_in: self.burn_in,
            dropout: self.dropout.iter().map(Sequence::cast).collect(),
        }
    }
}

/// Where sequences end and where nothing passes from one step to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct SequenceBoundaries {
    steps: usize,
    batch: usize,
    burn_in: usize,
    lengths: Option<Vec<usize>>,
    /// (T, B): no state passes from step t − 1 to t.
    resets: Option<Vec<bool>>,
    /// (T, B): no gradient passes from step t to t − 1.
    cuts: Option<Vec<bool>>,
}

impl SequenceBoundaries {
    /// From `options`, for a batch of (T, B) = (`steps`, `batch`).
    pub(crate) fn new<T>(options: &ScanOptions<T>, steps: usize, batch: usize) -> Result<Self, Error> {
        let shape = |what: &str, expected: String, given: usize| Error::Shape {
            what: what.into(),
            expected,
            given: format!("{given} entries"),
        };
        let refuse = |option: &str, given: String, expected: String| {
            Err(Error::Value { option: option.into(), given, expected })
        };
        let ScanOptions { lengths, resets, detach, burn_in, .. } = options;
        if let Some(lengths) = lengths {
            if lengths.len() != batch {
                return Err(shape("lengths", format!("{batch} entries, one a sequence"), lengths.len()));
            }
            if let Some(b) = lengths.iter().position(|length| !(1..=steps).contains(length)) {
                let given = format!("{} steps of sequence {b}", lengths[b]);
                return refuse("lengths", given, format!("1 to {steps}"));
            }
        }
        if let Some(resets) = resets.as_ref().filter(|resets| resets.len() != steps * batch) {
            let expected = format!("{} entries for (T, B) = ({steps}, {batch})", steps * batch);
            return Err(shape("resets", expected, resets.len()));
        }
        if let Some(step) = detach.iter().find(|step| **step >= steps) {
            return refuse("detach", format!("step {step}"), format!("steps below {steps}"));
        }
        if *burn_in >= steps {
            let expected = format!("less than the {steps} steps there are");
            return refuse("burn_in", format!("{burn_in} steps"), expected);
        }

        let mut boundaries =
            Self { steps, batch, burn_in: *burn_in, lengths: lengths.clone(), resets: None, cuts: None };
        let read = |i: usize| !boundaries.is_padding(i / batch, i % batch);
        let resets: Option<Vec<bool>> = resets
            .as_ref()
            .map(|resets| resets.iter().enumerate().map(|(i, &reset)| reset && read(i)).collect());
        let mut cuts = resets.clone();
        for &step in detach.iter().chain((*burn_in > 0).then_some(burn_in)) {
            let cuts = cuts.get_or_insert_with(|| vec![false; steps * batch]);
            for i in (step * batch..(step + 1) * batch).filter(|&i| read(i)) {
                cuts[i] = true;
            }
        }
        (boundaries.resets, boundaries.cuts) = (resets, cuts);
        Ok(boundaries)
    }

    /// Whether every step leaves its state as the next one reads it and as it is given out: no episode begins and no
    /// sequence ends early.
    #[inline]
    pub(crate) fn leaves_states_alone(&self) -> bool {
        self.resets.is_none() && self.lengths.is_none()
    }

    /// The number of steps of each sequence; `None` if all have T.
    pub(crate) fn lengths(&self) -> Option<&[usize]> {
        self.lengths.as_deref()
    }

    /// Whether step `t` lies behind the end of sequence `b`.
    #[inline]
    pub(crate) fn is_padding(&self, t: usize, b: usize) -> bool {
        self.lengths.as_ref().is_some_and(|lengths| t >= lengths[b])
    }

    /// Whether step `t` of sequence `b` can have a loss.
    pub(crate) fn can_have_loss(&self, t: usize, b: usize) -> bool {
        t >= self.burn_in && !self.is_padding(t, b)
    }

    /// The sequences that have ended before step `t`.
    #[inline]
    pub(crate) fn padding_at(&self, t: usize) -> impl Iterator<Item = usize> {
        let lengths = self.lengths.iter().flatten().enumerate();
        lengths.filter(move |&(_, &length)| t >= length).map(|(b, _)| b)
    }

    /// The sequences whose state a cell forgets before it reads step `t`.
    #[inline]
    pub(crate) fn resets_at(&self, direction: Direction, t: usize) -> impl Iterator<Item = usize> {
        self.marked(self.resets.as_deref(), direction, t)
    }

    /// The sequences whose gradient stops once it has come back through step `t` of a cell.
    #[inline]
    pub(crate) fn cuts_at(&self, direction: Direction, t: usize) -> impl Iterator<Item = usize> {
        self.marked(self.cuts.as_deref(), direction, t)
    }

    /// The sequences marked between step `t` and the one that a cell reads before it.
    #[inline]
    fn marked<'a>(
        &self,
        marks: Option<&'a [bool]>,
        direction: Direction,
        t: usize,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let later = match direction {
            Direction::Forward => t,
            Direction::Reverse => t + 1,
        };
        let step = marks.filter(|_| later < self.steps);
        let step = step.map(|marks| &marks[later * self.batch..(later + 1) * self.batch]);
        step.into_iter().flatten().enumerate().filter(|(_, marked)| **marked).map(|(b, _)| b)
    }

    /// How far loss `k` of `sequences` reaches.
    pub(crate) fn span(&self, k: usize, sequences: impl Iterator<Item = usize>) -> GradientSpan {
        let cut = |t: usize, b: usize| self.cuts.as_ref().is_some_and(|cuts| cuts[t * self.batch + b]);
        let of = |b: usize| {
            let start = (0..=k).rev().find(|&t| cut(t, b)).unwrap_or(0);
            let uncut = start..(k + 1..self.steps).find(|&t| cut(t, b)).unwrap_or(self.steps);
            GradientSpan { end: self.lengths.as_ref().map_or(self.steps, |lengths| lengths[b]), uncut }
        };
        let widest = |a: GradientSpan, b: GradientSpan| GradientSpan {
            end: a.end.max(b.end),
            uncut: a.uncut.start.min(b.uncut.start)..a.uncut.end.max(b.uncut.end),
        };
        sequences.map(of).reduce(widest).unwrap_or(GradientSpan { end: self.steps, uncut: 0..self.steps })
    }
}

/// How far one loss of a batch reaches in the sequence where it reaches farthest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GradientSpan {
    /// Behind this step there is only padding.
    pub(crate) end: usize,
    /// The steps that no forgotten or detached state parts from the loss.
    pub(crate) uncut: Range<usize>,
}

/// Refuses dropout masks that do not fit a network of `depth` layers with outputs of `features`.
pub(crate) fn check_dropout<T: Real>(
    dropout: &[Sequence<T>],
    depth: usize,
    expected: (usize, usize, usize),
) -> Result<(), Error> {
    if !dropout.is_empty() && dropout.len() + 1 != depth {
        return Err(Error::Shape {
            what: "dropout".into(),
            expected: format!("{} masks, one for each layer below the top", depth - 1),
            given: format!("{} masks", dropout.len()),
        });
    }
    for (layer, mask) in dropout.iter().enumerate() {
        let given = (mask.steps(), mask.batch(), mask.features());
        if given != expected {
            return Err(Error::Shape {
                what: format!("dropout mask of layer {layer}"),
                expected: format!("(T, B, D·H) = {expected:?}"),
                given: format!("(T, B, D·H) = {given:?}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundaries(options: &ScanOptions<f64>) -> Result<SequenceBoundaries, Error> {
        SequenceBoundaries::new(options, 6, 2)
    }

    #[test]
    fn a_mark_stands_between_two_steps_in_both_directions() {
        let mut resets = vec![false; 12];
        resets[2 * 2 + 1] = true;
        let boundaries =
            boundaries(&ScanOptions { resets: Some(resets), detach: vec![4], ..Default::default() }).unwrap();
        let cuts = |direction, t| boundaries.cuts_at(direction, t).collect::<Vec<_>>();
        assert_eq!(cuts(Direction::Forward, 2), [1]);
        assert_eq!(cuts(Direction::Reverse, 1), [1]);
        assert_eq!(cuts(Direction::Forward, 4), [0, 1]);
        assert_eq!(cuts(Direction::Reverse, 5), [0; 0]);
        assert_eq!(boundaries.resets_at(Direction::Forward, 4).count(), 0);
        let uncut = |k, sequences| boundaries.span(k, sequences).uncut;
        assert_eq!((uncut(3, 0..1), uncut(3, 1..2), uncut(3, 0..2)), (0..4, 2..4, 0..4));
        assert_eq!((uncut(4, 1..2), uncut(4, 0..0)), (4..6, 0..6));
    }

    #[test]
    fn padding_has_no_marks_and_no_losses() {
        let options = ScanOptions {
            lengths: Some(vec![6, 3]),
            resets: Some(vec![true; 12]),
            burn_in: 2,
            ..Default::default()
        };
        let boundaries = boundaries(&options).unwrap();
        assert_eq!(boundaries.padding_at(3).collect::<Vec<_>>(), [1]);
        assert_eq!(boundaries.resets_at(Direction::Forward, 3).collect::<Vec<_>>(), [0]);
        assert_eq!(boundaries.resets_at(Direction::Reverse, 2).collect::<Vec<_>>(), [0]);
        assert_eq!([1, 2, 3].map(|t| boundaries.can_have_loss(t, 1)), [false, true, false]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |options: ScanOptions<f64>| boundaries(&options).unwrap_err().to_string();
        let message = refused(ScanOptions { lengths: Some(vec![6, 0]), ..Default::default() });
        assert_eq!(message, "lengths: 0 steps of sequence 1 is not possible; expected 1 to 6");
        let message = refused(ScanOptions { lengths: Some(vec![6]), ..Default::default() });
        assert_eq!(message, "lengths: expected 2 entries, one a sequence, given 1 entries");
        let message = refused(ScanOptions { resets: Some(vec![false; 6]), ..Default::default() });
        assert_eq!(message, "resets: expected 12 entries for (T, B) = (6, 2), given 6 entries");
        let message = refused(ScanOptions { detach: vec![3, 6], ..Default::default() });
        assert_eq!(message, "detach: step 6 is not possible; expected steps below 6");
        let message = refused(ScanOptions { burn_in: 6, ..Default::default() });
        assert_eq!(message, "burn_in: 6 steps is not possible; expected less than the 6 steps there are");
        assert_eq!(ScanOptions::<f64>::detach_every(4, 10), [4, 8]);
    }
}
