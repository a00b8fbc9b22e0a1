//! Makes candle_*.safetensors and candle.npz in the folder above (candle 0.11.1, CPU): its layers, as a `VarMap` saves them, and what they
//! compute in f64. `common.py` says what the arrays are. Run with `cargo run` in the folder of this Cargo.toml.

use std::path::Path;

use candle_core::{D, DType, Device, IndexOp, Result, Tensor, Var};
use candle_nn::rnn::{Direction, GRUConfig, LSTMConfig, RNN, gru, lstm};
use candle_nn::{VarBuilder, VarMap};

const I: usize = 2;
const H: usize = 3;
const T: usize = 4;

/// As in common.py.
fn numbers(seed: f64, shape: &[usize]) -> Result<Tensor> {
    let count = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| (seed + 1.7 * i as f64).sin() * 0.8).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// The outputs of a layer for x (1, T, features), (1, T, H).
fn lstm_outputs(inputs: usize, config: LSTMConfig, vars: VarBuilder, x: &Tensor) -> Result<Tensor> {
    let layer = lstm(inputs, H, config, vars)?;
    layer.states_to_tensor(&layer.seq(x)?)
}

/// `run` makes its layers of the variables, which get other numbers than the initial ones before they are used again.
fn case(
    proofs: &mut Vec<(String, Tensor)>,
    name: &str,
    suffix: &str,
    run: impl Fn(VarBuilder, &Tensor) -> Result<Tensor>,
) -> Result<()> {
    let vars = VarMap::new();
    let builder = || VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu).pp("rnn");
    let x = Var::from_tensor(&numbers(0.3, &[1, T, I])?)?;
    run(builder(), &x)?;
    let mut named: Vec<(String, Var)> =
        vars.data().lock().unwrap().iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (n, (_, var)) in named.iter().enumerate() {
        var.set(&numbers(2.0 + 0.37 * n as f64, var.dims())?)?;
    }
    let y = run(builder(), &x)?;
    let seeds = numbers(0.9, &[1, T, H])?;
    let (mut dx, mut norms) = (Vec::new(), Vec::new());
    for k in 0..T {
        let loss = (y.i((.., k))? * seeds.i((.., k))?)?.sum_all()?;
        let gradients = loss.backward()?;
        dx.push(gradients.get(x.as_tensor()).unwrap().squeeze(0)?);
        let norm = |parameter: &str| -> Result<Tensor> {
            let full = format!("rnn.{parameter}_l0{suffix}");
            let (_, var) = named.iter().find(|(name, _)| *name == full).unwrap();
            gradients.get(var.as_tensor()).unwrap().sqr()?.sum_all()?.sqrt()
        };
        norms.push(Tensor::stack(&[norm("weight_ih")?, norm("weight_hh")?, norm("bias_ih")?], D::Minus1)?);
    }
    proofs.push((format!("{name}.y"), y.squeeze(0)?));
    proofs.push((format!("{name}.dx"), Tensor::stack(&dx, 0)?));
    proofs.push((format!("{name}.norms"), Tensor::stack(&norms, 0)?));
    vars.save(folder().join(format!("candle_{name}.safetensors")))
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn main() -> Result<()> {
    let mut proofs = Vec::new();
    let config = |layer_idx, direction| LSTMConfig { layer_idx, direction, ..LSTMConfig::default() };
    case(&mut proofs, "lstm", "", |vars, x| {
        let first = lstm_outputs(I, config(0, Direction::Forward), vars.clone(), x)?;
        lstm_outputs(H, config(1, Direction::Forward), vars, &first)
    })?;
    case(&mut proofs, "backward", "_reverse", |vars, x| {
        lstm_outputs(I, config(0, Direction::Backward), vars, x)
    })?;
    case(&mut proofs, "gru", "", |vars, x| {
        let layer = gru(I, H, GRUConfig::default(), vars)?;
        let states: Vec<Tensor> = layer.seq(x)?.into_iter().map(|state| state.h).collect();
        Tensor::stack(&states, 1)
    })?;
    Tensor::write_npz(&proofs, folder().join("candle.npz"))
}
