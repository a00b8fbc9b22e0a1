//! The slow, obvious reference: plain loops, one loss at a time, every matrix formed. And random problems to compare
//! it on.
#![allow(dead_code)] // each test file uses a part
#![allow(clippy::needless_range_loop)] // loops over named indices are what makes it obvious
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small counts

use bptt::cell::Role;
use bptt::gradcheck::Problem;
use bptt::{
    CellKind, CellParams, Inputs, Matrix, Network, Objective, Readout, Reduction, ScanOptions, Sequence,
    State, Symbols, Targets, Weights, cell_by_name,
};
use std::ops::RangeInclusive;

use proptest::prelude::*;

type Rows = Vec<Vec<f64>>;

/// What step t contributes to the gradient of loss k, every matrix formed entry by entry.
#[derive(Clone)]
pub struct Contribution {
    pub w_ih: Rows,
    pub w_hh: Rows,
    pub bias: Vec<f64>,
    pub input: Rows,
    /// Norms of w_ih, w_hh, bias, input for each sequence alone.
    pub by_sequence: Vec<[f64; 4]>,
}

/// Everything the reference knows of a problem.
pub struct Reference {
    /// L of each (t, b), before reduction.
    pub losses: Rows,
    pub total: f64,
    /// `contributions[k][t]` for t ≤ k; empty where no sequence has loss k.
    pub contributions: Vec<Vec<Contribution>>,
    /// dL_k/dh0 (B, H) for each k; empty where masked.
    pub initial: Vec<Rows>,
    /// (dL_k/dW_hy, dL_k/db_y) for each k.
    pub head: Vec<(Rows, Vec<f64>)>,
}

pub fn norm<'a>(rows: impl IntoIterator<Item = &'a Vec<f64>>) -> f64 {
    rows.into_iter().flatten().map(|v| v * v).sum::<f64>().sqrt()
}

fn rows(m: &Matrix<f64>) -> Rows {
    (0..m.rows()).map(|i| m.row(i).to_vec()).collect()
}

fn outer(a: &[f64], b: &[f64]) -> Rows {
    a.iter().map(|a| b.iter().map(|b| a * b).collect()).collect()
}

fn add(sum: &mut Rows, term: &Rows) {
    for (sum, term) in sum.iter_mut().flatten().zip(term.iter().flatten()) {
        *sum += term;
    }
}

/// x of every step and sequence, one-hot vectors written out.
pub fn dense(inputs: &Inputs<f64>, features: usize) -> Vec<Rows> {
    let (steps, batch) = inputs.shape();
    let one = |t: usize, b: usize| match inputs {
        Inputs::Dense(x) => x.at(t, b).to_vec(),
        Inputs::Symbols(s) => {
            (0..features).map(|i| if i == s.step(t)[b] as usize { 1.0 } else { 0.0 }).collect()
        }
    };
    (0..steps).map(|t| (0..batch).map(|b| one(t, b)).collect()).collect()
}

type Function = fn(f64) -> f64;

/// φ and φ' of a vanilla cell, as functions of the pre-activation.
fn activation(cell: &str) -> (Function, Function) {
    match cell {
        "rnn" => (f64::tanh, |a| 1.0 / a.cosh().powi(2)),
        "rnn_relu" => (|a| a.max(0.0), |a| if a > 0.0 { 1.0 } else { 0.0 }),
        "rnn_identity" => (|a| a, |_| 1.0),
        other => panic!("no reference for {other}"),
    }
}

/// Pre-activations of every step, and h before, between and after them.
fn forward(network: &Network<f64>, inputs: &Inputs<f64>, initial: &State<f64>) -> (Vec<Rows>, Vec<Rows>) {
    let p = &network.weights().cells[0];
    let (w_ih, w_hh) = (rows(&p["weight_ih"]), rows(&p["weight_hh"]));
    let (steps, batch) = inputs.shape();
    let hidden = p.hidden();
    let (phi, _) = activation(network.spec().name.as_str());
    let x = dense(inputs, network.inputs());
    let mut h: Vec<Rows> = vec![rows(initial.h(0))];
    let mut a: Vec<Rows> = Vec::new();
    for t in 0..steps {
        let mut at = vec![vec![0.0; hidden]; batch];
        for b in 0..batch {
            for i in 0..hidden {
                let mut sum = p["bias_ih"].data()[i] + p["bias_hh"].data()[i];
                for (w, x) in w_ih[i].iter().zip(&x[t][b]) {
                    sum += w * x;
                }
                for (w, h) in w_hh[i].iter().zip(&h[t][b]) {
                    sum += w * h;
                }
                at[b][i] = sum;
            }
        }
        h.push(at.iter().map(|row| row.iter().map(|&a| phi(a)).collect()).collect());
        a.push(at);
    }
    (a, h)
}

