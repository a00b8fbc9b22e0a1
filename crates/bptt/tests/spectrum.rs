//! Spectra whose values are known: in closed form, from the literature, or by finite differences.

use crate::common;

use std::sync::Arc;

use bptt::dynamics::{
    Exponents, Implication, LyapunovOptions, condition_number, eigenvalues, singular_values,
};
use bptt::{
    CellId, CellParams, Direction, Error, Inputs, Matrix, Network, ScanOptions, Sequence, State, View,
    Weights, cell_by_name,
};
use common::Normals;

const BOTTOM: CellId = CellId { layer: 0, direction: Direction::Forward };

fn gaussian(random: &mut Normals, n: usize, gain: f64) -> Matrix<f64> {
    Matrix::new(n, n, random.vector(n * n, gain / (n as f64).sqrt())).unwrap()
}

/// λ of so many steps, orthonormal after `every` of them, the first `warm_up` left out.
fn exponents(
    (n, count): (usize, usize),
    (steps, warm_up, every): (usize, usize, usize),
    mut jacobian: impl FnMut() -> Matrix<f64>,
) -> Vec<f64> {
    let mut exponents = Exponents::new(n, count).unwrap();
    for step in 1..=steps {
        exponents.advance(jacobian().view());
        if step % every == 0 {
            exponents.orthonormalize();
        }
        if step == warm_up {
            exponents.restart();
        }
    }
    assert_eq!(exponents.steps(), steps - warm_up);
    exponents.values()
}

fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn constant_weights_have_the_logarithms_of_their_eigenvalues_moduli() {
    let w = gaussian(&mut Normals(2), 50, 1.1);
    let expected: Vec<f64> = eigenvalues(w.view()).unwrap().iter().map(|v| v.modulus().ln()).collect();
    let found = exponents((50, 50), (14_000, 4_000, 4), || w.clone());
    let error = largest_difference(&found[..40], &expected[..40]);
    println!("the leading 40 of 50: largest error {error:.1e}");
    assert!(error < 1e-4, "{error}");
}

/// ψ at half integers: ψ(1/2) = −γ − 2 ln 2, ψ(1) = −γ, ψ(x + 1) = ψ(x) + 1/x.
fn digamma_of_half(n: usize) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    let start = if n % 2 == 1 { -EULER - 2.0 * std::f64::consts::LN_2 } else { -EULER };
    let first = if n % 2 == 1 { 1 } else { 2 };
    start + (first..n).step_by(2).map(|twice| 2.0 / twice as f64).sum::<f64>()
}

/// Newman (1986): the exponents of products of independent Gaussian matrices.
#[test]
fn gaussian_jacobians_have_newmans_spectrum() {
    let (n, gain) = (50, 1.3);
    let mut random = Normals(1);
    let found = exponents((n, n), (4_000, 0, 1), || gaussian(&mut random, n, gain));
    let expected: Vec<f64> =
        (1..=n).map(|k| 0.5 * ((2.0 * gain * gain / n as f64).ln() + digamma_of_half(n - k + 1))).collect();
    let error = largest_difference(&found, &expected);
    println!("50 of 50 at 4,000 steps: largest error {error:.4}");
    assert!(error < 0.03, "{error}");
}

/// λ_1 = 0.419 (Sprott 2003), and the map shrinks every area by b.
#[test]
fn the_henon_map_has_its_known_exponents() {
    let (a, b) = (1.4, 0.3);
    let (mut x, mut y) = (0.1, 0.1);
    let found = exponents((2, 2), (100_000, 1_000, 1), || {
        let jacobian = Matrix::new(2, 2, vec![-2.0 * a * x, 1.0, b, 0.0]).unwrap();
        (x, y) = (1.0 - a * x * x + y, b * x);
        jacobian
    });
    println!(
        "Hénon: {:.4} and {:.4}, the sum is off by {:.1e}",
        found[0],
        found[1],
        found[0] + found[1] - b.ln()
    );
    assert!((found[0] - 0.419).abs() < 0.003, "{}", found[0]);
    assert!((found[0] + found[1] - b.ln()).abs() < 1e-10);
}

