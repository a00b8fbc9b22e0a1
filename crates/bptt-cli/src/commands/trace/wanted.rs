//! What a command asks of a ledger, and whether there is memory for it.

use bptt::{ItemizeOptions, Network};
use bptt_io::files;

use crate::Failure;
use crate::args::TraceArgs;
use crate::memory::allow;

/// What is asked of a ledger, and what a command makes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub gates: bool,
    pub tolerance: Option<f64>,
    /// Bytes that the command makes of a pair of a loss and a step, about.
    pub made: f64,
}

/// Bytes of a pair of a loss and a step, measured: of the ledger for each cell and, with gates, for each gate; of a file of
/// arrays, of a long table, of JSON, of a figure with its table, and of a ledger in a report.
const OF_CELL: f64 = 32.0;
const OF_GATE: f64 = 8.0;
const OF_ARRAYS: f64 = 180.0;
const OF_TABLE: f64 = 500.0;
const OF_JSON: f64 = 800.0;
pub(crate) const OF_FIGURE: f64 = 200.0;
pub(crate) const OF_REPORT: f64 = 120.0;

impl Wanted {
    pub fn of_trace(args: &TraceArgs) -> Self {
        let made = match args.out.as_deref().and_then(files::ending).as_deref() {
            Some("npz") => OF_ARRAYS,
            Some("json") => OF_JSON,
            Some(_) => OF_TABLE,
            None => 0.0,
        };
        let made = if args.json { OF_JSON.max(made) } else { made };
        Self { gates: args.gates, tolerance: args.tolerance, made }
    }

    /// The options of the ledger.
    pub fn options(self) -> ItemizeOptions<'static, f64> {
        let Self { gates, tolerance, .. } = self;
        ItemizeOptions { sequences: false, gates, tolerance, ..ItemizeOptions::default() }
    }

    /// Refuses what needs more memory than may be used.
    pub fn fits(self, network: &Network<f64>, steps: usize, losses: usize) -> Result<(), Failure> {
        let gates = if self.gates { OF_GATE * network.spec().gate_count() as f64 } else { 0.0 };
        let of_pair = self.made + network.weights().cells.len() as f64 * (OF_CELL + gates);
        allow("the ledger of this sequence", of_pair * steps as f64 * losses as f64, |limit| {
            Ok(Some(format!("one of {:.0} steps", (limit / of_pair).sqrt().floor())))
        })
    }
}