/// Decomposes the gradients of a vanilla network with a readout the slow way.
pub fn reference(problem: &Problem) -> Reference {
    let network = &problem.network;
    let readout = network.weights().readout.as_ref().expect("reference problems have a readout");
    let w_hy = rows(&readout.w_hy);
    let (steps, batch) = problem.inputs.shape();
    let hidden = network.hidden();
    let (_, h) = forward(network, &problem.inputs, &problem.initial);
    let has_loss = |t: usize, b: usize| problem.objective.mask.as_ref().is_none_or(|m| m[t * batch + b]);
    let count =
        (0..steps).flat_map(|t| (0..batch).map(move |b| (t, b))).filter(|&(t, b)| has_loss(t, b)).count();
    let factor = match problem.objective.reduction {
        Reduction::Sum => 1.0,
        Reduction::MeanTokens => 1.0 / count.max(1) as f64,
        Reduction::MeanBatch => 1.0 / batch as f64,
        Reduction::Times(factor) => factor,
        other => panic!("the reference has no {other:?}"),
    };
    let mut losses = vec![vec![0.0; batch]; steps];
    let mut dy = vec![vec![vec![0.0; w_hy.len()]; batch]; steps];
    for t in 0..steps {
        for b in (0..batch).filter(|&b| has_loss(t, b)) {
            let y: Vec<f64> = (0..w_hy.len())
                .map(|v| {
                    readout.b_y.data()[v] + (0..hidden).map(|i| w_hy[v][i] * h[t + 1][b][i]).sum::<f64>()
                })
                .collect();
            match &problem.objective.targets {
                Targets::CrossEntropy(s) => {
                    let target = s.step(t)[b] as usize;
                    // p − 1 would lose the digits of a p that is nearly 1; what the others have keeps them.
                    let odds = |v: usize| (y[v] - y[target]).exp();
                    let others: f64 = (0..y.len()).filter(|&v| v != target).map(odds).sum();
                    losses[t][b] = others.ln_1p();
                    for v in 0..y.len() {
                        let p = odds(v) / (1.0 + others);
                        dy[t][b][v] = factor * if v == target { -others / (1.0 + others) } else { p };
                    }
                }
                Targets::SquaredError(s) => {
                    for (v, y) in y.iter().enumerate() {
                        losses[t][b] += (y - s.at(t, b)[v]).powi(2);
                        dy[t][b][v] = factor * 2.0 * (y - s.at(t, b)[v]);
                    }
                }
            }
        }
    }

    let mut seeds = Sequence::zeros(steps, batch, hidden);
    let mut head = vec![(Vec::new(), Vec::new()); steps];
    let present: Vec<bool> = (0..steps).map(|t| (0..batch).any(|b| has_loss(t, b))).collect();
    for k in (0..steps).filter(|&k| present[k]) {
        let (mut dw_hy, mut db_y) = (vec![vec![0.0; hidden]; w_hy.len()], vec![0.0; w_hy.len()]);
        for b in 0..batch {
            add(&mut dw_hy, &outer(&dy[k][b], &h[k + 1][b]));
            for v in 0..w_hy.len() {
                db_y[v] += dy[k][b][v];
                for i in 0..hidden {
                    seeds.at_mut(k, b)[i] += dy[k][b][v] * w_hy[v][i];
                }
            }
        }
        head[k] = (dw_hy, db_y);
    }
    let mut result = from_seeds(network, &problem.inputs, &problem.initial, &seeds);
    for k in (0..steps).filter(|&k| !present[k]) {
        result.contributions[k].clear();
        result.initial[k].clear();
    }
    Reference { total: losses.iter().flatten().sum::<f64>() * factor, losses, head, ..result }
}

