//! The truncation curve against brute force: one truncated backward for every loss and window.

use crate::common;

use bptt::gradcheck::Problem;
use bptt::{
    CellParams, Error, GradientOptions, Inputs, Losses, Network, Reduction, ScanOptions, Select, Sequence,
    Weights, cell_by_name, log_spaced_windows,
};
use common::{Shape, norm};

fn shape(cell: &'static str) -> Shape {
    Shape {
        seed: 5,
        cell,
        steps: 21,
        batch: 3,
        inputs: 4,
        hidden: 5,
        outputs: 3,
        layers: 2,
        bidirectional: false,
        options: [false; 3],
        one_hot: true,
        squared: false,
        mask: 2,
        reduction: Reduction::Sum,
    }
}

/// The numbers of some parameters, all or one.
fn numbers(weights: &Weights<f64>, only: Option<&str>) -> Vec<f64> {
    let tensors = weights.tensors().into_iter().filter(|(name, _)| only.is_none_or(|only| only == name));
    tensors.flat_map(|(_, m)| m.data().to_vec()).collect()
}

/// g_w: loss by loss, the gradient of that loss alone with the state detached w − 1 steps before it.
fn truncated(problem: &Problem, window: usize) -> Weights<f64> {
    let (steps, batch) = problem.inputs.shape();
    let mut sum = problem.network.weights().zeros_like();
    for k in 0..steps {
        let mut alone = problem.clone();
        let counted = problem.objective.mask.clone().unwrap_or(vec![true; steps * batch]);
        alone.objective.mask = Some((0..steps * batch).map(|i| counted[i] && i / batch == k).collect());
        alone.options.detach = (k + 1).checked_sub(window).filter(|&start| start > 0).into_iter().collect();
        let trace = alone.scan().unwrap();
        let losses = alone.network.losses(&trace, &alone.objective).unwrap();
        sum.add(&alone.network.gradient(&trace, &losses, GradientOptions::default()).unwrap().weights);
    }
    sum
}

fn bias_and_cosine(truncated: &[f64], whole: &[f64]) -> (f64, f64) {
    let difference: Vec<f64> = truncated.iter().zip(whole).map(|(a, b)| a - b).collect();
    let inner: f64 = truncated.iter().zip(whole).map(|(a, b)| a * b).sum();
    let (size, of_truncated) = (norm([&whole.to_vec()]), norm([&truncated.to_vec()]));
    (norm([&difference]) / size, inner / (of_truncated * size))
}

#[test]
fn the_curve_equals_one_truncated_backward_for_each_window() {
    for cell in ["rnn", "lstm", "gru", "gru_reset_before"] {
        let problem = shape(cell).problem();
        let trace = problem.scan().unwrap();
        let losses = problem.network.losses(&trace, &problem.objective).unwrap();
        let windows = log_spaced_windows(21);
        assert_eq!(windows, [1, 2, 3, 4, 6, 8, 12, 16, 21]);
        let curve = problem.network.truncation_curve(&trace, &losses, &windows).unwrap();
        let whole = problem.network.gradient(&trace, &losses, GradientOptions::default()).unwrap().weights;
        for (i, &window) in windows.iter().enumerate() {
            let truncated = truncated(&problem, window);
            let check = |only: Option<&str>, of: &bptt::Truncation| {
                let (bias, cosine) = bias_and_cosine(&numbers(&truncated, only), &numbers(&whole, only));
                assert!((of.bias[i] - bias).abs() < 1e-10, "{cell} {only:?} {window}: {} {bias}", of.bias[i]);
                assert!((of.cosine[i] - cosine).abs() < 1e-10, "{cell} {only:?} {window}");
            };
            check(None, &curve.all);
            for (name, of) in &curve.parameters {
                check(Some(name), of);
            }
        }
        assert_eq!(curve.all.bias[8], 0.0);
        assert_eq!(curve.parameters.len(), whole.tensors().len());
    }
}

