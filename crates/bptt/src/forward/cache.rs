//! What a forward scan saves for the reverse scan.

use std::ops::Range;

use super::boundaries::Bounds;
use super::inputs::{Inputs, Reading};
use crate::Error;
use crate::array::{Sequence, SequenceView, View};
use crate::kernel::{Format, Real};
use crate::model::{Direction, State, StepCache};

/// What the forward scan kept of one cell.
#[derive(Clone, Debug, Default)]
pub struct LayerTrace<T> {
    pub(super) direction: Direction,
    /// The h that every step reads, and the last, in the order of time: (T + 1, B, H). A forward cell begins in the first
    /// place, a reverse cell in the last.
    pub(super) h: Sequence<T>,
    /// c in the same places, (T + 1, B, H), or (T + 1, B, 0).
    pub(super) c: Sequence<T>,
    /// The activated gates of every step, (T, B, G·H); (T, B, 0) where the only one is h and no episode begins.
    pub(super) gates: Sequence<T>,
    /// What else the cell keeps of every step, (T, B, H) or (T, B, 0).
    pub(super) kept: Sequence<T>,
    /// Whether the last gate's rows of W_hh multiply that.
    pub(super) reads_kept: bool,
    /// What all of these are rounded to, if anything.
    pub(super) format: Option<Format>,
}

impl<T: Real> LayerTrace<T> {
    /// Which way the cell read.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The h that every step reads, and the last, in the order of time: (T + 1, B, H). A forward cell's initial state
    /// comes first, a reverse cell's last. Where an episode begins the step reads zeros.
    pub fn h(&self) -> &Sequence<T> {
        &self.h
    }

    /// The activated gates of step `t`, (B, G·H).
    pub(crate) fn gates(&self, t: usize) -> View<'_, T> {
        if self.gates.features() == 0 { self.h.step(self.places(t).1) } else { self.gates.step(t) }
    }

    /// G·H.
    pub(super) fn width(&self) -> usize {
        if self.gates.features() == 0 { self.h.features() } else { self.gates.features() }
    }

    /// h after every step, (T, B, H), in the order of time.
    pub(super) fn states(&self) -> SequenceView<'_, T> {
        let first = usize::from(self.direction == Direction::Forward);
        self.h.view().some_steps(first..first + self.gates.steps())
    }

    /// Makes room for `steps` steps of `batch` sequences.
    pub(super) fn reshape(
        &mut self,
        (steps, batch): (usize, usize),
        hidden: usize,
        gates: usize,
        memory: usize,
        keeps_more: bool,
    ) {
        self.h.reshape(steps + 1, batch, hidden);
        self.c.reshape(steps + 1, batch, memory);
        self.gates.reshape(steps, batch, gates);
        self.kept.reshape(steps, batch, if keeps_more { hidden } else { 0 });
    }

    /// Where the pre-activations of all steps stand before they are activated, (T · B, G·H).
    pub(super) fn preactivations(&mut self) -> &mut [T] {
        if self.gates.features() > 0 {
            return self.gates.data_mut();
        }
        let (steps, size) = (self.gates.steps(), self.h.batch() * self.h.features());
        let first = usize::from(self.direction == Direction::Forward);
        &mut self.h.data_mut()[first * size..(first + steps) * size]
    }

    /// The place in `h` of the state before step `t`, and of the one after it.
    pub(super) fn places(&self, t: usize) -> (usize, usize) {
        match self.direction {
            Direction::Forward => (t, t + 1),
            Direction::Reverse => (t + 1, t),
        }
    }

    /// What the rows of W_hh multiply in `steps`, (len · B, H) each, with the rows it is multiplied by: h before every step,
    /// and what was kept where the last gate reads that.
    pub(crate) fn recurrent_inputs(&self, steps: Range<usize>) -> Vec<(Range<usize>, View<'_, T>)> {
        let (width, hidden) = (self.width(), self.h.features());
        let first = self.places(steps.start).0;
        let h_prev = self.h.rows(first..first + steps.len());
        if self.reads_kept {
            vec![(0..width - hidden, h_prev), (width - hidden..width, self.kept.rows(steps))]
        } else {
            vec![(0..width, h_prev)]
        }
    }

    /// What the way back needs to know of step `t`.
    pub(crate) fn cache(&self, t: usize) -> StepCache<'_, T> {
        let before = self.places(t).0;
        StepCache {
            gates: self.gates(t),
            kept: self.kept.step(t),
            h_prev: self.h.step(before),
            c_prev: self.c.step(before),
        }
    }
}

