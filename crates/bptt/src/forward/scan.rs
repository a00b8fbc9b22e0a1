//! The forward time loop.

use super::boundaries::{Bounds, ScanOptions, check_dropout};
use super::cache::{LayerTrace, Trace};
use super::inputs::{Inputs, Reading};
use crate::array::{Matrix, Sequence};
use crate::kernel::{Format, Real, Start};
use crate::model::{Contribution, Direction, Forward, Network, State};
use crate::{Error, kernel};

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
