//! What formats lose, where it is known in closed form, and in networks of every cell.

use crate::common;

use bptt::{
    CellParams, Format, Framework, FrameworkSums, Inputs, Matrix, Network, Objective, PrecisionAudit,
    Readout, Reduction, ScanOptions, Sequence, SumOrder, Targets, Weights, cell_by_name,
};
use common::Shape;

/// h_t = w · h_{t-1} over zeros, y = h, and targets such that each loss has a seed of 1: da_{k,t} = w^(k − t).
fn linear_unit(w: f64, steps: usize) -> PrecisionAudit {
    let mut layer = CellParams::zeros(cell_by_name("rnn_identity").unwrap().spec(), 1, 1);
    layer["weight_hh"].data_mut()[0] = w;
    let readout = Readout { w_hy: Matrix::new(1, 1, vec![1.0]).unwrap(), b_y: Matrix::zeros(1, 1) };
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: Some(readout) };
    let network = Network::new(cell_by_name("rnn_identity").unwrap(), weights).unwrap();
    let inputs = Inputs::Dense(Sequence::zeros(steps, 1, 1));
    let targets = Targets::SquaredError(Sequence::new(steps, 1, 1, &vec![-0.5; steps]).unwrap());
    let objective = Objective { targets, mask: None, reduction: Reduction::Sum };
    let initial = network.zero_state(1);
    network.precision_audit(&inputs, &initial, &ScanOptions::default(), &objective).unwrap().remove(0)
}

#[test]
fn a_power_of_two_is_lost_where_the_format_ends() {
    let audit = linear_unit(0.5, 170);
    assert_eq!(audit.lags.len(), 170);
    for at in &audit.lags {
        assert_eq!(at.losses, 170 - at.lag);
        assert!((at.log10_exact + at.lag as f64 * std::f64::consts::LOG10_2).abs() < 1e-12);
        let [f32, flushed, bf16] = at.formats;
        // 2^-126 is the smallest normal number of all three; denormal ones reach to 2^-149 in f32 and to 2^-133 in bf16.
        for (of, last, denormal) in [(f32, 149, true), (flushed, 126, false), (bf16, 133, true)] {
            assert_eq!(of.difference, if at.lag <= last { 0.0 } else { 1.0 }, "lag {}", at.lag);
            assert_eq!(of.zeros, if at.lag <= last { 0 } else { at.losses });
            let is_denormal = denormal && at.lag > 126 && at.lag <= last;
            assert_eq!((of.denormals, of.numbers), (if is_denormal { at.losses } else { 0 }, at.losses));
            let log10 = if at.lag <= last { at.log10_exact } else { f64::NEG_INFINITY };
            assert!(of.log10 == log10 || (of.log10 - log10).abs() < 1e-12);
        }
    }
    let lost = Format::ALL.map(|format| audit.lost_from(format, 0.5));
    assert_eq!(lost, [Some(150), Some(127), Some(134)]);
    assert_eq!(audit.small_from(), Some(127));
}

#[test]
fn far_below_f64_the_exact_size_is_still_known() {
    let audit = linear_unit(0.1, 400);
    assert!((audit.lags[390].log10_exact + 390.0).abs() < 1e-9);
    assert_eq!((audit.lags[390].formats[0].difference, audit.small_from()), (1.0, Some(38)));
}

#[test]
fn bf16_rounds_what_f32_keeps() {
    let audit = linear_unit(0.9, 30);
    let near = audit.lags[1].formats;
    // 0.9 is 0.8984375 in bf16.
    assert!((near[2].difference - (0.9 - 0.898_437_5) / 0.9).abs() < 1e-12);
    assert!(near[0].difference < 1e-7);
    assert_eq!((audit.lost_from(Format::F32, 0.01), audit.small_from()), (None, None));
    assert!(audit.lost_from(Format::Bf16, 0.01).is_some_and(|lag| (3..30).contains(&lag)));
}

#[test]
fn every_cell_is_audited() {
    for (cell, layers, bidirectional) in
        [("rnn", 1, false), ("lstm", 2, false), ("gru", 2, true), ("gru_reset_before", 1, false)]
    {
        let problem = Shape {
            seed: 8,
            cell,
            steps: 12,
            batch: 2,
            inputs: 3,
            hidden: 5,
            outputs: 3,
            layers,
            bidirectional,
            options: [false, false, layers > 1],
            one_hot: cell == "lstm",
            squared: true,
            mask: 0,
            reduction: Reduction::MeanTokens,
        }
        .problem();
        let audits = problem
            .network
            .precision_audit(&problem.inputs, &problem.initial, &problem.options, &problem.objective)
            .unwrap();
        assert_eq!(audits.len(), problem.network.weights().cells.len());
        for (index, audit) in audits.iter().enumerate() {
            assert_eq!(audit.cell, problem.network.weights().cell_id(index));
            assert_eq!(audit.lags.len(), 12);
            for at in &audit.lags {
                let [f32, flushed, bf16] = at.formats;
                assert!(f32.difference < 1e-3 && f32.difference == flushed.difference, "{cell} {at:?}");
                assert!(bf16.difference > 4.0 * f32.difference && bf16.difference < 1.0, "{cell} {at:?}");
                assert!((f32.log10 - at.log10_exact).abs() < 1e-3);
                assert!((bf16.log10 - at.log10_exact).abs() < 0.3, "{cell} {at:?}");
                assert_eq!((f32.denormals, f32.zeros), (0, 0));
            }
        }
    }
}

