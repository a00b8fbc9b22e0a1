use burn::tensor::{
    Gradients, Int, Tensor,
    activation::{log_softmax, sigmoid},
};
use common::{Case, Cell, Result};

use crate::job::{Model, Training, device, floats, indices, square};

/// The parameters in PyTorch's shapes and the case.
pub struct Hand {
    cell: Cell,
    w_ih: Tensor<2>,
    w_hh: Tensor<2>,
    b_ih: Tensor<1>,
    b_hh: Tensor<1>,
    w_hy: Tensor<2>,
    b_y: Tensor<1>,
    /// (B) per step.
    ids: Vec<Tensor<1, Int>>,
    /// (T·B, 1).
    targets: Tensor<2, Int>,
    /// (B, H).
    initial: Tensor<2>,
}

/// The form `hand`: a loop of tensor operations. A symbol chooses its row of a table made of W_ih and the
/// biases, and one product reads all states. The LSTM has one product for all gates, the GRU one for each:
/// what is faster in burn.
pub fn training(case: &Case) -> Training<Hand> {
    let (rows, hidden, symbols) = (case.cell.gates() * case.hidden, case.hidden, case.symbols);
    Training::new(Hand {
        cell: case.cell,
        w_ih: floats(&case.w_ih, [rows, symbols]).require_grad(),
        w_hh: floats(&case.w_hh, [rows, hidden]).require_grad(),
        b_ih: floats(&case.b_ih, [rows]).require_grad(),
        b_hh: floats(&case.b_hh, [rows]).require_grad(),
        w_hy: floats(&case.w_hy, [symbols, hidden]).require_grad(),
        b_y: floats(&case.b_y, [symbols]).require_grad(),
        ids: case.ids.chunks(case.batch).map(indices).collect(),
        targets: indices(&case.targets).unsqueeze_dim(1),
        initial: Tensor::zeros([case.batch, hidden], &device()),
    })
}

impl Model for Hand {
    fn loss(&self) -> Tensor<1> {
        let states = match self.cell {
            Cell::Rnn => self.rnn(),
            Cell::Lstm => self.lstm(),
            Cell::Gru => self.gru(),
        };
        let readout = self.w_hy.clone().transpose();
        let logits = Tensor::cat(states, 0).matmul(readout) + self.b_y.clone().unsqueeze();
        -log_softmax(logits, 1).gather(1, self.targets.clone()).mean()
    }

    fn squares(&self, gradients: &Gradients) -> Result<[f64; 6]> {
        Ok([
            square(&self.w_ih, gradients)?,
            square(&self.w_hh, gradients)?,
            square(&self.b_ih, gradients)?,
            square(&self.b_hh, gradients)?,
            square(&self.w_hy, gradients)?,
            square(&self.b_y, gradients)?,
        ])
    }
}

impl Hand {
    fn rnn(&self) -> Vec<Tensor<2>> {
        let gate = Gate::new(&self.w_ih, &self.w_hh, self.b_ih.clone() + self.b_hh.clone());
        let mut h = self.initial.clone();
        let step = |ids| {
            h = gate.sum(ids, &h).tanh();
            h.clone()
        };
        self.ids.iter().map(step).collect()
    }

    fn lstm(&self) -> Vec<Tensor<2>> {
        let gates = Gate::new(&self.w_ih, &self.w_hh, self.b_ih.clone() + self.b_hh.clone());
        let (mut h, mut c) = (self.initial.clone(), self.initial.clone());
        let step = |ids| {
            let [i, f, g, o] = chunks(&gates.sum(ids, &h), 1);
            c = sigmoid(f) * c.clone() + sigmoid(i) * g.tanh();
            h = sigmoid(o) * c.clone().tanh();
            h.clone()
        };
        self.ids.iter().map(step).collect()
    }

    fn gru(&self) -> Vec<Tensor<2>> {
        let ([r_ih, z_ih, n_ih], [r_hh, z_hh, n_hh]) = (chunks(&self.w_ih, 0), chunks(&self.w_hh, 0));
        let ([rb_ih, zb_ih, nb_ih], [rb_hh, zb_hh, nb_hh]) = (chunks(&self.b_ih, 0), chunks(&self.b_hh, 0));
        let r_gate = Gate::new(&r_ih, &r_hh, rb_ih + rb_hh);
        let z_gate = Gate::new(&z_ih, &z_hh, zb_ih + zb_hh);
        let n_gate = Gate::new(&n_ih, &n_hh, nb_ih);
        let n_bias: Tensor<2> = nb_hh.unsqueeze();
        let mut h = self.initial.clone();
        let step = |ids| {
            let r = sigmoid(r_gate.sum(ids, &h));
            let z = sigmoid(z_gate.sum(ids, &h));
            let n = (n_gate.input(ids) + r * (n_gate.product(&h) + n_bias.clone())).tanh();
            h = n.clone() + z * (h.clone() - n);
            h.clone()
        };
        self.ids.iter().map(step).collect()
    }
}

/// What goes into one gate, or all of them side by side.
struct Gate {
    /// What each symbol adds, one per row, bias included.
    table: Tensor<2>,
    /// To be applied from the right.
    recurrent: Tensor<2>,
}

impl Gate {
    fn new(w_ih: &Tensor<2>, w_hh: &Tensor<2>, bias: Tensor<1>) -> Self {
        let table = w_ih.clone().transpose() + bias.unsqueeze();
        Self { table, recurrent: w_hh.clone().transpose() }
    }

    fn input(&self, ids: &Tensor<1, Int>) -> Tensor<2> {
        self.table.clone().select(0, ids.clone())
    }

    fn product(&self, h: &Tensor<2>) -> Tensor<2> {
        h.clone().matmul(self.recurrent.clone())
    }

    fn sum(&self, ids: &Tensor<1, Int>, h: &Tensor<2>) -> Tensor<2> {
        self.input(ids) + self.product(h)
    }
}

/// The G gates of a tensor.
fn chunks<const G: usize, const D: usize>(tensor: &Tensor<D>, dimension: usize) -> [Tensor<D>; G] {
    let chunks = tensor.clone().chunk(G, dimension);
    chunks.try_into().expect("a tensor of gates divides into its gates")
}
