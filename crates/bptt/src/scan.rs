//! The forward time loop.

use std::ops::Range;

use crate::bounds::{Bounds, ScanOptions, check_dropout};
use crate::cell::{Forward, StepCache};
use crate::inputs::{Inputs, Reading};
use crate::kernel::Start;
use crate::layout::Contribution;
use crate::network::{Direction, Network, State};
use crate::precision::Format;
use crate::sequence::{Matrix, Sequence, SequenceView, View};
use crate::{Error, Real, kernel};

/// What the forward scan kept of one cell.
#[derive(Clone, Debug, Default)]
pub struct LayerTrace<T> {
    direction: Direction,
    /// The h that every step reads, and the last, in the order of time: (T + 1, B, H). A forward cell begins in the first
    /// place, a reverse cell in the last.
    h: Sequence<T>,
    /// c in the same places, (T + 1, B, H), or (T + 1, B, 0).
    c: Sequence<T>,
    /// The activated gates of every step, (T, B, G·H); (T, B, 0) where the only one is h and no episode begins.
    gates: Sequence<T>,
    /// What else the cell keeps of every step, (T, B, H) or (T, B, 0).
    kept: Sequence<T>,
    /// Whether the last gate's rows of W_hh multiply that.
    reads_kept: bool,
    /// What all of these are rounded to, if anything.
    format: Option<Format>,
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
    fn width(&self) -> usize {
        if self.gates.features() == 0 { self.h.features() } else { self.gates.features() }
    }