/// A finished forward scan: what every layer read and kept.
#[derive(Clone, Debug)]
pub struct Trace<T> {
    pub(super) inputs: Inputs<T>,
    pub(super) cells: Vec<LayerTrace<T>>,
    /// What each layer gave, (T, B, D·H), and the next one reads; `None` where it is a forward cell's h and nothing else.
    pub(super) outputs: Vec<Option<Sequence<T>>>,
    /// Where sequences end and gradients stop.
    pub(super) bounds: Bounds,
    /// What each layer's output was multiplied with, see [`ScanOptions::dropout`].
    pub(super) dropout: Vec<Sequence<T>>,
}

impl<T: Real> Default for Trace<T> {
    /// A trace of nothing.
    fn default() -> Self {
        Self {
            inputs: Inputs::Dense(Sequence::default()),
            cells: Vec::new(),
            outputs: Vec::new(),
            bounds: Bounds::default(),
            dropout: Vec::new(),
        }
    }
}

impl<T: Real> Trace<T> {
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
    pub(super) fn output_of(&self, layer: usize) -> SequenceView<'_, T> {
        let directions = self.cells.len() / self.outputs.len();
        match &self.outputs[layer] {
            Some(output) => output.view(),
            None => self.cells[layer * directions].states(),
        }
    }

    /// What each cell kept, in the order of [`crate::Weights::layers`].
    pub fn layers(&self) -> &[LayerTrace<T>] {
        &self.cells
    }

    /// h of the top layer after every step, both directions side by side, (T, B, D·H); zeros behind a sequence's end.
    ///
    /// # Panics
    /// If it is the trace of nothing.
    pub fn output(&self) -> SequenceView<'_, T> {
        self.output_of(self.outputs.len() - 1)
    }

    /// Where sequences end and gradients stop.
    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// What the output of layer `layer` was multiplied with at step `t`, (B, D·H), if anything.
    pub(crate) fn dropout_at(&self, layer: usize, t: usize) -> Option<View<'_, T>> {
        self.dropout.get(layer).map(|mask| mask.step(t))
    }

    /// Refuses a trace whose states are not all finite, naming the first that is not.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with layer, step and sequence.
    pub fn check_finite(&self) -> Result<(), Error> {
        let layers = self.outputs.len();
        let directions = self.cells.len() / layers.max(1);
        for layer in 0..layers {
            let mut bad = self.output_of(layer).first_not_finite().map(|at| ("hidden", at));
            for cell in &self.cells[layer * directions..(layer + 1) * directions] {
                let place = |(place, b): (usize, usize)| {
                    let forward = cell.direction == Direction::Forward;
                    ("memory", (if forward { place.saturating_sub(1) } else { place }, b))
                };
                bad = bad.or_else(|| cell.c.first_not_finite().map(place));
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
        let last = |cell: &LayerTrace<T>, s: &Sequence<T>| {
            let steps = cell.gates.steps();
            let place = if cell.direction == Direction::Forward { steps } else { 0 };
            s.step(place).to_matrix()
        };
        State {
            h: self.cells.iter().map(|cell| last(cell, &cell.h)).collect(),
            c: self.cells.iter().map(|cell| last(cell, &cell.c)).collect(),
        }
    }
}
