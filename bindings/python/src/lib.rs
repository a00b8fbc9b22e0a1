//! The Python module `bptt._bptt`: networks, scans, ledgers and trainings on NumPy arrays. No mathematics is here.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::needless_pass_by_value)] // what Python hands over

use pyo3::prelude::*;

mod analysis;
mod arrays;
mod errors;
mod given;
mod ledger;
mod network;
mod report;
mod rows;
mod scan;
mod threads;
mod training;

#[pymodule]
fn _bptt(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_class::<network::Network>()?;
    m.add_class::<scan::Scan>()?;
    m.add_class::<ledger::Ledger>()?;
    m.add_class::<rows::Rows>()?;
    m.add_function(wrap_pyfunction!(network::cells, m)?)?;
    m.add_function(wrap_pyfunction!(network::open_file, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::spectra, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::lyapunov, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::jacobian, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::truncation, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::smallest_window, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::saturation, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::diagnosis, m)?)?;
    m.add_function(wrap_pyfunction!(training::task_list, m)?)?;
    m.add_function(wrap_pyfunction!(training::task_batch, m)?)?;
    m.add_function(wrap_pyfunction!(training::train, m)?)?;
    m.add_function(wrap_pyfunction!(report::write_report, m)?)?;
    errors::add_to(m)
}
