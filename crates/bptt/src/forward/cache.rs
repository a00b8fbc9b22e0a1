//! What a forward scan saves for the reverse scan.

use std::ops::Range;
use std::sync::Arc;

use super::boundaries::SequenceBoundaries;
use super::inputs::{Inputs, Reading};
use crate::Error;
use crate::array::{Sequence, SequenceView, View};
use crate::kernel::{self, Format, Real};
use crate::model::{CellParams, CellSpec, Direction, Operand, State, StepCache};

/// What the forward scan saved of one cell.
#[derive(Clone, Debug, Default)]
pub struct CellCache<T> {
    pub(super) spec: Option<Arc<CellSpec>>,
    pub(super) direction: Direction,
    /// Each state that every step reads, and the last, in the order of time: (T + 1, B, width). A forward cell begins in
    /// the first place, a reverse cell in the last.
    pub(super) states: Vec<Sequence<T>>,
    /// The activated gates of every step, (T, B, G·H); (T, B, 0) where the only one is h and no episode begins.
    pub(super) gates: Sequence<T>,
    /// What else the cell saved of every step, (T, B, width) each.
    pub(super) saved: Vec<Sequence<T>>,
    /// The format that all of these are rounded to, if any.
    pub(super) format: Option<Format>,
}

impl<T: Real> CellCache<T> {
    /// Which way the cell read.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The h that every step reads, and the last, in the order of time: (T + 1, B, P). A forward cell's initial state
    /// comes first, a reverse cell's last. Where an episode begins the step reads zeros.
    pub fn h(&self) -> &Sequence<T> {
        &self.states[0]
    }

    /// State `state` (h, and c where there is one) in the same places, (T + 1, B, width).
    pub fn state(&self, state: usize) -> Option<&Sequence<T>> {
        self.states.get(state)
    }

    /// The activated gates of step `t`, (B, G·H).
    pub(crate) fn gates(&self, t: usize) -> View<'_, T> {
        if self.gates.features() == 0 { self.h().step(self.places(t).1) } else { self.gates.step(t) }
    }

    /// h after every step, (T, B, P), in the order of time.
    pub(super) fn outputs(&self) -> SequenceView<'_, T> {
        let first = usize::from(self.direction == Direction::Forward);
        self.h().view().some_steps(first..first + self.gates.steps())
    }

    /// Makes room for `steps` steps of `batch` sequences; `alone` where the only gate is h and is not kept twice.
    pub(super) fn reshape(&mut self, params: &CellParams<T>, (steps, batch): (usize, usize), alone: bool) {
        let (spec, sizes) = (params.spec(), params.sizes());
        self.spec = Some(Arc::clone(spec));
        self.states.resize_with(spec.states.len(), Sequence::default);
        for (state, of) in self.states.iter_mut().zip(&spec.states) {
            state.reshape(steps + 1, batch, sizes.of(of.width));
        }
        self.gates.reshape(steps, batch, if alone { 0 } else { sizes.gates * sizes.hidden });
        self.saved.resize_with(spec.saved.len(), Sequence::default);
        for (saved, of) in self.saved.iter_mut().zip(&spec.saved) {
            saved.reshape(steps, batch, sizes.of(of.width));
        }
    }

    /// The pre-activations of all steps before they are activated, (T · B, G·H).
    pub(super) fn preactivations(&mut self) -> &mut [T] {
        if self.gates.features() > 0 {
            return self.gates.data_mut();
        }
        let h = &mut self.states[0];
        let (steps, size) = (self.gates.steps(), h.batch() * h.features());
        let first = usize::from(self.direction == Direction::Forward);
        &mut h.data_mut()[first * size..(first + steps) * size]
    }

    /// The place in `states` of the state before step `t`, and of the one after it.
    pub(super) fn places(&self, t: usize) -> (usize, usize) {
        match self.direction {
            Direction::Forward => (t, t + 1),
            Direction::Reverse => (t + 1, t),
        }
    }

    /// What a parameter multiplies in `steps`, (len · B, width).
    ///
    /// # Panics
    /// If it is the input, which belongs to the layer, or nothing.
    pub(crate) fn operand(&self, operand: Operand, steps: Range<usize>) -> View<'_, T> {
        let (before, after) = self.places(steps.start);
        match operand {
            Operand::Prev(state) => self.states[state].rows(before..before + steps.len()),
            Operand::State(state) => self.states[state].rows(after..after + steps.len()),
            Operand::Saved(saved) => self.saved[saved].rows(steps),
            Operand::X | Operand::One => unreachable!("{operand:?} is not saved by a cell"),
        }
    }

    /// What the backward step needs to know of step `t`.
    pub(crate) fn step(&self, t: usize) -> StepCache<'_, T> {
        let (before, after) = self.places(t);
        StepCache::new(self.gates(t), &self.states, &self.saved, (before, after, t))
    }
}

