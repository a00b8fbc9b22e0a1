//! The network at the beginning of a run.

use std::sync::Arc;

use bptt::cell::{CellSizes, ParamKind, ParamSpec, Role};
use bptt::{CellParams, Matrix, Network, Number, Readout, Weights, cell_by_name};

use super::Config;
use crate::{Error, Rng, init};

/// Random streams, one per purpose, so that they do not shift each other.
const INITIALIZATION: u64 = 1;
const CHRONO: u64 = u64::from_le_bytes(*b"chrono\0\0");

impl Config {
    /// The initial network, for `inputs` features or symbols and `outputs` numbers or scores.
    ///
    /// # Errors
    /// If the cell is unknown or W_hh cannot be scaled.
    pub fn network(&self, inputs: usize, outputs: usize) -> Result<Network<f32>, Error> {
        let mut rng = Rng::new(self.seed, INITIALIZATION);
        let mut chrono = Rng::new(self.seed, CHRONO);
        let cell = cell_by_name(&self.cell)?;
        let (spec, hidden) = (cell.spec(), self.hidden);
        let directions = if self.bidirectional { 2 } else { 1 };
        let mut cells = Vec::with_capacity(directions * self.layers);
        let mut readout = None;
        for index in 0..directions * self.layers {
            let inputs = if index < directions { inputs } else { directions * hidden };
            let mut params = CellParams::<f32>::zeros(spec, inputs, hidden);
            let mut matrix = |rows, cols| init::matrix(self.init_others, rows, cols, hidden, &mut rng);
            let mut draw = |params: &mut CellParams<f32>, is_drawn: fn(&ParamSpec) -> bool| {
                for (tensor, param) in params.tensors_mut().iter_mut().zip(&spec.params) {
                    if is_drawn(param) {
                        *tensor = matrix(tensor.rows(), tensor.cols());
                    }
                }
            };
            draw(&mut params, |param| param.role == Role::Input);
            draw(&mut params, |param| matches!(param.role, Role::InputBias | Role::RecurrentBias));
            draw(&mut params, |param| matches!(param.role, Role::Peephole | Role::Projection));
            if index == 0 {
                readout =
                    Some(Readout { w_hy: matrix(outputs, directions * hidden), b_y: matrix(1, outputs) });
            }
            for (tensor, param) in params.tensors_mut().iter_mut().zip(&spec.params) {
                if param.kind == ParamKind::Bias && self.zero_biases {
                    tensor.data_mut().fill(0.0);
                } else if param.role == Role::Scale {
                    tensor.data_mut().fill(1.0);
                } else if param.role == Role::Recurrent {
                    *tensor = self.recurrent_weights(spec.gate_count(), &mut rng)?;
                }
            }
            if let Some(readout) = readout.as_mut().filter(|_| self.zero_biases) {
                readout.b_y.data_mut().fill(0.0);
            }
            self.set_biases(&mut params, &mut chrono);
            cells.push(params);
        }
        Ok(Network::new(cell, Weights { cells, bidirectional: self.bidirectional, readout })?)
    }

    /// The number of weights of [`network`](Self::network), counted without making it.
    ///
    /// # Errors
    /// If the cell is unknown.
    pub fn weight_count(&self, inputs: usize, outputs: usize) -> Result<u128, Error> {
        let cell = cell_by_name(&self.cell)?;
        let (spec, hidden) = (cell.spec(), self.hidden);
        let directions = if self.bidirectional { 2 } else { 1 };
        let of_cell = |inputs| -> u128 {
            let sizes = CellSizes { inputs, hidden, output: hidden, gates: spec.gate_count() };
            let size = |index| spec.shape(index, &sizes);
            (0..spec.params.len()).map(size).map(|(rows, cols)| rows as u128 * cols as u128).sum()
        };
        let width = directions * hidden;
        let layers = of_cell(inputs) + (self.layers as u128).saturating_sub(1) * of_cell(width);
        Ok(directions as u128 * layers + outputs as u128 * (width as u128 + 1))
    }

