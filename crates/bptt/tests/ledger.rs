//! What the ledger says in cases whose answer is known in closed form.

use crate::common;

use std::sync::Arc;

use bptt::{
    Backward, Cell, CellParams, CellSpec, Entry, EntryState, Error, Forward, Inputs, ItemizeOptions, Ledger,
    Losses, Matrix, Network, Parameter, Real, Sequence, StepCache, StepWeights, Weights, cell_by_name,
};

/// One linear unit, h_t = x_t + w h_{t-1}, with a unit seed at every step: |component (k, t)| of b is w^(k−t).
fn linear_unit<T: Real>(w: f64, steps: usize, x: f64, seeds: &[f64]) -> (Network<T>, Losses<T>, Inputs<T>) {
    let mut layer = CellParams::zeros(cell_by_name("rnn_identity").unwrap().spec(), 1, 1);
    layer["weight_ih"].data_mut()[0] = T::one();
    layer["weight_hh"].data_mut()[0] = T::of(w);
    let cell = cell_by_name("rnn_identity").unwrap();
    let network =
        Network::new(cell, Weights { cells: vec![layer], bidirectional: false, readout: None }).unwrap();
    let x = Sequence::new(steps, 1, 1, &vec![T::of(x); steps]).unwrap();
    let seeds = Sequence::new(steps, 1, 1, &seeds.iter().map(|&s| T::of(s)).collect::<Vec<_>>()).unwrap();
    (network, Losses::from_seeds(seeds), Inputs::Dense(x))
}

fn ledger_of<T: Real>((network, losses, inputs): (Network<T>, Losses<T>, Inputs<T>)) -> Ledger {
    let trace = network.scan(inputs, &network.zero_state(1)).unwrap();
    network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap()
}

fn bias(ledger: &Ledger) -> &Entry {
    ledger.entry(0, Parameter::BIAS).unwrap()
}

#[test]
fn a_linear_unit_decays_by_its_weight() {
    let ledger = ledger_of(linear_unit::<f64>(0.5, 20, 1.0, &[1.0; 20]));
    let bias = bias(&ledger);
    for k in 0..20 {
        for t in 0..=k {
            let expected = 0.5f64.powf((k - t) as f64);
            assert_eq!(bias.norm(k, t), Some(expected));
            assert!((bias.log10_norm(k, t).unwrap() - expected.log10()).abs() < 1e-12);
        }
    }
    assert!((bias.decay().unwrap() - 0.5f64.ln()).abs() < 1e-12);
    // Σ_{τ<n} 2^-τ reaches 99 % of its limit at n = 7.
    assert_eq!(bias.horizon(0.99), Some(6));
    assert_eq!(bias.horizon_of_loss(19, 0.99), Some(6));
    assert_eq!(bias.horizon_of_loss(2, 0.99), Some(2));
    assert!((bias.cancellation() - 1.0).abs() < 1e-12);
    // h0 = 0, so step 0 contributes nothing to W_hh and the farthest medians are zeros, not holes.
    let w_hh = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
    assert_eq!(w_hh.horizon(0.99), Some(6));
    assert!(w_hh.profile().iter().all(|p| p.log10.iter().all(|v| !v.is_nan())));
    let profile = bias.profile();
    assert_eq!((profile.len(), profile[3].lag, profile[3].losses), (20, 3, 17));
}

