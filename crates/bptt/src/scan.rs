//! The forward time loop.

use std::ops::Range;

use crate::bounds::{Bounds, ScanOptions, check_dropout};
use crate::cell::{Forward, StepCache};
use crate::inputs::Inputs;
use crate::network::{Direction, Network, State};
use crate::sequence::{Matrix, Sequence, View};
use crate::{Error, Real, kernel};

/// What the forward scan kept of one cell.
#[derive(Clone, Debug)]
pub struct LayerTrace<T> {
    direction: Direction,
    /// The h that every step reads, and the last, in the order of time: (T + 1, B, H). A forward cell begins in the first
    /// place, a reverse cell in the last.
    h: Sequence<T>,
    /// c in the same places, (T + 1, B, H), or (T + 1, B, 0).
    c: Sequence<T>,
    /// The activated gates of every step, (T, B, G·H).
    gates: Sequence<T>,
    /// What else the cell keeps of every step, (T, B, H) or (T, B, 0).
    kept: Sequence<T>,
    /// Whether the last gate's rows of W_hh multiply that.
    reads_kept: bool,
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

    /// The activated gates of every step, (T, B, G·H).
    pub(crate) fn gates(&self) -> &Sequence<T> {
        &self.gates
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
        let (width, hidden) = (self.gates.features(), self.h.features());
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
            gates: self.gates.step(t),
            kept: self.kept.step(t),
            h_prev: self.h.step(before),
            c_prev: self.c.step(before),
        }
    }
}

/// A finished forward scan: what every layer read and kept.
#[derive(Clone, Debug)]
pub struct Trace<T> {
    /// What each layer read: the inputs, and then the outputs of the layer below.
    inputs: Vec<Inputs<T>>,
    cells: Vec<LayerTrace<T>>,
    /// What the top layer gave, (T, B, D·H).
    output: Sequence<T>,
    /// Where sequences end and gradients stop.
    bounds: Bounds,
    /// What each layer's output was multiplied with, see [`ScanOptions::dropout`].
    dropout: Vec<Sequence<T>>,
}

impl<T: Real> Trace<T> {
    /// What was read; zeros (of symbols, the first) in the place of padding.
    pub fn inputs(&self) -> &Inputs<T> {
        &self.inputs[0]
    }

    /// What layer `layer` read.
    pub(crate) fn inputs_of(&self, layer: usize) -> &Inputs<T> {
        &self.inputs[layer]
    }

    /// What each cell kept, in the order of [`crate::Weights::layers`].
    pub fn layers(&self) -> &[LayerTrace<T>] {
        &self.cells
    }

    /// h of the top layer after every step, both directions side by side, (T, B, D·H); zeros behind a sequence's end.
    pub fn output(&self) -> &Sequence<T> {
        &self.output
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
        let directions = self.cells.len() / self.inputs.len();
        for layer in 0..self.inputs.len() {
            let output = match self.inputs.get(layer + 1) {
                Some(Inputs::Dense(read)) => read,
                _ => &self.output,
            };
            let mut bad = output.first_not_finite().map(|at| ("hidden", at));
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
        mut inputs: Inputs<T>,
        initial: &State<T>,
        options: ScanOptions<T>,
    ) -> Result<Trace<T>, Error> {
        let (steps, batch) = inputs.shape();
        let features = self.directions() * self.hidden();
        let bounds = Bounds::new(&options, steps, batch)?;
        check_dropout(&options.dropout, self.depth(), (steps, batch, features))?;
        inputs.clear(|t, b| bounds.is_padding(t, b));
        inputs.check(self.inputs())?;
        let (mut read, mut cells) = (vec![inputs], Vec::with_capacity(self.weights().layers.len()));
        loop {
            let layer = read.len() - 1;
            let mut output = Sequence::zeros(steps, batch, features);
            for d in 0..self.directions() {
                let index = layer * self.directions() + d;
                let column = d * self.hidden();
                cells.push(self.scan_cell(index, &read[layer], initial, &bounds, &mut output, column)?);
            }
            if layer + 1 == self.depth() {
                return Ok(Trace { inputs: read, cells, output, bounds, dropout: options.dropout });
            }
            if let Some(mask) = options.dropout.get(layer) {
                kernel::multiply(output.data_mut(), mask.data());
            }
            read.push(Inputs::Dense(output));
        }
    }

    /// The time loop of one cell, which writes its h into the columns of `output` from `column` on.
    fn scan_cell(
        &self,
        index: usize,
        inputs: &Inputs<T>,
        initial: &State<T>,
        bounds: &Bounds,
        output: &mut Sequence<T>,
        column: usize,
    ) -> Result<LayerTrace<T>, Error> {
        let (steps, batch) = inputs.shape();
        let params = &self.weights().layers[index];
        let place = self.weights().place(index);
        let hidden = params.hidden();
        let memory = if self.cell().has_memory() { hidden } else { 0 };
        let mut gates = Sequence::zeros(steps, batch, params.w_ih.rows());
        inputs.all().times_transposed(gates.data_mut(), &params.w_ih);
        for row in gates.data_mut().chunks_exact_mut(params.w_ih.rows()) {
            kernel::add_scaled(row, T::one(), params.b_ih.data());
        }
        let kept = Sequence::zeros(steps, batch, if self.cell().keeps_more() { hidden } else { 0 });
        let (h, c) = (Sequence::zeros(steps + 1, batch, hidden), Sequence::zeros(steps + 1, batch, memory));
        let reads_kept = self.cell().reads_kept();
        let mut trace = LayerTrace { direction: place.direction, h, c, gates, kept, reads_kept };

        let order: Box<dyn Iterator<Item = usize>> = match place.direction {
            Direction::Forward => Box::new(0..steps),
            Direction::Reverse => Box::new((0..steps).rev()),
        };
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
        for t in order {
            let (before, after) = trace.places(t);
            for b in bounds.resets_at(place.direction, t) {
                trace.h.at_mut(before, b).fill(T::zero());
                trace.c.at_mut(before, b).fill(T::zero());
            }
            let (h_prev, h) = trace.h.two_steps(before, after);
            let (c_prev, c) = trace.c.two_steps(before, after);
            let (gates, kept) = (trace.gates.step_mut(t), trace.kept.step_mut(t));
            self.cell().step(params, Forward { h_prev, c_prev, gates, kept, h, c });
            for b in bounds.padding_at(t) {
                h[b * hidden..(b + 1) * hidden].copy_from_slice(h_prev.row(b));
                c[b * memory..(b + 1) * memory].copy_from_slice(c_prev.row(b));
            }
            for (b, h) in h.chunks_exact(hidden).enumerate().filter(|(b, _)| !bounds.is_padding(t, *b)) {
                output.at_mut(t, b)[column..column + hidden].copy_from_slice(h);
            }
        }
        Ok(trace)
    }
}
