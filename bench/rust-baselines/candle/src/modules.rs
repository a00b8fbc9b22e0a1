use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{
    Linear, Module, VarBuilder,
    loss::cross_entropy,
    rnn::{GRUConfig, LSTMConfig, RNN, gru, lstm},
};
use common::{Case, Cell, Result};

use crate::job::{Forward, Parameters, Training, indices};

/// The form `nn`: candle-nn's own LSTM and GRU over one-hot vectors (made beforehand), its linear layer
/// over the states of all steps and its cross-entropy.
pub fn training(case: &Case) -> Result<Training> {
    let parameters = Parameters::new(case)?;
    let named = [
        ("weight_ih_l0", &parameters.w_ih),
        ("weight_hh_l0", &parameters.w_hh),
        ("bias_ih_l0", &parameters.b_ih),
        ("bias_hh_l0", &parameters.b_hh),
    ];
    let named: HashMap<_, _> = named.map(|(name, var)| (name.to_owned(), var.as_tensor().clone())).into();
    let builder = VarBuilder::from_tensors(named, DType::F32, &Device::Cpu);
    let readout = Linear::new(parameters.w_hy.as_tensor().clone(), Some(parameters.b_y.as_tensor().clone()));
    let (symbols, hidden) = (case.symbols, case.hidden);
    let forward = match case.cell {
        Cell::Rnn => return Err("candle-nn has no tanh RNN".into()),
        Cell::Lstm => {
            over(case, lstm(symbols, hidden, LSTMConfig::default(), builder)?, readout, |state| &state.h)?
        }
        Cell::Gru => {
            over(case, gru(symbols, hidden, GRUConfig::default(), builder)?, readout, |state| &state.h)?
        }
    };
    Ok(Training::new(parameters, forward))
}

fn over<R: RNN + 'static>(
    case: &Case,
    layer: R,
    readout: Linear,
    output: fn(&R::State) -> &Tensor,
) -> Result<Forward> {
    let input = one_hot(case)?;
    let targets = indices(&case.targets)?;
    Ok(Box::new(move |_| {
        let states = layer.seq(&input)?;
        let outputs: Vec<_> = states.iter().map(output).collect();
        cross_entropy(&readout.forward(&Tensor::cat(&outputs, 0)?)?, &targets)
    }))
}

/// The input as (B, T, V).
fn one_hot(case: &Case) -> Result<Tensor> {
    let ids = Tensor::from_slice(&case.ids, (case.steps, case.batch), &Device::Cpu)?;
    let ids = ids.t()?.contiguous()?;
    Ok(candle_nn::encoding::one_hot(ids, case.symbols, 1f32, 0f32)?)
}
