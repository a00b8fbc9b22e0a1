use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::sigmoid;
use common::{Case, Cell};

use crate::job::{Forward, Parameters, Training, indices};

/// The form `hand`: a loop of tensor operations. A symbol chooses its row of a table made of W_ih and the
/// biases, every gate has its own matrices (one product for all gates is slower, because the backward pass
/// through each slice of it is a whole matrix of zeros), and one product reads all states.
pub fn training(case: &Case) -> common::Result<Training> {
    let states = match case.cell {
        Cell::Rnn => rnn,
        Cell::Lstm => lstm,
        Cell::Gru => gru,
    };
    let ids: Vec<_> = case.ids.chunks(case.batch).map(indices).collect::<Result<_>>()?;
    let targets = indices(&case.targets)?.unsqueeze(1)?;
    let initial = Tensor::zeros((case.batch, case.hidden), DType::F32, &Device::Cpu)?;
    let forward: Forward = Box::new(move |parameters| {
        let states = Tensor::cat(&states(parameters, &ids, &initial)?, 0)?;
        let logits = states.matmul(&parameters.w_hy.t()?)?.broadcast_add(&parameters.b_y)?;
        cross_entropy(&logits, &targets)
    });
    Ok(Training::new(Parameters::new(case)?, forward))
}

/// Candle-nn's has the same value, but goes back through the maximum too.
fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
    let normalizer = shifted.exp()?.sum_keepdim(1)?.log()?;
    (normalizer - shifted.gather(targets, 1)?)?.mean_all()
}

/// What goes into one gate.
struct Gate {
    /// (V, H): what each symbol adds, bias included.
    table: Tensor,
    /// (H, H), to be applied from the right.
    recurrent: Tensor,
}

impl Gate {
    fn new(w_ih: &Tensor, w_hh: &Tensor, bias: &Tensor) -> Result<Self> {
        Ok(Self { table: w_ih.t()?.broadcast_add(bias)?, recurrent: w_hh.t()? })
    }

    fn input(&self, ids: &Tensor) -> Result<Tensor> {
        self.table.index_select(ids, 0)
    }

    fn product(&self, h: &Tensor) -> Result<Tensor> {
        h.matmul(&self.recurrent)
    }

    fn sum(&self, ids: &Tensor, h: &Tensor) -> Result<Tensor> {
        self.input(ids)? + self.product(h)?
    }
}

fn rnn(parameters: &Parameters, ids: &[Tensor], initial: &Tensor) -> Result<Vec<Tensor>> {
    let Parameters { w_ih, w_hh, b_ih, b_hh, .. } = parameters;
    let gate = Gate::new(w_ih, w_hh, &b_ih.add(b_hh)?)?;
    let mut h = initial.clone();
    ids.iter()
        .map(|ids| {
            h = gate.sum(ids, &h)?.tanh()?;
            Ok(h.clone())
        })
        .collect()
}

fn lstm(parameters: &Parameters, ids: &[Tensor], initial: &Tensor) -> Result<Vec<Tensor>> {
    let Parameters { w_ih, w_hh, b_ih, b_hh, .. } = parameters;
    let (w_ih, w_hh, bias) = (w_ih.chunk(4, 0)?, w_hh.chunk(4, 0)?, b_ih.add(b_hh)?.chunk(4, 0)?);
    let gate = |k: usize| Gate::new(&w_ih[k], &w_hh[k], &bias[k]);
    let (i_gate, f_gate, g_gate, o_gate) = (gate(0)?, gate(1)?, gate(2)?, gate(3)?);
    let (mut h, mut c) = (initial.clone(), initial.clone());
    ids.iter()
        .map(|ids| {
            let i = sigmoid(&i_gate.sum(ids, &h)?)?;
            let f = sigmoid(&f_gate.sum(ids, &h)?)?;
            let g = g_gate.sum(ids, &h)?.tanh()?;
            let o = sigmoid(&o_gate.sum(ids, &h)?)?;
            c = ((f * &c)? + (i * g)?)?;
            h = (o * c.tanh()?)?;
            Ok(h.clone())
        })
        .collect()
}

fn gru(parameters: &Parameters, ids: &[Tensor], initial: &Tensor) -> Result<Vec<Tensor>> {
    let Parameters { w_ih, w_hh, b_ih, b_hh, .. } = parameters;
    let (w_ih, w_hh) = (w_ih.chunk(3, 0)?, w_hh.chunk(3, 0)?);
    let (b_ih, b_hh) = (b_ih.chunk(3, 0)?, b_hh.chunk(3, 0)?);
    let r_gate = Gate::new(&w_ih[0], &w_hh[0], &b_ih[0].add(&b_hh[0])?)?;
    let z_gate = Gate::new(&w_ih[1], &w_hh[1], &b_ih[1].add(&b_hh[1])?)?;
    let n_gate = Gate::new(&w_ih[2], &w_hh[2], &b_ih[2])?;
    let mut h = initial.clone();
    ids.iter()
        .map(|ids| {
            let r = sigmoid(&r_gate.sum(ids, &h)?)?;
            let z = sigmoid(&z_gate.sum(ids, &h)?)?;
            let product = n_gate.product(&h)?.broadcast_add(&b_hh[2])?;
            let n = (n_gate.input(ids)? + (r * product)?)?.tanh()?;
            h = (&n + (z * (&h - &n)?)?)?;
            Ok(h.clone())
        })
        .collect()
}