#[test]
fn contributions_that_pull_against_each_other_cancel() {
    let seeds: Vec<f64> = (0..20).map(|k| if k % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let ledger = ledger_of(linear_unit::<f64>(0.0, 20, 1.0, &seeds));
    // With w = 0 the components of b are the seeds themselves: they sum to 0 and the ledger still balances.
    assert_eq!(bias(&ledger).total_norm(), 0.0);
    assert_eq!(bias(&ledger).cancellation(), 0.0);
    assert!(bias(&ledger).share(3, 3).unwrap().is_nan() || bias(&ledger).share(3, 3).unwrap().is_infinite());
    assert_eq!(bias(&ledger).state(3, 2), EntryState::Zero);
}

/// 0.1^τ leaves f32 after 38 steps and f64 after 308; the logarithm goes on.
#[test]
fn underflow_is_told_from_zero_and_its_logarithm_is_kept() {
    let mut single = linear_unit::<f32>(0.1, 60, 1.0, &[1.0; 60]);
    single.1.present[50] = false;
    let single = ledger_of(single);
    assert_eq!(bias(&single).state(59, 59), EntryState::Value);
    assert_eq!(bias(&single).state(59, 59 - 37), EntryState::Value);
    assert_eq!(bias(&single).state(59, 59 - 39), EntryState::Underflow);
    assert!((bias(&single).log10_norm(59, 0).unwrap() + 59.0).abs() < 1e-4);
    assert_eq!(bias(&single).state(50, 3), EntryState::Masked);
    assert_eq!(bias(&single).state(3, 50), EntryState::Unreached);
    // h0 = 0, so step 0 contributes exactly nothing to W_hh.
    assert_eq!(single.entry(0, Parameter::WEIGHT_HH).unwrap().state(59, 0), EntryState::Zero);

    let double = ledger_of(linear_unit::<f64>(0.1, 400, 1.0, &[1.0; 400]));
    assert_eq!(bias(&double).state(399, 399 - 307), EntryState::Value);
    assert_eq!(bias(&double).state(399, 399 - 309), EntryState::Underflow);
    assert_eq!(bias(&double).norm(399, 0), Some(0.0));
    assert!((bias(&double).log10_norm(399, 0).unwrap() + 399.0).abs() < 1e-9);
    assert!((bias(&double).decay().unwrap() - 0.1f64.ln()).abs() < 1e-10);
    assert!(double.worst_balance() < 1e-15);
    assert!((double.per_loss()[0].log10_norm[399].unwrap() + 400.0).abs() < 1e-9);
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let mut random = common::Normals(11);
    for name in ["rnn", "lstm", "gru"] {
        let cell = cell_by_name(name).unwrap();
        let layers = vec![random.params(&*cell, 5, 8, 1.0), random.params(&*cell, 8, 8, 1.0)];
        let network =
            Network::new(cell, Weights { cells: layers, bidirectional: false, readout: None }).unwrap();
        let inputs = Inputs::Dense(Sequence::new(90, 3, 5, &random.vector(90 * 15, 1.0)).unwrap());
        let losses = Losses::from_seeds(Sequence::new(90, 3, 8, &random.vector(90 * 24, 1.0)).unwrap());
        let trace = network.scan(inputs, &network.zero_state(3)).unwrap();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let ledger =
                pool.install(|| network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap());
            format!("{ledger:?}")
        };
        let one = on(1);
        assert!(one == on(2) && one == on(4), "{name}");
    }
}

#[test]
fn shares_follow_the_update_they_are_measured_against() {
    let (network, losses, inputs) = linear_unit::<f64>(0.5, 3, 2.0, &[0.0, 0.0, 1.0]);
    let trace = network.scan(inputs, &network.zero_state(1)).unwrap();
    // Components of W_ih are x · 0.5^τ = 2, 1, ½; whatever the update's size, shares are 4 : 2 : 1.
    let mut update = network.weights().zeros_like();
    update.cells[0]["weight_ih"].data_mut()[0] = -7.0;
    let options = ItemizeOptions { update: Some(&update), ..ItemizeOptions::default() };
    let ledger = network.itemize(&trace, &losses, &options).unwrap();
    let entry = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
    for (t, expected) in [1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0].into_iter().enumerate() {
        assert!((entry.share(2, t).unwrap() - expected).abs() < 1e-15);
    }
}

#[test]
fn what_is_not_finite_is_named_with_its_place() {
    let (network, losses, _) = linear_unit::<f64>(1.0, 3, 1.0, &[1.0; 3]);
    let x = Inputs::Dense(Sequence::new(3, 1, 1, &[1.0, f64::INFINITY, 1.0]).unwrap());
    let trace = network.scan(x, &network.zero_state(1)).unwrap();
    let error = network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "hidden state of layer 0 is not finite at step 1, sequence 0");
}

#[test]
fn an_update_of_another_shape_is_refused() {
    let (network, losses, inputs) = linear_unit::<f64>(1.0, 2, 1.0, &[1.0; 2]);
    let trace = network.scan(inputs, &network.zero_state(1)).unwrap();
    let mut update = network.weights().clone();
    update.cells[0]["weight_hh"] = Matrix::zeros(1, 2);
    let options = ItemizeOptions { update: Some(&update), ..ItemizeOptions::default() };
    let error = network.itemize(&trace, &losses, &options).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    assert!(error.to_string().contains("weight_hh_l0"), "{error}");
}

/// One unit of `cell` whose gates read x times their own weight and nothing else.
fn unit_of(cell: &str, weights: &[f64], x: &[f64]) -> Vec<bptt::GateSaturation> {
    let cell = cell_by_name(cell).unwrap();
    let mut layer = CellParams::zeros(cell.spec(), 1, 1);
    layer["weight_ih"].data_mut().copy_from_slice(weights);
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
    let network = Network::new(cell, weights).unwrap();
    let inputs = Inputs::Dense(Sequence::new(x.len(), 1, 1, x).unwrap());
    let trace = network.scan(inputs, &network.zero_state(1)).unwrap();
    network.saturation(&trace)
}

