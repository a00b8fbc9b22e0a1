//! PyTorch's numbers: forward, backward, and every contribution by a pass of its own. `pytorch.py` beside this file made them and says
//! how they are written; the lines above each test are the heart of it.
//!
//! Every test runs in f64, to 1e-10, and in f32. PyTorch's own f32 lies within 2e-6 of its f64 (the script makes sure), so
//! what lies within 8e-6 of the latter agrees with the former to 1e-5. Both are relative to the tensor's largest number.

use crate::common;

use bptt::dynamics::LyapunovOptions;
use bptt::{
    CellParams, GradientOptions, Inputs, Matrix, Network, Objective, Readout, Real, Reduction, ScanOptions,
    Select, Sequence, State, Symbols, Targets, Weights, cell_by_name,
};
use common::Normals;

const BATCH: usize = 2;
const INPUTS: usize = 2;
const HIDDEN: usize = 2;
const OUTPUTS: usize = 3;
const STEPS: usize = 4;

/// A network, what it reads, and what it should say: the script's `Problem`.
struct Problem {
    name: String,
    network: Network<f64>,
    initial: State<f64>,
    x: Sequence<f64>,
    target: Symbols,
    mask: Vec<bool>,
    dropout: Vec<Sequence<f64>>,
    lengths: Vec<usize>,
    resets: Vec<bool>,
}

/// Numbers from −1/2 to 1/2 that f32 holds exactly.
fn draw(random: &mut Normals, count: usize) -> Vec<f64> {
    (0..count).map(|_| (random.bits() >> 53) as f64 / 2048.0 - 0.5).collect()
}

fn matrix(random: &mut Normals, rows: usize, cols: usize) -> Matrix<f64> {
    Matrix::new(rows, cols, draw(random, rows * cols)).unwrap()
}

fn bias(random: &mut Normals, count: usize) -> Matrix<f64> {
    Matrix::new(1, count, draw(random, count).iter().map(|v| v + 0.5).collect()).unwrap()
}

impl Problem {
    fn new(kind: &str, layers: usize, directions: usize, seed: u64, steps: usize) -> Self {
        let mut random = Normals(seed);
        let cell = cell_by_name(kind).unwrap();
        let (rows, width, cells) =
            (cell.spec().gate_count() * HIDDEN, directions * HIDDEN, layers * directions);
        let mut params = |index| {
            let tensors = vec![
                matrix(&mut random, rows, if index < directions { INPUTS } else { width }),
                matrix(&mut random, rows, HIDDEN),
                bias(&mut random, rows),
                bias(&mut random, rows),
            ];
            CellParams::new(cell.spec(), tensors).unwrap()
        };
        let layers_of_cells = (0..cells).map(&mut params).collect();
        let readout = Readout { w_hy: matrix(&mut random, OUTPUTS, width), b_y: bias(&mut random, OUTPUTS) };
        let weights =
            Weights { cells: layers_of_cells, bidirectional: directions == 2, readout: Some(readout) };
        let mut states = || (0..cells).map(|_| matrix(&mut random, BATCH, HIDDEN)).collect::<Vec<_>>();
        let h = states();
        let initial =
            if cell.spec().states.len() > 1 { State::of_h_and_c(h, states()) } else { State::of_h(h) };
        let sequence = |features, numbers: Vec<f64>| Sequence::new(steps, BATCH, features, &numbers).unwrap();
        let x = sequence(INPUTS, draw(&mut random, steps * BATCH * INPUTS));
        let mut bits = |count| (0..count).map(|_| random.bits()).collect::<Vec<_>>();
        let symbol = |z: u64| u32::try_from(z % OUTPUTS as u64).unwrap();
        let ids = bits(steps * BATCH).into_iter().map(symbol).collect();
        let target = Symbols::new(steps, BATCH, ids).unwrap();
        let mask = bits(steps * BATCH).iter().map(|z| z % 3 > 0).collect();
        let mut kept = || bits(steps * BATCH * width).iter().map(|z| (z % 2 * 2) as f64).collect::<Vec<_>>();
        Self {
            name: format!("{kind}, {layers} layers, {directions} directions"),
            network: Network::new(cell, weights).unwrap(),
            initial,
            x,
            target,
            mask,
            dropout: (1..layers).map(|_| sequence(width, kept())).collect(),
            lengths: vec![2, steps],
            resets: (0..steps * BATCH).map(|i| (i / BATCH) % 2 != i % BATCH).collect(),
        }
    }

