//! Hand-derived gradients against finite differences.

use super::ordinary::{GradientOptions, gradient};
use crate::Error;
use crate::array::Matrix;
use crate::forward::{ForwardCache, Inputs, Objective, ScanOptions, losses, scan_with};
use crate::model::{Network, State};

/// Everything a loss depends on.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The network.
    pub network: Network<f64>,
    /// What it reads.
    pub inputs: Inputs<f64>,
    /// h0.
    pub initial: State<f64>,
    /// How it is read. A detached state has no place here: differences see through what only the gradient does not.
    pub options: ScanOptions<f64>,
    /// The loss.
    pub objective: Objective<f64>,
}

/// The outcome for one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct GradCheck {
    /// The parameter's name: as in [`crate::Weights::tensors`], or `input`, `initial_state_l0`.
    pub parameter: String,
    /// ‖numeric − analytic‖ / ‖analytic‖ over the directions; 0 if both are zero.
    pub relative_error: f64,
    /// The loss's rounding over the difference's step, relative to ‖analytic‖: no smaller error can be seen. Large where
    /// a gradient has vanished, and then the relative error says nothing.
    pub resolution: f64,
}

/// The difference's step along a direction of unit length: the fourth-order formula errs by about the fifth derivative
/// times STEP⁴, and by the loss's rounding over STEP.
const STEP: f64 = 2e-4;

impl Problem {
    /// The forward scan.
    ///
    /// # Errors
    /// If something does not fit.
    pub fn scan(&self) -> Result<ForwardCache<f64>, Error> {
        scan_with(&self.network, self.inputs.clone(), &self.initial, self.options.clone())
    }

    /// The reduced loss.
    ///
    /// # Errors
    /// If something does not fit.
    pub fn loss(&self) -> Result<f64, Error> {
        let cache = self.scan()?;
        Ok(losses(&self.network, &cache, &self.objective)?.total)
    }

    /// Compares the gradient of every parameter, of dense inputs and of h0 with central differences along `directions`
    /// random directions of unit length, drawn from `normal` (independent standard normals).
    ///
    /// Fourth-order differences, (8 (f(δ) − f(−δ)) − (f(2δ) − f(−2δ))) / 12δ: smooth losses agree to about 1e-9.
    ///
    /// # Errors
    /// If something does not fit.
    pub fn gradcheck(
        &self,
        directions: usize,
        mut normal: impl FnMut() -> f64,
    ) -> Result<Vec<GradCheck>, Error> {
        let cache = self.scan()?;
        let losses = losses(&self.network, &cache, &self.objective)?;
        let mut gradient = gradient(&self.network, &cache, &losses, GradientOptions { inputs: true })?;

        let mut analytic: Vec<(String, Matrix<f64>)> =
            gradient.weights.tensors().into_iter().map(|(name, g)| (name, g.clone())).collect();
        if let (Inputs::Dense(_), Some(dx)) = (&self.inputs, gradient.inputs.take()) {
            analytic.push(("input".into(), dx.rows(0..dx.steps()).to_matrix()));
        }
        for (index, states) in gradient.initial.cells.iter().enumerate() {
            let suffix = self.network.weights().cell_id(index).suffix();
            for (state, of) in states.iter().zip(&self.network.spec().states) {
                analytic.push((format!("{}_{suffix}", of.initial.as_str()), state.clone()));
            }
        }

        let mut outcome = Vec::with_capacity(analytic.len());
        for (index, (parameter, gradient)) in analytic.into_iter().enumerate() {
            if gradient.data().is_empty() {
                continue;
            }
            let (mut difference, mut size) = (0.0, 0.0);
            for _ in 0..directions {
                let mut direction: Vec<f64> = gradient.data().iter().map(|_| normal()).collect();
                let length = crate::kernel::dot(&direction, &direction).sqrt();
                for entry in &mut direction {
                    *entry /= length;
                }
                let expected: f64 = direction.iter().zip(gradient.data()).map(|(d, g)| d * g).sum();
                let at = |distance: f64| self.moved(index, &direction, distance).loss();
                let near = at(STEP)? - at(-STEP)?;
                let far = at(2.0 * STEP)? - at(-2.0 * STEP)?;
                difference += ((8.0 * near - far) / (12.0 * STEP) - expected).powi(2);
                size += expected * expected;
            }
            let relative_error = if difference == 0.0 { 0.0 } else { (difference / size).sqrt() };
            let resolution = f64::EPSILON * losses.total.abs() / STEP / (size / directions as f64).sqrt();
            outcome.push(GradCheck { parameter, relative_error, resolution });
        }
        Ok(outcome)
    }

    /// This problem with parameter `index` (weights first, then dense inputs, then h0) moved along `direction`.
    fn moved(&self, index: usize, direction: &[f64], distance: f64) -> Self {
        let mut moved = self.clone();
        let mut places: Vec<&mut [f64]> =
            moved.network.tensors_mut().into_iter().map(Matrix::data_mut).collect();
        if let Inputs::Dense(x) = &mut moved.inputs {
            places.push(x.data_mut());
        }
        places.extend(moved.initial.matrices_mut().map(Matrix::data_mut));
        crate::kernel::add_scaled(places[index], distance, direction);
        moved
    }
}