/// A network of `layers` layers that read each other, and what it reads.
fn problem(
    cell: &str,
    layers: usize,
    bidirectional: bool,
    seed: u64,
) -> (Network<f64>, Sequence<f64>, State<f64>) {
    let (steps, batch, inputs, hidden) = (6, 2, 2, 3);
    let mut random = Normals(seed);
    let cell = cell_by_name(cell).unwrap();
    let directions = if bidirectional { 2 } else { 1 };
    let width = |i| if i < directions { inputs } else { directions * hidden };
    let cells = (0..layers * directions).map(|i| random.params(&*cell, width(i), hidden, 1.2)).collect();
    let network = Network::new(cell, Weights { cells, bidirectional, readout: None }).unwrap();
    let x = Sequence::new(steps, batch, inputs, &random.vector(steps * batch * inputs, 1.0)).unwrap();
    let mut initial = network.zero_state(batch);
    for state in initial.matrices_mut() {
        let numbers = random.vector(state.data().len(), 0.5);
        state.data_mut().copy_from_slice(&numbers);
    }
    (network, x, initial)
}

/// The Jacobian of step `t` of sequence `b` by central differences of one step of a network of that cell alone.
fn differences(network: &Network<f64>, x: &[f64], h: &[f64], c: &[f64]) -> Vec<f64> {
    let hidden = h.len();
    let after = |moved: usize, by: f64| -> Vec<f64> {
        let (mut h, mut c) = (h.to_vec(), c.to_vec());
        if moved < hidden {
            h[moved] += by;
        } else {
            c[moved - hidden] += by;
        }
        let h = vec![Matrix::new(1, hidden, h).unwrap()];
        let state = if c.is_empty() {
            State::of_h(h)
        } else {
            State::of_h_and_c(h, vec![Matrix::new(1, c.len(), c).unwrap()])
        };
        let x = Sequence::new(1, 1, x.len(), x).unwrap();
        let last = network.scan(Inputs::Dense(x), &state).unwrap().final_state();
        last.matrices().flat_map(Matrix::data).copied().collect()
    };
    let n = hidden + c.len();
    let mut jacobian = vec![0.0; n * n];
    for j in 0..n {
        let (up, down) = (after(j, 1e-5), after(j, -1e-5));
        for i in 0..n {
            jacobian[i * n + j] = (up[i] - down[i]) / 2e-5;
        }
    }
    jacobian
}

#[test]
fn jacobians_of_every_cell_are_finite_differences() {
    for name in ["rnn", "rnn_relu", "rnn_identity", "lstm", "gru", "gru_reset_before"] {
        let (network, x, initial) = problem(name, 2, false, 5);
        let trace = network.scan(Inputs::Dense(x.clone()), &initial).unwrap();
        let upper = CellId { layer: 1, direction: Direction::Forward };
        for (place, t, b) in [(BOTTOM, 0, 1), (BOTTOM, 4, 0), (upper, 5, 1)] {
            let index = place.layer;
            let alone = Weights {
                cells: vec![network.weights().cells[index].clone()],
                bidirectional: false,
                readout: None,
            };
            let one = Network::new(Arc::clone(network.kind()), alone).unwrap();
            // The state before step t, by reading up to there.
            let before = if t == 0 {
                initial.clone()
            } else {
                let numbers: Vec<f64> = (0..t).flat_map(|t| x.step(t).data().to_vec()).collect();
                let x = Sequence::new(t, 2, 2, &numbers).unwrap();
                network.scan(Inputs::Dense(x), &initial).unwrap().final_state()
            };
            let read = if index == 0 { x.at(t, b) } else { &trace.cells()[0].h().at(t + 1, b).to_vec() };
            let expected = differences(
                &one,
                read,
                before.h(index).row(b),
                before.get(index, 1).map_or(&[][..], |c| c.row(b)),
            );
            let found = network.jacobian(&trace, place, t, b).unwrap();
            let error = largest_difference(found.data(), &expected);
            assert!(error < 1e-9, "{name}, {place:?}, step {t}: {error}");
        }
    }
}

