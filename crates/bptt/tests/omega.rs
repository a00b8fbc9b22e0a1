//! Pascanu's regularizer against its definition, written out, and against finite differences of it with everything but
//! W_hh held fixed.
#![allow(clippy::needless_range_loop)] // loops over named indices are what makes it obvious

use crate::common;

use bptt::{
    Inputs, Network, Objective, Reduction, ScanOptions, Sequence, Targets, TrainStep, Weights, cell_by_name,
};
use common::Normals;

/// φ' as a function of h.
type Slope = fn(f64) -> f64;

const STEPS: usize = 7;
const BATCH: usize = 3;
const HIDDEN: usize = 4;

struct Case {
    network: Network<f64>,
    inputs: Inputs<f64>,
    objective: Objective<f64>,
}

impl Case {
    fn new(cell: &str) -> Self {
        let mut normals = Normals(5);
        let cell = cell_by_name(cell).unwrap();
        let layer = normals.params(&*cell, 2, HIDDEN, 1.3);
        let mut readout = bptt::Readout::zeros(HIDDEN, 2);
        readout.w_hy = bptt::Matrix::new(2, HIDDEN, normals.vector(2 * HIDDEN, 0.6)).unwrap();
        let weights = Weights { cells: vec![layer], bidirectional: false, readout: Some(readout) };
        let mut sequence =
            || Sequence::new(STEPS, BATCH, 2, &normals.vector(STEPS * BATCH * 2, 1.0)).unwrap();
        let (inputs, targets) = (Inputs::Dense(sequence()), Targets::SquaredError(sequence()));
        // Losses at two steps only, and none of sequence 2 at the last.
        let mask = (0..STEPS * BATCH).map(|i| [3, 6].contains(&(i / BATCH)) && i != 6 * BATCH + 2).collect();
        let objective = Objective { targets, mask: Some(mask), reduction: Reduction::MeanBatch };
        Self { network: Network::new(cell, weights).unwrap(), inputs, objective }
    }

    fn learner(&self, options: ScanOptions<f64>) -> TrainStep<f64> {
        let mut learner = TrainStep::default();
        let state = self.network.zero_state(BATCH);
        learner.forward(&self.network, self.inputs.clone(), &state, options, &self.objective).unwrap();
        learner
    }

    /// da of every step and sequence, by plain loops.
    fn da(&self, h: &Sequence<f64>, slope: Slope, detach: Option<usize>) -> Vec<Vec<Vec<f64>>> {
        let Targets::SquaredError(targets) = &self.objective.targets else { unreachable!() };
        let weights = self.network.weights();
        let (readout, w_hh) = (weights.readout.as_ref().unwrap(), &weights.cells[0]["weight_hh"]);
        let mut da = vec![vec![vec![0.0; HIDDEN]; BATCH]; STEPS];
        for b in 0..BATCH {
            let mut dh = [0.0; HIDDEN];
            for t in (0..STEPS).rev() {
                if self.objective.mask.as_ref().unwrap()[t * BATCH + b] {
                    for v in 0..2 {
                        let h = h.at(t + 1, b);
                        let y: f64 = readout.b_y.data()[v]
                            + readout.w_hy.row(v).iter().zip(h).map(|(w, h)| w * h).sum::<f64>();
                        let dy = 2.0 * (y - targets.at(t, b)[v]) / BATCH as f64;
                        dh.iter_mut().zip(readout.w_hy.row(v)).for_each(|(dh, w)| *dh += dy * w);
                    }
                }
                for i in 0..HIDDEN {
                    da[t][b][i] = dh[i] * slope(h.at(t + 1, b)[i]);
                }
                for j in 0..HIDDEN {
                    dh[j] = (0..HIDDEN).map(|i| da[t][b][i] * w_hh.row(i)[j]).sum();
                }
                if detach == Some(t) {
                    dh = [0.0; HIDDEN];
                }
            }
        }
        da
    }
}

/// Σ (r − 1)² and how many terms it has, as a function of W_hh alone.
fn omega(
    w_hh: &[f64],
    da: &[Vec<Vec<f64>>],
    h: &Sequence<f64>,
    slope: Slope,
    detach: Option<usize>,
) -> (f64, usize) {
    let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let (mut sum, mut count) = (0.0, 0);
    for t in (1..STEPS).filter(|&t| Some(t) != detach) {
        for (b, da) in da[t].iter().enumerate().filter(|(_, da)| norm(da) > 0.0) {
            let back = |j: usize| (0..HIDDEN).map(|i| da[i] * w_hh[i * HIDDEN + j]).sum::<f64>();
            let v: Vec<f64> = (0..HIDDEN).map(|j| back(j) * slope(h.at(t, b)[j])).collect();
            sum += (norm(&v) / norm(da) - 1.0).powi(2);
            count += 1;
        }
    }
    (sum, count)
}

#[test]
fn omega_is_its_definition_and_its_derivative_the_immediate_one() {
    let slopes: [(&str, Slope); 3] =
        [("rnn", |h| 1.0 - h * h), ("rnn_relu", |h| f64::from(u8::from(h > 0.0))), ("rnn_identity", |_| 1.0)];
    for (cell, slope) in slopes {
        for detach in [None, Some(5)] {
            let case = Case::new(cell);
            let mut learner =
                case.learner(ScanOptions { detach: detach.into_iter().collect(), ..Default::default() });
            let mut gradient = learner.backward(&case.network).unwrap().clone();
            let found = learner.backward_with_omega(&case.network).unwrap();
            assert_eq!(learner.gradient(), Some(&mut gradient), "the gradient is the same");
            let h = learner.cache().cells()[0].h();
            let da = case.da(h, slope, detach);
            let w_hh = case.network.weights().cells[0]["weight_hh"].data().to_vec();
            let (sum, count) = omega(&w_hh, &da, h, slope, detach);
            assert!((found.sum - sum).abs() < 1e-12 && found.count == count, "{cell}: {} {sum}", found.sum);
            for (i, derivative) in found.w_hh[0].data().iter().enumerate() {
                let moved = |by: f64| {
                    let mut w_hh = w_hh.clone();
                    w_hh[i] += by;
                    omega(&w_hh, &da, h, slope, detach).0
                };
                let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((derivative - difference).abs() < 1e-8, "{cell} {i}: {derivative} {difference}");
            }
        }
    }
}

#[test]
fn omega_is_refused_where_it_means_nothing() {
    let case = Case::new("lstm");
    let message =
        case.learner(ScanOptions::default()).backward_with_omega(&case.network).unwrap_err().to_string();
    assert_eq!(
        message,
        "omega: cell lstm is not possible; expected a vanilla one: rnn, rnn_relu or rnn_identity"
    );
}
