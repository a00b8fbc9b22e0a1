//! Forward scans, and what is computed from them.

use std::sync::Arc;

use bptt::{
    Control, Error, ForwardCache, GradientOptions, Inputs, ItemizeOptions, Losses, Matrix, ScanOptions,
    State, in_f64,
};
use numpy::{PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::{from_matrix, from_sequence, grid, matrix, sequence};
use crate::errors::to_python;
use crate::given::{Given, GivenLosses, symbols};
use crate::ledger::Ledger;
use crate::network::Network;
use crate::threads::{self, compute};

/// A network, what it reads, and how.
pub struct Problem {
    pub network: Arc<bptt::Network<f64>>,
    pub inputs: Inputs<f64>,
    pub initial: State<f64>,
    pub options: ScanOptions<f64>,
}

/// The numbers of a scan.
enum Cache {
    F64(Box<ForwardCache<f64>>),
    F32(Box<(bptt::Network<f32>, ForwardCache<f32>)>),
}

/// A forward scan.
#[pyclass(frozen, module = "bptt._bptt")]
pub struct Scan {
    pub problem: Arc<Problem>,
    cache: Arc<Cache>,
}

impl Scan {
    /// Runs `compute` on the network and the scan in f64.
    pub fn in_f64<R: Send + 'static>(
        &self,
        py: Python<'_>,
        compute: impl FnOnce(&bptt::Network<f64>, &ForwardCache<f64>) -> Result<R, Error> + Send + 'static,
    ) -> PyResult<R> {
        let (problem, cache) = (Arc::clone(&self.problem), Arc::clone(&self.cache));
        let result = threads::compute(py, &Arc::default(), None, move || match &*cache {
            Cache::F64(cache) => compute(&problem.network, cache),
            Cache::F32(_) => compute(&problem.network, &problem.scan()?),
        })?;
        result.map_err(to_python)
    }
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
            Inputs::Symbols(symbols(&x.extract::<PyReadonlyArray2<'_, u32>>()?)?)
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

    /// The head's outputs, (T, B, V).
    fn head_outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let outputs = match &*self.cache {
            Cache::F64(cache) => self.problem.network.outputs(cache),
            Cache::F32(of) => of.0.outputs(&of.1).map(|outputs| outputs.cast()),
        };
        Ok(from_sequence(py, outputs.map_err(to_python)?.view()))
    }

    /// The losses one by one, (T, B), 0 where there is none, and what they are reduced to.
    fn losses<'py>(
        &self,
        py: Python<'py>,
        losses: GivenLosses<'_>,
    ) -> PyResult<(Bound<'py, PyArray2<f64>>, f64)> {
        let given = Given::read(&losses)?;
        let losses = self.in_f64(py, move |network, cache| given.losses(network, cache))?;
        let (steps, batch) = self.problem.inputs.shape();
        Ok((
            grid(py, steps, batch, |t, b| losses.values.get(t * batch + b).copied().unwrap_or(f64::NAN)),
            losses.total,
        ))
    }

    /// The ordinary gradient by parameter; vectors as (1, n).
    fn gradient<'py>(&self, py: Python<'py>, losses: GivenLosses<'_>) -> PyResult<Gradients<'py>> {
        let given = Given::read(&losses)?;
        let (problem, cache) = (Arc::clone(&self.problem), Arc::clone(&self.cache));
        let weights = compute(py, &Arc::default(), None, move || match &*cache {
            Cache::F64(cache) => {
                let losses = given.losses(&problem.network, cache)?;
                Ok(problem.network.gradient(cache, &losses, GradientOptions::default())?.weights)
            }
            Cache::F32(of) => {
                let losses = given.losses(&of.0, &of.1)?;
                Ok(of.0.gradient(&of.1, &losses, GradientOptions::default())?.weights.cast())
            }
        })?;
        let weights: bptt::Weights<f64> = weights.map_err(to_python)?;
        Ok(weights.tensors().into_iter().map(|(name, tensor)| (name, from_matrix(py, tensor))).collect())
    }

    /// The ledger of these losses. In f32, `estimate_errors` itemizes some losses again in f64.
    #[pyo3(signature = (losses, *, gates = false, sequences = false, inputs = true, tolerance = None, estimate_errors = true, progress = None))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // they have names
    fn ledger(
        &self,
        py: Python<'_>,
        losses: GivenLosses<'_>,
        gates: bool,
        sequences: bool,
        inputs: bool,
        tolerance: Option<f64>,
        estimate_errors: bool,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Ledger> {
        let given = Given::read(&losses)?;
        let kept = Kept { sequences, gates, inputs, tolerance };
        let control = Arc::new(Control::default());
        let (problem, cache, seen) =
            (Arc::clone(&self.problem), Arc::clone(&self.cache), Arc::clone(&control));
        let ledger = compute(py, &control, progress, move || match &*cache {
            Cache::F64(cache) => {
                let losses = given.losses(&problem.network, cache)?;
                in_f64::itemize(&problem.network, cache, &losses, &kept.options(&seen))
                    .map(|ledger| (ledger, losses))
            }
            Cache::F32(of) => {
                let losses = given.losses(&of.0, &of.1)?;
                let mut ledger = of.0.itemize(&of.1, &losses, &kept.options(&seen))?;
                if estimate_errors {
                    let cache = problem.scan()?;
                    let losses = given.losses(&problem.network, &cache)?;
                    ledger.estimate_errors(&problem.network, &cache, &losses)?;
                }
                let mut values = Losses::default();
                (values.values, values.total, values.present) = (losses.values, losses.total, losses.present);
                Ok((ledger, values))
            }
        })?;
        ledger.map(|(ledger, losses)| Ledger::new(ledger, losses)).map_err(to_python)
    }
}