    /// The problems of every cell of PyTorch's modules whose (layers, directions) are asked for, in the script's order.
    fn all(steps: usize, wanted: impl Fn(usize, usize) -> bool) -> Vec<Self> {
        Self::of(&["rnn", "rnn_relu", "lstm", "gru"], steps, wanted)
    }

    fn of(kinds: &[&str], steps: usize, wanted: impl Fn(usize, usize) -> bool) -> Vec<Self> {
        let depths = (1..=3).flat_map(|layers| [(layers, 1), (layers, 2)]);
        let shapes: Vec<_> = depths.filter(|&(layers, directions)| wanted(layers, directions)).collect();
        let cases = kinds.iter().flat_map(|&kind| shapes.iter().map(move |&(l, d)| (kind, l, d)));
        cases.zip(0..).map(|((kind, l, d), seed)| Self::new(kind, l, d, seed, steps)).collect()
    }

    fn everything(&self) -> ScanOptions<f64> {
        let (lengths, resets) = (Some(self.lengths.clone()), Some(self.resets.clone()));
        ScanOptions { lengths, resets, dropout: self.dropout.clone(), ..ScanOptions::default() }
    }

    /// Loss, outputs, states, and the gradients of everything, computed in T.
    fn results<T: Real>(&self, options: ScanOptions<f64>, mask: Option<Vec<bool>>) -> Vec<Named> {
        let network = self.network.cast::<T>().unwrap();
        let inputs = Inputs::Dense(self.x.cast());
        let trace = network.scan_with(inputs, &self.initial.cast(), cast(options)).unwrap();
        let losses = network.losses(&trace, &self.objective(mask)).unwrap();
        let gradient = network.gradient(&trace, &losses, GradientOptions { inputs: true }).unwrap();
        let mut results =
            vec![("loss".into(), vec![losses.total]), ("output".into(), numbers(trace.output().data()))];
        results.extend(states(["h_n", "c_n"], &trace.final_state()));
        results.push(("dx".into(), numbers(gradient.inputs.unwrap().data())));
        results.extend(states(["dh_0", "dc_0"], &gradient.initial));
        let tensors = gradient.weights.tensors().into_iter();
        results.extend(tensors.map(|(name, tensor)| (name, numbers(tensor.data()))));
        results
    }

    /// The components of all losses with respect to the weights, computed in T.
    fn components<T: Real>(&self, options: ScanOptions<f64>) -> Vec<Named> {
        let network = self.network.cast::<T>().unwrap();
        let inputs = Inputs::Dense(self.x.cast());
        let trace = network.scan_with(inputs, &self.initial.cast(), cast(options)).unwrap();
        let losses = network.losses(&trace, &self.objective(None)).unwrap();
        let components = network.components(&trace, &losses, Select::All).unwrap();
        let named = components.iter().flat_map(|c| {
            let of = format!("of loss {} by step {} of {}", c.k, c.t, c.cell.suffix());
            let tensors = [
                ("w_ih", &c.params["weight_ih"]),
                ("w_hh", &c.params["weight_hh"]),
                ("b_ih", &c.params["bias_ih"]),
                ("b_hh", &c.params["bias_hh"]),
            ];
            tensors.map(|(name, tensor)| (format!("{name} {of}"), numbers(tensor.data())))
        });
        named.collect()
    }

