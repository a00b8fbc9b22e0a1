//! How long perturbations last, against finite differences and closed forms, and horizons with their intervals.

use crate::common;

use bptt::{
    Bootstrap, CellId, CellParams, Direction, Horizons, Inputs, ItemizeOptions, Losses, Matrix, Network,
    Parameter, Perturbed, ScanOptions, Sequence, Weights, cell_by_name, quantile_interval,
};
use common::Normals;

const STEPS: usize = 6;

fn network(cell: &str, layers: usize, random: &mut Normals) -> Network<f64> {
    let cell = cell_by_name(cell).unwrap();
    let layers =
        (0..layers).map(|layer| random.params(&*cell, if layer == 0 { 2 } else { 3 }, 3, 1.2)).collect();
    Network::new(cell, Weights { cells: layers, bidirectional: false, readout: None }).unwrap()
}

/// Of every step and lag, for stacks with dropout and padding: what moving x_s changes, by central differences.
#[test]
fn what_is_left_of_an_inputs_perturbation_is_a_finite_difference() {
    for cell in ["rnn", "lstm", "gru", "gru_reset_before"] {
        let mut random = Normals(4);
        let network = network(cell, 2, &mut random);
        let x = random.vector(STEPS * 2 * 2, 1.0);
        let options = || ScanOptions {
            lengths: Some(vec![6, 4]),
            dropout: vec![Sequence::new(STEPS, 2, 3, &[2.0, 0.0, 2.0, 2.0, 2.0, 0.0].repeat(STEPS)).unwrap()],
            ..ScanOptions::default()
        };
        let scan = |x: &[f64]| {
            let x = Sequence::new(STEPS, 2, 2, x).unwrap();
            network.scan_with(Inputs::Dense(x), &network.zero_state(2), options()).unwrap()
        };
        let direction = Matrix::new(1, 2, vec![0.6, -0.8]).unwrap();
        let found = network.memory(&scan(&x), Perturbed::Input, Some(&direction)).unwrap();
        for (b, length) in [(0, 6), (1, 4)] {
            for s in 0..length {
                let moved = |by: f64| {
                    let mut x = x.clone();
                    let place = (s * 2 + b) * 2;
                    bptt::kernel::add_scaled(&mut x[place..place + 2], by, direction.data());
                    scan(&x)
                };
                let (up, down) = (moved(1e-5), moved(-1e-5));
                for t in 0..length {
                    let (up, down) = (up.output().at(t, b), down.output().at(t, b));
                    let expected =
                        up.iter().zip(down).map(|(u, d)| ((u - d) / 2e-5).powi(2)).sum::<f64>().sqrt();
                    match found.log10_norm(b, s, t) {
                        Some(log10) => {
                            assert!((10f64.powf(log10) - expected).abs() < 1e-9, "{cell}: {s} → {t}");
                        }
                        None => assert!(t < s),
                    }
                }
            }
        }
        assert_eq!((found.log10_norm(1, 0, 4), found.log10_norm(1, 4, 4)), (None, None));
    }
}

/// Moving every unit by itself measures the Frobenius norm of the product of Jacobians.
#[test]
fn what_is_left_of_a_state_is_the_norm_of_the_jacobians_product() {
    let mut random = Normals(6);
    let network = network("rnn", 1, &mut random);
    let x = Sequence::new(STEPS, 1, 2, &random.vector(STEPS * 2, 1.0)).unwrap();
    let trace = network.scan(Inputs::Dense(x), &network.zero_state(1)).unwrap();
    let found = network.memory(&trace, Perturbed::State { layer: 0 }, None).unwrap();
    let place = CellId { layer: 0, direction: Direction::Forward };
    assert!((10f64.powf(found.log10_norm(0, 2, 2).unwrap()) - 3f64.sqrt()).abs() < 1e-12);
    for product in &network.jacobian_products(&trace, place, 1, &[1, 2, 3, 4]).unwrap()[0] {
        let squares: f64 = product.ln_singular_values.iter().map(|ln| (2.0 * ln).exp()).sum();
        let log10 = found.log10_norm(0, 1, 1 + product.lag).unwrap();
        assert!((10f64.powf(log10) - squares.sqrt()).abs() < 1e-12);
    }
    // In a stack the upper layer reads the state at once.
    let network = self::network("lstm", 2, &mut random);
    let x = Sequence::new(STEPS, 1, 2, &random.vector(STEPS * 2, 1.0)).unwrap();
    let trace = network.scan(Inputs::Dense(x), &network.zero_state(1)).unwrap();
    let found = network.memory(&trace, Perturbed::State { layer: 0 }, None).unwrap();
    assert!(found.log10_norm(0, 3, 3).unwrap().is_finite());
    let zero = Matrix::zeros(1, 3);
    let found = network.memory(&trace, Perturbed::State { layer: 1 }, Some(&zero)).unwrap();
    assert_eq!((found.log10_norm(0, 0, 3), found.horizon(0.99)), (Some(f64::NEG_INFINITY), None));
}