/// In every network, the parts are sums of the components at their lags.
#[test]
fn the_parts_are_sums_of_components() {
    for (cell, layers) in [("lstm", 1), ("gru", 2), ("rnn_relu", 3)] {
        let shape = Shape {
            bidirectional: true,
            options: [true; 3],
            one_hot: false,
            layers,
            steps: 9,
            ..shape(cell)
        };
        let problem = shape.problem();
        let trace = problem.scan().unwrap();
        let losses = problem.network.losses(&trace, &problem.objective).unwrap();
        let first_lags = [0, 1, 3, 7];
        let parts = problem.network.lag_parts(&trace, &losses, &first_lags).unwrap();
        let shares: f64 = parts.shares().iter().sum();
        assert!((shares - 1.0).abs() < 1e-12, "{shares}");
        assert_eq!((parts.len(), parts.lags(1), parts.lags(3)), (4, 1..3, 7..9));
        let components = problem.network.components(&trace, &losses, Select::All).unwrap();
        let whole = problem.network.gradient(&trace, &losses, GradientOptions::default()).unwrap().weights;
        for (j, part) in parts.parts().iter().enumerate() {
            let mut expected = whole.zeros_like();
            if j == 0 {
                expected.readout.clone_from(&whole.readout);
            }
            for c in components.iter().filter(|c| parts.lags(j).contains(&c.k.abs_diff(c.t))) {
                let place = (0..whole.cells.len()).find(|&index| whole.cell_id(index) == c.cell).unwrap();
                let to: &mut CellParams<f64> = &mut expected.cells[place];
                for (sum, matrix) in to.tensors_mut().iter_mut().zip(c.params.tensors()) {
                    sum.data_mut().iter_mut().zip(matrix.data()).for_each(|(sum, v)| *sum += v);
                }
            }
            let scale = norm([&numbers(&whole, None)]);
            for (found, expected) in numbers(part, None).iter().zip(numbers(&expected, None)) {
                assert!((found - expected).abs() < 1e-12 * scale, "{cell}, part {j}: {found} {expected}");
            }
        }
    }
}

/// h_t = w · h_{t-1} + x with losses of seed 1: what a window of the bias' gradient lacks is known in closed form.
fn linear_unit(w: f64, steps: usize) -> (Network<f64>, bptt::ForwardCache<f64>, Losses<f64>) {
    let mut layer = CellParams::zeros(cell_by_name("rnn_identity").unwrap().spec(), 1, 1);
    layer["weight_hh"].data_mut()[0] = w;
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
    let network = Network::new(cell_by_name("rnn_identity").unwrap(), weights).unwrap();
    let mut seeds = vec![0.0; steps];
    seeds[steps - 1] = 1.0;
    let inputs = Inputs::Dense(Sequence::zeros(steps, 1, 1));
    let trace = network.scan_with(inputs, &network.zero_state(1), ScanOptions::default()).unwrap();
    let losses = Losses::from_seeds(Sequence::new(steps, 1, 1, &seeds).unwrap());
    (network, trace, losses)
}

#[test]
fn the_smallest_window_is_exact_to_a_step() {
    // With one loss at the end, the gradient of the bias is Σ_{τ<T} w^τ, and a window keeps the first terms: its bias is
    // (w^window − w^T) / (1 − w^T), at most 0.02 first at a window of ln 0.02 / ln w.
    for (w, steps) in [(0.9f64, 700), (0.99, 1100), (0.5, 40)] {
        let (network, trace, losses) = linear_unit(w, steps);
        let end = w.powi(i32::try_from(steps).unwrap());
        let bias = |window: usize| (w.powi(i32::try_from(window).unwrap()) - end) / (1.0 - end);
        let expected = (1..=steps).find(|&window| bias(window) <= 0.02).unwrap();
        let found = network.smallest_window(&trace, &losses, 0.02).unwrap();
        assert_eq!(found.window, expected, "{w}");
        assert!((found.bias - bias(expected)).abs() < 1e-12 && (found.cosine - 1.0).abs() < 1e-12);
    }
    let (network, trace, losses) = linear_unit(0.5, 8);
    assert_eq!(network.smallest_window(&trace, &losses, 2.0).unwrap().window, 1);
    assert_eq!(network.smallest_window(&trace, &losses, 1e-300).unwrap().window, 8);
    let error = network.smallest_window(&trace, &losses, 0.0).unwrap_err();
    assert_eq!(error.to_string(), "bias: 0 is not possible; expected a fraction above 0");
    for windows in [&[][..], &[0, 1], &[2, 2]] {
        let error = network.truncation_curve(&trace, &losses, windows).unwrap_err();
        assert!(matches!(error, Error::Value { option, .. } if option == "windows"));
    }
}

#[test]
fn single_precision_has_the_same_curve() {
    let problem = shape("lstm").problem();
    let network = problem.network.cast::<f32>().unwrap();
    let trace = problem.scan().unwrap();
    let losses = problem.network.losses(&trace, &problem.objective).unwrap();
    let expected = problem.network.truncation_curve(&trace, &losses, &[1, 4, 10]).unwrap();
    let trace = network.scan(problem.inputs.cast(), &problem.initial.cast()).unwrap();
    let losses = network.losses(&trace, &problem.objective.cast()).unwrap();
    let found = network.truncation_curve(&trace, &losses, &[1, 4, 10]).unwrap();
    for (found, expected) in found.all.bias.iter().zip(&expected.all.bias) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}