#[test]
fn saturation_counts_both_ends_of_every_gates_range() {
    // |tanh a| passes 0.95 at 1.8318, and σ(a) its outer fortieths at ±3.6636: twice that.
    let x = [-1.0, 0.5, 1.0, 1.001];
    let found = unit_of("lstm", &[3.66, 3.67, 1.8309, 10.0], &x);
    let saturated: Vec<_> = found.iter().map(|of| (of.gate, of.saturated.unwrap())).collect();
    assert_eq!(saturated, [("i", (0.0, 0.25)), ("f", (0.25, 0.5)), ("g", (0.0, 0.25)), ("o", (0.25, 0.75))]);
    assert_eq!(unit_of("rnn", &[1.84], &x)[0].saturated, Some((0.25, 0.5)));
    let gru = unit_of("gru", &[3.67, 0.0, 1.84], &x);
    assert_eq!(gru.iter().map(|of| of.saturated.unwrap().1).collect::<Vec<_>>(), [0.5, 0.0, 0.5]);
    assert!(gru.iter().all(|of| of.dead.is_none()));
}

#[test]
fn a_relu_unit_that_never_answers_is_dead() {
    assert_eq!(unit_of("rnn_relu", &[1.0], &[-1.0, -0.5])[0].dead, Some(vec![0]));
    let alive = unit_of("rnn_relu", &[1.0], &[-1.0, 0.5]);
    assert_eq!((alive[0].dead.clone(), alive[0].saturated), (Some(vec![]), None));
}

/// A cell whose backward step is not linear: what it gives each loss alone does not add up to what it gives all together.
#[derive(Clone, Debug)]
struct NotLinear(Arc<CellSpec>);

impl<T: Real> Cell<T> for NotLinear {
    fn spec(&self) -> &Arc<CellSpec> {
        &self.0
    }

    fn step(&self, _: &StepWeights<'_, T>, step: Forward<'_, T>) {
        let [h, ..] = step.next;
        if !h.is_empty() {
            h.copy_from_slice(step.gates);
        }
    }

    fn vjp(&self, _: usize, _: &CellParams<T>, _: &StepCache<'_, T>, rows: Backward<'_, T>) {
        let ([dh, ..], [da, ..]) = (rows.states, rows.adjoints);
        da.iter_mut().zip(dh).for_each(|(da, dh)| *da = dh.abs());
    }
}

#[test]
fn a_ledger_that_does_not_balance_is_an_error_that_names_the_parameter() {
    let (network, _, inputs) = linear_unit::<f64>(1.0, 3, 1.0, &[1.0; 3]);
    let network =
        Network::new(Arc::new(NotLinear(Arc::clone(network.spec()))), network.weights().clone()).unwrap();
    let trace = network.scan(inputs, &network.zero_state(1)).unwrap();
    let losses = Losses::from_seeds(Sequence::new(3, 1, 1, &[1.0, -1.0, 1.0]).unwrap());
    let error = network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap_err();
    assert!(matches!(&error, Error::Balance { parameter, .. } if parameter == "weight_ih_l0"), "{error}");
}

/// A sequence without a loss has a row of zeros beside one that has vanished far: it must not hide it.
#[test]
fn a_masked_sequence_does_not_turn_underflow_into_zero() {
    let (network, _, _) = linear_unit::<f64>(0.1, 1, 1.0, &[1.0]);
    let inputs = Inputs::Dense(Sequence::new(400, 2, 1, &[1.0; 800]).unwrap());
    let trace = network.scan(inputs, &network.zero_state(2)).unwrap();
    let seeds: Vec<f64> = (0..800).map(|i| if i % 2 == 0 { 1.0 } else { 0.0 }).collect();
    let losses = Losses::from_seeds(Sequence::new(400, 2, 1, &seeds).unwrap());
    let ledger = network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
    assert_eq!(bias(&ledger).state(399, 0), EntryState::Underflow);
    assert!((bias(&ledger).log10_norm(399, 0).unwrap() + 399.0).abs() < 1e-9);
    assert!((ledger.per_loss()[0].log10_norm[399].unwrap() + 400.0).abs() < 1e-9);
}

/// Shares of h0 are known even where the square of its gradient would underflow.
#[test]
fn shares_of_a_vanished_initial_state_add_up() {
    let mut seeds = vec![0.0; 60];
    seeds[58..].fill(1.0);
    let ledger = ledger_of(linear_unit::<f32>(0.3, 60, 1.0, &seeds));
    let h0 = &ledger.per_loss()[0];
    let shares: f64 = (0..60).filter_map(|k| h0.share(k)).sum();
    assert!((shares - 1.0).abs() < 1e-5, "{shares}");
}
