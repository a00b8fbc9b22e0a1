//! The ledger as one long table, schema `bptt.entries/1`; `NOTATION.md` documents it.

use std::borrow::Cow;

use bptt::{CellId, Entry, EntryState, Ledger};

use crate::columns::{Column, Table};
use crate::json::state_name;

/// The schema's name and version.
pub const SCHEMA: &str = "bptt.entries/1";

/// One row per contribution: every (k, t) that is reached or masked, for every cell and parameter and for every gate whose
/// norms were requested; then one row per loss for the initial states and the readout.
pub fn entries(ledger: &Ledger) -> Table {
    let mut rows = Rows::default();
    ledger.entries().iter().for_each(|entry| rows.add(entry));
    for of in ledger.per_loss() {
        for k in 0..ledger.steps() {
            let state = match of.log10_norm[k] {
                None => "masked",
                Some(f64::NEG_INFINITY) => "zero",
                Some(_) => "value",
            };
            // The readout contributes at step k; h0 has no step.
            let t = of.cell.is_none().then_some(k);
            let numbers = [of.norm[k], of.log10_norm[k], of.share(k)];
            rows.push(of.cell, of.parameter.as_str(), None, k, t, numbers, state);
        }
    }
    rows.table()
}

/// The rows of some entries only.
pub(crate) fn rows_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Table {
    let mut rows = Rows::default();
    entries.for_each(|entry| rows.add(entry));
    rows.table()
}

type Names = Vec<Option<Cow<'static, str>>>;

#[derive(Default)]
struct Rows {
    layer: Vec<Option<usize>>,
    direction: Names,
    parameter: Names,
    gate: Names,
    k: Vec<Option<usize>>,
    t: Vec<Option<usize>>,
    /// Norm, log₁₀ of the norm, share.
    numbers: [Vec<Option<f64>>; 3],
    state: Names,
}

impl Rows {
    /// Every (k, t) of one entry that is reached or masked, followed by its gates.
    fn add(&mut self, entry: &Entry) {
        let parameter = entry.parameter.as_str();
        let pairs = (0..entry.steps()).flat_map(|k| (0..entry.steps()).map(move |t| (k, t)));
        for (k, t) in pairs.filter(|&(k, t)| entry.state(k, t) != EntryState::Unreached) {
            let state = state_name(entry.state(k, t));
            let mut row = |gate: Option<&'static str>, norm, log10_norm, share| {
                self.push(Some(entry.cell), parameter, gate, k, Some(t), [norm, log10_norm, share], state);
            };
            row(None, entry.norm(k, t), entry.log10_norm(k, t), entry.share(k, t));
            for (i, &gate) in entry.gates().iter().enumerate() {
                row(Some(gate), entry.gate_norm(k, t, i), entry.log10_gate_norm(k, t, i), None);
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // the columns
    fn push(
        &mut self,
        place: Option<CellId>,
        parameter: &'static str,
        gate: Option<&'static str>,
        k: usize,
        t: Option<usize>,
        numbers: [Option<f64>; 3],
        state: &'static str,
    ) {
        self.layer.push(place.map(|place| place.layer));
        self.direction.push(place.map(|place| place.direction.as_str().into()));
        self.parameter.push(Some(parameter.into()));
        self.gate.push(gate.map(Into::into));
        self.k.push(Some(k));
        self.t.push(t);
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column.push(number.filter(|number| !number.is_nan()));
        }
        self.state.push(Some(state.into()));
    }

    fn table(self) -> Table {
        let lag = self.k.iter().zip(&self.t).map(|(k, t)| Some((*k)?.abs_diff((*t)?)));
        let lag = Column::counts(lag);
        let [norm, log10_norm, share] = self.numbers;
        Table::new(
            SCHEMA,
            vec![
                ("layer", Column::counts(self.layer)),
                ("direction", Column::Text(self.direction)),
                ("parameter", Column::Text(self.parameter)),
                ("gate", Column::Text(self.gate)),
                ("k", Column::counts(self.k)),
                ("t", Column::counts(self.t)),
                ("lag", lag),
                ("norm", Column::Real(norm)),
                ("log10_norm", Column::Real(log10_norm)),
                ("share", Column::Real(share)),
                ("state", Column::Text(self.state)),
            ],
        )
    }
}