/// Decomposes the gradients of a vanilla network whose losses are known by their gradients with respect to h: one
/// loss at a time.
pub fn from_seeds(
    network: &Network<f64>,
    inputs: &Inputs<f64>,
    initial: &State<f64>,
    seeds: &Sequence<f64>,
) -> Reference {
    let p = &network.weights().cells[0];
    let (w_ih, w_hh) = (rows(&p["weight_ih"]), rows(&p["weight_hh"]));
    let (steps, batch) = inputs.shape();
    let hidden = p.hidden();
    let (_, slope) = activation(network.spec().name.as_str());
    let x = dense(inputs, network.inputs());
    let (a, h) = forward(network, inputs, initial);
    let mut result = Reference {
        losses: Vec::new(),
        total: f64::NAN,
        contributions: vec![Vec::new(); steps],
        initial: Vec::new(),
        head: Vec::new(),
    };
    for k in 0..steps {
        let mut dh: Rows = (0..batch).map(|b| seeds.at(k, b).to_vec()).collect();
        for t in (0..=k).rev() {
            let mut c = Contribution {
                w_ih: vec![vec![0.0; network.inputs()]; hidden],
                w_hh: vec![vec![0.0; hidden]; hidden],
                bias: vec![0.0; hidden],
                input: vec![vec![0.0; network.inputs()]; batch],
                by_sequence: Vec::new(),
            };
            for b in 0..batch {
                let da: Vec<f64> = (0..hidden).map(|i| dh[b][i] * slope(a[t][b][i])).collect();
                let (of_w_ih, of_w_hh) = (outer(&da, &x[t][b]), outer(&da, &h[t][b]));
                add(&mut c.w_ih, &of_w_ih);
                add(&mut c.w_hh, &of_w_hh);
                for i in 0..hidden {
                    c.bias[i] += da[i];
                }
                for j in 0..network.inputs() {
                    c.input[b][j] = (0..hidden).map(|i| da[i] * w_ih[i][j]).sum();
                }
                for j in 0..hidden {
                    dh[b][j] = (0..hidden).map(|i| da[i] * w_hh[i][j]).sum();
                }
                c.by_sequence.push([norm(&of_w_ih), norm(&of_w_hh), norm([&da]), norm([&c.input[b]])]);
            }
            result.contributions[k].insert(0, c);
        }
        result.initial.push(dh);
    }
    result
}

/// Pseudo-random normals for building problems and directions: SplitMix64 and Box–Muller.
pub struct Normals(pub u64);

impl Normals {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn draw(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub fn vector(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| scale * self.draw()).collect()
    }

    fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    pub fn symbols(&mut self, steps: usize, batch: usize, size: usize) -> Symbols {
        let ids = (0..steps * batch).map(|_| self.below(size) as u32).collect();
        Symbols::new(steps, batch, ids).unwrap()
    }

    pub fn params(
        &mut self,
        cell: &dyn CellKind,
        inputs: usize,
        hidden: usize,
        gain: f64,
    ) -> CellParams<f64> {
        let mut params = CellParams::zeros(cell.spec(), inputs, hidden);
        let scales = cell.spec().params.iter().map(|param| match param.role {
            Role::Input => 0.7 / (inputs as f64).sqrt(),
            Role::Recurrent | Role::Projection => gain / (hidden as f64).sqrt(),
            _ => 0.2,
        });
        for (tensor, scale) in params.tensors_mut().iter_mut().zip(scales) {
            let numbers = self.vector(tensor.data().len(), scale);
            tensor.data_mut().copy_from_slice(&numbers);
        }
        params
    }
}

/// The shape of a random problem.
#[derive(Clone, Debug)]
pub struct Shape {
    pub seed: u64,
    pub cell: &'static str,
    pub steps: usize,
    pub batch: usize,
    pub inputs: usize,
    pub hidden: usize,
    pub outputs: usize,
    pub layers: usize,
    pub bidirectional: bool,
    /// Lengths, resets and dropout at random.
    pub options: [bool; 3],
    pub one_hot: bool,
    pub squared: bool,
    /// 0: no mask; 1: the last step only; 2: at random.
    pub mask: u8,
    pub reduction: Reduction,
}

/// Problems of the cells that the slow reference knows.
pub fn vanilla_shapes() -> impl Strategy<Value = Shape> {
    shapes_of(vec!["rnn", "rnn_relu", "rnn_identity"], 1..=1, &[false], false)
}

/// Problems of every cell.
pub fn shapes() -> impl Strategy<Value = Shape> {
    shapes_of(bptt::cells(), 1..=3, &[false, true], true)
}

