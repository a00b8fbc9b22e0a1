//! CS231n assignment 3: the expected values its notebooks print, and the conventions of its losses.

use bptt::{
    CellParams, Inputs, Losses, Matrix, Network, Objective, Readout, Reduction, Sequence, State, Symbols,
    Targets, Weights, cell_by_name,
};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

/// `np.linspace(a, b, size)` in the given shape.
fn linspace(value: &Value) -> (Vec<usize>, Vec<f64>) {
    let ends = numbers(&value[0]);
    let shape = value[1].as_array().unwrap().iter().map(|n| usize::try_from(n.as_u64().unwrap()).unwrap());
    let shape: Vec<usize> = shape.collect();
    let size: usize = shape.iter().product();
    let step = (ends[1] - ends[0]) / (size - 1) as f64;
    (shape, (0..size).map(|i| ends[0] + step * i as f64).collect())
}

/// A (rows, cols) array of CS231n as ours, (cols, rows).
fn transposed(value: &Value) -> Matrix<f64> {
    let (shape, data) = linspace(value);
    let (rows, cols) = (shape[0], shape[1]);
    Matrix::new(cols, rows, (0..rows * cols).map(|i| data[(i % rows) * cols + i / rows]).collect()).unwrap()
}

/// The notebooks' `rel_error`: max |x − y| / max(1e-8, |x| + |y|).
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error = |(x, y): (&f64, &f64)| (x - y).abs() / (x.abs() + y.abs()).max(1e-8);
    found.iter().zip(expected).map(error).fold(0.0, f64::max)
}

/// CS231n's gate order i, f, o, g as ours, i, f, g, o: the four blocks of a (4·H, ·) matrix or a (1, 4·H) bias.
fn reordered(matrix: &Matrix<f64>) -> Matrix<f64> {
    let block = matrix.data().len() / 4;
    let rows = [0, 1, 3, 2].iter().flat_map(|gate| &matrix.data()[gate * block..(gate + 1) * block]);
    Matrix::new(matrix.rows(), matrix.cols(), rows.copied().collect()).unwrap()
}

/// What CS231n's network does over `x` from the given state: h of every step, batch first, and the last c.
fn states(data: &Value, cell: &str, steps: usize, x: &[f64], initial: &State<f64>) -> (Vec<f64>, Vec<f64>) {
    let (w_ih, w_hh) = (transposed(&data["Wx"]), transposed(&data["Wh"]));
    let (batch, inputs) = (initial.h(0).rows(), w_ih.cols());
    let b_ih = Matrix::new(1, w_hh.rows(), linspace(&data["b"]).1).unwrap();
    let b_hh = Matrix::zeros(1, w_hh.rows());
    let tensors = if cell == "lstm" {
        vec![reordered(&w_ih), reordered(&w_hh), reordered(&b_ih), b_hh]
    } else {
        vec![w_ih, w_hh, b_ih, b_hh]
    };
    let cell = cell_by_name(cell).unwrap();
    let layer = CellParams::new(cell.spec(), tensors).unwrap();
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
    let network = Network::new(cell, weights).unwrap();
    let x = Sequence::from_batch_first(batch, steps, inputs, x).unwrap();
    let trace = network.scan(Inputs::Dense(x), initial).unwrap();
    let h = trace.cells()[0].h();
    let h = (0..batch).flat_map(|b| (1..=steps).flat_map(move |t| h.at(t, b).to_vec())).collect();
    (h, trace.final_state().get(0, 1).map_or(Vec::new(), |c| c.data().to_vec()))
}

/// A (B, H) state of CS231n's.
fn state(value: &Value) -> Matrix<f64> {
    let (shape, data) = linspace(value);
    Matrix::new(shape[0], shape[1], data).unwrap()
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/cs231n.json")).unwrap()
}

#[test]
fn rnn_step_forward() {
    let data = &fixture()["rnn_step_forward"];
    let found = states(data, "rnn", 1, &linspace(&data["x"]).1, &State::of_h(vec![state(&data["prev_h"])]));
    let error = relative_error(&found.0, &numbers(&data["expected_next_h"]));
    assert!(error < 1e-7, "{error:e}");
}

