//! The Python module `bptt._bptt`: networks, scans and ledgers on NumPy arrays. No mathematics is here.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::needless_pass_by_value)] // what Python hands over

use pyo3::prelude::*;

mod arrays;
mod errors;
mod ledger;
mod network;
mod scan;
mod threads;

#[pymodule]
fn _bptt(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_class::<network::Network>()?;
    m.add_class::<scan::Scan>()?;
    m.add_class::<ledger::Ledger>()?;
    m.add_function(wrap_pyfunction!(network::cells, m)?)?;
    m.add_function(wrap_pyfunction!(network::open_file, m)?)?;
    errors::add_to(m)
}