    /// Gives the gates of one cell the biases that are asked for.
    fn set_biases(&self, params: &mut CellParams<f32>, rng: &mut Rng) {
        let (spec, hidden) = (Arc::clone(params.spec()), params.hidden());
        let mut set = |name: &str, biases: &[f64]| {
            let Some(gate) = spec.gate(name) else { return };
            // Several biases are added: the last one has the number.
            let of_kind = params.tensors_mut().iter_mut().zip(&spec.params);
            let mut all: Vec<_> = of_kind.filter(|(_, param)| param.kind == ParamKind::Bias).collect();
            for (bias, _) in &mut all {
                bias.data_mut()[gate * hidden..(gate + 1) * hidden].fill(0.0);
            }
            if let Some((last, _)) = all.last_mut() {
                let last = &mut last.data_mut()[gate * hidden..(gate + 1) * hidden];
                last.iter_mut().zip(biases).for_each(|(b, &bias)| *b = f32::of(bias));
            }
        };
        for (name, bias) in [("f", self.forget_bias), ("i", self.input_bias)] {
            if let Some(bias) = bias {
                set(name, &vec![bias; hidden]);
            }
        }
        if let Some(longest) = self.chrono {
            let lags: Vec<f64> =
                (0..hidden).map(|_| rng.uniform_in(1.0, (longest - 1) as f64).ln()).collect();
            set("f", &lags);
            set("i", &lags.iter().map(|lag| -lag).collect::<Vec<_>>());
        }
    }

    /// W_hh, with each gate's block initialized and scaled separately.
    fn recurrent_weights(&self, gates: usize, rng: &mut Rng) -> Result<Matrix<f32>, Error> {
        let hidden = self.hidden;
        let mut w_hh = Matrix::zeros(gates * hidden, hidden);
        for gate in w_hh.data_mut().chunks_exact_mut(hidden * hidden) {
            let mut block = init::matrix(self.init, hidden, hidden, hidden, rng);
            if let Some(target) = self.sigma_max {
                init::scale_to_sigma_max(&mut block, target)?;
            }
            if let Some(target) = self.spectral_radius {
                init::scale_to_spectral_radius(&mut block, target)?;
            }
            gate.copy_from_slice(block.data());
        }
        Ok(w_hh)
    }
}

#[cfg(test)]
mod tests {
    use bptt::dynamics::sigma_max;

    use super::*;
    use crate::Init;

    #[test]
    fn both_directions_of_every_layer_begin_at_the_asked_scale() {
        let both =
            Config { hidden: 8, layers: 2, bidirectional: true, sigma_max: Some(1.25), ..Config::default() };
        let network = both.network(7, 7).unwrap();
        assert_eq!((network.directions(), network.depth()), (2, 2));
        let layers = &network.weights().cells;
        assert!(layers.iter().all(|layer| (sigma_max(layer["weight_hh"].view()) - 1.25).abs() < 1e-6));
        assert!(layers[0]["weight_hh"] != layers[1]["weight_hh"]);
        assert_eq!(
            (layers[2]["weight_ih"].cols(), network.weights().readout.as_ref().unwrap().w_hy.cols()),
            (16, 16)
        );
        assert!(!toml::to_string(&Config::default()).unwrap().contains("bidirectional"));
    }

    #[test]
    fn forget_gates_begin_with_the_bias_that_is_asked_for_and_nothing_else_changes() {
        let config = Config { cell: "lstm".into(), hidden: 3, layers: 2, ..Config::default() };
        let plain = config.network(5, 5).unwrap();
        let biased = Config { forget_bias: Some(1.5), ..config.clone() }.network(5, 5).unwrap();
        for (plain, biased) in plain.weights().cells.iter().zip(&biased.weights().cells) {
            assert_eq!(
                (&plain["weight_ih"], &plain["weight_hh"]),
                (&biased["weight_ih"], &biased["weight_hh"])
            );
            let sums: Vec<f32> =
                biased["bias_ih"].data().iter().zip(biased["bias_hh"].data()).map(|(a, b)| a + b).collect();
            assert_eq!(sums[3..6], [1.5; 3]);
            assert_eq!(
                (&plain["bias_hh"].data()[..3], &plain["bias_ih"].data()[6..]),
                (&biased["bias_hh"].data()[..3], &biased["bias_ih"].data()[6..])
            );
        }
        let refused = Config { cell: "gru".into(), forget_bias: Some(1.0), ..config }.check().unwrap_err();
        let message = "forget_bias: 1 with cell gru is not possible; expected a cell with forget gates: lstm";
        assert_eq!(refused.to_string(), message);
    }