fn shapes_of(
    cells: Vec<&'static str>,
    layers: RangeInclusive<usize>,
    bidirectional: &'static [bool],
    with_options: bool,
) -> impl Strategy<Value = Shape> {
    let reductions = prop_oneof![
        Just(Reduction::Sum),
        Just(Reduction::MeanTokens),
        Just(Reduction::MeanBatch),
        Just(Reduction::Times(0.3))
    ];
    let cells = proptest::sample::select(cells);
    let sizes = (1..9usize, 1..5usize, 1..6usize, 1..7usize, 1..6usize);
    let stack = (layers, proptest::sample::select(bidirectional));
    (any::<u64>(), cells, sizes, stack, any::<[bool; 5]>(), 0..3u8, reductions).prop_map(
        move |(
            seed,
            cell,
            (steps, batch, inputs, hidden, outputs),
            (layers, bidirectional),
            kinds,
            mask,
            reduction,
        )| {
            let [one_hot, squared, options @ ..] = kinds;
            let options = options.map(|option| option && with_options);
            // A normalized product of very few numbers has little but its curvature, and nothing of its length: differences
            // say little there, and gradients with respect to a single input cancel.
            let is_normalized =
                cell_by_name(cell).unwrap().spec().params.iter().any(|param| param.role == Role::Scale);
            let (inputs, hidden) = if is_normalized { (inputs + 2, hidden + 3) } else { (inputs, hidden) };
            Shape {
                seed,
                cell,
                steps,
                batch,
                inputs,
                hidden,
                outputs,
                layers,
                bidirectional,
                options,
                one_hot,
                squared,
                mask,
                reduction,
            }
        },
    )
}

fn problem_state(network: &Network<f64>, batch: usize, random: &mut Normals) -> State<f64> {
    let mut state = network.zero_state(batch);
    for matrix in state.matrices_mut() {
        let numbers = random.vector(matrix.data().len(), 0.5);
        matrix.data_mut().copy_from_slice(&numbers);
    }
    state
}

impl Shape {
    pub fn problem(&self) -> Problem {
        let mut random = Normals(self.seed);
        let cell = cell_by_name(self.cell).unwrap();
        let &Self { steps, batch, inputs, hidden, outputs, .. } = self;
        let directions = if self.bidirectional { 2 } else { 1 };
        let top = directions * hidden;
        let readout = Readout {
            w_hy: Matrix::new(outputs, top, random.vector(outputs * top, 0.8)).unwrap(),
            b_y: Matrix::new(1, outputs, random.vector(outputs, 0.3)).unwrap(),
        };
        let cells = 0..self.layers * directions;
        let layers =
            cells.map(|i| random.params(&*cell, if i < directions { inputs } else { top }, hidden, 0.9));
        let layers = layers.collect();
        let weights = Weights { cells: layers, bidirectional: self.bidirectional, readout: Some(readout) };
        let network = Network::new(cell, weights).unwrap();
        let sequence = |random: &mut Normals, features: usize| {
            Sequence::new(steps, batch, features, &random.vector(steps * batch * features, 1.0)).unwrap()
        };
        let inputs = if self.one_hot {
            Inputs::Symbols(random.symbols(steps, batch, inputs))
        } else {
            Inputs::Dense(sequence(&mut random, inputs))
        };
        let targets = if self.squared {
            Targets::SquaredError(sequence(&mut random, outputs))
        } else {
            Targets::CrossEntropy(random.symbols(steps, batch, outputs))
        };
        let mask = match self.mask {
            0 => None,
            1 => Some((0..steps * batch).map(|i| i / batch == steps - 1).collect()),
            _ => Some((0..steps * batch).map(|_| random.below(3) > 0).collect()),
        };
        let initial = problem_state(&network, batch, &mut random);
        let objective = Objective { targets, mask, reduction: self.reduction };
        let [lengths, resets, dropout] = self.options;
        let masks = 1..self.layers * usize::from(dropout);
        let mut mask = |_| {
            let kept = (0..steps * batch * top).map(|_| if random.below(4) > 0 { 4.0 / 3.0 } else { 0.0 });
            Sequence::new(steps, batch, top, &kept.collect::<Vec<_>>()).unwrap()
        };
        let options = ScanOptions {
            dropout: masks.map(&mut mask).collect(),
            lengths: lengths.then(|| (0..batch).map(|_| 1 + random.below(steps)).collect()),
            resets: resets.then(|| (0..steps * batch).map(|_| random.below(4) == 0).collect()),
            ..ScanOptions::default()
        };
        Problem { network, inputs, initial, options, objective }
    }
}
