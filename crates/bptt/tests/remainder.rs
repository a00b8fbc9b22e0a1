//! With a tolerance, what is too small to be itemized is one row, and everything still adds up.

use crate::common;

use bptt::{
    CellParams, EntryState, Error, Inputs, ItemizeOptions, Ledger, Losses, Matrix, Network, Parameter,
    Reduction, ScanOptions, Select, Sequence, Weights, cell_by_name,
};
use common::{Normals, Shape, norm};

fn shape(cell: &'static str, layers: usize, batch: usize) -> Shape {
    Shape {
        seed: 3,
        cell,
        steps: 40,
        batch,
        inputs: 3,
        hidden: 6,
        outputs: 3,
        layers,
        bidirectional: false,
        options: [false; 3],
        one_hot: false,
        squared: true,
        mask: 2,
        reduction: Reduction::Sum,
    }
}

fn with(tolerance: f64) -> ItemizeOptions<'static, f64> {
    ItemizeOptions { tolerance: Some(tolerance), gates: true, ..ItemizeOptions::default() }
}

/// A linear unit h_t = 0.5 h_{t-1} + x with losses of seed 1 at every step.
fn linear_unit(steps: usize, options: ScanOptions<f64>) -> Result<Ledger, Error> {
    let mut layer = CellParams::zeros(cell_by_name("rnn_identity").unwrap().spec(), 1, 1);
    layer["weight_hh"].data_mut()[0] = 0.5;
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
    let network = Network::new(cell_by_name("rnn_identity")?, weights)?;
    let inputs = Inputs::Dense(Sequence::zeros(steps, 1, 1));
    let trace = network.scan_with(inputs, &network.zero_state(1), options)?;
    let losses = Losses::from_seeds(Sequence::new(steps, 1, 1, &vec![1.0; steps])?);
    network.itemize(&trace, &losses, &with(1e-3))
}

#[test]
fn a_row_falls_where_it_is_a_thousandth_of_its_largest() {
    let ledger = linear_unit(200, ScanOptions::default()).unwrap();
    assert_eq!(ledger.tolerance(), Some(1e-3));
    assert!(ledger.worst_balance() < 1e-12);
    let bias = ledger.entry(0, Parameter::BIAS).unwrap();
    // 0.5^9 is above, 0.5^10 is not.
    let states = [100, 91, 90, 0].map(|t| bias.state(100, t));
    assert_eq!(states, [EntryState::Value, EntryState::Value, EntryState::Remainder, EntryState::Remainder]);
    assert_eq!((bias.norm(100, 91), bias.norm(100, 90)), (Some(0.5f64.powi(9)), None));
    for t in 0..200 {
        let remainder = (t + 10..200).map(|k| 0.5f64.powi(i32::try_from(k - t).unwrap())).sum::<f64>();
        let found = bias.remainder_norm(t).unwrap();
        assert!((found - remainder).abs() <= 1e-14 * remainder, "{t}: {found} {remainder}");
    }
    assert_eq!(bias.remainder_log10_norm(195), Some(f64::NEG_INFINITY));
    let h0 = &ledger.per_loss()[0];
    assert_eq!((h0.norm[9], h0.norm[10]), (Some(0.5f64.powi(10)), None));
    let remainder: f64 = (10..200).map(|k| 0.5f64.powi(k + 1)).sum();
    assert!((h0.remainder.unwrap().0 - remainder).abs() < 1e-15);
    // What is itemized is enough for these.
    assert!((bias.decay().unwrap() - 0.5f64.ln()).abs() < 1e-12);
    assert_eq!(bias.horizon(0.99), Some(6));
}

#[test]
fn what_is_cut_off_is_not_in_the_remainder() {
    let ledger = linear_unit(30, ScanOptions { detach: vec![5, 25], ..ScanOptions::default() }).unwrap();
    let bias = ledger.entry(0, Parameter::BIAS).unwrap();
    let states = [(20, 11), (20, 10), (20, 4), (29, 24), (26, 25)].map(|(k, t)| bias.state(k, t));
    let [cut_at_5, cut_at_25] = [EntryState::Cut(5), EntryState::Cut(25)];
    assert_eq!(states, [EntryState::Value, EntryState::Remainder, cut_at_5, cut_at_25, EntryState::Value]);
}

