use burn::{
    module::Param,
    nn::{
        GateController, GruConfig, Linear, LstmConfig, RnnConfig,
        loss::{CrossEntropyLoss, CrossEntropyLossConfig},
    },
    tensor::{Gradients, Int, Tensor},
};
use common::{Case, Cell, Result};

use crate::job::{Model, Training, device, floats, indices, square};

/// How a layer goes over the whole input: (B, T, V) to (B, T, H).
type Layer = Box<dyn Fn(Tensor<3>) -> Tensor<3>>;

/// Burn's own modules.
pub struct Modules {
    layer: Layer,
    gates: Vec<GateController>,
    readout: Linear,
    cross_entropy: CrossEntropyLoss,
    input: Tensor<3>,
    targets: Tensor<1, Int>,
}

/// The form `nn`: burn's own `Rnn`, `Lstm` and `Gru` over one-hot vectors (made beforehand), its linear
/// layer over the states of all steps and its cross-entropy.
pub fn training(case: &Case) -> Training<Modules> {
    let gates = gates(case);
    let input = one_hot(case);
    Training::new(Modules {
        layer: layer(case, &gates),
        gates,
        readout: linear(&case.w_hy, &case.b_y, case.hidden),
        cross_entropy: CrossEntropyLossConfig::new().init(&device()),
        input,
        targets: indices(&batch_first(case, &case.targets)),
    })
}

impl Model for Modules {
    fn loss(&self) -> Tensor<1> {
        let states = (self.layer)(self.input.clone());
        let [batch, steps, hidden] = states.dims();
        let logits = self.readout.forward(states.reshape([batch * steps, hidden]));
        self.cross_entropy.forward(logits, self.targets.clone())
    }

    fn squares(&self, gradients: &Gradients) -> Result<[f64; 6]> {
        let [mut w_ih, mut w_hh, mut b_ih, mut b_hh] = [0.0; 4];
        for gate in &self.gates {
            w_ih += weight(&gate.input_transform, gradients)?;
            w_hh += weight(&gate.hidden_transform, gradients)?;
            b_ih += bias(&gate.input_transform, gradients)?;
            b_hh += bias(&gate.hidden_transform, gradients)?;
        }
        Ok([w_ih, w_hh, b_ih, b_hh, weight(&self.readout, gradients)?, bias(&self.readout, gradients)?])
    }
}

fn layer(case: &Case, gates: &[GateController]) -> Layer {
    let gate = |k: usize| gates[k].clone();
    let (symbols, hidden, device) = (case.symbols, case.hidden, device());
    match case.cell {
        Cell::Rnn => {
            let mut rnn = RnnConfig::new(symbols, hidden, true).init(&device);
            rnn.gate = gate(0);
            Box::new(move |input| rnn.forward(input, None).0)
        }
        Cell::Lstm => {
            let mut lstm = LstmConfig::new(symbols, hidden, true).init(&device);
            (lstm.input_gate, lstm.forget_gate) = (gate(0), Some(gate(1)));
            (lstm.cell_gate, lstm.output_gate) = (gate(2), gate(3));
            Box::new(move |input| lstm.forward(input, None).0)
        }
        Cell::Gru => {
            let mut gru = GruConfig::new(symbols, hidden, true).init(&device);
            (gru.reset_gate, gru.update_gate, gru.new_gate) = (gate(0), gate(1), gate(2));
            Box::new(move |input| gru.forward(input, None))
        }
    }
}

/// The gates in PyTorch's order.
fn gates(case: &Case) -> Vec<GateController> {
    let (hidden, symbols) = (case.hidden, case.symbols);
    (0..case.cell.gates())
        .map(|k| {
            let rows = k * hidden..(k + 1) * hidden;
            let w_ih = &case.w_ih[rows.start * symbols..rows.end * symbols];
            let w_hh = &case.w_hh[rows.start * hidden..rows.end * hidden];
            GateController {
                input_transform: linear(w_ih, &case.b_ih[rows.clone()], symbols),
                hidden_transform: linear(w_hh, &case.b_hh[rows], hidden),
            }
        })
        .collect()
}

/// A linear layer from PyTorch's weights, which are the transpose of burn's.
fn linear(weight: &[f32], bias: &[f32], inputs: usize) -> Linear {
    let outputs = bias.len();
    let transposed: Vec<_> =
        (0..inputs).flat_map(|i| (0..outputs).map(move |o| weight[o * inputs + i])).collect();
    Linear {
        weight: Param::from_tensor(floats(&transposed, [inputs, outputs])),
        bias: Some(Param::from_tensor(floats(bias, [outputs]))),
    }
}

fn weight(linear: &Linear, gradients: &Gradients) -> Result<f64> {
    square(&linear.weight.val(), gradients)
}

fn bias(linear: &Linear, gradients: &Gradients) -> Result<f64> {
    square(&linear.bias.as_ref().ok_or("a layer without a bias")?.val(), gradients)
}

/// The input as (B, T, V).
fn one_hot(case: &Case) -> Tensor<3> {
    let ids = indices(&batch_first(case, &case.ids)).reshape([case.batch, case.steps]);
    ids.float().one_hot(case.symbols)
}

/// (T, B) to (B, T).
fn batch_first(case: &Case, symbols: &[i64]) -> Vec<i64> {
    (0..case.batch).flat_map(|b| (0..case.steps).map(move |t| symbols[t * case.batch + b])).collect()
}
