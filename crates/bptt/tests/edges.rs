//! Ledgers at the edges: gradients that cancel, batches that cancel, states far out of range, one loss on a long sequence.

use bptt::{
    CellParams, EntryState, Error, ILL_CONDITIONED, Inputs, ItemizeOptions, Ledger, Losses, Matrix, Network,
    Objective, Parameter, Perturbed, Readout, Real, Reduction, Sequence, Targets, Weights, cell_by_name,
};
use nalgebra::{DMatrix, DVector};

use crate::common::Normals;

fn network<T: Real>(
    cell: &str,
    inputs: usize,
    hidden: usize,
    scale: f64,
    random: &mut Normals,
) -> Network<T> {
    let cell = cell_by_name(cell).unwrap();
    let params = random.params(&*cell, inputs, hidden, scale);
    Network::new(cell, Weights { cells: vec![params], bidirectional: false, readout: None })
        .unwrap()
        .cast()
        .unwrap()
}

fn ledger_of<T: Real>(network: &Network<T>, x: &Sequence<T>, losses: &Losses<T>) -> Result<Ledger, Error> {
    let cache = network.scan(Inputs::Dense(x.clone()), &network.zero_state(x.batch()))?;
    network.itemize(&cache, losses, &ItemizeOptions::default())
}

fn worst_conditioning(ledger: &Ledger) -> f64 {
    ledger.balance().iter().map(|of| of.conditioning).filter(|c| c.is_finite()).fold(1.0, f64::min)
}

/// A readout that is the least-squares solution, as of an echo-state network: the gradients of single losses are large and
/// add up to about nothing.
#[test]
fn a_converged_readout_has_a_ledger() {
    let (steps, inputs, hidden) = (60, 2, 12);
    for (cell, ridge) in [("rnn", 0.0), ("rnn", 1e-8), ("lstm", 0.0), ("gru", 1e-8)] {
        let mut random = Normals(11);
        let plain = network::<f64>(cell, inputs, hidden, 0.4, &mut random);
        let x = Sequence::new(steps, 1, inputs, &random.vector(steps * inputs, 1.0)).unwrap();
        let targets = random.vector(steps, 1.0);
        let cache = plain.scan(Inputs::Dense(x.clone()), &plain.zero_state(1)).unwrap();
        let h = DMatrix::from_row_slice(steps, hidden, cache.output().data());
        let h = h.insert_column(hidden, 1.0);
        let square = h.transpose() * &h + DMatrix::identity(hidden + 1, hidden + 1) * ridge;
        let solved = square.lu().solve(&(h.transpose() * DVector::from_row_slice(&targets))).unwrap();
        let mut readout = Readout::zeros(hidden, 1);
        readout.w_hy.data_mut().copy_from_slice(&solved.as_slice()[..hidden]);
        readout.b_y.data_mut()[0] = solved[hidden];
        let weights = Weights { readout: Some(readout), ..plain.weights().clone() };
        let network = Network::new(cell_by_name(cell).unwrap(), weights).unwrap();
        let cache = network.scan(Inputs::Dense(x), &network.zero_state(1)).unwrap();
        let objective = Objective {
            targets: Targets::SquaredError(Sequence::new(steps, 1, 1, &targets).unwrap()),
            mask: None,
            reduction: Reduction::Sum,
        };
        let losses = network.losses(&cache, &objective).unwrap();
        let ledger = network.itemize(&cache, &losses, &ItemizeOptions::default()).unwrap();
        let head = ledger.balance().iter().find(|of| of.parameter == "head.weight").unwrap();
        assert!(head.conditioning < 1e-6, "{cell} {ridge}: {}", head.conditioning);
        assert!(ledger.worst_balance() < 1e-13, "{cell} {ridge}: {}", ledger.worst_balance());
    }
}