/// The whole spectrum adds up to the logarithm of the volume, for every cell and in both directions.
#[test]
fn exponents_add_up_to_the_logarithms_of_the_jacobians_determinants() {
    for name in ["rnn", "rnn_identity", "lstm", "gru", "gru_reset_before"] {
        let (network, x, initial) = problem(name, 1, true, 7);
        let lengths = vec![6, 4];
        let options = ScanOptions { lengths: Some(lengths.clone()), ..ScanOptions::default() };
        let trace = network.scan_with(Inputs::Dense(x), &initial, options).unwrap();
        for direction in [Direction::Forward, Direction::Reverse] {
            let place = CellId { layer: 0, direction };
            for every in [1, 2, 3] {
                let options = LyapunovOptions { every, ..LyapunovOptions::default() };
                let found = network.lyapunov(&trace, place, &options).unwrap();
                assert_eq!(found.steps, 10);
                for (b, &length) in lengths.iter().enumerate() {
                    let volume: f64 = (0..length)
                        .map(|t| network.jacobian(&trace, place, t, b).unwrap())
                        .map(|j| singular_values(j.view()).iter().map(|s| s.ln()).sum::<f64>())
                        .sum();
                    let sum: f64 = found.by_sequence[b].iter().sum::<f64>() * length as f64;
                    assert!((sum - volume).abs() < 1e-9 * volume.abs(), "{name}: {sum} is not {volume}");
                }
                for (i, error) in found.standard_error.unwrap().iter().enumerate() {
                    // Of two numbers, half their distance.
                    let half = (found.by_sequence[0][i] - found.by_sequence[1][i]).abs() / 2.0;
                    assert!((error - half).abs() < 1e-12);
                }
            }
        }
    }
}

#[test]
fn products_of_jacobians_have_the_singular_values_of_the_product() {
    let (network, x, initial) = problem("lstm", 1, false, 9);
    let trace = network.scan(Inputs::Dense(x), &initial).unwrap();
    let found = network.jacobian_products(&trace, BOTTOM, 1, &[3, 1]).unwrap();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    for (b, products) in found.iter().enumerate() {
        let factor = |t| network.jacobian(&trace, BOTTOM, t, b).unwrap();
        let times = |a: &Matrix<f64>, b: &Matrix<f64>| {
            let mut out = Matrix::zeros(6, 6);
            bptt::kernel::product(out.data_mut(), false, a.view(), b.view());
            out
        };
        let three = times(&factor(4), &times(&factor(3), &factor(2)));
        for (product, expected) in products.iter().zip([factor(2), three]) {
            let expected: Vec<f64> = singular_values(expected.view()).iter().map(|s| s.ln()).collect();
            assert_eq!(product.lost, 0);
            assert!(largest_difference(&product.ln_singular_values, &expected) < 1e-10);
        }
        assert_eq!((products[0].lag, products[1].lag), (1, 3));
        assert_eq!(products[1].rate(), Some(products[1].ln_singular_values[0] / 3.0));
    }
}

/// One unit with h_t = w h_{t−1}: every exponent, lag and decay is ln |w|, however far below the format's range.
#[test]
fn prediction_and_measurement_are_one_number_for_a_linear_unit() {
    let w = -0.125;
    let mut params = CellParams::zeros(cell_by_name("rnn_identity").unwrap().spec(), 1, 1);
    params["weight_hh"].data_mut()[0] = w;
    params["weight_ih"].data_mut()[0] = 1.0;
    let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
    let network = Network::new(cell_by_name("rnn_identity").unwrap(), weights).unwrap();
    let steps = 400;
    let x = Sequence::new(steps, 1, 1, &vec![1.0; steps]).unwrap();
    let trace = network.scan(Inputs::Dense(x), &network.zero_state(1)).unwrap();
    let losses = bptt::Losses::from_seeds(Sequence::new(steps, 1, 1, &vec![1.0; steps]).unwrap());
    let ledger = network.itemize(&trace, &losses, &bptt::ItemizeOptions::default()).unwrap();
    let found = network.lyapunov(&trace, BOTTOM, &LyapunovOptions::default()).unwrap();
    let beside = found.beside(ledger.entry(0, bptt::Parameter::BIAS).unwrap()).unwrap();
    let ln = -(8f64.ln());
    assert!((beside.predicted - ln).abs() < 1e-12 && (beside.measured.unwrap() - ln).abs() < 1e-9);
    assert!((beside.predicted_factor() - 0.125).abs() < 1e-12);
    assert!((beside.measured_factor().unwrap() - 0.125).abs() < 1e-9);
    assert!(beside.standard_error.is_none_or(|error| error < 1e-12));
    let far = network.jacobian_products(&trace, BOTTOM, 0, &[399]).unwrap();
    assert!((far[0][0].ln_singular_values[0] - 399.0 * ln).abs() < 1e-9);
}