/// For every cell and depth: what is itemized is as without a tolerance, the remainder is the sum of the other
/// components, and shares add up. Below another layer, what came down from losses that ended in the remainder there is in the
/// remainder as well, so only sums can be compared.
#[test]
fn the_remainder_is_the_sum_of_what_is_not_told_apart() {
    let cells = ["rnn", "lstm", "gru", "gru_reset_before", "rnn_relu"];
    for (i, cell) in cells.into_iter().enumerate() {
        for (layers, batch) in [(1, 1), (2, 2), (3, 1 + 30 * (i % 2))] {
            // Lengths and resets, which cut most losses short, and dropout.
            let options = [layers == 2, layers == 2, layers == 3];
            let problem = Shape { options, ..shape(cell, layers, batch) }.problem();
            let (trace, network) = (problem.scan().unwrap(), &problem.network);
            let losses = network.losses(&trace, &problem.objective).unwrap();
            let exact = ItemizeOptions { gates: true, ..ItemizeOptions::default() };
            let exact = network.itemize(&trace, &losses, &exact).unwrap();
            let ledger = network.itemize(&trace, &losses, &with(0.05)).unwrap();
            assert!(ledger.worst_balance() < 1e-12, "{cell} {:?}", ledger.balance());
            let components = network.components(&trace, &losses, Select::All).unwrap();
            let mut count = 0;
            for (entry, exact) in ledger.entries().iter().zip(exact.entries()) {
                let of = |c: &bptt::Component<f64>| -> Vec<f64> {
                    c.get(entry.parameter).unwrap().data().to_vec()
                };
                let top = entry.cell.layer + 1 == layers;
                for t in 0..40 {
                    let mut share = entry.remainder_share(t).unwrap();
                    let mut remainder: Vec<f64> = Vec::new();
                    let mut scale = 0.0;
                    for c in components.iter().filter(|c| c.t == t && c.cell == entry.cell) {
                        if entry.state(c.k, t) == EntryState::Remainder {
                            count += 1;
                            scale += norm([&of(c)]);
                            remainder.resize(of(c).len(), 0.0);
                            remainder.iter_mut().zip(of(c)).for_each(|(sum, v)| *sum += v);
                        } else if top && !matches!(entry.state(c.k, t), EntryState::Cut(_)) {
                            // Products of fewer rows may round otherwise, and sequences may cancel each other.
                            let equal = |a: Option<f64>, b: Option<f64>| {
                                a == b || (a.unwrap() - b.unwrap()).abs() <= 1e-8 * (1.0 + b.unwrap())
                            };
                            assert!(equal(entry.norm(c.k, t), exact.norm(c.k, t)), "{cell} ({}, {t})", c.k);
                            assert!(equal(entry.gate_norm(c.k, t, 0), exact.gate_norm(c.k, t, 0)));
                        }
                        share += entry.share(c.k, t).unwrap_or(0.0);
                    }
                    let expected: f64 = (0..40).filter_map(|k| exact.share(k, t)).sum();
                    // Shares of one sequence are kept in f32.
                    let kept = if batch == 1 { 1e-7 } else { 1e-10 };
                    let close = (share - expected).abs() <= kept / exact.cancellation();
                    assert!(close || exact.total_norm() == 0.0, "{cell} {t}: {share} {expected}");
                    let (found, expected) = (entry.remainder_norm(t).unwrap(), norm([&remainder]));
                    // A norm from inner products loses half the digits where sequences cancel each other.
                    let close = !top || (found - expected).abs() <= 1e-7 * scale;
                    assert!(close, "{cell} {t}: {found} {expected}");
                }
            }
            assert!(layers == 2 || count > 200, "{cell} {layers} {batch}: {count}");
            for (of, exact) in ledger.per_loss().iter().zip(exact.per_loss()) {
                let shares: f64 = (0..40).filter_map(|k| of.share(k)).sum();
                let all: f64 = (0..40).filter_map(|k| exact.share(k)).sum();
                let difference = (shares + of.remainder_share().unwrap_or(0.0) - all).abs();
                // Where no loss reaches h0 there is nothing to share.
                assert!(all.is_nan() || difference < 1e-9, "{cell} {:?}: {difference}", of.parameter);
            }
        }
    }
}

