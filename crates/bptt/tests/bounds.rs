//! Sequences of several lengths, episodes, detached states and burn-in: each equals what it stands for, read by hand.

use crate::common;

use bptt::{
    Component, EntryState, ForwardCache, Gradient, GradientOptions, Inputs, ItemizeOptions, Losses, Network,
    Parameter, ScanOptions, Select, Sequence, SequenceView, State, Weights, cell_by_name,
};
use common::Normals;

const STEPS: usize = 7;
const INPUTS: usize = 3;
const HIDDEN: usize = 4;

/// Two layers of every cell, with inputs, seeds and an initial state for `batch` sequences.
struct Case {
    network: Network<f64>,
    x: Sequence<f64>,
    seeds: Sequence<f64>,
    initial: State<f64>,
}

fn cases(bidirectional: bool, batch: usize) -> impl Iterator<Item = Case> {
    ["rnn", "rnn_identity", "lstm", "gru"].into_iter().enumerate().map(move |(seed, name)| {
        let mut random = Normals(90 + seed as u64);
        let cell = cell_by_name(name).unwrap();
        let directions = if bidirectional { 2 } else { 1 };
        let inputs = |index| if index < directions { INPUTS } else { directions * HIDDEN };
        let layers = (0..2 * directions).map(|i| random.params(&*cell, inputs(i), HIDDEN, 1.0)).collect();
        let network = Network::new(cell, Weights { cells: layers, bidirectional, readout: None }).unwrap();
        let mut initial = network.zero_state(batch);
        for state in initial.matrices_mut() {
            let numbers = random.vector(state.data().len(), 0.5);
            state.data_mut().copy_from_slice(&numbers);
        }
        let mut sequence = |features| {
            let numbers = random.vector(STEPS * batch * features, 1.0);
            Sequence::new(STEPS, batch, features, &numbers).unwrap()
        };
        let (x, seeds) = (sequence(INPUTS), sequence(directions * HIDDEN));
        Case { network, x, seeds, initial }
    })
}

/// Steps `range` of sequence `b` alone.
fn part(of: SequenceView<'_, f64>, range: std::ops::Range<usize>, b: usize) -> Sequence<f64> {
    let numbers: Vec<f64> = range.clone().flat_map(|t| of.at(t, b).to_vec()).collect();
    Sequence::new(range.len(), 1, of.features(), &numbers).unwrap()
}

impl Case {
    fn scan(&self, options: ScanOptions<f64>) -> ForwardCache<f64> {
        self.network.scan_with(Inputs::Dense(self.x.clone()), &self.initial, options).unwrap()
    }

    /// Steps `range` of sequence `b`, read alone from `initial`: its trace and losses.
    fn alone(
        &self,
        range: std::ops::Range<usize>,
        b: usize,
        initial: &State<f64>,
    ) -> (ForwardCache<f64>, Losses<f64>) {
        let x = Inputs::Dense(part(self.x.view(), range.clone(), b));
        (self.network.scan(x, initial).unwrap(), Losses::from_seeds(part(self.seeds.view(), range, b)))
    }

    fn gradient(&self, trace: &ForwardCache<f64>, losses: &Losses<f64>) -> Gradient<f64> {
        self.network.gradient(trace, losses, GradientOptions { inputs: true }).unwrap()
    }
}

fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= 1e-13 * (1.0 + e.abs()), "{what}: {f} is not {e}");
    }
}

fn flat(weights: &Weights<f64>) -> Vec<f64> {
    weights.tensors().into_iter().flat_map(|(_, m)| m.data().to_vec()).collect()
}

/// Sums of the weights' gradients, entry by entry.
fn sum<'a>(gradients: impl Iterator<Item = &'a Gradient<f64>>) -> Vec<f64> {
    gradients.map(|g| flat(&g.weights)).reduce(|a, b| a.iter().zip(b).map(|(a, b)| a + b).collect()).unwrap()
}

