//! Three independent checks on random problems: finite differences, the slow reference, and the balance.

use crate::common;

use bptt::cell::{CellSpec, ParamKind};
use bptt::gradcheck::Problem;
use bptt::{
    EntryState, Gradient, GradientOptions, Inputs, ItemizeOptions, Matrix, Parameter, Select, TrainStep,
};
use common::{Normals, Shape, norm, reference, shapes, vanilla_shapes};
use proptest::prelude::*;

/// |a − b| relative to `scale`, with both zero allowed.
fn close(a: f64, b: f64, scale: f64, tolerance: f64) -> bool {
    a == b || (a - b).abs() <= tolerance * scale
}

/// How far a share of a ledger of so many sequences may be off: that of one sequence is kept in f32.
fn of_share(batch: usize) -> f64 {
    if batch == 1 { 1e-7 } else { 1e-10 }
}

fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_231);
    ProptestConfig { cases: 128, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

/// Whether a relu unit sits so near its kink that a finite difference may step over it: some unit changes sides when
/// all parameters move a little.
fn near_a_kink(shape: &Shape) -> bool {
    let problem = shape.problem();
    let sides = |move_by: f64| -> Vec<bool> {
        let mut problem = problem.clone();
        let mut random = Normals(shape.seed ^ 2);
        for tensor in problem.network.tensors_mut() {
            for weight in tensor.data_mut() {
                *weight += move_by * random.draw();
            }
        }
        let trace = problem.scan().unwrap();
        trace
            .cells()
            .iter()
            .flat_map(|cell| cell.h().data().iter().map(|&h| h > 0.0).collect::<Vec<_>>())
            .collect()
    };
    [-0.02, -0.01, 0.01, 0.02].into_iter().any(|move_by| sides(move_by) != sides(0.0))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_gradient_agrees_with_finite_differences(shape in shapes()) {
        prop_assume!(shape.cell != "rnn_relu" || !near_a_kink(&shape));
        let mut normals = Normals(shape.seed ^ 1);
        for check in shape.problem().gradcheck(4, || normals.draw()).unwrap() {
            prop_assert!(check.relative_error <= 1e-7 || check.resolution > 1e-9, "{check:?}");
        }
    }

    #[test]
    fn losses_and_components_equal_the_slow_reference(shape in vanilla_shapes()) {
        let problem = shape.problem();
        let slow = reference(&problem);
        let trace = problem.scan().unwrap();
        let losses = problem.network.losses(&trace, &problem.objective).unwrap();
        prop_assert!(close(losses.total, slow.total, slow.total.abs(), 1e-12));
        for (fast, slow) in losses.values.iter().zip(slow.losses.iter().flatten()) {
            prop_assert!(close(*fast, *slow, 1.0 + slow.abs(), 1e-12));
        }

        let equal = |fast: &Matrix<f64>, slow: &[Vec<f64>]| {
            let scale = norm(slow);
            fast.data().iter().zip(slow.iter().flatten()).all(|(f, s)| close(*f, *s, scale, 1e-12))
        };
        let components = problem.network.components(&trace, &losses, Select::All).unwrap();
        let expected: usize = slow.contributions.iter().map(Vec::len).sum();
        prop_assert_eq!(components.len(), expected);
        for c in &components {
            let s = &slow.contributions[c.k][c.t];
            prop_assert!(equal(&c.params["weight_ih"], &s.w_ih) && equal(&c.params["weight_hh"], &s.w_hh), "({}, {})", c.k, c.t);
            prop_assert!(equal(&c.params["bias_ih"], std::slice::from_ref(&s.bias)) && equal(&c.input, &s.input));
            prop_assert_eq!(c.initial.is_some(), c.t == 0);
            if let Some(initial) = &c.initial {
                prop_assert!(equal(&initial[0], &slow.initial[c.k]));
            }
            let one = problem.network.components(&trace, &losses, Select::One { k: c.k, t: c.t }).unwrap();
            prop_assert_eq!(one.len(), 1);
            let difference = one[0].params["weight_hh"].data().iter().zip(c.params["weight_hh"].data()).map(|(a, b)| (a - b).abs());
            prop_assert!(difference.fold(0.0, f64::max) <= 1e-14 * norm(&s.w_hh).max(f64::MIN_POSITIVE));
        }
    }

    #[test]
    fn the_ledger_equals_the_slow_reference_and_balances(shape in vanilla_shapes()) {
        let problem = shape.problem();
        let slow = reference(&problem);
        let trace = problem.scan().unwrap();
        let losses = problem.network.losses(&trace, &problem.objective).unwrap();
        let gradient = problem.network.gradient(&trace, &losses, GradientOptions { inputs: true }).unwrap();
        let ledger = problem.network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
        prop_assert!(ledger.worst_balance() <= 1e-12, "{:?}", ledger.balance());

        let parameters = [Parameter::WEIGHT_IH, Parameter::WEIGHT_HH, Parameter::BIAS, Parameter::INPUT];
        for (i, parameter) in parameters.into_iter().enumerate() {
            let entry = ledger.entry(0, parameter).unwrap();
            let (mut shares, mut sizes) = (0.0, 0.0);
            for k in 0..shape.steps {
                for t in 0..shape.steps {
                    let Some(s) = slow.contributions[k].get(t) else {
                        let masked = slow.contributions[k].is_empty();
                        let state = if masked { EntryState::Masked } else { EntryState::Unreached };
                        prop_assert_eq!(entry.state(k, t), state);
                        prop_assert_eq!(entry.norm(k, t), None);
                        continue;
                    };
                    let expected =
                        [norm(&s.w_ih), norm(&s.w_hh), norm([&s.bias]), norm(&s.input)][i];
                    let by_sequence: Vec<f64> = s.by_sequence.iter().map(|norms| norms[i]).collect();
                    // Sums may cancel: they are exact relative to their terms, in the backward pass as well.
                    let scale = slow.contributions[k].iter().flat_map(|c| &c.by_sequence).map(|n| n[i]);
                    let scale = scale.fold(0.0, f64::max);
                    let found = entry.norm(k, t).unwrap();
                    prop_assert!(close(found, expected, scale, 1e-12), "{parameter:?} {found} {expected}");
                    for (b, expected) in by_sequence.into_iter().enumerate() {
                        let found = entry.sequence_norm(k, t, b).unwrap();
                        prop_assert!(close(found, expected, scale, 1e-12));
                    }
                    prop_assert_eq!(entry.state(k, t) == EntryState::Zero, found == 0.0);
                    shares += entry.share(k, t).unwrap();
                    sizes += found;
                }
            }
            let total = total_of(&gradient, parameter);
            prop_assert!(close(entry.total_norm(), total, total, 1e-12));
            prop_assert!(total == 0.0 || close(shares, 1.0, sizes / total, of_share(shape.batch)), "{parameter:?}: {shares}");
            prop_assert!(close(entry.cancellation(), total / sizes, 1.0, 1e-12) || sizes == 0.0);
        }
        for measured in ledger.per_loss() {
            for k in 0..shape.steps {
                let expected = match measured.parameter {
                    _ if slow.contributions[k].is_empty() => None,
                    Parameter::INITIAL_STATE => Some(norm(&slow.initial[k])),
                    Parameter::HEAD_WEIGHT => Some(norm(&slow.head[k].0)),
                    _ => Some(norm([&slow.head[k].1])),
                };
                prop_assert_eq!(measured.norm[k].is_some(), expected.is_some());
                if let (Some(found), Some(expected)) = (measured.norm[k], expected) {
                    prop_assert!(close(found, expected, expected, 1e-11), "{:?} {found} {expected}", measured.parameter);
                }
            }
            let shares: f64 = (0..shape.steps).filter_map(|k| measured.share(k)).sum();
            let any = measured.norm.iter().flatten().any(|&norm| norm > 0.0);
            prop_assert!(!any || close(shares, 1.0, 1.0, 1e-9), "{:?}: {shares}", measured.parameter);
        }
    }

    /// For every cell, the ledger's norms are those of the components formed one by one, and components and shares add up.
    #[test]
    fn the_ledger_measures_the_components_and_balances(shape in shapes()) {
        let problem = shape.problem();
        let trace = problem.scan().unwrap();
        let losses = problem.network.losses(&trace, &problem.objective).unwrap();
        let options = ItemizeOptions { gates: true, ..ItemizeOptions::default() };
        let ledger = problem.network.itemize(&trace, &losses, &options).unwrap();
        prop_assert!(ledger.worst_balance() <= 1e-12, "{:?}", ledger.balance());
        let components = problem.network.components(&trace, &losses, Select::All).unwrap();
        let mut inputs = Vec::new();
        for entry in ledger.entries() {
            let (mut shares, mut sizes) = (0.0, 0.0);
            for c in &components {
                if c.cell != entry.cell {
                    continue;
                }
                let matrix = c.get(entry.parameter).unwrap();
                let expected = norm([&matrix.data().to_vec()]);
                let by_sequence = (0..shape.batch).map(|b| entry.sequence_norm(c.k, c.t, b).unwrap());
                let scale = expected.max(by_sequence.fold(0.0, f64::max));
                let found = entry.norm(c.k, c.t).unwrap();
                // A norm from inner products loses half the digits where sequences cancel each other.
                prop_assert!(close(found, expected, expected, 1e-12) || (found - expected).abs() < 1e-7 * scale);
                let gates = problem.network.spec().gate_names();
                let blocks = blocks(problem.network.spec(), entry.parameter);
                let has_gates = gates.len() > 1 && blocks.iter().any(Option::is_some);
                prop_assert_eq!(entry.gates(), if has_gates { &gates[..] } else { &[] });
                for gate in 0..entry.gates().len() {
                    let rows = matrix.data().len() / blocks.iter().flatten().count();
                    let rows = blocks[gate].map_or(&[][..], |at| &matrix.data()[at * rows..(at + 1) * rows]);
                    let expected = norm([&rows.to_vec()]);
                    let found = entry.gate_norm(c.k, c.t, gate).unwrap();
                    prop_assert!(close(found, expected, expected, 1e-12) || (found - expected).abs() < 1e-7 * scale);
                }
                shares += entry.share(c.k, c.t).unwrap();
                sizes += expected;
            }
            let total = entry.total_norm();
            if entry.parameter == Parameter::INPUT {
                // The inputs' gradient comes through both directions.
                inputs.push((shares, sizes / total));
            } else {
                prop_assert!(total == 0.0 || close(shares, 1.0, sizes / total, of_share(shape.batch)), "{:?}: {shares}", entry.parameter);
            }
        }
        let (shares, scale) = inputs.iter().fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        prop_assert!(!scale.is_finite() || close(shares, 1.0, scale, of_share(shape.batch)), "input: {shares}");
    }

    #[test]
    fn single_precision_balances_too(shape in shapes()) {
        let problem = shape.problem();
        let network = problem.network.cast::<f32>().unwrap();
        let inputs: Inputs<f32> = problem.inputs.cast();
        let trace = network.scan(inputs, &network.zero_state(shape.batch)).unwrap();
        let top = trace.output().features();
        let seeds = Normals(shape.seed).vector(shape.steps * shape.batch * top, 1.0);
        let seeds = bptt::Sequence::new(shape.steps, shape.batch, top, &seeds).unwrap();
        let losses = bptt::Losses::from_seeds(seeds.cast());
        let ledger = network.itemize(&trace, &losses, &ItemizeOptions::default()).unwrap();
        // The balance is relative to the gradient; where that nearly cancels, rounding is not relative to it.
        for balance in ledger.balance() {
            let (name, suffix) = balance.parameter.rsplit_once("_l").unwrap_or((&balance.parameter, "0"));
            let cancels = ledger.entries().iter().any(|entry| {
                let parameter = match name {
                    "bias_ih" | "bias_hh" if shape.cell != "gru" => "bias",
                    other => other,
                };
                let here = format!("l{suffix}") == entry.cell.suffix() || name == "input";
                here && entry.parameter.as_str() == parameter && entry.cancellation() < 0.05
            });
            let state_cancels = ledger.per_loss().iter().any(|m| {
                let here = m.cell.is_some_and(|p| format!("{}_{}", m.parameter.as_str(), p.suffix()) == balance.parameter);
                here && m.total_inner < 0.05 * m.norm.iter().flatten().sum::<f64>()
            });
            prop_assert!(balance.relative_error <= 1e-5 || cancels || state_cancels, "{balance:?}");
        }
    }

    /// Any grouping of losses adds up to the ordinary gradient, and a group alone is a mask.
    #[test]
    fn groups_of_losses_add_up(shape in shapes(), groups in 1..4usize) {
        let problem = shape.problem();
        let trace = problem.scan().unwrap();
        let losses = problem.network.losses(&trace, &problem.objective).unwrap();
        let whole = problem.network.gradient(&trace, &losses, GradientOptions { inputs: true }).unwrap();
        let group_of: Vec<_> = (0..shape.steps).map(|t| Some((t * 7 + 3) % groups)).collect();
        let parts = problem.network.group_gradients(&trace, &losses, &group_of, GradientOptions { inputs: true }).unwrap();
        let flat = |g: &Gradient<f64>| -> Vec<f64> {
            let weights = g.weights.tensors();
            let weights = weights.iter().flat_map(|(_, m)| m.data().to_vec());
            weights.chain(g.inputs.as_ref().unwrap().data().to_vec()).chain(g.initial.matrices().flat_map(|h| h.data().to_vec()).collect::<Vec<_>>()).collect()
        };
        let mut sum = vec![0.0; flat(&whole).len()];
        for part in &parts {
            sum.iter_mut().zip(flat(part)).for_each(|(s, p)| *s += p);
        }
        let scale = norm([&flat(&whole)]);
        for (s, w) in sum.into_iter().zip(flat(&whole)) {
            prop_assert!(close(s, w, scale, 1e-12));
        }
    }

    /// A learner forms weight gradients from some steps at a time, and its memory serves again.
    #[test]
    fn a_learner_finds_the_gradient_of_batches_of_any_length(shape in shapes(), more in 0..150usize) {
        let mut learner = TrainStep::default();
        for steps in [shape.steps + more, shape.steps, shape.steps + 90] {
            let problem = Shape { steps, batch: shape.batch + 2, ..shape.clone() }.problem();
            let Problem { network, inputs, initial, options, objective } = &problem;
            learner.forward(network, inputs.clone(), initial, options.clone(), objective).unwrap();
            let found = learner.backward(network).unwrap().clone();
            let trace = problem.scan().unwrap();
            let losses = network.losses(&trace, objective).unwrap();
            let expected = network.gradient(&trace, &losses, GradientOptions::default()).unwrap();
            prop_assert_eq!(&found.initial, &expected.initial);
            for ((name, found), (_, expected)) in found.weights.tensors().into_iter().zip(expected.weights.tensors()) {
                let scale = norm([&expected.data().to_vec()]);
                let equal = |(f, e): (&f64, &f64)| close(*f, *e, scale, 1e-11);
                prop_assert!(found.data().iter().zip(expected.data()).all(equal), "{name}, {steps} steps");
            }
        }
    }
}

fn total_of(gradient: &Gradient<f64>, parameter: Parameter) -> f64 {
    let layer = &gradient.weights.cells[0];
    let data = match parameter {
        Parameter::WEIGHT_IH => layer["weight_ih"].data(),
        Parameter::WEIGHT_HH => layer["weight_hh"].data(),
        Parameter::BIAS => layer["bias_ih"].data(),
        _ => gradient.inputs.as_ref().unwrap().data(),
    };
    data.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// For each gate, which of the equal parts of a parameter's numbers is its own; `None` where it has none.
fn blocks(spec: &CellSpec, parameter: Parameter) -> Vec<Option<usize>> {
    let param = spec.params.iter().find(|param| match parameter {
        Parameter::BIAS => param.kind == ParamKind::Bias,
        other => param.name == other.as_str(),
    });
    let gates = param.into_iter().flat_map(|param| &param.blocks).filter_map(|block| block.gates.clone());
    let own: Vec<usize> = gates.flatten().collect();
    (0..spec.gate_count()).map(|gate| own.iter().position(|&of| of == gate)).collect()
}