/// A finished forward scan: what every layer read and saved.
#[derive(Clone, Debug)]
pub struct ForwardCache<T> {
    pub(super) inputs: Inputs<T>,
    pub(super) cells: Vec<CellCache<T>>,
    /// What each layer gave, (T, B, D·P), and the next one reads; `None` where it is a forward cell's h and nothing else.
    pub(super) outputs: Vec<Option<Sequence<T>>>,
    /// Where sequences end and gradients stop.
    pub(super) boundaries: SequenceBoundaries,
    /// What each layer's output was multiplied with, see [`ScanOptions::dropout`](crate::ScanOptions::dropout).
    pub(super) dropout: Vec<Sequence<T>>,
}

impl<T: Real> Default for ForwardCache<T> {
    /// An empty one, to be filled.
    fn default() -> Self {
        Self {
            inputs: Inputs::Dense(Sequence::default()),
            cells: Vec::new(),
            outputs: Vec::new(),
            boundaries: SequenceBoundaries::default(),
            dropout: Vec::new(),
        }
    }
}

impl<T: Real> ForwardCache<T> {
    /// What was read; zeros (of symbols, the first) in the place of padding.
    pub fn inputs(&self) -> &Inputs<T> {
        &self.inputs
    }

    /// What layer `layer` read.
    pub(crate) fn inputs_of(&self, layer: usize) -> Reading<'_, T> {
        match layer.checked_sub(1) {
            None => self.inputs.read(),
            Some(below) => Reading::Dense(self.output_of(below)),
        }
    }

    /// What layer `layer` gave.
    fn output_of(&self, layer: usize) -> SequenceView<'_, T> {
        let directions = self.cells.len() / self.outputs.len();
        match &self.outputs[layer] {
            Some(output) => output.view(),
            None => self.cells[layer * directions].outputs(),
        }
    }

    /// What each cell saved, in the order of [`Weights::cells`](crate::Weights::cells).
    pub fn cells(&self) -> &[CellCache<T>] {
        &self.cells
    }

    /// h of the top layer after every step, both directions side by side, (T, B, D·P); zeros behind a sequence's end.
    ///
    /// # Panics
    /// If nothing was scanned.
    pub fn output(&self) -> SequenceView<'_, T> {
        self.output_of(self.outputs.len() - 1)
    }

    /// The number of steps of each sequence; `None` if all have T.
    pub fn lengths(&self) -> Option<&[usize]> {
        self.boundaries.lengths()
    }

    /// Where sequences end and gradients stop.
    pub(crate) fn boundaries(&self) -> &SequenceBoundaries {
        &self.boundaries
    }

    /// What the output of layer `layer` was multiplied with at step `t`, (B, D·P), if anything.
    pub(crate) fn dropout_at(&self, layer: usize, t: usize) -> Option<View<'_, T>> {
        self.dropout.get(layer).map(|mask| mask.step(t))
    }

    /// Refuses a scan whose states are not all finite, naming the first that is not.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with layer, step and sequence.
    pub fn check_finite(&self) -> Result<(), Error> {
        let layers = self.outputs.len();
        let directions = self.cells.len() / layers.max(1);
        for layer in 0..layers {
            let mut bad = first_not_finite(self.output_of(layer)).map(|at| ("hidden", at));
            for cell in &self.cells[layer * directions..(layer + 1) * directions] {
                let forward = cell.direction == Direction::Forward;
                let step = |(place, b): (usize, usize)| {
                    ("memory", (if forward { place.saturating_sub(1) } else { place }, b))
                };
                let inner = || cell.states[1..].iter().find_map(|state| first_not_finite(state.view()));
                bad = bad.or_else(|| inner().map(step));
            }
            if let Some((state, (step, sequence))) = bad {
                return Err(Error::NotFinite {
                    what: format!("{state} state of layer {layer}"),
                    step,
                    sequence,
                });
            }
        }
        Ok(())
    }

    /// The state after the last step of each cell, to carry into the next window.
    pub fn final_state(&self) -> State<T> {
        let last = |cell: &CellCache<T>| {
            let place = if cell.direction == Direction::Forward { cell.gates.steps() } else { 0 };
            cell.states.iter().map(|state| state.step(place).to_matrix()).collect()
        };
        State { cells: self.cells.iter().map(last).collect() }
    }
}

/// Step and sequence of the first number that is not finite. Where the sum of sizes is finite, so is every number.
pub(super) fn first_not_finite<T: Real>(sequence: SequenceView<'_, T>) -> Option<(usize, usize)> {
    if kernel::sum_of_sizes(sequence.data()).is_finite() { None } else { sequence.first_not_finite() }
}
