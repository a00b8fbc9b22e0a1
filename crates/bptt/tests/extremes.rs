//! Ledgers of networks whose gradients leave every range: log₁₀ of their norms against a row that goes back step by step and
//! keeps its power of two beside it.

use bptt::{
    CellParams, EntryState, GradientOptions, Inputs, ItemizeOptions, Ledger, Losses, Matrix, Network,
    Parameter, Real, Sequence, State, Weights, cell_by_name, cells,
};
use nalgebra::DMatrix;

use crate::common::Normals;

/// log₁₀ of a size times 2^exponent.
fn log10(size: f64, exponent: i32) -> f64 {
    size.log10() + f64::from(exponent) * 2f64.log10()
}

fn norm<T: Real>(numbers: &[T]) -> f64 {
    let largest = numbers.iter().map(|x| x.f64().abs()).fold(f64::MIN_POSITIVE, f64::max);
    largest * numbers.iter().map(|x| (x.f64() / largest).powi(2)).sum::<f64>().sqrt()
}

/// Multiplies all numbers with the power of two that brings the largest to about 1, and returns the exponent that makes up
/// for it.
fn rescale<T: Real>(rows: &mut [Matrix<T>]) -> i32 {
    let largest = rows.iter().flat_map(Matrix::data).map(|x| x.f64().abs()).fold(0.0, f64::max);
    if largest == 0.0 {
        return 0;
    }
    #[allow(clippy::cast_possible_truncation)] // an exponent of a double
    let exponent = largest.log2().floor() as i32;
    // In two factors: each is an ordinary number.
    let (first, second) = (exponent / 2, exponent - exponent / 2);
    for x in rows.iter_mut().flat_map(Matrix::data_mut) {
        *x = T::of(x.f64() * 2f64.powi(-first) * 2f64.powi(-second));
    }
    exponent
}

/// log₁₀ ‖component (k, t)‖ of every parameter, for t = k, k − 1, …, 0: gradients of single steps from the states that the scan
/// saved, in the network's precision, between which the row is rescaled.
fn reference<T: Real>(
    network: &Network<T>,
    x: &Sequence<T>,
    (k, seed): (usize, &[T]),
) -> Vec<Vec<(Parameter, f64)>> {
    let cache = network.scan(Inputs::Dense(x.clone()), &network.zero_state(1)).unwrap();
    let spec = network.spec();
    let widths: Vec<usize> = network.zero_state(1).matrices().map(Matrix::cols).collect();
    let mut row: Vec<Matrix<T>> = widths.iter().map(|&width| Matrix::zeros(1, width)).collect();
    row[0].data_mut().copy_from_slice(seed);
    let (mut exponent, mut found) = (0, Vec::new());
    for t in (0..=k).rev() {
        exponent += rescale(&mut row);
        let before = (0..widths.len()).map(|state| {
            let saved = cache.cells()[0].state(state).unwrap().at(t, 0);
            Matrix::new(1, widths[state], saved.to_vec()).unwrap()
        });
        let before = State { cells: vec![before.collect()] };
        let read = Sequence::new(1, 1, x.features(), x.at(t, 0)).unwrap();
        let step = network.scan(Inputs::Dense(read), &before).unwrap();
        let seeds = |state: usize| Sequence::new(1, 1, widths[state], row[state].data()).unwrap();
        let losses = Losses::from_seeds(seeds(0));
        let losses = if widths.len() > 1 { losses.with_cell_seeds(seeds(1)) } else { losses };
        let gradient = network.gradient(&step, &losses, GradientOptions::default()).unwrap();
        let params = &gradient.weights.cells[0];
        let norms = spec.params.iter().zip(params.tensors());
        let norms =
            norms.map(|(param, tensor)| (Parameter::named(param.name), log10(norm(tensor.data()), exponent)));
        found.push(norms.collect());
        row = gradient.initial.cells.into_iter().next().unwrap();
    }
    found
}

/// A layer whose weights are drawn with a gain.
fn network<T: Real>(
    cell: &str,
    hidden: usize,
    gain: f64,
    change: impl FnOnce(&mut CellParams<f64>),
) -> Network<T> {
    let cell = cell_by_name(cell).unwrap();
    let mut params = Normals(7).params(&*cell, 2, hidden, gain);
    change(&mut params);
    let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
    Network::new(cell, weights).unwrap().cast().unwrap()
}

fn ledger<T: Real>(network: &Network<T>, x: &Sequence<T>, seeds: &Sequence<T>) -> Ledger {
    let cache = network.scan(Inputs::Dense(x.clone()), &network.zero_state(1)).unwrap();
    network.itemize(&cache, &Losses::from_seeds(seeds.clone()), &ItemizeOptions::default()).unwrap()
}

/// How a ledger compares with the reference.
#[derive(Debug)]
struct Compared {
    /// The largest difference of log₁₀.
    worst: f64,
    /// The smallest and the largest log₁₀ of a norm.
    range: (f64, f64),
    /// Numbers of norms compared, and of those that are exactly zero in both.
    counts: (usize, usize),
}