    #[test]
    fn chrono_biases_are_logarithms_of_lags_and_opposite() {
        let config = Config { cell: "lstm".into(), hidden: 200, chrono: Some(50), ..Config::default() };
        let network = config.network(5, 3).unwrap();
        let layer = &network.weights().cells[0];
        let (i, f) = (&layer["bias_hh"].data()[..200], &layer["bias_hh"].data()[200..400]);
        assert!(i.iter().zip(f).all(|(i, f)| i + f == 0.0) && layer["bias_ih"].data()[..400] == [0.0; 400]);
        let lags: Vec<f64> = f.iter().map(|&f| f64::from(f).exp()).collect();
        assert!(lags.iter().all(|lag| (1.0..49.0001).contains(lag)));
        // Uniform between 1 and 49: mean 25, of 200 with a standard deviation of 0.98.
        let mean = lags.iter().sum::<f64>() / 200.0;
        assert!((mean - 25.0).abs() < 3.0, "{mean}");
        assert!(layer["bias_hh"].data()[400..].iter().all(|b| b.abs() <= 0.071));
        let plain = Config { chrono: None, ..config.clone() }.network(5, 3).unwrap();
        assert_eq!(plain.weights().cells[0]["weight_hh"], layer["weight_hh"]);
        let refused = |config: Config| config.check().unwrap_err().to_string();
        let both = Config { forget_bias: Some(1.0), ..config.clone() };
        assert!(refused(both).starts_with("chrono with forget_bias or input_bias: both"));
        let message = refused(Config { cell: "lstm_1997".into(), ..config });
        let expected =
            "chrono: 50 with cell lstm_1997 is not possible; expected a cell with forget gates: lstm";
        assert_eq!(message, expected);
    }

    #[test]
    fn other_weights_and_biases_begin_as_they_are_told() {
        let config = Config {
            hidden: 60,
            init_others: Init::Normal { std: 0.01 },
            init: Init::Orthogonal,
            ..Config::default()
        };
        let network = config.network(30, 20).unwrap();
        let rms = |m: &Matrix<f32>| {
            (m.data().iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / m.data().len() as f64).sqrt()
        };
        let (layer, readout) = (&network.weights().cells[0], network.weights().readout.as_ref().unwrap());
        for tensor in [&layer["weight_ih"], &readout.w_hy, &layer["bias_ih"], &readout.b_y] {
            assert!((rms(tensor) / 0.01 - 1.0).abs() < 0.3, "{}", rms(tensor));
        }
        assert!((sigma_max(layer["weight_hh"].view()) - 1.0).abs() < 1e-6);
        let zero = Config { zero_biases: true, ..config }.network(30, 20).unwrap();
        let zero = zero.weights();
        assert_eq!(
            (&zero.cells[0]["weight_ih"], &zero.cells[0]["weight_hh"]),
            (&layer["weight_ih"], &layer["weight_hh"])
        );
        let biases =
            [&zero.cells[0]["bias_ih"], &zero.cells[0]["bias_hh"], &zero.readout.as_ref().unwrap().b_y];
        assert!(biases.iter().all(|bias| bias.data().iter().all(|&b| b == 0.0)));
    }

    #[test]
    fn a_network_starts_within_pytorchs_bounds_and_at_the_asked_scale() {
        let config = Config { hidden: 16, sigma_max: Some(1.25), ..Config::default() };
        let network = config.network(7, 7).unwrap();
        let weights = network.weights();
        assert!(weights.cells[0]["weight_ih"].data().iter().all(|w| w.abs() <= 0.25));
        assert!((sigma_max(weights.cells[0]["weight_hh"].view()) - 1.25).abs() < 1e-6);
        assert_eq!(config.network(7, 7).unwrap().weights(), weights);
    }
}