    /// Loss, exponents and gradients of flossing 1 and 2 exponents, without a warm-up and with one, computed in T.
    fn flossing<T: Real>(&self) -> Vec<Named> {
        let network = self.network.cast::<T>().unwrap();
        let trace = network.scan(Inputs::Dense(self.x.cast()), &self.initial.cast()).unwrap();
        let mut results = Vec::new();
        for (exponents, warm_up) in [(1, 0), (1, 2), (2, 0), (2, 2)] {
            let options = LyapunovOptions { exponents: Some(exponents), warm_up, every: 1 };
            let found = network.flossing(&trace, &options).unwrap();
            let of = format!("of {exponents} exponents after {warm_up} steps");
            results.push((format!("loss {of}"), vec![found.loss]));
            results.push((format!("exponents {of}"), found.exponents));
            let tensors = found.gradient.tensors().into_iter().filter(|(name, _)| !name.starts_with("head"));
            results.extend(tensors.map(|(name, tensor)| (format!("{name} {of}"), numbers(tensor.data()))));
        }
        results
    }

    fn objective<T>(&self, mask: Option<Vec<bool>>) -> Objective<T> {
        let targets = Targets::CrossEntropy(self.target.clone());
        Objective { targets, mask, reduction: Reduction::MeanTokens }
    }
}

/// A tensor's name and numbers.
type Named = (String, Vec<f64>);

fn numbers<T: Real>(data: &[T]) -> Vec<f64> {
    data.iter().map(|v| v.f64()).collect()
}

/// h of all cells, and c if they have it.
fn states<T: Real>([h, c]: [&str; 2], of: &State<T>) -> Vec<Named> {
    let flat = |state: usize| {
        of.cells.iter().filter_map(|cell| cell.get(state)).flat_map(|s| numbers(s.data())).collect::<Vec<_>>()
    };
    let named = [(h.into(), flat(0)), (c.into(), flat(1))];
    named.into_iter().filter(|(_, numbers)| !numbers.is_empty()).collect()
}

fn cast<T: Real>(options: ScanOptions<f64>) -> ScanOptions<T> {
    let ScanOptions { lengths, resets, detach, burn_in, dropout } = options;
    ScanOptions { lengths, resets, detach, burn_in, dropout: dropout.iter().map(Sequence::cast).collect() }
}

/// The numbers of a file, in its order.
struct Expected<'a>(std::slice::ChunksExact<'a, u8>);

impl<'a> Expected<'a> {
    fn new(file: &'a [u8]) -> Self {
        assert_eq!(file.len() % 6, 0);
        Self(file.chunks_exact(6))
    }

    /// Compares the next numbers with what was found in f64 and f32.
    fn assert_equal(&mut self, problem: &str, double: &[Named], single: &[Named]) {
        for ((what, double), (_, single)) in double.iter().zip(single) {
            let upper = self.0.by_ref().take(double.len());
            let number = |b: &[u8]| f64::from_le_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]);
            let expected: Vec<f64> = upper.map(number).collect();
            assert_eq!(expected.len(), double.len(), "{problem}: {what}");
            let scale = expected.iter().fold(1e-3, |scale: f64, v| scale.max(v.abs()));
            for (found, tolerance) in [(double, 1e-10), (single, 8e-6)] {
                for (found, expected) in found.iter().zip(&expected) {
                    let close = (found - expected).abs() <= tolerance * scale;
                    assert!(close, "{problem}: {what}: {found} is not {expected}");
                }
            }
        }
    }

    fn assert_read(mut self) {
        assert!(self.0.next().is_none(), "there are numbers left");
    }
}

