//! Reports as HTML pages.

use std::path::PathBuf;

use bptt::{Inputs, in_f64};
use bptt_train::diagnose::{Evidence, diagnose};
use bptt_view::report::{Block, LossUnit, Report, Stage, Subject, html};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::{BpttError, of_file};
use crate::ledger::Ledger;
use crate::scan::Scan;

/// What stands in a report beside the ledger.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Texts {
    title: String,
    /// Names and values.
    facts: Vec<(String, String)>,
    /// The input of each step; by default its number or symbol.
    symbols: Option<Vec<String>>,
    targets: Option<Vec<String>>,
    /// Of the losses; `None`: they are not shown.
    unit: Option<String>,
}

/// Writes the report of a ledger.
#[pyfunction]
pub fn write_report(
    py: Python<'_>,
    ledger: &Ledger,
    scan: &Scan,
    path: PathBuf,
    texts: Texts,
) -> PyResult<()> {
    let steps = ledger.of.steps();
    let inputs = &scan.problem.inputs;
    let symbols = texts.symbols.unwrap_or_else(|| match inputs {
        Inputs::Symbols(ids) => (0..steps).map(|t| ids.step(t)[0].to_string()).collect(),
        Inputs::Dense(_) => (0..steps).map(|t| t.to_string()).collect(),
    });
    for (name, given) in [("symbols", Some(&symbols)), ("targets", texts.targets.as_ref())] {
        if given.is_some_and(|given| given.len() != steps) {
            return Err(PyValueError::new_err(format!("{name}: expected {steps} texts, one for each step")));
        }
    }
    let unit = match texts.unit.as_deref() {
        None => None,
        Some("nats") => Some((LossUnit::Nats, 1.0)),
        Some("bits") => Some((LossUnit::Bits, std::f64::consts::LOG2_E)),
        Some("squared error") => Some((LossUnit::SquaredError, 1.0)),
        Some(other) => {
            return Err(PyValueError::new_err(format!(
                "unit: {other} is not possible; expected nats, bits (of losses in nats) or squared error"
            )));
        }
    };
    let (_, batch) = inputs.shape();
    let losses = unit.filter(|_| !ledger.losses.values.is_empty()).map(|(_, scale)| {
        ledger.losses.values.chunks(batch).map(|of_step| scale * of_step.iter().sum::<f64>()).collect()
    });
    let network = &scan.problem.network;
    let (of, bounds) = (ledger.of.clone(), scan.problem.options.clone());
    let verdict = scan.in_f64(py, move |network, cache| {
        Ok(diagnose(&Evidence::of_ledger(network, cache, &of, &bounds, None)).in_sentences())
    })?;
    let subject = Subject {
        name: texts.title.clone(),
        cell: network.spec().name.clone(),
        facts: texts.facts,
        verdict,
        symbols,
        targets: texts.targets,
        losses,
        unit: unit.map_or(LossUnit::Nats, |(unit, _)| unit),
        k: (0..steps).rev().find(|&k| ledger.of.has_loss(k)).unwrap_or(0),
        blocks: Block::all(network),
        saturation: scan.in_f64(py, |network, cache| Ok(in_f64::saturation(network, cache)))?,
        metrics: Vec::new(),
        stages: vec![Stage { step: None, ledger: ledger.of.clone() }],
    };
    let report = Report {
        title: texts.title,
        program: format!("bptt {} (Python)", env!("CARGO_PKG_VERSION")),
        reproduce: Vec::new(),
        subjects: vec![subject],
    };
    let page = html(&report).map_err(|error| BpttError::new_err(error.to_string()))?;
    bptt_io::files::write(&path, page.as_bytes()).map_err(of_file)
}
