//! The way a gradient came: the parts add up, the whole is the gradient, and the plain ways are their formulas.

use crate::common;

use bptt::{Error, GradientOptions, Inputs, Losses, Matrix, Network, Sequence, State, Weights, cell_by_name};
use common::{Normals, shapes};
use proptest::prelude::*;

fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_233);
    ProptestConfig { cases: 128, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

fn norm(m: &Matrix<f64>) -> f64 {
    m.data().iter().map(|v| v * v).sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn parts_and_shares_add_up(shape in shapes()) {
        let problem = shape.problem();
        let trace = problem.scan().unwrap();
        let losses = problem.network.losses(&trace, &problem.objective).unwrap();
        for k in 0..shape.steps {
            let splits = match problem.network.path_split(&trace, &losses, k) {
                Ok(splits) => splits,
                Err(error) => {
                    prop_assert!(matches!(error, Error::Value { .. }), "{error}");
                    continue;
                }
            };
            for split in splits {
                for t in 0..shape.steps {
                    let Some(whole) = split.whole(t) else { continue };
                    let parts: Vec<_> = (0..split.paths().len()).map(|p| split.part(t, p).unwrap()).collect();
                    let scale: f64 = parts.iter().map(norm).sum();
                    for (i, &expected) in whole.data().iter().enumerate() {
                        let sum: f64 = parts.iter().map(|part| part.data()[i]).sum();
                        prop_assert!((sum - expected).abs() <= 1e-12 * scale, "{sum} {expected} {scale}");
                    }
                    let shares: f64 = (0..parts.len()).map(|p| split.share(t, p).unwrap()).sum();
                    let resolution = 1e-12 * scale / norm(&whole);
                    prop_assert!(norm(&whole) == 0.0 || (shares - 1.0).abs() <= resolution.max(1e-12), "{shares}");
                }
            }
        }
    }
}

const STEPS: usize = 6;

/// One layer of `cell`, and its seeds.
fn one_layer(cell: &str) -> (Network<f64>, Sequence<f64>, Sequence<f64>) {
    let mut random = Normals(7);
    let cell = cell_by_name(cell).unwrap();
    let layer = random.params(&*cell, 3, 4, 1.2);
    let network =
        Network::new(cell, Weights { cells: vec![layer], bidirectional: false, readout: None }).unwrap();
    let x = Sequence::new(STEPS, 2, 3, &random.vector(STEPS * 6, 1.0)).unwrap();
    let seeds = Sequence::new(STEPS, 2, 4, &random.vector(STEPS * 8, 1.0)).unwrap();
    (network, x, seeds)
}

fn steps_of(x: &Sequence<f64>, range: std::ops::Range<usize>) -> Sequence<f64> {
    Sequence::new(range.len(), x.batch(), x.features(), x.rows(range).data()).unwrap()
}

/// dL_k/dh_t is what the steps behind t say of the state they begin with, and the state that they begin with is h_t.
#[test]
fn the_whole_is_the_gradient_with_respect_to_the_state() {
    for cell in ["rnn", "lstm", "gru"] {
        let (network, x, seeds) = one_layer(cell);
        let trace = network.scan(Inputs::Dense(x.clone()), &network.zero_state(2)).unwrap();
        let k = STEPS - 1;
        let split = &network.path_split(&trace, &Losses::from_seeds(seeds.clone()), k).unwrap()[0];
        for t in 0..k {
            let before = network.scan(Inputs::Dense(steps_of(&x, 0..t + 1)), &network.zero_state(2)).unwrap();
            let rest = Inputs::Dense(steps_of(&x, t + 1..STEPS));
            let rest = network.scan(rest, &before.final_state()).unwrap();
            let losses = Losses::from_seeds(steps_of(&seeds, t + 1..STEPS));
            let last: Vec<_> = (t + 1..STEPS).map(|u| (u == k).then_some(0)).collect();
            let gradient =
                network.group_gradients(&rest, &losses, &last, GradientOptions::default()).unwrap().remove(0);
            for (found, expected) in split.whole(t).unwrap().data().iter().zip(gradient.initial.h(0).data()) {
                assert!((found - expected).abs() < 1e-14, "{cell} {t}: {found} {expected}");
            }
        }
        assert_eq!(split.share(k, 0), Some(1.0));
        assert_eq!(split.whole(k).unwrap().data(), seeds.step(k).data());
    }
}

/// The gates of every step, written out, (G·H) numbers for each sequence; h and c before them.
fn gates(network: &Network<f64>, x: &Sequence<f64>, state: &State<f64>, b: usize) -> Vec<[Vec<f64>; 3]> {
    let p = &network.weights().cells[0];
    let lstm = network.spec().states.len() > 1;
    let sigmoid = |a: f64| 1.0 / (1.0 + (-a).exp());
    let (mut h, mut c) = (state.h(0).row(b).to_vec(), vec![0.0; 4]);
    (0..x.steps())
        .map(|t| {
            let dot = |w: &[f64], v: &[f64]| w.iter().zip(v).map(|(w, v)| w * v).sum::<f64>();
            let input = |i: usize| dot(p["weight_ih"].row(i), x.at(t, b)) + p["bias_ih"].data()[i];
            let recurrent = |i: usize| dot(p["weight_hh"].row(i), &h) + p["bias_hh"].data()[i];
            let mut g: Vec<f64> =
                (0..p["weight_ih"].rows()).map(|i| sigmoid(input(i) + recurrent(i))).collect();
            for j in 8..12 {
                let reset = if lstm { 1.0 } else { g[j - 8] };
                g[j] = (input(j) + reset * recurrent(j)).tanh();
            }
            let before = [g.clone(), h.clone(), c.clone()];
            for j in 0..4 {
                if lstm {
                    c[j] = g[4 + j] * c[j] + g[j] * g[8 + j];
                    h[j] = g[12 + j] * c[j].tanh();
                } else {
                    h[j] = (1.0 - g[4 + j]) * g[8 + j] + g[4 + j] * h[j];
                }
            }
            before
        })
        .collect()
}

#[test]
fn along_z_is_the_product_of_the_update_gates() {
    let (network, x, seeds) = one_layer("gru");
    let zero = network.zero_state(2);
    let trace = network.scan(Inputs::Dense(x.clone()), &zero).unwrap();
    let split = &network.path_split(&trace, &Losses::from_seeds(seeds.clone()), 5).unwrap()[0];
    assert_eq!(split.paths(), ["seed", "along_z", "through_r", "through_z", "through_n"]);
    for b in 0..2 {
        let steps = gates(&network, &x, &zero, b);
        for t in 0..5 {
            for j in 0..4 {
                let product: f64 = steps[t + 1..=5].iter().map(|[g, ..]| g[4 + j]).product();
                let found = split.part(t, 1).unwrap().row(b)[j];
                assert!((found - seeds.at(5, b)[j] * product).abs() < 1e-15);
            }
        }
    }
}

#[test]
fn along_c_is_the_product_of_the_forget_gates() {
    let (network, x, seeds) = one_layer("lstm");
    let zero = network.zero_state(2);
    let trace = network.scan(Inputs::Dense(x.clone()), &zero).unwrap();
    let split = &network.path_split(&trace, &Losses::from_seeds(seeds.clone()), 5).unwrap()[0];
    assert_eq!(split.paths(), ["seed", "along_c", "through_gates", "through_h"]);
    let w_hh = &network.weights().cells[0]["weight_hh"];
    for b in 0..2 {
        let steps = gates(&network, &x, &zero, b);
        let [last, _, c_before] = &steps[5];
        for t in 0..5 {
            // Into c_5 by h_5, down to c_{t+1} by the forget gates, and through i, f, g of step t + 1 into h_t.
            let dc = |j: usize| {
                let tanh_c = (last[4 + j] * c_before[j] + last[j] * last[8 + j]).tanh();
                let forget: f64 = steps[t + 2..].iter().map(|[g, ..]| g[4 + j]).product();
                seeds.at(5, b)[j] * last[12 + j] * (1.0 - tanh_c * tanh_c) * forget
            };
            let [g, _, c] = &steps[t + 1];
            let da = |row: usize| {
                let j = row % 4;
                let (i, f, n) = (g[j], g[4 + j], g[8 + j]);
                dc(j) * [n * i * (1.0 - i), c[j] * f * (1.0 - f), i * (1.0 - n * n)][row / 4]
            };
            for column in 0..4 {
                let expected: f64 = (0..12).map(|row| da(row) * w_hh.row(row)[column]).sum();
                let found = split.part(t, 1).unwrap().row(b)[column];
                assert!((found - expected).abs() < 1e-15, "{t}: {found} {expected}");
            }
        }
    }
}

/// With the forget gates open and W_hh = 0 but for the candidate, everything far comes along the cell state.
#[test]
fn an_open_forget_gate_carries_the_gradient() {
    let (network, x, seeds) = one_layer("lstm");
    let mut weights = network.weights().clone();
    let layer = &mut weights.cells[0];
    layer["bias_hh"].data_mut()[4..8].fill(30.0);
    for gate in [0, 1, 3] {
        layer["weight_hh"].data_mut()[gate * 16..(gate + 1) * 16].fill(0.0);
    }
    let network = Network::new(network.kind().clone(), weights).unwrap();
    let trace = network.scan(Inputs::Dense(x), &network.zero_state(2)).unwrap();
    let split = &network.path_split(&trace, &Losses::from_seeds(seeds), 5).unwrap()[0];
    let shares: Vec<f64> = (0..4).map(|path| split.share(0, path).unwrap()).collect();
    assert!(
        (shares[1] + shares[2] - 1.0).abs() < 1e-12 && shares[3] == 0.0 && shares[0] == 0.0,
        "{shares:?}"
    );
    assert!(split.log10_norm(0, 1).unwrap() > split.log10_norm(0, 2).unwrap());
}

#[test]
fn what_is_below_f64_is_still_taken_apart() {
    let (network, _, _) = one_layer("gru");
    let mut weights = network.weights().clone();
    weights.cells[0]["bias_ih"].data_mut()[4..8].fill(-12.0);
    weights.cells[0]["weight_hh"].data_mut().fill(1e-3);
    let network = Network::new(network.kind().clone(), weights).unwrap();
    let x = Sequence::new(200, 1, 3, &[0.1; 600]).unwrap();
    let mut seeds = Sequence::zeros(200, 1, 4);
    seeds.at_mut(199, 0).fill(1.0);
    let trace = network.scan(Inputs::Dense(x), &network.zero_state(1)).unwrap();
    let split = &network.path_split(&trace, &Losses::from_seeds(seeds), 199).unwrap()[0];
    assert!(split.log10_norm(0, 4).unwrap() < -350.0);
    let shares: f64 = (0..5).map(|path| split.share(0, path).unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-12 && split.share(0, 4) > Some(0.9), "{shares}");
    let z = split.log10_norm(0, 1).unwrap() - split.log10_norm(100, 1).unwrap();
    assert!(z < -400.0 && z.is_finite(), "{z}");
}