/// Advantages of ±1 on equal sequences: every component cancels, in every batch size and cell.
#[test]
fn opposite_losses_of_equal_sequences_have_a_ledger_that_says_that_it_cancels() {
    for (cell, pairs) in [("rnn", 1), ("lstm", 2), ("gru", 3), ("gru_reset_before", 1), ("lstm_peephole", 1)]
    {
        let (steps, inputs, hidden) = (7, 2, 4);
        let mut random = Normals(5);
        let network = network::<f64>(cell, inputs, hidden, 0.7, &mut random);
        let batch = 2 * pairs;
        let (mut x, mut seeds) =
            (Sequence::zeros(steps, batch, inputs), Sequence::zeros(steps, batch, hidden));
        for t in 0..steps {
            for pair in 0..pairs {
                let (of_x, of_seed) = (random.vector(inputs, 1.0), random.vector(hidden, 1.0));
                for (b, sign) in [(2 * pair, 1.0), (2 * pair + 1, -1.0)] {
                    x.at_mut(t, b).copy_from_slice(&of_x);
                    seeds.at_mut(t, b).iter_mut().zip(&of_seed).for_each(|(to, seed)| *to = sign * seed);
                }
            }
        }
        let ledger = ledger_of(&network, &x, &Losses::from_seeds(seeds)).unwrap();
        assert!(ledger.worst_balance() < 1e-14, "{cell}: {}", ledger.worst_balance());
        assert!(worst_conditioning(&ledger) < ILL_CONDITIONED);
        let entry = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
        let size: f64 = (0..batch).map(|b| entry.sequence_norm(5, 2, b).unwrap()).sum();
        assert_eq!(entry.state(5, 2), EntryState::Cancelled, "{cell}");
        assert!(entry.norm(5, 2).unwrap() < 1e-15 * size, "{cell}: {:?} of {size}", entry.norm(5, 2));
    }
}

#[test]
fn saturated_gates_with_huge_inputs_have_a_ledger() {
    for cell in ["lstm", "gru", "gru_reset_before", "rnn"] {
        for size in [1e5, 1e7, 1e9] {
            let mut random = Normals(3);
            let network = network::<f64>(cell, 2, 4, 0.5, &mut random);
            let mut x = Sequence::new(9, 2, 2, &random.vector(36, 1.0)).unwrap();
            // Some inputs of ordinary size: gates that are open now and then.
            x.data_mut().iter_mut().enumerate().filter(|(i, _)| i % 5 != 0).for_each(|(_, x)| *x *= size);
            let losses = Losses::from_seeds(Sequence::new(9, 2, 4, &random.vector(72, 1.0)).unwrap());
            let ledger = ledger_of(&network, &x, &losses).unwrap();
            assert!(ledger.worst_balance() < 1e-10, "{cell} {size}: {}", ledger.worst_balance());
        }
    }
}

/// One linear unit with weight w: h_t = Σ w^(t−s) x_s, and ‖component (k, t)‖ of W_hh is w^(k−t) |h_{t−1}|.
fn linear<T: Real>(w: f64, steps: usize) -> (Network<T>, Sequence<T>, Losses<T>) {
    let cell = cell_by_name("rnn_identity").unwrap();
    let mut params = CellParams::<f64>::zeros(cell.spec(), 1, 1);
    params["weight_ih"].data_mut()[0] = 1.0;
    params["weight_hh"].data_mut()[0] = w;
    let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
    let network = Network::new(cell, weights).unwrap().cast().unwrap();
    let mut x = Sequence::zeros(steps, 1, 1);
    x.data_mut()[0] = T::one();
    let ones = vec![T::one(); steps];
    (network, x, Losses::from_seeds(Sequence::new(steps, 1, 1, &ones).unwrap()))
}

