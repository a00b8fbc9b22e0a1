//! The forward and the backward pass of a whole network in bf16 as PyTorch and JAX do them on a CPU.
//!
//! Products add up in f32 and are rounded once. PyTorch's order is that of the processor's AMX instructions, which oneDNN uses:
//! even and odd terms apart in blocks of 32. That of JAX is one term after the other. Where another order is used, one result in
//! about 50,000 is rounded the other way.

use super::bf16_unit::{Bf16Cell, Unit, UnitGradient};
use crate::Error;
use crate::array::{Matrix, Sequence, View};
use crate::forward::{Inputs, Objective, gradient_of_outputs};
use crate::kernel::{bf16 as r, transpose};
use crate::model::{CellParams, Direction, Network, Readout, State};

// Where the parameters are in the specifications of the cells that are known here.
const W_IH: usize = 0;
const W_HH: usize = 1;
const B_IH: usize = 2;
const B_HH: usize = 3;
const W_HR: usize = 4;

/// Runs `network`, whose weights, inputs and initial state are in bf16, forward and backward. `visit` sees the number of the cell
/// with what each step contributes to the gradient of every parameter, in the cell's order: sums over the batch in f32, those of
/// a bias in JAX in bf16. The losses are taken in f64 of outputs in bf16, over whole sequences.
///
/// # Errors
/// If there is no readout, or the objective does not fit.
pub(super) fn bf16_pass(
    network: &Network<f32>,
    cell: Bf16Cell,
    inputs: &Inputs<f32>,
    initial: &State<f32>,
    objective: &Objective<f64>,
    mut visit: impl FnMut(usize, &[Matrix<f32>]),
) -> Result<(), Error> {
    let (steps, batch) = inputs.shape();
    let (weights, directions, width) = (network.weights(), network.directions(), network.output_width());
    let mut read = vec![dense(inputs, network.inputs())];
    let mut passes = Vec::new();
    for layer in 0..network.depth() {
        let mut output = Sequence::zeros(steps, batch, directions * width);
        for d in 0..directions {
            let index = layer * directions + d;
            let direction = weights.cell_id(index).direction;
            let mut pass = CellPass::new(cell, &weights.cells[index], direction, steps);
            pass.forward(&read[layer], &initial.cells[index], &mut output, d * width);
            passes.push(pass);
        }
        read.push(output);
    }
    let top = read.pop().expect("a network has a layer");
    let mut dh = through_readout(cell, weights.readout.as_ref(), &top, objective)?;
    for (layer, x) in read.iter().enumerate().rev() {
        let mut dx = (layer > 0).then(|| Sequence::zeros(steps, batch, x.features()));
        for d in 0..directions {
            let index = layer * directions + d;
            passes[index].backward(x, &dh, d * width, dx.as_mut(), |of_step| visit(index, of_step));
        }
        dh = dx.unwrap_or_default();
    }
    Ok(())
}

/// The inputs as numbers, symbols one-hot.
fn dense(inputs: &Inputs<f32>, features: usize) -> Sequence<f32> {
    match inputs {
        Inputs::Dense(x) => x.clone(),
        Inputs::Symbols(symbols) => {
            let (steps, batch) = symbols.shape();
            let mut x = Sequence::zeros(steps, batch, features);
            for (x, &id) in x.data_mut().chunks_exact_mut(features).zip(symbols.ids()) {
                x[id as usize] = 1.0;
            }
            x
        }
    }
}

/// dL/dh of the top layer, (T, B, D·P).
fn through_readout(
    cell: Bf16Cell,
    readout: Option<&Readout<f32>>,
    h: &Sequence<f32>,
    objective: &Objective<f64>,
) -> Result<Sequence<f32>, Error> {
    let Some(Readout { w_hy, b_y }) = readout else {
        return Err(Error::Unsupported {
            what: "losses".into(),
            given: "a network without a readout".into(),
            expected: "a network with a readout".into(),
        });
    };
    let (steps, batch) = (h.steps(), h.batch());
    let mut y = product(cell, h.rows(0..steps), transposed(w_hy.view()).view());
    for y in y.data_mut().chunks_exact_mut(b_y.cols()) {
        for (y, &b) in y.iter_mut().zip(b_y.data()) {
            // XLA leaves out a rounding before the cast to f32.
            *y = if cell.is_jax() { r(*y) + b } else { r(*y + b) };
        }
    }
    let y = Sequence::new(steps, batch, b_y.cols(), y.data())?;
    let mut dy: Sequence<f32> = gradient_of_outputs(objective, y.cast())?.cast();
    dy.data_mut().iter_mut().for_each(|dy| *dy = r(*dy));
    Sequence::new(steps, batch, h.features(), rounded(product(cell, dy.rows(0..steps), w_hy.view())).data())
}

