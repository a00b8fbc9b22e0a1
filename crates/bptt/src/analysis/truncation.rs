//! What truncated backpropagation through time loses: the bias of every window, from one pass.
//!
//! A window of w steps keeps the components (k, t) with |k − t| < w. Its gradient g_w is a sum of [`LagParts`], and
//! ‖g_w − g‖ that of the parts beyond, so neither is a difference of nearly equal numbers.

use super::lag_parts::{LagParts, lag_parts};
use crate::Error;
use crate::forward::{ForwardCache, Losses};
use crate::kernel::{Real, norm};
use crate::model::{Network, Weights};

/// How far the truncated gradient g_w is from the gradient g, window by window.
#[derive(Clone, Debug, PartialEq)]
pub struct TruncationCurve {
    /// The windows w, ascending.
    pub windows: Vec<usize>,
    /// Of all parameters taken as one vector.
    pub all: Truncation,
    /// Of each parameter, by the names of [`Weights::tensors`].
    pub parameters: Vec<(String, Truncation)>,
}

/// The curve of some parameters, a number for each window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truncation {
    /// The relative bias ‖g_w − g‖ / ‖g‖; NaN where the gradient is zero.
    pub bias: Vec<f64>,
    /// cos(g_w, g); NaN where one of them is zero.
    pub cosine: Vec<f64>,
}

/// A truncation window whose bias is small enough, see [`Network::smallest_window`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmallestWindow {
    /// w, steps.
    pub window: usize,
    /// ‖g_w − g‖ / ‖g‖ over all parameters.
    pub bias: f64,
    /// cos(g_w, g) over all parameters.
    pub cosine: f64,
}

/// Windows from 1 to `steps`, two to an octave: 1, 2, 3, 4, 6, 8, 12, …, and `steps` itself.
pub fn log_spaced_windows(steps: usize) -> Vec<usize> {
    let octaves = std::iter::successors(Some(2usize), |w| w.checked_mul(2));
    let windows = octaves.flat_map(|w| [w, w / 2 * 3]).take_while(|&w| w < steps);
    let mut windows: Vec<usize> = std::iter::once(1).chain(windows).chain([steps]).collect();
    windows.dedup();
    windows
}

/// Windows that one refinement of [`Network::smallest_window`] tries.
const REFINED: usize = 32;

/// What each window loses, see [`Network::truncation_curve`].
pub(crate) fn truncation_curve<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    windows: &[usize],
) -> Result<TruncationCurve, Error> {
    if windows.first().is_none_or(|&w| w == 0) || !windows.is_sorted_by(|a, b| a < b) {
        return Err(Error::Value {
            option: "windows".into(),
            given: format!("{windows:?}"),
            expected: "windows of at least one step that ascend".into(),
        });
    }
    let first_lags: Vec<usize> = std::iter::once(0).chain(windows.iter().copied()).collect();
    let parts = lag_parts(network, cache, losses, &first_lags)?;
    Ok(curve(windows, &parts))
}

/// The smallest window with a small bias, see [`Network::smallest_window`].
pub(crate) fn smallest_window<T: Real>(
    network: &Network<T>,
    cache: &ForwardCache<T>,
    losses: &Losses<T>,
    bias: f64,
) -> Result<SmallestWindow, Error> {
    if bias.is_nan() || bias <= 0.0 {
        return Err(Error::Value {
            option: "bias".into(),
            given: bias.to_string(),
            expected: "a fraction above 0".into(),
        });
    }
    let mut windows = log_spaced_windows(cache.inputs().shape().0);
    // No window at all has a bias of 1.
    let mut too_small = 0;
    loop {
        let curve = truncation_curve(network, cache, losses, &windows)?;
        // The last one is known to be small enough; in another sum it may differ by a rounding error.
        let above = curve.all.bias[..windows.len() - 1].iter().rposition(|&of_window| of_window > bias);
        let next = above.map_or(0, |above| above + 1);
        too_small = above.map_or(too_small, |above| windows[above]);
        let window = windows[next];
        if window == too_small + 1 {
            return Ok(SmallestWindow { window, bias: curve.all.bias[next], cosine: curve.all.cosine[next] });
        }
        let between = window - too_small;
        let tried = between.min(REFINED);
        windows = (1..=tried).map(|i| too_small + i * between / tried).collect();
    }
}

fn curve<T: Real>(windows: &[usize], parts: &LagParts<T>) -> TruncationCurve {
    let names: Vec<String> = parts.parts()[0].tensors().into_iter().map(|(name, _)| name).collect();
    let parts = parts.parts();
    // Squares of g_w and of what is beyond, and ⟨g_w, g⟩, for each window and parameter.
    let mut gradient = parts[0].zeros_like();
    let mut beyond = Vec::new();
    for part in parts.iter().rev() {
        beyond.push(norms(&gradient));
        gradient.add(part);
    }
    beyond.reverse();
    let total = norms(&gradient);
    let mut of_parameters = vec![Truncation::default(); names.len()];
    let mut all = Truncation::default();
    let mut kept = gradient.zeros_like();
    for (beyond, part) in beyond.iter().zip(parts).take(windows.len()) {
        kept.add(part);
        let kept_norms = norms(&kept);
        let inner = inner_products(&kept, &gradient);
        all.bias.push(norm(beyond) / norm(&total));
        all.cosine.push(inner.iter().sum::<f64>() / (norm(&kept_norms) * norm(&total)));
        for (i, of) in of_parameters.iter_mut().enumerate() {
            of.bias.push(beyond[i] / total[i]);
            of.cosine.push(inner[i] / (kept_norms[i] * total[i]));
        }
    }
    TruncationCurve {
        windows: windows.to_vec(),
        all,
        parameters: names.into_iter().zip(of_parameters).collect(),
    }
}

fn norms<T: Real>(weights: &Weights<T>) -> Vec<f64> {
    weights.tensors().iter().map(|(_, tensor)| norm(tensor.data())).collect()
}

fn inner_products<T: Real>(a: &Weights<T>, b: &Weights<T>) -> Vec<f64> {
    let inner = |a: &[T], b: &[T]| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum();
    a.tensors().iter().zip(b.tensors()).map(|((_, a), (_, b))| inner(a.data(), b.data())).collect()
}
