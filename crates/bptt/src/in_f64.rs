//! Calls on networks in f64, compiled with this crate. A method of [`Network<T>`] is compiled again in every crate that calls
//! it, with the scans and kernels that it needs, which takes half a minute; these are not.

use crate::dynamics::{GateSpectrum, Lyapunov, LyapunovOptions};
use crate::{
    CellId, Component, Error, ForwardCache, GateSaturation, Inputs, ItemizeOptions, LagParts, Ledger, Losses,
    Matrix, MemoryProfile, Network, Objective, PathSplit, Perturbed, ScanOptions, Select, SmallestWindow,
    State, TruncationCurve,
};

/// [`Network::scan`]
///
/// # Errors
/// As there.
pub fn scan(
    network: &Network<f64>,
    inputs: Inputs<f64>,
    initial: &State<f64>,
) -> Result<ForwardCache<f64>, Error> {
    network.scan(inputs, initial)
}

/// [`Network::scan_with`]
///
/// # Errors
/// As there.
pub fn scan_with(
    network: &Network<f64>,
    inputs: Inputs<f64>,
    initial: &State<f64>,
    options: ScanOptions<f64>,
) -> Result<ForwardCache<f64>, Error> {
    network.scan_with(inputs, initial, options)
}

/// [`Network::losses`]
///
/// # Errors
/// As there.
pub fn losses(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    objective: &Objective<f64>,
) -> Result<Losses<f64>, Error> {
    network.losses(cache, objective)
}

/// [`Network::itemize`]
///
/// # Errors
/// As there.
pub fn itemize(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    losses: &Losses<f64>,
    options: &ItemizeOptions<'_, f64>,
) -> Result<Ledger, Error> {
    network.itemize(cache, losses, options)
}

/// [`Network::components`]
///
/// # Errors
/// As there.
pub fn components(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    losses: &Losses<f64>,
    select: Select,
) -> Result<Vec<Component<f64>>, Error> {
    network.components(cache, losses, select)
}

/// [`Network::visit_components`]
///
/// # Errors
/// As there.
pub fn visit_components(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    losses: &Losses<f64>,
    k: usize,
    visit: &mut dyn FnMut(Component<f64>),
) -> Result<(), Error> {
    network.visit_components(cache, losses, k, visit)
}

/// [`Network::lag_parts`]
///
/// # Errors
/// As there.
pub fn lag_parts(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    losses: &Losses<f64>,
    first_lags: &[usize],
) -> Result<LagParts<f64>, Error> {
    network.lag_parts(cache, losses, first_lags)
}

/// [`Network::path_split`]
///
/// # Errors
/// As there.
pub fn path_split(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    losses: &Losses<f64>,
    k: usize,
) -> Result<Vec<PathSplit<f64>>, Error> {
    network.path_split(cache, losses, k)
}

/// [`Network::truncation_curve`]
///
/// # Errors
/// As there.
pub fn truncation_curve(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    losses: &Losses<f64>,
    windows: &[usize],
) -> Result<TruncationCurve, Error> {
    network.truncation_curve(cache, losses, windows)
}

/// [`Network::smallest_window`]
///
/// # Errors
/// As there.
pub fn smallest_window(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    losses: &Losses<f64>,
    bias: f64,
) -> Result<SmallestWindow, Error> {
    network.smallest_window(cache, losses, bias)
}

/// [`Network::saturation`]
pub fn saturation(network: &Network<f64>, cache: &ForwardCache<f64>) -> Vec<GateSaturation> {
    network.saturation(cache)
}

/// [`Network::lyapunov`]
///
/// # Errors
/// As there.
pub fn lyapunov(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    place: CellId,
    options: &LyapunovOptions,
) -> Result<Lyapunov, Error> {
    network.lyapunov(cache, place, options)
}

/// [`Network::memory`]
///
/// # Errors
/// As there.
pub fn memory(
    network: &Network<f64>,
    cache: &ForwardCache<f64>,
    perturbed: Perturbed,
    directions: Option<&Matrix<f64>>,
) -> Result<MemoryProfile, Error> {
    network.memory(cache, perturbed, directions)
}

/// [`Network::recurrent_spectra`]
///
/// # Errors
/// As there.
pub fn recurrent_spectra(network: &Network<f64>) -> Result<Vec<GateSpectrum>, Error> {
    network.recurrent_spectra()
}