#[test]
fn what_sigma_max_implies_is_said_with_its_limits() {
    let network = |cell: &str, scale: f64| {
        let cell = cell_by_name(cell).unwrap();
        let mut params = CellParams::zeros(cell.spec(), 1, 2);
        let blocks = [0.0, 1.0, 0.5, 0.0].repeat(cell.spec().gate_count());
        params["weight_hh"].data_mut().iter_mut().zip(&blocks).for_each(|(w, &b)| *w = scale * b);
        let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
        Network::<f64>::new(cell, weights).unwrap().recurrent_spectra().unwrap()
    };
    let implication = |cell, scale| network(cell, scale)[0].implication;
    assert_eq!(implication("rnn", 0.9), Implication::Vanishing);
    assert_eq!(implication("rnn", 1.0), Implication::NoExplosion);
    // σ_max is above 1 and the spectral radius below: the weights alone do not tell.
    assert_eq!(implication("rnn", 1.3), Implication::Open);
    let spectrum = &network("rnn", 1.3)[0];
    assert!((spectrum.sigma_max() - 1.3).abs() < 1e-15 && spectrum.sigma_limit() == 1.0);
    assert!((spectrum.spectral_radius() - 1.3 * 0.5f64.sqrt()).abs() < 1e-15);
    assert!((spectrum.condition_number() - 2.0).abs() < 1e-14);
    let lstm = network("lstm", 0.9);
    let told: Vec<_> = lstm.iter().map(|s| (s.gate, s.sigma_limit(), s.implication)).collect();
    let none = Implication::DoesNotApply;
    assert_eq!(told, [("i", 4.0, none), ("f", 4.0, none), ("g", 1.0, none), ("o", 4.0, none)]);
}

/// Eigenvalues of matrices on which the usual shifts go in circles, and of one with known complex pairs.
#[test]
fn eigenvalues_are_found_where_shifts_go_in_circles() {
    for n in [2, 3, 4, 7, 16] {
        let mut cycle = vec![0.0; n * n];
        (0..n).for_each(|i| cycle[i * n + (i + 1) % n] = 1.0);
        let found = eigenvalues(View::new(n, n, &cycle)).unwrap();
        // The n-th roots of 1: each on the circle, and their n-th powers are 1.
        for value in found {
            let (modulus, angle) = (value.modulus(), value.im.atan2(value.re) * n as f64);
            assert!((modulus - 1.0).abs() < 1e-12 && (angle.cos() - 1.0).abs() < 1e-12, "{n}: {value:?}");
        }
    }
    let turn = [0.6, -0.8, 0.8, 0.6];
    let found = eigenvalues(View::new(2, 2, &turn)).unwrap();
    assert!((found[0].re - 0.6).abs() < 1e-15 && (found[0].im - 0.8).abs() < 1e-15);
    assert!((found[1].im + 0.8).abs() < 1e-15);
    assert_eq!(eigenvalues(View::new(2, 2, &[0.0; 4])).unwrap()[1].modulus(), 0.0);
    assert_eq!(condition_number(&singular_values(View::new(2, 2, &[1.0, 0.0, 0.0, 0.0]))), f64::INFINITY);
    assert!(singular_values(View::new(1, 2, &[1.0, f64::NAN]))[0].is_nan());
}