#[test]
fn states_far_out_of_range_are_neither_zero_nor_lost() {
    let far = |w: f64, steps: usize, one_loss: bool| {
        let (network, x, mut losses) = linear::<f64>(w, steps);
        if one_loss {
            losses.present = (0..steps).map(|t| t + 1 == steps).collect();
        }
        ledger_of(&network, &x, &losses).map(|ledger| (ledger, steps))
    };
    for (w, steps) in [(0.5, 700), (10.0, 170), (10.0, 300), (0.1, 300)] {
        let (ledger, steps) = far(w, steps, false).unwrap();
        let entry = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
        for (k, t) in [(1, 1), (steps - 1, 1), (steps - 1, steps / 2), (steps - 1, steps - 1)] {
            // w^(k−t) · w^(t−1).
            let expected = (k - 1) as f64 * w.log10();
            let found = entry.log10_norm(k, t).unwrap();
            assert!(
                (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                "{w} {k} {t}: {found} {expected}"
            );
            assert!(matches!(entry.state(k, t), EntryState::Value | EntryState::Underflow), "{w} {k} {t}");
        }
        assert!(entry.decay().unwrap().is_finite());
    }
    // In f64, 0.5^t is zero from t = 1075 on; before that, nothing is called so.
    let (ledger, steps) = far(0.5, 5000, true).unwrap();
    let entry = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
    let zeros = (1..steps).filter(|&t| entry.state(steps - 1, t) == EntryState::Zero).count();
    assert_eq!(zeros, steps - 1 - 1075);
    let error = far(10.0, 5000, true).unwrap_err();
    assert!(matches!(error, Error::NotFinite { step: 309, .. }), "{error}");
    // f32: squares of 1e-25 and 1e25 are out of its range, the norms are not.
    for (w, steps) in [(0.5, 140), (10.0, 38)] {
        let (network, x, losses) = linear::<f32>(w, steps);
        let ledger = ledger_of(&network, &x, &losses).unwrap();
        let entry = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
        let (found, expected) = (entry.log10_norm(steps - 1, 1).unwrap(), (steps - 2) as f64 * w.log10());
        assert!((found - expected).abs() < 1e-5 * expected.abs(), "{w}: {found} {expected}");
        let last = entry.log10_norm(steps - 1, steps - 1).unwrap();
        assert!((last - expected).abs() < 1e-5 * expected.abs(), "{w}: {last} {expected}");
        assert!(entry.share(steps - 1, steps - 1).unwrap().is_finite());
    }
}

/// 16 bits hold the powers of two of most ledgers of one sequence; here that of (599, 0) is −39,800.
#[test]
fn powers_of_two_beyond_16_bits_are_kept() {
    let (network, x, losses) = linear::<f64>(1e-20, 600);
    let ledger = ledger_of(&network, &x, &losses).unwrap();
    let entry = ledger.entry(0, Parameter::BIAS).unwrap();
    for (k, t) in [(0, 0), (10, 3), (200, 0), (599, 599), (599, 591), (599, 200), (599, 105), (599, 0)] {
        let expected = -20.0 * (k - t) as f64;
        let found = entry.log10_norm(k, t).unwrap();
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{k} {t}: {found} {expected}");
        assert_eq!(entry.sequence_norm(k, t, 0), entry.norm(k, t), "{k} {t}");
        // The total is that of 600 losses' own steps.
        let share = entry.share(k, t).unwrap();
        let size = if k == t { 1.0 / 600.0 } else { 10f64.powf(expected) / 600.0 };
        assert!((share - size).abs() < 1e-9, "{k} {t}: {share}");
    }
}

/// a · b as a sum of two numbers, exactly.
fn product(a: f64, b: f64) -> (f64, f64) {
    let high = a * b;
    (high, a.mul_add(b, -high))
}

/// Adds a number to a sum in twice the precision.
fn add((high, low): (f64, f64), number: f64) -> (f64, f64) {
    let sum = high + number;
    let back = sum - high;
    (sum, low + ((high - (sum - back)) + (number - back)))
}

/// ‖Σ_b d_b x_bᵀ‖ of random batches that cancel to between 1 and 1e-14 of their size, against the sums in twice the precision.
#[test]
fn norms_of_batches_that_cancel_have_the_error_that_their_state_says() {
    let mut worst_value = 0.0_f64;
    let mut random = Normals(17);
    for case in 0..1000 {
        let (pairs, inputs, hidden) = (1 + case % 4, 1 + case % 5, 1 + case % 3);
        let batch = 2 * pairs;
        let left = 10f64.powf(-14.0 * (case as f64 / 999.0));
        let cell = cell_by_name("rnn_identity").unwrap();
        let params = CellParams::<f64>::zeros(cell.spec(), inputs, hidden);
        let weights = Weights { cells: vec![params], bidirectional: false, readout: None };
        let network = Network::new(cell, weights).unwrap();
        let (mut x, mut seeds) = (Sequence::zeros(1, batch, inputs), Sequence::zeros(1, batch, hidden));
        for pair in 0..pairs {
            let (of_x, of_seed) = (random.vector(inputs, 1.0), random.vector(hidden, 1.0));
            for (b, factor) in [(2 * pair, 1.0), (2 * pair + 1, left - 1.0)] {
                x.at_mut(0, b).copy_from_slice(&of_x);
                seeds.at_mut(0, b).iter_mut().zip(&of_seed).for_each(|(to, seed)| *to = factor * seed);
            }
        }
        let mut square = 0.0;
        for i in 0..hidden {
            for j in 0..inputs {
                let terms = (0..batch).map(|b| product(seeds.at(0, b)[i], x.at(0, b)[j]));
                let (high, low) = terms.fold((0.0, 0.0), |sum, (high, low)| add(add(sum, high), low));
                square += (high + low).powi(2);
            }
        }
        let exact = square.sqrt();
        let ledger = ledger_of(&network, &x, &Losses::from_seeds(seeds.clone())).unwrap();
        let entry = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
        let size: f64 = (0..batch).map(|b| entry.sequence_norm(0, 0, b).unwrap()).sum();
        let found = entry.norm(0, 0).unwrap();
        match entry.state(0, 0) {
            EntryState::Value => worst_value = worst_value.max((found - exact).abs() / exact),
            EntryState::Cancelled => {
                assert!(
                    (found - exact).abs() < 10.0 * f64::EPSILON * size,
                    "{case}: {found} {exact} of {size}"
                );
                assert!(
                    exact < 1.01 * 16384.0 * f64::EPSILON * size,
                    "{case}: called cancelled at {}",
                    exact / size
                );
            }
            other => panic!("{case}: {other:?}"),
        }
    }
    println!("largest relative error of a norm called a value: {worst_value:.1e}");
    assert!(worst_value < 1e-3, "{worst_value}");
}

/// One loss at the end of a long sequence: what is not there takes neither time nor memory.
#[test]
fn one_loss_on_a_long_sequence_has_the_profile_of_its_row() {
    let steps = 30_000;
    let (network, x, mut losses) = linear::<f64>(0.999, steps);
    losses.present = (0..steps).map(|t| t + 1 == steps).collect();
    let ledger = ledger_of(&network, &x, &losses).unwrap();
    let entry = ledger.entry(0, Parameter::BIAS).unwrap();
    let profile = entry.profile();
    assert_eq!((profile.len(), profile[1234].losses), (steps, 1));
    assert!((entry.decay().unwrap() - 0.999_f64.ln()).abs() < 1e-9);
    // 99 % of Σ 0.999^τ lie within ln 0.01 / ln 0.999.
    let lags = 0.01_f64.ln() / 0.999_f64.ln();
    assert!((entry.horizon(0.99).unwrap() as f64 - lags).abs() < 2.0);
}

/// Beyond 1,024 steps every few are perturbed; what is measured of these is what it is in a shorter sequence.
#[test]
fn a_long_memory_profile_is_made_of_some_steps() {
    let mut random = Normals(23);
    let network = network::<f64>("lstm", 1, 3, 0.8, &mut random);
    let x = random.vector(1100, 1.0);
    let profile = |steps: usize| {
        let inputs = Inputs::Dense(Sequence::new(steps, 1, 1, &x[..steps]).unwrap());
        let cache = network.scan(inputs, &network.zero_state(1)).unwrap();
        let direction = Matrix::new(1, 3, vec![1.0, 0.0, 0.0]).unwrap();
        network.memory(&cache, Perturbed::State { layer: 0 }, Some(&direction)).unwrap()
    };
    let (long, short) = (profile(1100), profile(1000));
    let every = 1100_usize.div_ceil(256);
    for (s, t) in [(0, 0), (0, 999), (every, 40), (20 * every, 700), (150 * every, 150 * every)] {
        assert_eq!(long.log10_norm(0, s, t), short.log10_norm(0, s, t), "{s} {t}");
    }
    assert!(long.log10_norm(0, 1, 5).is_none() && short.log10_norm(0, 1, 5).is_some());
    assert!(long.horizon(0.99).unwrap().abs_diff(short.horizon(0.99).unwrap()) <= 2);
}