/// Compares loss, outputs, states and gradients of `problems`, read with these options and masks, with a file.
fn assert_results(
    file: &[u8],
    problems: &[Problem],
    of: impl Fn(&Problem) -> (ScanOptions<f64>, Option<Vec<bool>>),
) {
    let mut expected = Expected::new(file);
    for problem in problems {
        let (options, mask) = of(problem);
        let double = problem.results::<f64>(options.clone(), mask.clone());
        expected.assert_equal(&problem.name, &double, &problem.results::<f32>(options, mask));
    }
    expected.assert_read();
}

/// Compares the components of `problems`, read with these options, with a file.
fn assert_components(file: &[u8], problems: &[Problem], of: impl Fn(&Problem) -> ScanOptions<f64>) {
    let mut expected = Expected::new(file);
    for problem in problems {
        let double = problem.components::<f64>(of(problem));
        expected.assert_equal(&problem.name, &double, &problem.components::<f32>(of(problem)));
    }
    expected.assert_read();
}

/// ```python
/// output, h_n = torch.nn.GRU(I, H, num_layers=layers, bidirectional=both)(x, h_0)
/// torch.nn.functional.cross_entropy(head(output).flatten(0, 1), target.flatten()).backward()
/// ```
#[test]
fn outputs_states_and_gradients_are_pytorchs() {
    let problems = Problem::all(STEPS, |_, _| true);
    assert_results(include_bytes!("pytorch/plain.bin"), &problems, |_| (ScanOptions::default(), None));
}

/// ```python
/// torch.nn.functional.cross_entropy(head(output)[mask], target[mask]).backward()
/// ```
#[test]
fn a_masked_step_is_left_out_of_pytorchs_mean() {
    let problems = Problem::all(STEPS, |_, _| true);
    assert_results(include_bytes!("pytorch/mask.bin"), &problems, |p| {
        (ScanOptions::default(), Some(p.mask.clone()))
    });
}

/// ```python
/// packed, h_n = rnn(pack_padded_sequence(x, lengths, enforce_sorted=False), h_0)
/// output, _ = pad_packed_sequence(packed, total_length=T)
/// has_loss = torch.arange(T)[:, None] < lengths
/// ```
#[test]
fn padded_sequences_are_pytorchs_packed_sequences() {
    let mut problems = Problem::all(STEPS, |_, _| true);
    for p in &mut problems {
        // What stands in the padding must not matter.
        (p.lengths[0]..STEPS).for_each(|t| p.x.at_mut(t, 0).fill(f64::NAN));
    }
    assert_results(include_bytes!("pytorch/lengths.bin"), &problems, |p| {
        (ScanOptions { lengths: Some(p.lengths.clone()), ..ScanOptions::default() }, None)
    });
}

/// ```python
/// state = state * (1 - resets[t if forward else t + 1, b])
/// state = torch.gru_cell(x[t, b], state, w_ih, w_hh, b_ih, b_hh)
/// ```
#[test]
fn an_episode_begins_where_pytorchs_state_is_multiplied_by_zero() {
    let problems = Problem::all(STEPS, |_, _| true);
    assert_results(include_bytes!("pytorch/resets.bin"), &problems, |p| {
        (ScanOptions { resets: Some(p.resets.clone()), ..ScanOptions::default() }, None)
    });
}

/// ```python
/// output, h_n = torch.nn.GRU(I, H)(x, h_0[:1])
/// output, h_n = torch.nn.GRU(H, H)(output * dropout[0], h_0[1:])
/// ```
#[test]
fn dropout_masks_multiply_what_pytorchs_next_layer_reads() {
    let problems = Problem::all(STEPS, |layers, _| layers > 1);
    assert_results(include_bytes!("pytorch/dropout.bin"), &problems, |p| {
        (ScanOptions { dropout: p.dropout.clone(), ..ScanOptions::default() }, None)
    });
}