/// h_t = w h_{t−1} + x_t: both horizons are that of a geometric series, far beyond f64's range.
#[test]
fn a_linear_unit_learns_as_far_as_it_remembers() {
    let (w, steps): (f64, usize) = (0.01, 400);
    let mut params = CellParams::zeros(cell_by_name("rnn_identity").unwrap().spec(), 1, 1);
    (params["weight_hh"].data_mut()[0], params["weight_ih"].data_mut()[0]) = (w, 1.0);
    let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
    let network = Network::new(cell_by_name("rnn_identity").unwrap(), weights).unwrap();
    let x = Sequence::new(steps, 2, 1, &vec![1.0; 2 * steps]).unwrap();
    let trace = network.scan(Inputs::Dense(x), &network.zero_state(2)).unwrap();
    let memory = network.memory(&trace, Perturbed::Input, None).unwrap();
    let expected = 399.0 * w.log10();
    assert!((memory.log10_norm(1, 0, 399).unwrap() - expected).abs() < 1e-9);
    assert!((memory.profile()[399].log10_median() - expected).abs() < 1e-9);
    let losses = Losses::from_seeds(Sequence::new(steps, 2, 1, &vec![1.0; 2 * steps]).unwrap());
    let ledger = network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
    let entry = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
    // 1 − w^{n+1} of the series lies within lag n.
    for (q, lag) in [(0.98, 0), (0.999, 1), (0.999_95, 2)] {
        let horizons = Horizons::new(entry, &memory, q).unwrap();
        assert_eq!((memory.horizon(q), entry.horizon(q)), (Some(lag), Some(lag)));
        assert_eq!(horizons.learning, [Some(lag); 2]);
        assert_eq!(horizons.memory, [Some(lag); 2]);
    }
    // A sequence that ends early has fewer losses, and no zeros in their place.
    let lengths = Some(vec![steps, 50]);
    let options = ScanOptions { lengths, ..ScanOptions::default() };
    let padded = network.scan_with(trace.inputs().clone(), &network.zero_state(2), options).unwrap();
    let memory_of_padded = network.memory(&padded, Perturbed::Input, None).unwrap();
    let ledger = network.itemize(&padded, &losses, &ItemizeOptions::default()).unwrap();
    let entry = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
    let horizons = Horizons::new(entry, &memory_of_padded, 0.999).unwrap();
    assert_eq!((horizons.learning, horizons.memory), (vec![Some(1); 2], vec![Some(1); 2]));
    let without = ItemizeOptions { sequences: false, ..ItemizeOptions::default() };
    let ledger = network.itemize(&trace, &losses, &without).unwrap();
    let message = Horizons::new(ledger.entry(0, Parameter::WEIGHT_IH).unwrap(), &memory, 0.99).unwrap_err();
    assert_eq!(
        message.to_string(),
        "sequences of the ledger: expected 2, as in the memory profile, given none: itemize with `sequences`"
    );
}

#[test]
fn an_interval_is_the_quantiles_of_resampled_quantiles() {
    let values = [3.0, 1.0, 2.0, 10.0];
    let bootstrap = Bootstrap { resamples: 3, level: 0.5 };
    // Draws that repeat one value, then another, then the values themselves.
    let mut draws = [0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 2, 3].into_iter();
    let found = quantile_interval(&values, 0.5, bootstrap, |_| draws.next().unwrap()).unwrap().unwrap();
    assert_eq!((found.estimate, found.low, found.high), (2.5, 1.75, 2.75));
    let mut random = Normals(1);
    let many: Vec<f64> = random.vector(400, 1.0);
    let mut draw = |n: usize| usize::try_from(random.bits() % n as u64).unwrap();
    let found = quantile_interval(&many, 0.5, Bootstrap::default(), &mut draw).unwrap().unwrap();
    // The median of n normal numbers has a standard error of √(π/2n).
    let expected = 2.0 * 1.96 * (std::f64::consts::FRAC_PI_2 / 400.0).sqrt();
    assert!(((found.high - found.low) / expected - 1.0).abs() < 0.25, "{found:?}");
    assert_eq!(quantile_interval(&[], 0.5, Bootstrap::default(), |_| 0).unwrap(), None);
    let error = quantile_interval(&values, 0.5, bootstrap, |n| n).unwrap_err().to_string();
    assert_eq!(error, "index: 4 is not possible; expected a draw below 4");
    assert!(quantile_interval(&values, 1.5, bootstrap, |_| 0).is_err());
}
