//! What is computed from a network or a scan beside its ledger.

use std::sync::Arc;

use bptt::dynamics::{Implication, LyapunovOptions};
use bptt::{CellId, Direction, in_f64, log_spaced_windows};
use bptt_train::{Config, diagnose};
use numpy::{Complex64, IntoPyArray, PyArray1, PyArray2};
use pyo3::prelude::*;
use serde_json::json;

use crate::arrays::{from_matrix, grid};
use crate::errors::{of_training, to_python};
use crate::given::{Given, GivenLosses};
use crate::network::Network;
use crate::scan::Scan;
use crate::threads::compute;

type Numbers<'py> = Bound<'py, PyArray1<f64>>;

/// Layer, direction, gate, singular values, eigenvalues, 1/γ, what σ_max implies.
type Spectrum<'py> =
    (usize, &'static str, &'static str, Numbers<'py>, Bound<'py, PyArray1<Complex64>>, f64, &'static str);

/// The spectrum of every gate's block of the recurrent weights.
#[pyfunction]
pub fn spectra<'py>(py: Python<'py>, network: &Network) -> PyResult<Vec<Spectrum<'py>>> {
    let spectra = in_f64::recurrent_spectra(&network.of).map_err(to_python)?;
    let of = |s: bptt::dynamics::GateSpectrum| {
        let implication = match s.implication {
            Implication::Vanishing => "vanishing",
            Implication::NoExplosion => "no explosion",
            Implication::DoesNotApply => "does not apply",
            _ => "open",
        };
        let (limit, eigenvalues) =
            (s.sigma_limit(), s.eigenvalues.iter().map(|e| Complex64::new(e.re, e.im)));
        let eigenvalues = eigenvalues.collect::<Vec<_>>().into_pyarray(py);
        let (layer, direction) = (s.cell.layer, s.cell.direction.as_str());
        (layer, direction, s.gate, s.singular_values.into_pyarray(py), eigenvalues, limit, implication)
    };
    Ok(spectra.into_iter().map(of).collect())
}

fn place(layer: usize, reverse: bool) -> CellId {
    CellId { layer, direction: if reverse { Direction::Reverse } else { Direction::Forward } }
}

/// Exponents, their standard errors over sequences, those of each sequence (B, m), and the steps they are means of.
/// λ; standard errors; ends of the intervals, (2, m); λ of each sequence; steps.
type Exponents<'py> =
    (Numbers<'py>, Option<Numbers<'py>>, Bound<'py, PyArray2<f64>>, Bound<'py, PyArray2<f64>>, usize);

/// The leading Lyapunov exponents of one cell, in nats per step.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // they have names
pub fn lyapunov<'py>(
    py: Python<'py>,
    scan: &Scan,
    layer: usize,
    reverse: bool,
    exponents: Option<usize>,
    warm_up: usize,
    every: usize,
) -> PyResult<Exponents<'py>> {
    let options = LyapunovOptions { exponents, warm_up, every };
    let found = scan.in_f64(py, move |network, cache| {
        in_f64::lyapunov(network, cache, place(layer, reverse), &options)
    })?;
    let of = &found.by_sequence;
    let by_sequence = grid(py, of.len(), found.exponents.len(), |b, i| of[b][i]);
    let intervals: Vec<_> =
        (0..found.exponents.len()).map(|i| found.interval(i).unwrap_or((f64::NAN, f64::NAN))).collect();
    let interval =
        grid(py, 2, intervals.len(), |end, i| if end == 0 { intervals[i].0 } else { intervals[i].1 });
    let error = found.standard_error.map(|error| error.into_pyarray(py));
    Ok((found.exponents.into_pyarray(py), error, interval, by_sequence, found.steps))
}

/// The Jacobian of one step of one sequence, (N, N).
#[pyfunction]
pub fn jacobian<'py>(
    py: Python<'py>,
    scan: &Scan,
    layer: usize,
    reverse: bool,
    t: usize,
    b: usize,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let found =
        scan.in_f64(py, move |network, cache| network.jacobian(cache, place(layer, reverse), t, b))?;
    Ok(from_matrix(py, &found))
}

