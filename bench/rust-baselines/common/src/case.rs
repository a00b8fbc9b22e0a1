use std::{fs::File, io::BufReader, path::Path};

use serde::Deserialize;

use crate::Result;

/// The kind of recurrent cell, each as PyTorch defines it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// h = tanh(W_ih x + b_ih + W_hh h + b_hh).
    Rnn,
    /// Gates i, f, g, o.
    Lstm,
    /// Gates r, z, n, the reset gate after the product.
    Gru,
}

impl Cell {
    /// The number of gates G.
    pub fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// One training case: all arrays in C order, time before batch.
pub struct Case {
    /// The recurrent cell.
    pub cell: Cell,
    /// B, the number of sequences.
    pub batch: usize,
    /// T, the number of steps.
    pub steps: usize,
    /// H, the size of the hidden state.
    pub hidden: usize,
    /// V, the number of symbols.
    pub symbols: usize,
    /// (T, B): the symbols that come in.
    pub ids: Vec<i64>,
    /// (T, B): the symbols to predict.
    pub targets: Vec<i64>,
    /// (G·H, V).
    pub w_ih: Vec<f32>,
    /// (G·H, H).
    pub w_hh: Vec<f32>,
    /// (G·H).
    pub b_ih: Vec<f32>,
    /// (G·H).
    pub b_hh: Vec<f32>,
    /// (V, H).
    pub w_hy: Vec<f32>,
    /// (V).
    pub b_y: Vec<f32>,
}

#[derive(Deserialize)]
struct Header {
    kind: String,
    cell: Cell,
    #[serde(rename = "B")]
    batch: usize,
    #[serde(rename = "T")]
    steps: usize,
    #[serde(rename = "H")]
    hidden: usize,
    #[serde(rename = "V")]
    symbols: usize,
}

impl Case {
    /// Reads the case in a folder; another kind than `train` is an error.
    pub fn read(folder: &Path) -> Result<Self> {
        let header = BufReader::new(File::open(folder.join("case.json"))?);
        let Header { kind, cell, batch, steps, hidden, symbols } = serde_json::from_reader(header)?;
        if kind != "train" {
            return Err(format!("no {kind}, only train").into());
        }
        let rows = cell.gates() * hidden;
        Ok(Self {
            cell,
            batch,
            steps,
            hidden,
            symbols,
            ids: array(folder, "ids", &[steps, batch])?,
            targets: array(folder, "targets", &[steps, batch])?,
            w_ih: array(folder, "w_ih", &[rows, symbols])?,
            w_hh: array(folder, "w_hh", &[rows, hidden])?,
            b_ih: array(folder, "b_ih", &[rows])?,
            b_hh: array(folder, "b_hh", &[rows])?,
            w_hy: array(folder, "w_hy", &[symbols, hidden])?,
            b_y: array(folder, "b_y", &[symbols])?,
        })
    }
}

fn array<T: npyz::Deserialize>(folder: &Path, name: &str, shape: &[usize]) -> Result<Vec<T>> {
    let file = File::open(folder.join(name).with_extension("npy"))?;
    let npy = npyz::NpyFile::new(BufReader::new(file))?;
    let expected: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    if npy.order() != npyz::Order::C || npy.shape() != expected {
        return Err(format!("{name} is not {shape:?} in C order").into());
    }
    Ok(npy.into_vec()?)
}
