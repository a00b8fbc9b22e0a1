#!/usr/bin/env bash
# The outputs of candle's recurrent layers as one tensor.
#
# Expected: RNN::states_to_tensor gives the states of a sequence as (batch, time, hidden) for every layer: LSTM and GRU implement one
#           trait, in one file, and are exchanged for each other in models.
# Actual:   it does for LSTM. The states of GRU are put side by side along the features, (batch, time * hidden): a linear layer behind
#           it reads all steps at once, and where it is as wide as one step, it does not fit.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[workspace]

[dependencies]
candle-core = "=0.11.1"
candle-nn = "=0.11.1"
TOML
cat > "$folder/src/main.rs" <<'RUST'
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rnn::{GRUConfig, LSTMConfig, RNN, gru, lstm};
use candle_nn::{VarBuilder, VarMap};

fn main() -> Result<()> {
    let (batch, steps, inputs, hidden) = (2, 4, 3, 5);
    let map = VarMap::new();
    let vars = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let x = Tensor::randn(0f32, 1f32, (batch, steps, inputs), &Device::Cpu)?;
    let lstm = lstm(inputs, hidden, LSTMConfig::default(), vars.pp("lstm"))?;
    let gru = gru(inputs, hidden, GRUConfig::default(), vars.pp("gru"))?;
    let of_lstm = lstm.states_to_tensor(&lstm.seq(&x)?)?;
    let states = gru.seq(&x)?;
    let of_gru = gru.states_to_tensor(&states)?;
    println!("candle-nn 0.11.1; input {:?}, hidden {hidden}", x.dims());
    println!("LSTM: expected {:?}, actual {:?}", [batch, steps, hidden], of_lstm.dims());
    println!("GRU:  expected {:?}, actual {:?}", [batch, steps, hidden], of_gru.dims());
    let last = of_gru.narrow(1, (steps - 1) * hidden, hidden)?;
    let difference = (last - &states[steps - 1].h)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!("GRU: its last {hidden} columns differ from the last state by {difference}");
    let as_described = of_lstm.dims() == [batch, steps, hidden]
        && of_gru.dims() == [batch, steps * hidden]
        && difference == 0.0;
    std::process::exit(i32::from(!as_described));
}
RUST
cargo run --quiet --manifest-path "$folder/Cargo.toml"