/// A dead relu unit's Jacobian is singular: a direction is lost for good.
#[test]
fn a_dead_unit_has_an_exponent_of_minus_infinity() {
    let (mut network, x, initial) = problem("rnn_relu", 1, false, 3);
    network.tensors_mut()[2].data_mut()[1] = -100.0;
    let trace = network.scan(Inputs::Dense(x), &initial).unwrap();
    let found = network.lyapunov(&trace, BOTTOM, &LyapunovOptions::default()).unwrap();
    assert_eq!(found.exponents[2], f64::NEG_INFINITY);
    assert!(found.standard_error.unwrap()[2].is_nan());
}

#[test]
fn what_does_not_fit_is_refused() {
    let (network, x, initial) = problem("gru", 1, false, 3);
    let trace = network.scan(Inputs::Dense(x.clone()), &initial).unwrap();
    let refused =
        |options: LyapunovOptions| network.lyapunov(&trace, BOTTOM, &options).unwrap_err().to_string();
    let options = LyapunovOptions::default();
    let message = refused(LyapunovOptions { exponents: Some(4), ..options });
    assert_eq!(message, "exponents: 4 is not possible; expected 1 to 3, the size of the state");
    let message = refused(LyapunovOptions { warm_up: 6, ..options });
    assert_eq!(
        message,
        "warm_up: 6 steps is not possible; expected less than the 6 steps of the shortest sequence"
    );
    let message = refused(LyapunovOptions { every: 0, ..options });
    assert_eq!(message, "every: 0 steps is not possible; expected at least 1");
    let reverse = CellId { layer: 0, direction: Direction::Reverse };
    let message = network.lyapunov(&trace, reverse, &options).unwrap_err().to_string();
    assert_eq!(message, "place: l0_reverse is not possible; expected l0");
    let message = network.jacobian_products(&trace, BOTTOM, 2, &[4]).unwrap_err().to_string();
    assert_eq!(message, "lags: [4] from step 2 is not possible; expected lags from 1 to 3");
    let mut resets = vec![false; 12];
    resets[7] = true;
    let options_of_scan = ScanOptions { resets: Some(resets), ..ScanOptions::default() };
    let episodes = network.scan_with(Inputs::Dense(x), &initial, options_of_scan).unwrap();
    let error = network.lyapunov(&episodes, BOTTOM, &options).unwrap_err();
    assert!(matches!(error, Error::Unsupported { what, .. } if what == "resets"));
    assert!(eigenvalues(View::new(1, 2, &[1.0, 2.0])).is_err());
}

/// How many of 300 intervals hold the exponent of 100,000 steps of the same kind of input: one long sequence in blocks, many
/// short sequences, and a few sequences in blocks.
#[test]
fn intervals_of_95_percent_hold_the_exponent_of_long_sequences_as_often_as_they_say() {
    const REPEATED: usize = 300;
    for name in ["rnn", "lstm", "gru"] {
        let mut random = Normals(5);
        let cell = cell_by_name(name).unwrap();
        let cells = vec![random.params(&*cell, 3, 6, 1.2)];
        let network = Network::new(cell, Weights { cells, bidirectional: false, readout: None }).unwrap();
        let mut found = |steps: usize, batch: usize, warm_up: usize| {
            let x = Sequence::new(steps, batch, 3, &random.vector(steps * batch * 3, 1.0)).unwrap();
            let trace = network.scan(Inputs::Dense(x), &network.zero_state(batch)).unwrap();
            let options = LyapunovOptions { exponents: Some(1), warm_up, every: 1 };
            network.lyapunov(&trace, BOTTOM, &options).unwrap()
        };
        let truth = found(100_000, 1, 200).exponents[0];
        for (steps, batch, blocks) in [(800, 1, 10), (80, 12, 12), (400, 3, 12)] {
            let holds = (0..REPEATED).filter(|_| {
                let found = found(steps, batch, LyapunovOptions::usual_warm_up(steps));
                assert_eq!(found.blocks, blocks);
                let (low, high) = found.interval(0).unwrap();
                low <= truth && truth <= high
            });
            let coverage = holds.count() as f64 / REPEATED as f64;
            println!(
                "{name}, {batch} sequences of {steps} steps: λ = {truth:.4}, in {:.1} %",
                100.0 * coverage
            );
            assert!((0.9..=0.99).contains(&coverage), "{name}, {steps} steps: {coverage}");
        }
    }
}
