//! The flossing loss and its gradient against finite differences; PyTorch's numbers are in `pytorch.rs`.

use crate::common;

use bptt::dynamics::LyapunovOptions;
use bptt::{CellId, Direction, Inputs, Matrix, Network, ScanOptions, Sequence, State, Weights, cell_by_name};
use common::Normals;

struct Problem {
    network: Network<f64>,
    x: Sequence<f64>,
    initial: State<f64>,
    lengths: Option<Vec<usize>>,
}

impl Problem {
    fn new(cell: &str, hidden: usize, steps: usize, batch: usize) -> Self {
        Self::with_gain(1.3, cell, hidden, steps, batch)
    }

    fn with_gain(gain: f64, cell: &str, hidden: usize, steps: usize, batch: usize) -> Self {
        let mut random = Normals(11);
        let cell = cell_by_name(cell).unwrap();
        let layers = vec![random.params(&*cell, 2, hidden, gain)];
        let network =
            Network::new(cell, Weights { cells: layers, bidirectional: false, readout: None }).unwrap();
        let x = Sequence::new(steps, batch, 2, &random.vector(steps * batch * 2, 1.0)).unwrap();
        let h = Matrix::new(batch, hidden, random.vector(batch * hidden, 0.5)).unwrap();
        Self { network, x, initial: State::of_h(vec![h]), lengths: None }
    }

    fn trace(&self) -> bptt::ForwardCache<f64> {
        let options = ScanOptions { lengths: self.lengths.clone(), ..ScanOptions::default() };
        self.network.scan_with(Inputs::Dense(self.x.clone()), &self.initial, options).unwrap()
    }

    /// The largest error of the gradient of any parameter along random directions, relative to its size.
    fn gradient_error(&mut self, options: &LyapunovOptions, step: f64) -> f64 {
        let mut random = Normals(12);
        let gradient = self.network.flossing(&self.trace(), options).unwrap().gradient;
        let analytic: Vec<Matrix<f64>> = gradient.tensors().into_iter().map(|(_, g)| g.clone()).collect();
        let mut worst: f64 = 0.0;
        for (index, gradient) in analytic.iter().enumerate() {
            let mut direction = random.vector(gradient.data().len(), 1.0);
            let length = bptt::kernel::dot(&direction, &direction).sqrt();
            for number in &mut direction {
                *number /= length;
            }
            let expected: f64 = direction.iter().zip(gradient.data()).map(|(d, g)| d * g).sum();
            let start = self.network.tensors_mut()[index].clone();
            let mut at = |distance: f64| {
                let tensor = self.network.tensors_mut().remove(index);
                tensor.data_mut().copy_from_slice(start.data());
                bptt::kernel::add_scaled(tensor.data_mut(), distance, &direction);
                self.network.flossing(&self.trace(), options).unwrap().loss
            };
            let near = at(step) - at(-step);
            let far = at(2.0 * step) - at(-2.0 * step);
            let found = (8.0 * near - far) / (12.0 * step);
            at(0.0);
            worst = worst.max((found - expected).abs() / expected.abs().max(1e-3));
        }
        worst
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    for (cell, hidden) in [("rnn", 4), ("rnn", 20), ("rnn_identity", 5)] {
        let mut problem = Problem::new(cell, hidden, 12, 2);
        for count in [1, 3, hidden - 1, hidden] {
            for (warm_up, every) in [(0, 1), (3, 1), (4, 3), (5, 2)] {
                problem.lengths = (every == 3).then(|| vec![12, 9]);
                let options = LyapunovOptions { exponents: Some(count), warm_up, every };
                let error = problem.gradient_error(&options, 1e-4);
                assert!(error < 1e-6, "{cell}, {count} of {hidden}, {options:?}: {error:e}");
            }
        }
    }
}

/// A relu network whose leading directions stay alive.
#[test]
fn the_gradient_of_a_relu_network_is_that_of_finite_differences() {
    let mut problem = Problem::new("rnn_relu", 6, 5, 2);
    for (index, offset) in [(1, 0.15), (2, 1.0)] {
        problem.network.tensors_mut()[index].data_mut().iter_mut().for_each(|w| *w += offset);
    }
    let options = LyapunovOptions { exponents: Some(2), warm_up: 1, every: 1 };
    let error = problem.gradient_error(&options, 1e-4);
    assert!(error < 1e-6, "{error:e}");
}

/// Over hundreds of steps rounding must not grow in the backward pass, whatever the distance between exponents.
#[test]
fn a_long_way_back_keeps_its_digits() {
    // Not chaotic: differences of finite steps would say nothing.
    let mut problem = Problem::with_gain(0.8, "rnn", 24, 200, 1);
    let options = LyapunovOptions { exponents: Some(22), warm_up: 20, every: 1 };
    let error = problem.gradient_error(&options, 1e-5);
    assert!(error < 1e-5, "{error:e}");
    let once = problem.network.flossing(&problem.trace(), &options).unwrap();
    let every = problem.network.flossing(&problem.trace(), &LyapunovOptions { every: 4, ..options }).unwrap();
    for ((name, a), (_, b)) in once.gradient.tensors().into_iter().zip(every.gradient.tensors()) {
        let size = a.data().iter().fold(0.0, |size: f64, v| size.max(v.abs()));
        let apart = a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-7 * size, "{name}: {apart:e} of {size:e}");
    }
}