/// One cell and what its forward pass leaves.
struct CellPass<'a> {
    cell: Bf16Cell,
    params: &'a CellParams<f32>,
    direction: Direction,
    /// Of each step, (B·H).
    units: Vec<Vec<Unit>>,
    /// The h that each step reads, (B, P).
    h_prev: Vec<Matrix<f32>>,
}

impl<'a> CellPass<'a> {
    fn new(cell: Bf16Cell, params: &'a CellParams<f32>, direction: Direction, steps: usize) -> Self {
        Self {
            cell,
            params,
            direction,
            units: vec![Vec::new(); steps],
            h_prev: vec![Matrix::zeros(0, 0); steps],
        }
    }

    /// The steps in the order in which they are read.
    fn steps(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let (steps, direction) = (self.units.len(), self.direction);
        (0..steps).map(move |i| if direction == Direction::Forward { i } else { steps - 1 - i })
    }

    /// From x, (T, B, I), and the initial h and c to `output` in the columns from the given one on.
    fn forward(
        &mut self,
        x: &Sequence<f32>,
        initial: &[Matrix<f32>],
        output: &mut Sequence<f32>,
        column: usize,
    ) {
        let (params, hidden) = (self.params.tensors(), self.params.hidden());
        let [w_ih, w_hh] = [W_IH, W_HH].map(|param| transposed(params[param].view()));
        let w_hr = params.get(W_HR).map(|w_hr| transposed(w_hr.view()));
        let mut h = initial[0].clone();
        let mut c = initial.get(1).map_or_else(|| vec![0.0; x.batch() * hidden], |c| c.data().to_vec());
        for t in self.steps() {
            let (of_x, of_h) =
                (product(self.cell, x.step(t), w_ih.view()), product(self.cell, h.view(), w_hh.view()));
            let units = (0..x.batch() * hidden).map(|e| {
                let (b, j) = (e / hidden, e % hidden);
                let (mut input, mut recurrent) = ([0.0; 4], [0.0; 4]);
                for (gate, a) in (j..w_ih.cols()).step_by(hidden).enumerate() {
                    let [b_ih, b_hh] = [B_IH, B_HH].map(|bias| params[bias].data()[a]);
                    (input[gate], recurrent[gate]) =
                        self.cell.sides(of_x.row(b)[a], b_ih, of_h.row(b)[a], b_hh);
                }
                // With a projection there is no unit of h for each of c, and none reads it.
                let h_prev = if w_hr.is_some() { 0.0 } else { h.row(b)[j] };
                self.cell.forward(input, recurrent, h_prev, c[e])
            });
            let units: Vec<Unit> = units.collect();
            c = units.iter().map(|unit| unit.c).collect();
            let out = outs(&units, hidden);
            let next =
                w_hr.as_ref().map(|w_hr| rounded(product(self.cell, out.view(), w_hr.view()))).unwrap_or(out);
            for b in 0..x.batch() {
                output.at_mut(t, b)[column..column + next.cols()].copy_from_slice(next.row(b));
            }
            self.h_prev[t] = std::mem::replace(&mut h, next);
            self.units[t] = units;
        }
    }