/// Compares the ledger of `network` with the reference at some losses.
fn compared<T: Real>(network: &Network<T>, steps: usize, losses: &[usize], size: f64) -> Compared {
    let width = network.output_width();
    let mut random = Normals(9);
    let x = random.vector(2 * steps, 1.0).into_iter().map(T::of).collect::<Vec<_>>();
    let x = Sequence::new(steps, 1, 2, &x).unwrap();
    let seeds = random.vector(width * steps, size).into_iter().map(T::of).collect::<Vec<_>>();
    let seeds = Sequence::new(steps, 1, width, &seeds).unwrap();
    let ledger = ledger(network, &x, &seeds);
    let mut found = Compared { worst: 0.0, range: (f64::INFINITY, f64::NEG_INFINITY), counts: (0, 0) };
    for &k in losses {
        for (t, expected) in (0..=k).rev().zip(reference(network, &x, (k, seeds.at(k, 0)))) {
            for (parameter, expected) in expected {
                let of_both = parameter.as_str().starts_with("bias").then_some(Parameter::BIAS);
                let entry = ledger.entry(0, parameter).or_else(|| ledger.entry(0, of_both?));
                // Of parameters with one gradient, the ledger has the first alone.
                let Some(entry) = entry else { continue };
                let norm = entry.log10_norm(k, t).unwrap();
                let zero = entry.state(k, t) == EntryState::Zero;
                assert_eq!(zero, norm == f64::NEG_INFINITY, "{parameter:?} {k} {t}");
                if zero && expected == f64::NEG_INFINITY {
                    found.counts.1 += 1;
                    continue;
                }
                assert!(norm.is_finite() && expected.is_finite(), "{parameter:?} {k} {t}: {norm} {expected}");
                assert!(entry.share(k, t).unwrap().is_finite(), "{parameter:?} {k} {t}");
                found.worst = found.worst.max((norm - expected).abs());
                found.range = (found.range.0.min(norm), found.range.1.max(norm));
                found.counts.0 += 1;
            }
        }
    }
    found
}

/// tanh units whose W_hh is three times an orthogonal matrix, so that σ_max = 3.
fn exploding<T: Real>() -> Network<T> {
    let hidden = 32;
    network("rnn", hidden, 1.0, |params| {
        let w = &mut params["weight_hh"];
        let orthogonal = DMatrix::from_row_slice(hidden, hidden, w.data()).qr().q();
        w.data_mut().iter_mut().zip(orthogonal.iter()).for_each(|(w, q)| *w = 3.0 * q);
    })
}

#[test]
fn an_exploding_network_of_2000_steps_has_the_norms_of_a_scaled_reference() {
    let steps = 2_000;
    let found = compared(&exploding::<f64>(), steps, &[steps - 1, steps / 2], 1.0);
    println!("{found:?}");
    assert!(found.worst < 1e-9 && found.range.1 > 100.0, "{found:?}");
}

/// A bias of a gate, in all its units.
fn gate_bias(params: &mut CellParams<f64>, gate: usize, value: f64) {
    let hidden = params.hidden();
    params["bias_ih"].data_mut()[gate * hidden..(gate + 1) * hidden].fill(value);
}

#[test]
fn extreme_settings_have_the_norms_of_a_scaled_reference() {
    let as_drawn = |_: &mut CellParams<f64>| {};
    let (steps, hidden) = (120, 5);
    let losses = [steps - 1, steps / 2, 0];
    let mut count = 0;
    let mut check = |name: &str, found: Compared, tolerance: f64| {
        println!("{name}: {found:?}");
        assert!(found.worst < tolerance && found.counts.0 > 0, "{name}: {found:?}");
        count += 1;
    };
    // Vanishing: every cell with tiny recurrent weights.
    for cell in cells() {
        let found = compared(&network::<f64>(cell, hidden, 1e-9, as_drawn), steps, &losses, 1.0);
        check(&format!("{cell}, weights of 1e-9"), found, 1e-6);
        let found = compared(&network::<f32>(cell, hidden, 1e-9, as_drawn), steps, &losses, 1.0);
        check(&format!("{cell}, weights of 1e-9, f32"), found, 1e-3);
    }
    // Growing: states that have no bound, over fewer steps.
    for (cell, gain) in [("rnn_relu", 20.0), ("rnn_identity", 20.0)] {
        let found = compared(&network::<f64>(cell, hidden, gain, as_drawn), 90, &[89, 40], 1.0);
        check(&format!("{cell}, weights of {gain}"), found, 1e-6);
    }
    for alpha in ["1e-12", "1e-3", "1.0"] {
        let found = compared(
            &network::<f64>(&format!("rnn_leaky:{alpha}"), hidden, 1.5, as_drawn),
            steps,
            &losses,
            1.0,
        );
        check(&format!("leak of {alpha}"), found, 1e-6);
    }
    // The forget gate of an LSTM, the update gate of a GRU: open, closed, and so closed that a step loses 10^−260.
    for (cell, gate) in
        [("lstm", 1), ("lstm_peephole", 1), ("lstm_projected", 1), ("gru", 1), ("gru_reset_before", 1)]
    {
        // The gate that a peephole belongs to has nothing else of its size: its square has to be within the range of f64.
        let shut = if cell == "lstm_peephole" { -300.0 } else { -600.0 };
        for bias in [shut, -30.0, 12.0] {
            let change = |params: &mut CellParams<f64>| gate_bias(params, gate, bias);
            let found = compared(&network::<f64>(cell, hidden, 1.0, change), steps, &losses, 1.0);
            check(&format!("{cell}, bias of {bias}"), found, 1e-3);
        }
    }
    // Large weights, saturated units; losses of any size.
    for (cell, gain) in
        [("rnn", 4.0), ("lstm", 8.0), ("gru", 8.0), ("min_gru", 8.0), ("lstm_layer_norm", 100.0)]
    {
        let found = compared(&network::<f64>(cell, hidden, gain, as_drawn), steps, &losses, 1.0);
        check(&format!("{cell}, weights of {gain}"), found, 1e-3);
    }
    for size in [1e-290, 1e250] {
        let found = compared(&network::<f64>("lstm", hidden, 1.0, as_drawn), steps, &losses, size);
        check(&format!("losses of {size:e}"), found, 1e-6);
    }
    assert!(count >= 20);
}