#[test]
fn rnn_forward() {
    let data = &fixture()["rnn_forward"];
    let found = states(data, "rnn", 3, &linspace(&data["x"]).1, &State::of_h(vec![state(&data["h0"])]));
    let error = relative_error(&found.0, &numbers(&data["expected_h"]));
    assert!(error < 1e-7, "{error:e}");
}

#[test]
fn lstm_step_forward() {
    let data = &fixture()["lstm_step_forward"];
    let initial = State::of_h_and_c(vec![state(&data["prev_h"])], vec![state(&data["prev_c"])]);
    let (h, c) = states(data, "lstm", 1, &linspace(&data["x"]).1, &initial);
    let error = relative_error(&h, &numbers(&data["expected_next_h"]));
    assert!(error < 1e-7, "{error:e}");
    let error = relative_error(&c, &numbers(&data["expected_next_c"]));
    assert!(error < 1e-7, "{error:e}");
}

#[test]
fn lstm_forward() {
    let data = &fixture()["lstm_forward"];
    let h0 = state(&data["h0"]);
    let c0 = Matrix::zeros(h0.rows(), h0.cols());
    let (h, _) = states(data, "lstm", 3, &linspace(&data["x"]).1, &State::of_h_and_c(vec![h0], vec![c0]));
    let error = relative_error(&h, &numbers(&data["expected_h"]));
    assert!(error < 1e-7, "{error:e}");
}

/// A network whose outputs are its readout's bias: every score is equal, so the loss of each step is ln V.
fn uniform_scores(
    batch: usize,
    steps: usize,
    outputs: usize,
    mask: Option<Vec<bool>>,
) -> (Network<f64>, Losses<f64>) {
    let layer = CellParams::zeros(cell_by_name("rnn").unwrap().spec(), 1, 2);
    let weights =
        Weights { cells: vec![layer], bidirectional: false, readout: Some(Readout::zeros(2, outputs)) };
    let network = Network::new(cell_by_name("rnn").unwrap(), weights).unwrap();
    let inputs = Inputs::Dense(Sequence::zeros(steps, batch, 1));
    let trace = network.scan(inputs, &network.zero_state(batch)).unwrap();
    let targets = Symbols::new(steps, batch, vec![0; steps * batch]).unwrap();
    let targets = Targets::CrossEntropy(targets);
    let losses = network.losses(&trace, &Objective { targets, mask, reduction: Reduction::MeanBatch });
    (network, losses.unwrap())
}

/// The notebook's `check_loss`: with random small scores the temporal softmax loss is summed over the T steps and
/// averaged over the batch, so about T ln V without a mask ("should be about 2.3" for (100, 1, 10), "about 23" for
/// (100, 10, 10)) and the kept fraction of it with one ("about 2.3" for (5000, 10, 10) where a tenth is kept).
#[test]
fn temporal_softmax_loss_sums_over_steps_and_averages_over_the_batch() {
    let ln = 10f64.ln();
    assert!((uniform_scores(100, 1, 10, None).1.total - ln).abs() < 1e-12);
    assert!((uniform_scores(100, 10, 10, None).1.total - 10.0 * ln).abs() < 1e-11);
    let tenth = (0..10 * 50).map(|i| i / 50 == 3).collect();
    assert!((uniform_scores(50, 10, 10, Some(tenth)).1.total - ln).abs() < 1e-12);
}

/// dscores = (softmax − onehot) / N where the mask is true, and 0 elsewhere.
#[test]
fn temporal_softmax_gradient_is_masked_and_divided_by_the_batch() {
    let mask = vec![true, false, true, true, false, true];
    let losses = uniform_scores(2, 3, 4, Some(mask.clone())).1;
    let dy = losses.dy().unwrap();
    for (i, kept) in mask.into_iter().enumerate() {
        let expected = if kept { [-0.375, 0.125, 0.125, 0.125] } else { [0.0; 4] };
        assert!(relative_error(dy.rows(0..3).row(i), &expected) < 1e-12);
    }
    assert_eq!(losses.present, [true, true, true]);
}