/// Windows; parameter (`None`: all as one vector), relative bias and cosine for each window.
type Curve<'py> = (Vec<usize>, Vec<(Option<String>, Numbers<'py>, Numbers<'py>)>);

/// What truncation to each window loses.
#[pyfunction]
pub fn truncation<'py>(
    py: Python<'py>,
    scan: &Scan,
    losses: GivenLosses<'_>,
    windows: Option<Vec<usize>>,
) -> PyResult<Curve<'py>> {
    let given = Given::read(&losses)?;
    let curve = scan.in_f64(py, move |network, cache| {
        let windows = windows.unwrap_or_else(|| log_spaced_windows(cache.inputs().shape().0));
        in_f64::truncation_curve(network, cache, &given.losses(network, cache)?, &windows)
    })?;
    let of = |(name, of): (Option<String>, bptt::Truncation)| {
        (name, of.bias.into_pyarray(py), of.cosine.into_pyarray(py))
    };
    let parameters = curve.parameters.into_iter().map(|(name, of)| (Some(name), of));
    Ok((curve.windows, std::iter::once((None, curve.all)).chain(parameters).map(of).collect()))
}

/// The smallest window whose relative bias is at most `bias`: window, bias, cosine.
#[pyfunction]
pub fn smallest_window(
    py: Python<'_>,
    scan: &Scan,
    losses: GivenLosses<'_>,
    bias: f64,
) -> PyResult<(usize, f64, f64)> {
    let given = Given::read(&losses)?;
    let found = scan.in_f64(py, move |network, cache| {
        in_f64::smallest_window(network, cache, &given.losses(network, cache)?, bias)
    })?;
    Ok((found.window, found.bias, found.cosine))
}

/// Layer, direction, gate, fractions at the lower and the upper end, units that were always 0.
type Saturation = (usize, &'static str, &'static str, Option<(f64, f64)>, Option<Vec<usize>>);

/// How saturated every gate was.
#[pyfunction]
pub fn saturation(py: Python<'_>, scan: &Scan) -> PyResult<Vec<Saturation>> {
    let found = scan.in_f64(py, |network, cache| Ok(in_f64::saturation(network, cache)))?;
    let of = |of: bptt::GateSaturation| {
        (of.cell.layer, of.cell.direction.as_str(), of.gate, of.saturated, of.dead)
    };
    Ok(found.into_iter().map(of).collect())
}

/// The verdict and what it was made from, as JSON.
#[pyfunction]
pub fn diagnosis(
    py: Python<'_>,
    scan: &Scan,
    losses: GivenLosses<'_>,
    lag: Option<(usize, usize)>,
    bias: Option<f64>,
) -> PyResult<String> {
    let given = Given::read(&losses)?;
    let of = Arc::clone(&scan.problem);
    let found = compute(py, &Arc::default(), None, move || {
        let subject = diagnose::Subject {
            network: (*of.network).clone(),
            inputs: of.inputs.clone(),
            initial: of.initial.clone(),
            options: of.options.clone(),
            lag: lag.map(|(nearest, farthest)| nearest..=farthest),
            untrained: None,
            bias,
        };
        diagnose::measure(subject, |network, cache| -> Result<_, bptt_train::Error> {
            Ok(given.losses(network, cache)?)
        })
    })?;
    let evidence = found.map_err(of_training)?;
    let network = &scan.problem.network;
    let config = Config {
        cell: network.spec().name.clone(),
        hidden: network.hidden(),
        layers: network.depth(),
        bidirectional: network.directions() == 2,
        ..Config::default()
    };
    let verdict = diagnose::diagnose(&evidence);
    let advice = diagnose::remedies(&verdict, &evidence, &config);
    Ok(json!({ "verdict": verdict, "evidence": evidence, "advice": advice }).to_string())
}
