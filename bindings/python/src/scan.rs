//! Forward scans, and what is computed from them.

use std::sync::Arc;

use bptt::{
    Control, Error, ForwardCache, GradientOptions, Inputs, ItemizeOptions, Losses, Matrix, Real, ScanOptions,
    Sequence, State, Symbols, in_f64,
};
use numpy::{PyArray2, PyArray3, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::{from_matrix, from_sequence, matrix, sequence};
use crate::errors::to_python;
use crate::ledger::Ledger;
use crate::network::Network;
use crate::threads::compute;

/// A network, what it reads, and how.
struct Problem {
    network: Arc<bptt::Network<f64>>,
    inputs: Inputs<f64>,
    initial: State<f64>,
    options: ScanOptions<f64>,
}

/// The numbers of a scan.
enum Cache {
    F64(Box<ForwardCache<f64>>),
    F32(Box<(bptt::Network<f32>, ForwardCache<f32>)>),
}

/// A forward scan.
#[pyclass(frozen, module = "bptt._bptt")]
pub struct Scan {
    problem: Arc<Problem>,
    cache: Arc<Cache>,
}

impl Problem {
    fn scan(&self) -> Result<ForwardCache<f64>, Error> {
        in_f64::scan_with(&self.network, self.inputs.clone(), &self.initial, self.options.clone())
    }

    fn scan_in_f32(&self) -> Result<Cache, Error> {
        let network = self.network.cast::<f32>()?;
        let inputs = match &self.inputs {
            Inputs::Dense(x) => Inputs::Dense(x.cast()),
            Inputs::Symbols(symbols) => Inputs::Symbols(symbols.clone()),
        };
        let cache = network.scan_with(inputs, &self.initial.cast(), self.options.cast())?;
        Ok(Cache::F32(Box::new((network, cache))))
    }
}

/// Losses that are known by their gradients ∂L_k/∂h_k.
fn losses<T: Real>(given: &Given) -> Losses<T> {
    let mut losses = Losses::from_seeds(given.seeds.cast());
    if let Some(present) = &given.present {
        losses.present.clone_from(present);
    }
    if let Some(values) = &given.values {
        losses.values.clone_from(values);
        losses.total = values.iter().sum();
    }
    losses
}

/// Losses as they are given.
struct Given {
    seeds: Sequence<f64>,
    present: Option<Vec<bool>>,
    values: Option<Vec<f64>>,
}

/// What a ledger is to have.
#[derive(Clone, Copy)]
struct Kept {
    sequences: bool,
    gates: bool,
    inputs: bool,
    tolerance: Option<f64>,
}

impl Kept {
    fn options<T>(self, control: &Control) -> ItemizeOptions<'_, T> {
        let Self { sequences, gates, inputs, tolerance } = self;
        ItemizeOptions { sequences, gates, inputs, update: None, tolerance, control: Some(control) }
    }
}

/// Parameter's name, gradient.
type Gradients<'py> = Vec<(String, Bound<'py, PyArray2<f64>>)>;