    /// From dL/dh, (T, B, D·P), in the columns from the given one on to what each step contributes, and to dL/dx, which is added
    /// to `dx`.
    fn backward(
        &self,
        x: &Sequence<f32>,
        dh: &Sequence<f32>,
        column: usize,
        mut dx: Option<&mut Sequence<f32>>,
        mut visit: impl FnMut(&[Matrix<f32>]),
    ) {
        let (params, hidden, gates) =
            (self.params.tensors(), self.params.hidden(), self.params.tensors()[W_IH].rows());
        let round = |v: f32| if self.cell.is_fused() { v } else { r(v) };
        let (batch, output) = (x.batch(), self.h_prev[0].cols());
        let mut through_weights = Matrix::zeros(batch, output);
        let mut direct = Matrix::zeros(batch, output);
        let mut dc = vec![0.0; batch * hidden];
        for t in self.steps().rev() {
            let mut dh_t = Matrix::zeros(batch, output);
            for b in 0..batch {
                let arrived = &dh.at(t, b)[column..column + output];
                for (j, to) in dh_t.row_mut(b).iter_mut().enumerate() {
                    *to = round(round(arrived[j] + direct.row(b)[j]) + through_weights.row(b)[j]);
                }
            }
            let of_units = params.get(W_HR).map(|w_hr| rounded(product(self.cell, dh_t.view(), w_hr.view())));
            let of_units = of_units.as_ref().unwrap_or(&dh_t);
            let (mut da, mut da_hh) = (Matrix::zeros(batch, gates), Matrix::zeros(batch, gates));
            for (e, unit) in self.units[t].iter().enumerate() {
                let (b, j) = (e / hidden, e % hidden);
                let found: UnitGradient = self.cell.backward(unit, of_units.row(b)[j], dc[e]);
                dc[e] = found.dc;
                if j < output {
                    direct.row_mut(b)[j] = found.dh;
                }
                for (gate, a) in (j..gates).step_by(hidden).enumerate() {
                    da.row_mut(b)[a] = found.da[gate];
                    da_hh.row_mut(b)[a] = found.da_hh[gate];
                }
            }
            let outer = |d: &Matrix<f32>, operand: View<'_, f32>| {
                product(self.cell, transposed(d.view()).view(), operand)
            };
            let mut contributions = vec![
                outer(&da, x.step(t)),
                outer(&da_hh, self.h_prev[t].view()),
                self.over_batch(&da),
                self.over_batch(&da_hh),
            ];
            if params.len() > W_HR {
                contributions.push(outer(&dh_t, outs(&self.units[t], hidden).view()));
            }
            visit(&contributions);
            through_weights = product(self.cell, da_hh.view(), params[W_HH].view());
            through_weights.data_mut().iter_mut().for_each(|v| *v = round(*v));
            if let Some(dx) = &mut dx {
                let through = product(self.cell, da.view(), params[W_IH].view());
                let to = dx.step_mut(t).iter_mut();
                to.zip(through.data()).for_each(|(dx, &through)| *dx = r(*dx + r(through)));
            }
        }
    }

    /// Σ_b d_b, (1, width).
    fn over_batch(&self, d: &Matrix<f32>) -> Matrix<f32> {
        let mut sum = Matrix::zeros(1, d.cols());
        for b in 0..d.rows() {
            for (sum, &d) in sum.data_mut().iter_mut().zip(d.row(b)) {
                *sum = if self.cell.is_jax() { r(*sum + d) } else { *sum + d };
            }
        }
        sum
    }
}

/// What the units of a step put out, (B, H).
fn outs(units: &[Unit], hidden: usize) -> Matrix<f32> {
    let out = units.iter().map(|unit| unit.out).collect();
    Matrix::new(units.len() / hidden, hidden, out).expect("a number for each unit")
}

fn rounded(mut matrix: Matrix<f32>) -> Matrix<f32> {
    matrix.data_mut().iter_mut().for_each(|v| *v = r(*v));
    matrix
}

fn transposed(matrix: View<'_, f32>) -> Matrix<f32> {
    let mut to = Matrix::zeros(matrix.cols(), matrix.rows());
    transpose(to.data_mut(), matrix.rows(), matrix);
    to
}

/// A product of numbers in bf16, (m, k) by (k, n), in f32 and in the order of `cell`'s framework.
fn product(cell: Bf16Cell, a: View<'_, f32>, b: View<'_, f32>) -> Matrix<f32> {
    let (block, apart) = if cell.is_jax() { (a.cols().max(1), 1) } else { (32, 2) };
    let mut out = Matrix::zeros(a.rows(), b.cols());
    let mut sums = [vec![0.0; b.cols()], vec![0.0; b.cols()]];
    for i in 0..a.rows() {
        for first in (0..a.cols()).step_by(block) {
            for sums in &mut sums {
                sums.fill(0.0);
            }
            for (k, &a) in a.row(i).iter().enumerate().skip(first).take(block) {
                sums[k % apart].iter_mut().zip(b.row(k)).for_each(|(sum, &b)| *sum += a * b);
            }
            let [even, odd] = &sums;
            let out = out.row_mut(i).iter_mut();
            out.zip(even.iter().zip(odd)).for_each(|(out, (even, odd))| *out += even + odd);
        }
    }
    out
}