#[test]
fn its_exponents_are_those_of_the_spectrum() {
    let problem = Problem::new("rnn", 7, 30, 3);
    let trace = problem.trace();
    let options = LyapunovOptions { exponents: Some(5), warm_up: 4, every: 2 };
    let found = problem.network.flossing(&trace, &options).unwrap();
    let place = CellId { layer: 0, direction: Direction::Forward };
    let expected = problem.network.lyapunov(&trace, place, &options).unwrap();
    for (a, b) in found.exponents.iter().zip(&expected.exponents) {
        assert!((a - b).abs() < 1e-12);
    }
    let squares: f64 = expected.by_sequence.iter().flatten().map(|exponent| exponent * exponent).sum();
    assert!((found.loss - squares / 15.0).abs() < 1e-12);
    let single = problem.network.cast::<f32>().unwrap();
    let trace = single.scan(Inputs::Dense(problem.x.cast()), &problem.initial.cast()).unwrap();
    let single = single.flossing(&trace, &options).unwrap();
    for ((name, a), (_, b)) in found.gradient.tensors().into_iter().zip(single.gradient.tensors()) {
        let size = a.data().iter().fold(0.0, |size: f64, v| size.max(v.abs()));
        let close = |(a, b): (&f64, &f32)| (a - f64::from(*b)).abs() < 1e-4 * size;
        assert!(a.data().iter().zip(b.data()).all(close), "{name}");
    }
}

#[test]
fn what_cannot_be_flossed_is_refused_by_name() {
    let options = LyapunovOptions { exponents: Some(2), ..LyapunovOptions::default() };
    let lstm = Problem::new("lstm", 3, 4, 1);
    let mut initial = lstm.network.zero_state(1);
    initial.cells[0][0] = lstm.initial.h(0).clone();
    let trace = lstm.network.scan(Inputs::Dense(lstm.x.clone()), &initial).unwrap();
    let message = lstm.network.flossing(&trace, &options).unwrap_err().to_string();
    assert_eq!(message, "flossing: the cell lstm is not possible; expected rnn, rnn_relu or rnn_identity");
    let rnn = Problem::new("rnn", 3, 4, 1);
    let detached = ScanOptions { detach: vec![2], ..ScanOptions::default() };
    let trace = rnn.network.scan_with(Inputs::Dense(rnn.x.clone()), &rnn.initial, detached).unwrap();
    let message = rnn.network.flossing(&trace, &options).unwrap_err().to_string();
    assert!(message.starts_with("flossing: a state detached at step 2 is not possible"), "{message}");
    let mut relu = Problem::new("rnn_relu", 3, 4, 1);
    relu.network.tensors_mut()[2].data_mut().fill(-100.0);
    let message = relu.network.flossing(&relu.trace(), &options).unwrap_err().to_string();
    assert!(message.contains("at step 0 of sequence 0 exponent 1 is −∞"), "{message}");
}