#[test]
fn a_detached_state_is_a_carried_state() {
    for case in cases(false, 1) {
        let cuts = ScanOptions::<f64>::detach_every(3, STEPS);
        let trace = case.scan(ScanOptions { detach: cuts, ..ScanOptions::default() });
        let losses = Losses::from_seeds(case.seeds.clone());
        let whole = case.gradient(&trace, &losses);

        let (mut state, mut windows, mut output) = (case.initial.clone(), Vec::new(), Vec::new());
        for range in [0..3, 3..6, 6..7] {
            let (trace, losses) = case.alone(range, 0, &state);
            windows.push(case.gradient(&trace, &losses));
            output.extend_from_slice(trace.output().data());
            state = trace.final_state();
        }
        assert_close("output", trace.output().data(), &output);
        assert_close("h_n", trace.final_state().h(1).data(), state.h(1).data());
        assert_close("weights", &flat(&whole.weights), &sum(windows.iter()));
        let dx: Vec<f64> = windows.iter().flat_map(|w| w.inputs.as_ref().unwrap().data().to_vec()).collect();
        assert_close("dx", whole.inputs.as_ref().unwrap().data(), &dx);
        for (found, expected) in whole.initial.matrices().zip(windows[0].initial.matrices()) {
            assert_close("initial", found.data(), expected.data());
        }

        let ledger = case.network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
        assert!(ledger.worst_balance() < 1e-12);
        for entry in ledger.entries() {
            for k in 0..STEPS {
                for t in 0..=k {
                    let start = k / 3 * 3;
                    let cut = t < start;
                    assert_eq!(entry.state(k, t) == EntryState::Cut(start), cut, "({k}, {t})");
                    assert_eq!(entry.norm(k, t) == Some(0.0), cut);
                }
                assert_eq!(ledger.gradient_span(k), k / 3 * 3..STEPS.min(k / 3 * 3 + 3));
            }
            assert_eq!(entry.profile().len(), 3, "what is cut off is no distance");
        }
    }
}

#[test]
fn burn_in_warms_the_state_and_has_neither_loss_nor_gradient() {
    for case in cases(false, 1) {
        let trace = case.scan(ScanOptions { burn_in: 3, ..ScanOptions::default() });
        let losses = Losses::from_seeds(case.seeds.clone());
        let found = case.gradient(&trace, &losses);
        let (warm, _) = case.alone(0..3, 0, &case.initial);
        let (rest, rest_losses) = case.alone(3..7, 0, &warm.final_state());
        let expected = case.gradient(&rest, &rest_losses);
        assert_close("weights", &flat(&found.weights), &flat(&expected.weights));
        assert!(found.initial.h(0).data().iter().all(|&v| v == 0.0));
        let ledger = case.network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
        let w_hh = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
        assert_eq!(
            [(2, 1), (4, 2), (4, 3)].map(|(k, t)| w_hh.state(k, t)),
            [EntryState::Masked, EntryState::Cut(3), EntryState::Value]
        );
    }
}

/// Sequence 0 begins anew at steps 2 and 5, sequence 1 at step 5 only.
#[test]
fn an_episode_begins_from_zeros_in_both_directions() {
    for case in [false, true].into_iter().flat_map(|both| cases(both, 2)) {
        let mut resets = vec![false; STEPS * 2];
        for (t, b) in [(2, 0), (5, 0), (5, 1)] {
            resets[t * 2 + b] = true;
        }
        let trace = case.scan(ScanOptions { resets: Some(resets), ..ScanOptions::default() });
        let losses = Losses::from_seeds(case.seeds.clone());
        let whole = case.gradient(&trace, &losses);

        let zero = case.network.zero_state(1);
        let mut episodes = Vec::new();
        for (b, ranges) in [vec![0..2, 2..5, 5..7], vec![0..5, 5..7]].into_iter().enumerate() {
            for range in ranges {
                // A forward cell reads its first episode from h0, a reverse cell its last.
                let mut initial = zero.clone();
                let given = case.initial.sequence(b);
                for index in 0..initial.cells.len() {
                    let reverse = case.network.directions() == 2 && index % 2 == 1;
                    if if reverse { range.end == STEPS } else { range.start == 0 } {
                        initial.cells[index] = given.cells[index].clone();
                    }
                }
                let (trace_alone, losses) = case.alone(range.clone(), b, &initial);
                assert_close(
                    "output",
                    part(trace.output(), range.clone(), b).data(),
                    trace_alone.output().data(),
                );
                let gradient = case.gradient(&trace_alone, &losses);
                let dx = part(whole.inputs.as_ref().unwrap().view(), range, b);
                assert_close("dx", dx.data(), gradient.inputs.as_ref().unwrap().data());
                episodes.push(gradient);
            }
        }
        assert_close("weights", &flat(&whole.weights), &sum(episodes.iter()));

        let ledger = case.network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
        assert!(ledger.worst_balance() < 1e-12);
        let w_ih = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
        // Sequence 1 still reaches back across step 2, and neither across step 5.
        assert!((w_ih.state(4, 1), w_ih.sequence_norm(4, 1, 0)) == (EntryState::Value, Some(0.0)));
        assert_eq!((w_ih.state(6, 4), ledger.gradient_span(6)), (EntryState::Cut(5), 5..STEPS));
        if case.network.directions() == 2 {
            // Below a bidirectional layer every step could teach every loss.
            assert_eq!((w_ih.state(4, 5), ledger.gradient_span(4)), (EntryState::Cut(5), 0..5));
        }
    }
}

