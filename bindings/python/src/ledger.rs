//! Ledgers as arrays.

use bptt::{Entry, EntryState, Losses};
use bptt_view::figure::{self, Panel};
use bptt_view::json;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use serde_json::Value;

use crate::arrays::grid;

/// A ledger; its entries are numbered.
#[pyclass(frozen, module = "bptt._bptt")]
pub struct Ledger {
    pub of: bptt::Ledger,
    pub losses: Losses<f64>,
}

/// Layer, direction, parameter; the layer is `None` of a readout.
type Name = (Option<usize>, Option<&'static str>, &'static str);

/// Lags, and quantiles by lag.
type Profile<'py> = (Bound<'py, PyArray1<usize>>, Bound<'py, PyArray2<f64>>);

impl Ledger {
    pub fn new(of: bptt::Ledger, losses: Losses<f64>) -> Self {
        Self { of, losses }
    }

    fn entry(&self, index: usize) -> PyResult<&Entry> {
        self.of
            .entries()
            .get(index)
            .ok_or_else(|| PyIndexError::new_err(format!("there is no entry {index}")))
    }

    /// The number of every (k, t) of an entry; NaN where there is none.
    fn numbers<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        number: impl Fn(&Entry, usize, usize) -> Option<f64>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let entry = self.entry(index)?;
        let steps = entry.steps();
        Ok(grid(py, steps, steps, |k, t| number(entry, k, t).unwrap_or(f64::NAN)))
    }
}

#[pymethods]
impl Ledger {
    /// T.
    #[getter]
    fn steps(&self) -> usize {
        self.of.steps()
    }

