//! Gates at the end of their range, where their derivative is small, and relu units that never answer.

use crate::forward::ForwardCache;
use crate::kernel::Real;
use crate::model::cell::GateSpec;
use crate::model::{CellId, Network};

/// How far from the middle of its range, as a fraction of half the range, an activation counts as saturated: beyond it
/// lie |a| > 1.83 for tanh and |a| > 3.66 for σ, where the derivative has merged below a tenth of its largest value.
pub const SATURATED: f64 = 0.95;

/// How one gate of one cell behaved over a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct GateSaturation {
    /// Which cell.
    pub cell: CellId,
    /// Which gate.
    pub gate: &'static str,
    /// The fraction of all (t, b, unit) saturated at the lower end of the range, and at the upper end; `None` if the range
    /// is not bounded on both sides.
    pub saturated: Option<(f64, f64)>,
    /// The units that were 0 at every step of every sequence, of a gate with range (0, ∞): no gradient comes through
    /// them. `None` for other gates.
    pub dead: Option<Vec<usize>>,
}

/// How saturated every gate was, see [`Network::saturation`].
pub(crate) fn saturation<T: Real>(network: &Network<T>, cache: &ForwardCache<T>) -> Vec<GateSaturation> {
    let of_cell = |index: usize| {
        let gates = network.spec().gates.iter().enumerate();
        gates.map(move |(gate, of)| gate_saturation(network, cache, index, gate, *of))
    };
    (0..network.weights().cells.len()).flat_map(of_cell).collect()
}

fn gate_saturation<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    index: usize,
    gate: usize,
    GateSpec { name, activation, .. }: GateSpec,
) -> GateSaturation {
    let (steps, batch) = cache.inputs().shape();
    let hidden = network.hidden();
    let (low, high) = activation.range();
    let at = |(t, b): (usize, usize)| &cache.cells()[index].gates(t).row(b)[gate * hidden..][..hidden];
    let read = (0..steps).flat_map(|t| (0..batch).map(move |b| (t, b)));
    let read = read.filter(|&(t, b)| !cache.boundaries().is_padding(t, b));
    let saturated = (low.is_finite() && high.is_finite()).then(|| {
        let (middle, edge) = (f64::midpoint(low, high), SATURATED * (high - low) / 2.0);
        let (mut below, mut above, mut count) = (0_usize, 0_usize, 0_usize);
        for value in read.clone().flat_map(at) {
            below += usize::from(value.f64() < middle - edge);
            above += usize::from(value.f64() > middle + edge);
            count += 1;
        }
        (below as f64 / count as f64, above as f64 / count as f64)
    });
    let dead = (low == 0.0 && high == f64::INFINITY).then(|| {
        let silent = |unit: &usize| read.clone().all(|place| at(place)[*unit] == T::zero());
        (0..hidden).filter(silent).collect()
    });
    GateSaturation { cell: network.weights().cell_id(index), gate: name, saturated, dead }
}
