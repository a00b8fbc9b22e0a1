//! Ledgers with all kinds of entries.

use bptt::{
    CellParams, Inputs, ItemizeOptions, Ledger, Losses, Network, ScanOptions, Sequence, Weights, cell_by_name,
};

/// A network with sinusoidal weights, of `steps` steps with a loss at each; `scale` scales W_hh.
pub fn ledger(cell: &str, steps: usize, scale: f64, options: ScanOptions<f64>) -> Ledger {
    let (inputs, hidden) = (2, 3);
    let cell = cell_by_name(cell).unwrap();
    let mut layer = CellParams::<f64>::zeros(cell.spec(), inputs, hidden);
    let wave = |i: usize, phase: f64| (i as f64 * 1.7 + phase).sin();
    layer["weight_ih"].data_mut().iter_mut().enumerate().for_each(|(i, w)| *w = wave(i, 0.3));
    layer["weight_hh"].data_mut().iter_mut().enumerate().for_each(|(i, w)| *w = scale * wave(i, 1.1));
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
    let network = Network::new(cell, weights).unwrap();
    let x: Vec<f64> = (0..steps * inputs).map(|i| wave(i, 0.0)).collect();
    let x = Inputs::Dense(Sequence::new(steps, 1, inputs, &x).unwrap());
    let burn_in = options.burn_in;
    let trace = network.scan_with(x, &network.zero_state(1), options).unwrap();
    let seed = |i: usize| if i / hidden < burn_in { 0.0 } else { wave(i, 2.0) };
    let seeds: Vec<f64> = (0..steps * hidden).map(seed).collect();
    let mut losses = Losses::from_seeds(Sequence::new(steps, 1, hidden, &seeds).unwrap());
    losses.present = (0..steps).map(|k| k >= burn_in).collect();
    let options = ItemizeOptions { gates: true, ..ItemizeOptions::default() };
    network.itemize(&trace, &losses, &options).unwrap()
}
