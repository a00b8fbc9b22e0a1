//! Every kind of vector register gives the same numbers. Alone in its process: what the kernels are kept to is the process's.

mod common;

use bptt::kernel::{self, registers, registers::Registers};
use bptt::{
    Inputs, ItemizeOptions, Matrix, Network, Number, Objective, Parameter, Readout, Real, Reduction,
    ScanOptions, Targets, TrainStep, View, Weights, cell_by_name,
};

/// Numbers that belong together, under a name.
type Named = (String, Vec<f64>);

/// The kernels, on sizes that leave something over in every register.
fn kernels<T: Real>(found: &mut Vec<Named>) {
    let mut random = common::Normals(3);
    let mut keep =
        |name: String, numbers: &[T]| found.push((name, numbers.iter().map(|v| v.f64()).collect()));
    for (m, k, n) in [(1, 5, 3), (6, 40, 64), (7, 33, 75), (13, 130, 161), (64, 17, 9)] {
        let mut draw = |count| random.vector(count, 1.0).into_iter().map(T::of).collect::<Vec<_>>();
        let (a, b, bt) = (draw(m * k), draw(k * n), draw(n * k));
        let (tall, mut out) = (draw(m * n), draw(k * n));
        let mut small = tall.clone();
        kernel::product(&mut small, true, View::new(m, k, &a), View::new(k, n, &b));
        keep(format!("product {m} {k} {n}"), &small);
        kernel::product_transposed(&mut small, false, View::new(m, k, &a), View::new(n, k, &bt));
        keep(format!("transposed product {m} {k} {n}"), &small);
        kernel::sum_of_outer_products(&mut out, true, View::new(m, k, &a), View::new(m, n, &tall));
        keep(format!("outer products {m} {k} {n}"), &out);
        keep(
            format!("dot {}", a.len()),
            &[kernel::dot(&a, &a), kernel::sum_of_sizes(&a), kernel::largest(&a)],
        );
    }
    for (name, function) in
        [("tanh", kernel::tanh as fn(&mut [T])), ("sigmoid", kernel::sigmoid), ("exp", kernel::exp)]
    {
        let mut numbers: Vec<T> = (-1_003..1_003).map(|i| T::of(f64::from(i) / 37.0)).collect();
        function(&mut numbers);
        // Bounds are relative to the number itself here: each is a group of its own.
        for (i, number) in numbers.into_iter().enumerate() {
            keep(format!("{name} {i}"), &[number]);
        }
    }
}

/// Losses, gradients and every norm of the ledger of a small stack.
fn network<T: Real>(cell: &str, found: &mut Vec<Named>) {
    let mut random = common::Normals(5);
    let (steps, batch, hidden) = (9, 3, 37);
    let maths = cell_by_name(cell).unwrap();
    let layers = vec![random.params(&*maths, 11, hidden, 0.9), random.params(&*maths, hidden, hidden, 0.9)];
    let w_hy = Matrix::new(11, hidden, random.vector(11 * hidden, 0.3)).unwrap();
    let readout = Some(Readout { w_hy, b_y: Matrix::zeros(1, 11) });
    let weights = Weights { cells: layers, bidirectional: false, readout };
    let network = Network::<T>::new(cell_by_name(cell).unwrap(), weights.cast()).unwrap();
    let inputs = Inputs::Symbols(random.symbols(steps, batch, 11));
    let objective = Objective {
        targets: Targets::CrossEntropy(random.symbols(steps, batch, 11)),
        mask: None,
        reduction: Reduction::MeanTokens,
    };
    let mut learner = TrainStep::default();
    let start = network.zero_state(batch);
    learner.forward(&network, inputs, &start, ScanOptions::default(), &objective).unwrap();
    let gradient = learner.backward(&network).unwrap();
    let mut keep = |name: String, numbers: Vec<f64>| found.push((format!("{cell}: {name}"), numbers));
    for (name, tensor) in gradient.weights.tensors() {
        keep(name, tensor.data().iter().map(|v| v.f64()).collect());
    }
    keep("losses".into(), learner.losses().values.iter().map(|v| v.f64()).collect());
    let ledger = network.itemize(learner.cache(), learner.losses(), &ItemizeOptions::default()).unwrap();
    for entry in ledger.entries() {
        for k in 0..steps {
            let norms = (0..=k).map(|t| entry.norm(k, t).unwrap()).collect();
            keep(format!("{} of layer {:?}, loss {k}", entry.parameter.as_str(), entry.cell), norms);
            let inner = (0..=k).filter_map(|t| entry.inner(k, t)).collect();
            keep(format!("inner products of {}, loss {k}", entry.parameter.as_str()), inner);
        }
    }
    assert!(ledger.entry(1, Parameter::WEIGHT_HH).is_some());
}

fn everything<T: Real>(on: Registers) -> Vec<Named> {
    registers::limit(on);
    let mut found = Vec::new();
    kernels::<T>(&mut found);
    for cell in ["rnn", "rnn_relu", "lstm", "gru", "gru_reset_before"] {
        network::<T>(cell, &mut found);
    }
    registers::limit(Registers::Widest);
    found
}

/// The largest difference of two groups of numbers, in parts of the larger group's largest number.
fn worst(a: &[Named], b: &[Named]) -> (f64, String) {
    assert_eq!(a.len(), b.len());
    let difference = |(a, b): (&Named, &Named)| {
        assert_eq!((&a.0, a.1.len()), (&b.0, b.1.len()));
        let largest = a.1.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
        let apart = a.1.iter().zip(&b.1).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(largest.is_finite() && apart.is_finite(), "{}", a.0);
        (apart / largest, a.0.clone())
    };
    a.iter().zip(b).map(difference).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

fn check<T: Real>(bound: f64) {
    let widest = everything::<T>(Registers::Widest);
    assert!(widest == everything::<T>(Registers::Widest), "the same call gives the same bits");
    assert!(widest == everything::<T>(Registers::Avx2), "fused registers of any width give the same bits");
    let (portable, name) = worst(&widest, &everything::<T>(Registers::Portable));
    assert!(portable < bound, "portable {name}: {portable:e} of the largest number");
    assert!(portable > 0.0, "unfused sums are rounded differently somewhere");
}

#[test]
fn all_registers_agree() {
    check::<f32>(1e-5);
    check::<f64>(2e-14);
}