    /// h after every step, (T, B, H), in the order of time.
    fn states(&self) -> SequenceView<'_, T> {
        let first = usize::from(self.direction == Direction::Forward);
        self.h.view().some_steps(first..first + self.gates.steps())
    }

    /// Makes room for `steps` steps of `batch` sequences.
    fn reshape(
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
    fn preactivations(&mut self) -> &mut [T] {
        if self.gates.features() > 0 {
            return self.gates.data_mut();
        }
        let (steps, size) = (self.gates.steps(), self.h.batch() * self.h.features());
        let first = usize::from(self.direction == Direction::Forward);
        &mut self.h.data_mut()[first * size..(first + steps) * size]
    }

    /// The place in `h` of the state before step `t`, and of the one after it.
    fn places(&self, t: usize) -> (usize, usize) {
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
    inputs: Inputs<T>,
    cells: Vec<LayerTrace<T>>,
    /// What each layer gave, (T, B, D·H), and the next one reads; `None` where it is a forward cell's h and nothing else.
    outputs: Vec<Option<Sequence<T>>>,
    /// Where sequences end and gradients stop.
    bounds: Bounds,
    /// What each layer's output was multiplied with, see [`ScanOptions::dropout`].
    dropout: Vec<Sequence<T>>,
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
    fn output_of(&self, layer: usize) -> SequenceView<'_, T> {
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

impl<T: Real> Network<T> {
    /// Runs the network over `inputs` from `initial`, keeping what the way back needs.
    ///
    /// # Errors
    /// If the inputs or the initial state do not fit the network.
    pub fn scan(&self, inputs: Inputs<T>, initial: &State<T>) -> Result<Trace<T>, Error> {
        self.scan_with(inputs, initial, ScanOptions::default())
    }

    /// The same for sequences of several lengths, with episodes, detached states or dropout.
    ///
    /// # Errors
    /// If the inputs, the initial state or one of the options do not fit the network or each other.
    pub fn scan_with(
        &self,
        inputs: Inputs<T>,
        initial: &State<T>,
        options: ScanOptions<T>,
    ) -> Result<Trace<T>, Error> {
        let mut trace = Trace::default();
        self.scan_into(&mut trace, inputs, initial, options)?;
        Ok(trace)
    }

    /// The same, with what every step leaves rounded to a format.
    pub(crate) fn scan_rounded(
        &self,
        inputs: Inputs<T>,
        initial: &State<T>,
        options: ScanOptions<T>,
        format: Format,
    ) -> Result<Trace<T>, Error> {
        let cell = || LayerTrace { format: Some(format), ..LayerTrace::default() };
        let cells = self.weights().layers.iter().map(|_| cell()).collect();
        let mut trace = Trace { cells, ..Trace::default() };
        self.scan_into(&mut trace, inputs, initial, options)?;
        Ok(trace)
    }

    /// The same in the memory of an older trace, whatever that was of. After an error it is of no use.
    pub(crate) fn scan_into(
        &self,
        trace: &mut Trace<T>,
        mut inputs: Inputs<T>,
        initial: &State<T>,
        options: ScanOptions<T>,
    ) -> Result<(), Error> {
        let (steps, batch) = inputs.shape();
        let (directions, hidden) = (self.directions(), self.hidden());
        trace.bounds = Bounds::new(&options, steps, batch)?;
        check_dropout(&options.dropout, self.depth(), (steps, batch, directions * hidden))?;
        inputs.clear(|t, b| trace.bounds.is_padding(t, b));
        inputs.check(self.inputs())?;
        trace.inputs = inputs;
        trace.dropout = options.dropout;
        trace.outputs.resize_with(self.depth(), || None);
        trace.cells.resize_with(self.weights().layers.len(), LayerTrace::default);
        for layer in 0..self.depth() {
            let mask = trace.dropout.get(layer);
            let apart = directions == 2 || mask.is_some() || !trace.bounds.leaves_states_alone();
            let mut output = trace.outputs[layer].take().unwrap_or_default();
            output.reshape(steps, batch, if apart { directions * hidden } else { 0 });
            for d in 0..directions {
                let index = layer * directions + d;
                // A cell's trace is written while those of the layers below are read.
                let mut cell = std::mem::take(&mut trace.cells[index]);
                let output = apart.then_some((&mut output, d * hidden));
                self.scan_cell(&mut cell, index, trace.inputs_of(layer), initial, &trace.bounds, output)?;
                trace.cells[index] = cell;
            }
            if let Some(mask) = mask {
                kernel::multiply_by(output.data_mut(), mask.data());
            }
            trace.outputs[layer] = apart.then_some(output);
        }
        Ok(())
    }

    /// The time loop of one cell, which writes its h into the columns of `output` from the given one on, if there is one.
    fn scan_cell(
        &self,
        trace: &mut LayerTrace<T>,
        index: usize,
        inputs: Reading<'_, T>,
        initial: &State<T>,
        bounds: &Bounds,
        mut output: Option<(&mut Sequence<T>, usize)>,
    ) -> Result<(), Error> {
        let (steps, batch) = inputs.shape();
        let (cell, params) = (self.cell(), &self.weights().layers[index]);
        let place = self.weights().place(index);
        let hidden = params.hidden();
        let memory = if cell.has_memory() { hidden } else { 0 };
        // Where an episode begins, the state that is read is not the one that the step before left.
        let alone = cell.gate_is_state() && bounds.leaves_states_alone();
        trace.reshape(
            (steps, batch),
            hidden,
            if alone { 0 } else { params.w_ih.rows() },
            memory,
            cell.keeps_more(),
        );
        (trace.direction, trace.reads_kept) = (place.direction, cell.reads_kept());

        let first = if place.direction == Direction::Forward { 0 } else { steps };
        let fits = |name: &str, given: Option<&Matrix<T>>, width: usize, to: &mut [T]| match given {
            Some(m) if (m.rows(), m.cols()) == (batch, width) => {
                to.copy_from_slice(m.data());
                Ok(())
            }
            _ => Err(Error::Shape {
                what: format!("initial {name} of {}", place.suffix()),
                expected: format!("(B, H) = ({batch}, {width})"),
                given: given.map_or("none".into(), |m| format!("({}, {})", m.rows(), m.cols())),
            }),
        };
        fits("h", initial.h.get(index), hidden, trace.h.step_mut(first))?;
        fits("c", initial.c.get(index), memory, trace.c.step_mut(first))?;

        let recurrent = self.layouts().recurrent(index, params, cell);
        let table = match inputs {
            Reading::Symbols(_) => Some(self.layouts().table(index, params, cell)),
            Reading::Dense(x) => {
                let (weights, bias) = self.layouts().inputs(index, params, cell);
                let out = trace.preactivations();
                T::multiply(out, weights.cols(), Start::Row(bias), x.rows(0..steps), weights);
                None
            }
        };
        for i in 0..steps {
            let t = if place.direction == Direction::Forward { i } else { steps - 1 - i };
            let (before, after) = trace.places(t);
            for b in bounds.resets_at(place.direction, t) {
                trace.h.at_mut(before, b).fill(T::zero());
                trace.c.at_mut(before, b).fill(T::zero());
            }
            let input = match (inputs, table) {
                (Reading::Symbols(symbols), Some(table)) => {
                    Contribution::Table(table.view(), symbols.step(t))
                }
                _ => Contribution::InPlace,
            };
            let (h_prev, h) = trace.h.two_steps(before, after);
            let (c_prev, c) = trace.c.two_steps(before, after);
            let kept = trace.kept.step_mut(t);
            let (gates, h_after) =
                if alone { (&mut *h, &mut [][..]) } else { (trace.gates.step_mut(t), &mut *h) };
            cell.step(recurrent, Forward { input, h_prev, c_prev, gates, kept, h: h_after, c });
            if let Some(format) = trace.format {
                for numbers in [&mut *h, c, trace.gates.step_mut(t), trace.kept.step_mut(t)] {
                    format.round(numbers);
                }
            }
            for b in bounds.padding_at(t) {
                h[b * hidden..(b + 1) * hidden].copy_from_slice(h_prev.row(b));
                c[b * memory..(b + 1) * memory].copy_from_slice(c_prev.row(b));
            }
            if let Some((output, column)) = &mut output {
                for (b, h) in h.chunks_exact(hidden).enumerate() {
                    let to = &mut output.at_mut(t, b)[*column..*column + hidden];
                    if bounds.is_padding(t, b) { to.fill(T::zero()) } else { to.copy_from_slice(h) }
                }
            }
        }
        Ok(())
    }
}