/// A cell with one unit and all weights zero but those named, that reads ones, with a readout and targets that make the
/// gradient with respect to every h_t one.
fn steady(cell: &str, weights: &[(&str, &[f64])], steps: usize) -> Vec<FrameworkSums> {
    steady_with(cell, weights, steps, &ScanOptions::default())
}

fn steady_with(
    cell: &str,
    weights: &[(&str, &[f64])],
    steps: usize,
    options: &ScanOptions<f64>,
) -> Vec<FrameworkSums> {
    let cell = cell_by_name(cell).unwrap();
    let mut layer = CellParams::zeros(cell.spec(), 1, 1);
    for (name, numbers) in weights {
        layer[name].data_mut().copy_from_slice(numbers);
    }
    let readout = Readout { w_hy: Matrix::new(1, 1, vec![1.0]).unwrap(), b_y: Matrix::zeros(1, 1) };
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: Some(readout) };
    let network = Network::new(cell, weights).unwrap();
    let inputs = Inputs::Dense(Sequence::new(steps, 1, 1, &vec![1.0; steps]).unwrap());
    let initial = network.zero_state(1);
    let cache = network.scan(inputs.clone(), &initial).unwrap();
    // 2 (y − target) = 1.
    let h = cache.cells()[0].h();
    let targets: Vec<f64> = (0..steps).map(|t| h.at(t + 1, 0)[0] - 0.5).collect();
    let targets = Targets::SquaredError(Sequence::new(steps, 1, 1, &targets).unwrap());
    let objective = Objective { targets, mask: None, reduction: Reduction::Sum };
    network.precision_sums(&inputs, &initial, options, &objective).unwrap()
}

/// Over 1,000 steps, each of which contributes one, a sum in bf16 is 256. In PyTorch these are the weights and the bias of the
/// recurrent side, in JAX with weights cast outside of the scan all of them.
#[test]
fn a_sum_in_bf16_stops_at_256_times_what_is_added() {
    for of in steady("rnn_relu", &[("weight_ih", &[1.0])], 1000) {
        let adds_in_bf16 = |name: &str| match of.framework {
            Framework::PyTorch => name.ends_with("_hh"),
            Framework::JaxCastOutside => true,
            _ => false,
        };
        for parameter in &of.parameters {
            let name = parameter.parameter;
            // h_0 is zero, so 999 steps contribute to W_hh.
            let exact = if name == "weight_hh" { 999.0 } else { 1000.0 };
            let gradient = parameter.in_framework().gradient.data()[0];
            let expected = if adds_in_bf16(name) { 256.0 } else { exact };
            assert!((gradient - expected).abs() <= 1.0, "{:?} {name}: {gradient}", of.framework);
            let in_bf16 = parameter.of(SumOrder::StepsInFormat);
            assert_eq!(in_bf16.lost_from, Some(256), "{name}");
            assert!((in_bf16.difference - (f64::from(exact) - 256.0) / f64::from(exact)).abs() < 1e-12);
            for order in [SumOrder::OneProduct, SumOrder::StepsInF32] {
                assert!(parameter.of(order).difference < 2f64.powi(-8), "{name} {order:?}");
                assert_eq!(parameter.of(order).lost_from, None);
            }
        }
    }
}

/// Only what is known of a framework is called its gradient.
#[test]
fn other_cells_and_options_are_not_called_exact() {
    let known = |cell: &str, options: ScanOptions<f64>| -> Vec<bool> {
        steady_with(cell, &[], 3, &options).iter().map(|of| of.rounds_within_steps).collect()
    };
    assert_eq!(known("rnn", ScanOptions::default()), [true, true, true]);
    for cell in ["gru", "lstm", "lstm_projected"] {
        assert_eq!(known(cell, ScanOptions::default()), [true, false, false], "{cell}");
    }
    assert_eq!(known("lstm_peephole", ScanOptions::default()), [false; 3]);
    let lengths = ScanOptions { lengths: Some(vec![2]), ..ScanOptions::default() };
    assert_eq!(known("rnn", lengths), [false; 3]);
}

/// A sum that grows to its end, or of a few steps, is not called lost.
#[test]
fn a_short_sum_loses_nothing() {
    let of_all = steady("rnn_relu", &[("weight_ih", &[1.0])], 200);
    for of in of_all.iter().flat_map(|of| &of.parameters) {
        assert_eq!(of.sums.clone().map(|sum| sum.lost_from), [None; 3], "{}", of.parameter);
        assert!(of.sums.iter().all(|sum| sum.difference < 1e-12), "{}", of.parameter);
    }
}