#[pymethods]
impl Scan {
    /// Runs `network` over `x`, (T, B, I). `initial` has the states of each cell, (B, width) each, zeros by default;
    /// `lengths` (B), `resets` (T, B), `detach` the steps before which the state is detached, `burn_in` steps without
    /// loss, `dropout` a factor (T, B, D·P) for the output of each layer but the last.
    #[new]
    #[pyo3(signature = (network, x, *, initial = None, lengths = None, resets = None, detach = Vec::new(), burn_in = 0, dropout = Vec::new(), precision = "f64"))]
    #[allow(clippy::too_many_arguments)] // they have names
    fn new(
        py: Python<'_>,
        network: &Network,
        x: &Bound<'_, PyAny>,
        initial: Option<Vec<Vec<PyReadonlyArray2<'_, f64>>>>,
        lengths: Option<Vec<usize>>,
        resets: Option<PyReadonlyArray2<'_, bool>>,
        detach: Vec<usize>,
        burn_in: usize,
        dropout: Vec<PyReadonlyArray3<'_, f64>>,
        precision: &str,
    ) -> PyResult<Self> {
        let single = match precision {
            "f64" => false,
            "f32" => true,
            other => {
                return Err(PyValueError::new_err(format!(
                    "precision: {other} is not possible; expected f64 or f32"
                )));
            }
        };
        let inputs = if let Ok(x) = x.extract::<PyReadonlyArray3<'_, f64>>() {
            Inputs::Dense(sequence(&x)?)
        } else {
            let ids = x.extract::<PyReadonlyArray2<'_, u32>>()?;
            let (steps, batch) = ids.as_array().dim();
            Inputs::Symbols(
                Symbols::new(steps, batch, ids.as_array().iter().copied().collect()).map_err(to_python)?,
            )
        };
        let (_, batch) = inputs.shape();
        let initial = match initial {
            Some(cells) => {
                let cell = |cell: Vec<PyReadonlyArray2<'_, f64>>| {
                    cell.iter().map(matrix).collect::<PyResult<Vec<Matrix<f64>>>>()
                };
                State { cells: cells.into_iter().map(cell).collect::<PyResult<_>>()? }
            }
            None => network.of.zero_state(batch),
        };
        let resets = resets.map(|resets| resets.as_array().iter().copied().collect());
        let dropout = dropout.iter().map(sequence).collect::<PyResult<_>>()?;
        let options = ScanOptions { lengths, resets, detach, burn_in, dropout };
        let problem = Arc::new(Problem { network: Arc::clone(&network.of), inputs, initial, options });
        let scanned = Arc::clone(&problem);
        let cache = compute(py, &Arc::default(), None, move || {
            if single {
                scanned.scan_in_f32()
            } else {
                scanned.scan().map(|cache| Cache::F64(Box::new(cache)))
            }
        })?;
        Ok(Self { problem, cache: Arc::new(cache.map_err(to_python)?) })
    }

    /// The output of the last layer, (T, B, D·P).
    fn output<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<f64>> {
        match &*self.cache {
            Cache::F64(cache) => from_sequence(py, cache.output()),
            Cache::F32(of) => from_sequence(py, of.1.output()),
        }
    }

    /// The states of each cell after the last step it read, (B, width) each.
    fn final_states<'py>(&self, py: Python<'py>) -> Vec<Vec<Bound<'py, PyArray2<f64>>>> {
        let state = match &*self.cache {
            Cache::F64(cache) => cache.final_state(),
            Cache::F32(of) => of.1.final_state().cast(),
        };
        state.cells.iter().map(|cell| cell.iter().map(|m| from_matrix(py, m)).collect()).collect()
    }

    /// The ordinary gradient for losses with these ∂L_k/∂h_k, (T, B, D·P), by parameter; vectors as (1, n).
    fn gradient<'py>(&self, py: Python<'py>, seeds: PyReadonlyArray3<'_, f64>) -> PyResult<Gradients<'py>> {
        let given = Given { seeds: sequence(&seeds)?, present: None, values: None };
        let (problem, cache) = (Arc::clone(&self.problem), Arc::clone(&self.cache));
        let weights = compute(py, &Arc::default(), None, move || match &*cache {
            Cache::F64(cache) => {
                let gradient =
                    problem.network.gradient(cache, &losses(&given), GradientOptions::default())?;
                Ok(gradient.weights)
            }
            Cache::F32(of) => {
                let gradient = of.0.gradient(&of.1, &losses(&given), GradientOptions::default())?;
                Ok(gradient.weights.cast())
            }
        })?;
        let weights: bptt::Weights<f64> = weights.map_err(to_python)?;
        Ok(weights.tensors().into_iter().map(|(name, tensor)| (name, from_matrix(py, tensor))).collect())
    }

    /// The ledger of losses with these ∂L_k/∂h_k, (T, B, D·P). `present` (T) says which steps have a loss, `values` (T, B)
    /// what it is. In f32, `estimate_errors` itemizes some losses again in f64.
    #[pyo3(signature = (seeds, *, present = None, values = None, gates = false, sequences = false, inputs = true, tolerance = None, estimate_errors = true, progress = None))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // they have names
    fn ledger(
        &self,
        py: Python<'_>,
        seeds: PyReadonlyArray3<'_, f64>,
        present: Option<PyReadonlyArray1<'_, bool>>,
        values: Option<PyReadonlyArray2<'_, f64>>,
        gates: bool,
        sequences: bool,
        inputs: bool,
        tolerance: Option<f64>,
        estimate_errors: bool,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Ledger> {
        let given = Given {
            seeds: sequence(&seeds)?,
            present: present.map(|present| present.as_array().to_vec()),
            values: values.map(|values| values.as_array().iter().copied().collect()),
        };
        let steps = given.seeds.steps();
        if given.present.as_ref().is_some_and(|present| present.len() != steps) {
            return Err(to_python(Error::Shape {
                what: "present".into(),
                expected: format!("(T) = ({steps})"),
                given: format!("({})", given.present.map_or(0, |present| present.len())),
            }));
        }
        let kept = Kept { sequences, gates, inputs, tolerance };
        let control = Arc::new(Control::default());
        let (problem, cache, seen) =
            (Arc::clone(&self.problem), Arc::clone(&self.cache), Arc::clone(&control));
        let ledger = compute(py, &control, progress, move || match &*cache {
            Cache::F64(cache) => {
                let losses = losses(&given);
                in_f64::itemize(&problem.network, cache, &losses, &kept.options(&seen))
                    .map(|ledger| (ledger, losses))
            }
            Cache::F32(of) => {
                let mut ledger = of.0.itemize(&of.1, &losses(&given), &kept.options(&seen))?;
                let losses = losses(&given);
                if estimate_errors {
                    ledger.estimate_errors(&problem.network, &problem.scan()?, &losses)?;
                }
                Ok((ledger, losses))
            }
        })?;
        ledger.map(|(ledger, losses)| Ledger::new(ledger, losses)).map_err(to_python)
    }
}
