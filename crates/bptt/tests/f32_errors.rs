//! The estimated errors of ledgers in f32, compared with the true ones.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // weights in f32, and symbols

use bptt::{
    CellParams, Inputs, ItemizeOptions, Ledger, Losses, Network, Objective, Readout, Reduction, Sequence,
    Symbols, Targets, Weights, cell_by_name, in_f64,
};

/// T, from which on 64 losses are itemized again.
const STEPS: usize = 512;

/// Symbols that are read and predicted.
const SYMBOLS: usize = 4;

/// Numbers in ±`size` that repeat with no short period.
fn numbers(count: usize, seed: f64, size: f64) -> impl Iterator<Item = f64> {
    (0..count).map(move |i| size * (seed + 12.9898 * (i as f64 + 1.0)).sin())
}

/// The ledger in f32 with estimates, and the one in f64.
fn ledgers(cell: &str, steps: usize, bidirectional: bool) -> (Ledger, Ledger) {
    let (hidden, cell) = (8, cell_by_name(cell).unwrap());
    let directions = if bidirectional { 2 } else { 1 };
    let of_direction = |seed: usize| {
        let mut params = CellParams::<f32>::zeros(cell.spec(), SYMBOLS, hidden);
        for (i, tensor) in params.tensors_mut().iter_mut().enumerate() {
            let new = numbers(tensor.data().len(), (3 * seed + i) as f64, 0.6);
            tensor.data_mut().iter_mut().zip(new).for_each(|(w, new)| *w = new as f32);
        }
        params
    };
    let mut readout = Readout::zeros(directions * hidden, SYMBOLS);
    let new = numbers(readout.w_hy.data().len(), 7.0, 0.8);
    readout.w_hy.data_mut().iter_mut().zip(new).for_each(|(w, new)| *w = new as f32);
    let cells = (0..directions).map(of_direction).collect();
    let weights = Weights { cells, bidirectional, readout: Some(readout) };
    let network = Network::new(cell, weights).unwrap();
    let exact = network.cast::<f64>().unwrap();

    let ids = |seed: f64| -> Symbols {
        let ids = numbers(2 * steps, seed, 1.0).map(|v| (1e4 * v.abs()) as u32 % SYMBOLS as u32);
        Symbols::new(steps, 2, ids.collect()).unwrap()
    };
    let inputs = ids(0.3);
    let options = ItemizeOptions { inputs: true, ..ItemizeOptions::default() };
    let cache = network.scan(Inputs::Symbols(inputs.clone()), &network.zero_state(2)).unwrap();
    let targets = Targets::CrossEntropy(ids(0.9));
    let losses =
        network.losses(&cache, &Objective { targets, mask: None, reduction: Reduction::Sum }).unwrap();
    let mut ledger = network.itemize(&cache, &losses, &options).unwrap();

    let cache = in_f64::scan(&exact, Inputs::Symbols(inputs), &exact.zero_state(2)).unwrap();
    let targets = Targets::CrossEntropy(ids(0.9));
    let objective = Objective { targets, mask: None, reduction: Reduction::Sum };
    let losses = in_f64::losses(&exact, &cache, &objective).unwrap();
    ledger.estimate_errors(&exact, &cache, &losses).unwrap();
    let options = ItemizeOptions { inputs: true, ..ItemizeOptions::default() };
    (ledger, in_f64::itemize(&exact, &cache, &losses, &options).unwrap())
}

#[test]
fn estimates_are_above_nearly_all_errors_and_not_far_above() {
    for (cell, bidirectional) in [("rnn", false), ("lstm", false), ("gru", false), ("rnn", true)] {
        let (ledger, exact) = ledgers(cell, STEPS, bidirectional);
        let (mut ratios, mut below) = (Vec::new(), 0);
        for (found, exact) in ledger.entries().iter().zip(exact.entries()) {
            for (k, t) in (0..STEPS).flat_map(|k| (0..STEPS).map(move |t| (k, t))) {
                assert_eq!(found.relative_error(k, t).is_some(), found.norm(k, t).is_some(), "({k}, {t})");
                let Some((of_found, of_exact)) = found.log10_norm(k, t).zip(exact.log10_norm(k, t)) else {
                    continue;
                };
                if of_found == of_exact {
                    continue;
                }
                let error = (10f64.powf(of_found - of_exact) - 1.0).abs();
                let ratio = found.relative_error(k, t).unwrap() / error;
                below += usize::from(ratio < 1.0);
                ratios.push(ratio);
            }
        }
        ratios.sort_by(f64::total_cmp);
        let (share, median) = (below as f64 / ratios.len() as f64, ratios[ratios.len() / 2]);
        assert!(
            share < 1e-3 && (2.0..50.0).contains(&median),
            "{cell}: {share} below, median ratio {median}"
        );
    }
}

#[test]
fn without_a_comparison_there_is_no_estimate_and_other_problems_are_refused() {
    let (mut ledger, exact) = ledgers("rnn", 20, false);
    assert!(exact.entries().iter().all(|entry| entry.relative_error(3, 2).is_none()));
    let cell = cell_by_name("rnn_identity").unwrap();
    let params = CellParams::<f64>::zeros(cell.spec(), 1, 1);
    let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
    let network = Network::new(cell, weights).unwrap();
    let cache = network.scan(Inputs::Dense(Sequence::zeros(5, 1, 1)), &network.zero_state(1)).unwrap();
    let losses = Losses::from_seeds(Sequence::zeros(5, 1, 1));
    let error = ledger.estimate_errors(&network, &cache, &losses).unwrap_err();
    assert!(error.to_string().contains("20 steps"), "{error}");
}