#[test]
fn every_sequence_ends_where_its_length_says() {
    let lengths = [4, 7, 1];
    for mut case in [false, true].into_iter().flat_map(|both| cases(both, 3)) {
        // What stands in the padding must not matter.
        for (b, &length) in lengths.iter().enumerate() {
            for t in length..STEPS {
                case.x.at_mut(t, b).fill(f64::NAN);
            }
        }
        let trace = case.scan(ScanOptions { lengths: Some(lengths.to_vec()), ..ScanOptions::default() });
        let losses = Losses::from_seeds(case.seeds.clone());
        let whole = case.gradient(&trace, &losses);
        let last = trace.final_state();
        let components = case.network.components(&trace, &losses, Select::All).unwrap();
        let mut alone = Vec::new();
        for (b, &length) in lengths.iter().enumerate() {
            let (trace_alone, losses) = case.alone(0..length, b, &case.initial.sequence(b));
            assert_close("output", part(trace.output(), 0..length, b).data(), trace_alone.output().data());
            assert!(part(trace.output(), length..STEPS, b).data().iter().all(|&v| v == 0.0));
            let expected = trace_alone.final_state();
            for (last, expected) in last.matrices().zip(expected.matrices()) {
                assert_close("final state", last.row(b), expected.data());
            }
            let gradient = case.gradient(&trace_alone, &losses);
            for (found, expected) in whole.initial.matrices().zip(gradient.initial.matrices()) {
                assert_close("initial state", found.row(b), expected.data());
            }
            alone.push((gradient, case.network.components(&trace_alone, &losses, Select::All).unwrap()));
        }
        assert_close("weights", &flat(&whole.weights), &sum(alone.iter().map(|(gradient, _)| gradient)));
        let same = |a: &Component<f64>, b: &Component<f64>| (a.k, a.t, a.cell) == (b.k, b.t, b.cell);
        for c in &components {
            let parts: Vec<_> =
                alone.iter().filter_map(|(_, parts)| parts.iter().find(|part| same(part, c))).collect();
            let entry = |i: usize| parts.iter().map(|part| part.params["weight_hh"].data()[i]).sum::<f64>();
            let expected: Vec<f64> = (0..c.params["weight_hh"].data().len()).map(entry).collect();
            assert_close("component", c.params["weight_hh"].data(), &expected);
            assert!(!parts.is_empty(), "no path leads from padding: ({}, {}) {:?}", c.k, c.t, c.cell);
        }

        let ledger = case.network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
        assert!(ledger.worst_balance() < 1e-12);
        assert_eq!(ledger.entry(1, Parameter::WEIGHT_IH).unwrap().state(6, 5), EntryState::Value);
    }
}

#[test]
fn losses_nobody_has_are_masked() {
    let case = cases(false, 2).next().unwrap();
    let trace = case.scan(ScanOptions { lengths: Some(vec![3, 5]), ..ScanOptions::default() });
    let losses = Losses::from_seeds(case.seeds.clone());
    let ledger = case.network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
    assert_eq!((0..STEPS).filter(|&k| ledger.has_loss(k)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(ledger.entry(0, Parameter::BIAS).unwrap().state(5, 1), EntryState::Masked);
}
