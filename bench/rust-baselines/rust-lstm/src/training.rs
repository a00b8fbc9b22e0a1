use common::{Case, Check, Job, Result};
use ndarray::{Array2, Axis, concatenate};
use rust_lstm::{
    CrossEntropyLoss, LSTMCell, LSTMCellGradients, LSTMNetwork, LinearGradients, LinearLayer, LossFunction,
};

/// The form `nn`: the crate's network of one LSTM layer over one-hot vectors (made beforehand), its linear
/// layer over the states of all steps and its cross-entropy, each with its own backward pass.
pub struct Training {
    network: LSTMNetwork,
    readout: LinearLayer,
    /// One (V, B) matrix per step.
    input: Vec<Array2<f64>>,
    /// (V, T·B).
    targets: Array2<f64>,
    result: Option<Gradients>,
}

struct Gradients {
    loss: f64,
    cell: LSTMCellGradients,
    readout: LinearGradients,
}

impl Training {
    pub fn new(case: &Case) -> Result<Self> {
        let (hidden, symbols) = (case.hidden, case.symbols);
        let mut cell = LSTMCell::new(symbols, hidden);
        cell.w_ih = matrix(&case.w_ih, symbols)?;
        cell.w_hh = matrix(&case.w_hh, hidden)?;
        cell.b_ih = matrix(&case.b_ih, 1)?;
        cell.b_hh = matrix(&case.b_hh, 1)?;
        Ok(Self {
            network: LSTMNetwork::from_cells(vec![cell], symbols, hidden, 1),
            readout: LinearLayer::from_weights(matrix(&case.w_hy, hidden)?, matrix(&case.b_y, 1)?),
            input: case.ids.chunks(case.batch).map(|ids| one_hot(ids, symbols)).collect::<Result<_>>()?,
            targets: one_hot(&case.targets, symbols)?,
            result: None,
        })
    }
}

impl Job for Training {
    fn run(&mut self) -> Result<()> {
        let (outputs, caches) = self.network.forward_sequence_with_cache(&self.input);
        let states: Vec<_> = outputs.iter().map(|(state, _)| state.view()).collect();
        let logits = self.readout.forward(&concatenate(Axis(1), &states)?);
        let loss = CrossEntropyLoss.compute_loss(&logits, &self.targets);
        let d_logits = CrossEntropyLoss.compute_gradient(&logits, &self.targets);
        let (readout, d_states) = self.readout.backward(&d_logits);
        let batch = states[0].ncols();
        let d_states: Vec<_> =
            d_states.axis_chunks_iter(Axis(1), batch).map(|step| step.to_owned()).collect();
        let (mut cells, _) = self.network.backward_sequence(&d_states, &caches);
        self.result = cells.pop().map(|cell| Gradients { loss, cell, readout });
        Ok(())
    }

    fn check(&self) -> Result<Check> {
        let Gradients { loss, cell, readout } = self.result.as_ref().ok_or("nothing is computed")?;
        Ok(Check {
            loss: *loss,
            w_ih: norm(&cell.w_ih),
            w_hh: norm(&cell.w_hh),
            b_ih: norm(&cell.b_ih),
            b_hh: norm(&cell.b_hh),
            w_hy: norm(&readout.weight),
            b_y: norm(&readout.bias),
        })
    }
}

fn matrix(values: &[f32], columns: usize) -> Result<Array2<f64>> {
    let values: Vec<_> = values.iter().copied().map(f64::from).collect();
    Ok(Array2::from_shape_vec((values.len() / columns, columns), values)?)
}

/// One column per symbol.
fn one_hot(ids: &[i64], symbols: usize) -> Result<Array2<f64>> {
    let mut columns = Array2::zeros((symbols, ids.len()));
    for (column, &id) in ids.iter().enumerate() {
        columns[(usize::try_from(id)?, column)] = 1.0;
    }
    Ok(columns)
}

fn norm(gradient: &Array2<f64>) -> f64 {
    gradient.iter().map(|x| x * x).sum::<f64>().sqrt()
}