/// ```python
/// state = state.detach() if t > 0 and t % 2 == 0 else state
/// state = torch.gru_cell(x[t, b], state, w_ih, w_hh, b_ih, b_hh)
/// ```
#[test]
fn a_state_is_detached_where_pytorchs_is() {
    let problems = Problem::all(STEPS, |_, directions| directions == 1);
    let detach = ScanOptions::<f64>::detach_every(2, STEPS);
    assert_results(include_bytes!("pytorch/detach.bin"), &problems, |_| {
        (ScanOptions { detach: detach.clone(), ..ScanOptions::default() }, None)
    });
}

/// The lines above, in one loop.
#[test]
fn masks_lengths_resets_and_dropout_together_are_pytorchs() {
    let problems = Problem::all(STEPS, |_, _| true);
    assert_results(include_bytes!("pytorch/together.bin"), &problems, |p| {
        (p.everything(), Some(p.mask.clone()))
    });
}

/// ```python
/// copies = {(t, cell): [p.detach().clone().requires_grad_() for p in weights[cell]] for t, cell in …}
/// loss_k = cross_entropy(head(output[k]), target[k], reduction="sum") / has_loss.sum()
/// torch.autograd.grad(loss_k, copies[t, cell])     # what step t contributed to loss k, for each k, t and cell
/// ```
#[test]
fn components_are_what_pytorch_sends_into_a_copy_of_the_weights_for_each_step() {
    let problems = Problem::all(3, |layers, _| layers < 3);
    assert_components(include_bytes!("pytorch/components.bin"), &problems, |_| ScanOptions::default());
}

/// As above, in sequences of 2 and 3 steps with episodes.
#[test]
fn components_within_lengths_and_episodes_are_pytorchs() {
    let problems = Problem::all(3, |layers, directions| (layers, directions) == (1, 2));
    assert_components(include_bytes!("pytorch/components_bounds.bin"), &problems, |p| ScanOptions {
        lengths: Some(p.lengths.clone()),
        resets: Some(p.resets.clone()),
        ..ScanOptions::default()
    });
}

/// As above, with a dropout mask between two layers.
#[test]
fn components_below_a_dropout_mask_are_pytorchs() {
    let problems = Problem::all(3, |layers, directions| (layers, directions) == (2, 1));
    assert_components(include_bytes!("pytorch/components_dropout.bin"), &problems, |p| ScanOptions {
        dropout: p.dropout.clone(),
        ..ScanOptions::default()
    });
}

/// ```python
/// r, z = (i_r + h @ w_r.T + b_r).sigmoid(), (i_z + h @ w_z.T + b_z).sigmoid()
/// n = (i_n + (r * h) @ w_n.T + b_n).tanh()
/// h = (1 - z) * n + z * h
/// ```
#[test]
fn a_gru_that_resets_before_the_product_is_what_pytorch_makes_of_its_formula() {
    let kinds = ["gru_reset_before"];
    let problems = Problem::of(&kinds, STEPS, |layers, _| layers < 3);
    assert_results(include_bytes!("pytorch/reset_before.bin"), &problems, |p| {
        (p.everything(), Some(p.mask.clone()))
    });
    let problems = Problem::of(&kinds, 3, |layers, _| layers < 3);
    assert_components(include_bytes!("pytorch/reset_before_components.bin"), &problems, |_| {
        ScanOptions::default()
    });
}

/// ```python
/// jacobian = torch.autograd.functional.jacobian(step, h, create_graph=True)
/// h, (q, r) = step(h), torch.linalg.qr(jacobian @ q)
/// logarithms = logarithms + r.diagonal().abs().log() * (t >= warm_up)     # loss: the mean of (logarithms / count)²
/// ```
#[test]
fn the_gradient_of_flossing_is_what_pytorch_finds_through_its_qr() {
    let mut expected = Expected::new(include_bytes!("pytorch/flossing.bin"));
    for seed in 0..4 {
        let problem = Problem::new("rnn", 1, 1, seed, STEPS);
        let both = (problem.flossing::<f64>(), problem.flossing::<f32>());
        expected.assert_equal(&problem.name, &both.0, &both.1);
    }
    expected.assert_read();
}