    /// Whether each step has a loss, (T).
    fn present<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        (0..self.of.steps()).map(|k| self.of.has_loss(k)).collect::<Vec<_>>().into_pyarray(py)
    }

    /// The entries with a number for each (k, t).
    fn entries(&self) -> Vec<Name> {
        let name = |entry: &Entry| {
            (Some(entry.cell.layer), Some(entry.cell.direction.as_str()), entry.parameter.as_str())
        };
        self.of.entries().iter().map(name).collect()
    }

    /// The names of the gates that an entry has norms of.
    fn gates(&self, index: usize) -> PyResult<Vec<&'static str>> {
        Ok(self.entry(index)?.gates().to_vec())
    }

    /// ‖component (k, t)‖, (T, T); NaN where there is none.
    fn norms<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray2<f64>>> {
        self.numbers(py, index, Entry::norm)
    }

    /// log₁₀ of the norms, however small; −inf where exactly zero.
    fn log10_norms<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray2<f64>>> {
        self.numbers(py, index, Entry::log10_norm)
    }

    /// Shares of the total gradient; they add up to 1.
    fn shares<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray2<f64>>> {
        self.numbers(py, index, Entry::share)
    }

    /// The norms of the rows of one gate.
    fn gate_norms<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        gate: usize,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        self.numbers(py, index, |entry, k, t| entry.gate_norm(k, t, gate))
    }

    /// The norms of one sequence alone.
    fn sequence_norms<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        b: usize,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        self.numbers(py, index, |entry, k, t| entry.sequence_norm(k, t, b))
    }

    /// The estimated relative errors of norms in f32; NaN where there is none.
    fn relative_errors<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray2<f64>>> {
        self.numbers(py, index, Entry::relative_error)
    }

    /// Why each (k, t) has its size, by the letters of `state_letters`, (T, T).
    fn states<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray2<u8>>> {
        let entry = self.entry(index)?;
        let letter = |state: EntryState| u8::try_from(json::state_letter(state)).unwrap_or(b'?');
        Ok(grid(py, entry.steps(), entry.steps(), |k, t| letter(entry.state(k, t))))
    }

    /// The smallest lag within which the fraction `q` of the median contributions lies.
    fn horizon(&self, index: usize, q: f64) -> PyResult<Option<usize>> {
        Ok(self.entry(index)?.horizon(q))
    }

    /// The same of loss `k` alone.
    fn horizon_of_loss(&self, index: usize, k: usize, q: f64) -> PyResult<Option<usize>> {
        Ok(self.entry(index)?.horizon_of_loss(k, q))
    }

    /// The slope of ln m(τ) per step, m the median norm at lag τ.
    fn decay(&self, index: usize) -> PyResult<Option<f64>> {
        Ok(self.entry(index)?.decay())
    }

    /// Lags, and log₁₀ of the norm at the quantiles 0.1, 0.25, 0.5, 0.75 and 0.9 of the losses, (lags, 5).
    fn profile<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Profile<'py>> {
        let profile = self.entry(index)?.profile();
        let lags = profile.iter().map(|p| p.lag).collect::<Vec<_>>().into_pyarray(py);
        Ok((lags, grid(py, profile.len(), 5, |i, q| profile[i].log10[q])))
    }

    /// ‖Σ components‖.
    fn total_norm(&self, index: usize) -> PyResult<f64> {
        Ok(self.entry(index)?.total_norm())
    }

    /// ‖Σ components‖ / Σ ‖components‖.
    fn cancellation(&self, index: usize) -> PyResult<f64> {
        Ok(self.entry(index)?.cancellation())
    }

    /// Which entry says how far gradients reach in a layer.
    fn recurrent(&self, layer: usize) -> Option<usize> {
        let of = self.of.recurrent(layer)?;
        self.of.entries().iter().position(|entry| entry.cell == of.cell && entry.parameter == of.parameter)
    }

    /// What has one number for each loss: its name, and norms (T); NaN where there is no loss.
    fn per_loss<'py>(&self, py: Python<'py>) -> Vec<(Name, Bound<'py, PyArray1<f64>>)> {
        let of = |of: &bptt::PerLoss| {
            let norms = of.norm.iter().map(|norm| norm.unwrap_or(f64::NAN)).collect::<Vec<_>>();
            let cell = of.cell;
            let name = (
                cell.map(|cell| cell.layer),
                cell.map(|cell| cell.direction.as_str()),
                of.parameter.as_str(),
            );
            (name, norms.into_pyarray(py))
        };
        self.of.per_loss().iter().map(of).collect()
    }

    /// For every parameter how far Σ components is from the ordinary gradient, relative to Σ ‖component‖, and ‖gradient‖ /
    /// Σ ‖component‖.
    fn balance(&self) -> Vec<(String, f64, f64)> {
        self.of.balance().iter().map(|b| (b.parameter.clone(), b.relative_error, b.conditioning)).collect()
    }

    /// A drawing of an entry as SVG: "heatmap" or "profile".
    fn figure(&self, kind: &str, index: usize, title: &str, unit: &str) -> PyResult<String> {
        let entry = self.entry(index)?;
        let figure = match kind {
            "heatmap" => figure::heatmap(title, &[Panel { title: "", entry }], 1, None, None, unit),
            "profile" => {
                let horizon = entry.horizon(json::HORIZON).map(|lag| (json::HORIZON, lag));
                let profile =
                    figure::Profile { lags: &entry.profile(), fit: entry.fit(), horizon, true_lag: None };
                figure::profile(title, &profile, unit)
            }
            other => {
                let text = format!("kind: {other} is not possible; expected heatmap or profile");
                return Err(PyValueError::new_err(text));
            }
        };
        Ok(figure.svg()?)
    }

    /// The ledger as JSON, schema bptt.ledger/2. `provenance` is a JSON object.
    fn json(&self, provenance: &str, assumptions: Vec<String>) -> PyResult<String> {
        let provenance: Value =
            serde_json::from_str(provenance).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let context = json::Context {
            symbols: None,
            losses: Some(&self.losses),
            provenance: provenance.as_object().cloned().unwrap_or_default(),
            assumptions: &assumptions,
        };
        Ok(Value::Object(json::ledger(&self.of, &context)).to_string())
    }
}