#[test]
fn nothing_falls_at_a_tolerance_of_zero_and_threads_do_not_matter() {
    let problem = shape("lstm", 2, 3).problem();
    let trace = problem.scan().unwrap();
    let losses = problem.network.losses(&trace, &problem.objective).unwrap();
    let at = |tolerance, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = ItemizeOptions { tolerance, ..ItemizeOptions::default() };
        pool.install(|| problem.network.itemize(&trace, &losses, &options).unwrap())
    };
    let (none, zero) = (at(None, 1), at(Some(0.0), 2));
    for (none, zero) in none.entries().iter().zip(zero.entries()) {
        for (k, t) in (0..40).flat_map(|k| (0..40).map(move |t| (k, t))) {
            assert_eq!((none.norm(k, t), none.state(k, t)), (zero.norm(k, t), zero.state(k, t)));
        }
    }
    assert_eq!(format!("{:?}", at(Some(1e-2), 1)), format!("{:?}", at(Some(1e-2), 4)));
}

#[test]
fn what_has_no_remainder_is_refused() {
    let refused = |shape: Shape, tolerance: f64| {
        let problem = shape.problem();
        let trace = problem.scan().unwrap();
        let losses = problem.network.losses(&trace, &problem.objective).unwrap();
        problem.network.itemize(&trace, &losses, &with(tolerance)).unwrap_err().to_string()
    };
    for tolerance in [1.0, -0.1, f64::NAN] {
        let message = refused(shape("rnn", 1, 1), tolerance);
        assert!(
            message.starts_with("tolerance: ") && message.ends_with("expected a fraction from 0 to below 1")
        );
    }
    let message = refused(Shape { bidirectional: true, ..shape("rnn", 1, 1) }, 1e-3);
    assert!(message.contains("reads in both directions"), "{message}");
}

/// In single precision and over a long way: the rest of a vanishing network's gradient is small and the balance holds.
#[test]
fn a_long_vanishing_network_balances_in_both_precisions() {
    let mut random = Normals(9);
    let cell = cell_by_name("rnn").unwrap();
    let mut layer = random.params(&*cell, 4, 16, 0.5);
    layer["bias_ih"] = Matrix::zeros(1, 16);
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
    let network = Network::new(cell, weights).unwrap();
    let inputs = Sequence::new(600, 1, 4, &random.vector(600 * 4, 1.0)).unwrap();
    let seeds = Sequence::new(600, 1, 16, &random.vector(600 * 16, 1.0)).unwrap();
    let trace = network.scan(Inputs::Dense(inputs.clone()), &network.zero_state(1)).unwrap();
    let losses = Losses::from_seeds(seeds.clone());
    let ledger = network.itemize(&trace, &losses, &with(1e-8)).unwrap();
    assert!(ledger.worst_balance() < 1e-12, "{:?}", ledger.balance());
    let entry = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
    let remainder = (0..600).filter(|&t| entry.state(599, t) == EntryState::Remainder).count();
    assert!(remainder > 500, "{remainder}");
    let share: f64 = (0..600).filter_map(|t| entry.remainder_share(t)).sum();
    assert!(share != 0.0 && share.abs() < 1e-6, "{share}");

    let network = network.cast::<f32>().unwrap();
    let trace = network.scan(Inputs::Dense(inputs.cast()), &network.zero_state(1)).unwrap();
    let options = ItemizeOptions { tolerance: Some(1e-8), ..ItemizeOptions::default() };
    let ledger = network.itemize(&trace, &Losses::from_seeds(seeds.cast()), &options).unwrap();
    assert!(ledger.worst_balance() < 2e-6, "{:?}", ledger.balance());
}
