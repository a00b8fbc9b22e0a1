//! A case: a network, its input and a job.

use std::error::Error;
use std::fmt;
use std::path::Path;

use bptt::{CellParams, Inputs, Matrix, Network, Readout, Sequence, Symbols, Weights, cell_by_name};
use bptt_train::Rng;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::npy::save;

/// The job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One forward and one backward pass.
    Train,
    /// The norms of every step's contribution to every loss.
    Itemize,
}

/// A shape and a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// A, B, C, D or a, b, c.
    pub name: String,
    /// The job.
    pub kind: Kind,
    /// rnn, lstm or gru.
    pub cell: String,
    /// Sequences.
    #[serde(rename = "B")]
    pub batch: usize,
    /// Steps.
    #[serde(rename = "T")]
    pub steps: usize,
    /// Hidden units.
    #[serde(rename = "H")]
    pub hidden: usize,
    /// Symbols.
    #[serde(rename = "V")]
    pub symbols: usize,
    /// Threads of each participant.
    pub threads: usize,
    /// The number of steps with a loss, counted from the end; all steps if `None`, the only value baselines support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<usize>,
}

impl Kind {
    /// Its name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Itemize => "itemize",
        }
    }
}

/// The measured cells.
pub const CELLS: [&str; 3] = ["rnn", "lstm", "gru"];

/// (name, B, T, H, V, threads) of a training step.
const TRAINED: [(&str, usize, usize, usize, usize, usize); 4] = [
    ("A", 32, 64, 128, 65, 2),
    ("B", 64, 128, 256, 96, 2),
    ("C", 64, 128, 512, 96, 2),
    ("D", 1, 100, 100, 65, 1),
];

/// The same for itemizing.
const ITEMIZED: [(&str, usize, usize, usize, usize, usize); 3] =
    [("a", 1, 100, 128, 96, 2), ("b", 1, 512, 256, 96, 2), ("c", 8, 256, 256, 96, 2)];

impl Case {
    /// Every case.
    pub fn all() -> Vec<Self> {
        let kinds = TRAINED.map(|shape| (Kind::Train, shape)).into_iter();
        let kinds = kinds.chain(ITEMIZED.map(|shape| (Kind::Itemize, shape)));
        kinds.flat_map(|(kind, shape)| CELLS.map(|cell| Self::new(kind, shape, cell))).collect()
    }

    /// A case.
    pub fn new(
        kind: Kind,
        (name, batch, steps, hidden, symbols, threads): (&str, usize, usize, usize, usize, usize),
        cell: &str,
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            cell: cell.into(),
            batch,
            steps,
            hidden,
            symbols,
            threads,
            losses: None,
        }
    }

    /// G.
    fn gates(&self) -> usize {
        match self.cell.as_str() {
            "lstm" => 4,
            "gru" => 3,
            _ => 1,
        }
    }

    /// The floating-point operations of the matrix products that no implementation can avoid. One-hot inputs need none.
    ///
    /// Training: h W_hhᵀ, da W_hh and daᵀ h, and the same three of the readout. Itemizing: da W_hh for every pair (k, t) of
    /// every sequence, where k has a loss.
    pub fn flops(&self) -> f64 {
        let [b, t, h, v, g] =
            [self.batch, self.steps, self.hidden, self.symbols, self.gates()].map(|n| n as f64);
        match self.kind {
            Kind::Train => 6.0 * b * t * (g * h * h + h * v),
            Kind::Itemize => {
                let k = self.losses.map_or(t, |losses| losses as f64);
                b * k * (2.0 * t - k + 1.0) * g * h * h
            }
        }
    }
}

/// A choice of cases.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Only these shapes: A, B, C, D (training), a, b, c (itemizing)
    #[arg(long, value_delimiter = ',')]
    pub shapes: Vec<String>,
    /// Only these cells: rnn, lstm, gru
    #[arg(long, value_delimiter = ',')]
    pub cells: Vec<String>,
}

impl Selection {
    /// The selected cases; all without a filter.
    pub fn cases(&self) -> Result<Vec<Case>, String> {
        let all = Case::all();
        let known_shape = |name: &&String| all.iter().any(|case| case.name == **name);
        if let Some(unknown) = self.shapes.iter().find(|name| !known_shape(name)) {
            return Err(format!("there is no shape {unknown}: expected A, B, C, D, a, b or c"));
        }
        if let Some(unknown) = self.cells.iter().find(|cell| !CELLS.contains(&cell.as_str())) {
            return Err(format!("there is no cell {unknown}: expected {}", CELLS.join(", ")));
        }
        let wanted = |list: &[String], name: &String| list.is_empty() || list.contains(name);
        let selected = |case: &Case| wanted(&self.shapes, &case.name) && wanted(&self.cells, &case.cell);
        Ok(all.into_iter().filter(selected).collect())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.cell)
    }
}

/// Writes a case's files into `folder`, in the format of `PROTOCOL.md`.
pub fn write(case: &Case, folder: &Path) -> Result<(), Box<dyn Error>> {
    let data = Data::new(case);
    let weights = &data.weights.cells[0];
    let (t, b, h, rows) = (case.steps, case.batch, case.hidden, weights["weight_hh"].rows());
    let wide = |ids: &[u32]| ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>();
    let file = |name: &str| folder.join(name).with_extension("npy");
    let array =
        |name: &str, shape: &[usize], numbers: &[f32]| save(&file(name), shape, numbers.iter().copied());

    std::fs::write(folder.join("case.json"), serde_json::to_vec(case)?)?;
    save(&file("ids"), &[t, b], wide(&data.ids))?;
    array("w_ih", &[rows, case.symbols], weights["weight_ih"].data())?;
    array("w_hh", &[rows, h], weights["weight_hh"].data())?;
    array("b_ih", &[rows], weights["bias_ih"].data())?;
    array("b_hh", &[rows], weights["bias_hh"].data())?;
    match &data.weights.readout {
        Some(readout) => {
            save(&file("targets"), &[t, b], wide(&data.targets))?;
            array("w_hy", &[case.symbols, h], readout.w_hy.data())?;
            array("b_y", &[case.symbols], readout.b_y.data())
        }
        None => array("seeds", &[t, b, h], &data.seeds),
    }
}

/// A case's numbers, drawn from a fixed seed. W_hh has standard deviation 1/√H: gradients neither vanish nor explode, so that
/// no contribution is subnormal, which would be slow.
pub struct Data {
    /// Input ids, (T, B).
    pub ids: Vec<u32>,
    /// Target ids, (T, B).
    pub targets: Vec<u32>,
    /// ∂L_k/∂h_k, (T, B, H).
    pub seeds: Vec<f32>,
    /// The parameters, with a readout for training.
    pub weights: Weights<f32>,
}

impl Data {
    /// Of `case`.
    #[allow(clippy::cast_possible_truncation)] // what is drawn is rounded, and ids are small
    pub fn new(case: &Case) -> Self {
        let mut rng = Rng::new(7, 0);
        let (count, rows) = (case.steps * case.batch, case.gates() * case.hidden);
        let mut ids = || (0..count).map(|_| rng.below(case.symbols) as u32).collect();
        let (ids, targets) = (ids(), ids());
        let mut normal = |rows: usize, cols: usize, scale: f64| -> Matrix<f32> {
            let numbers = (0..rows * cols).map(|_| (scale * rng.normal()) as f32).collect();
            Matrix::new(rows, cols, numbers).expect("as many numbers as asked for")
        };
        let scale = 1.0 / (case.hidden as f64).sqrt();
        let cell = cell_by_name(&case.cell).expect("a cell of this library");
        let tensors = vec![
            normal(rows, case.symbols, 1.0),
            normal(rows, case.hidden, scale),
            normal(1, rows, 0.1),
            normal(1, rows, 0.1),
        ];
        let layer = CellParams::new(cell.spec(), tensors).expect("shapes of the case");
        let readout =
            Readout { w_hy: normal(case.symbols, case.hidden, scale), b_y: normal(1, case.symbols, 0.1) };
        let seeds = normal(count, case.hidden, scale).data().to_vec();
        let readout = (case.kind == Kind::Train).then_some(readout);
        let weights = Weights { cells: vec![layer], bidirectional: false, readout };
        Self { ids, targets, seeds, weights }
    }

    /// The network of a case.
    pub fn network(&self, case: &Case) -> Network<f32> {
        let cell = cell_by_name(&case.cell).expect("a cell of this library");
        Network::new(cell, self.weights.clone()).expect("shapes that fit")
    }

    /// The inputs.
    pub fn inputs(&self, case: &Case) -> Inputs<f32> {
        let symbols = Symbols::new(case.steps, case.batch, self.ids.clone());
        Inputs::Symbols(symbols.expect("an id for each step and sequence"))
    }

    /// ∂L_k/∂h_k of every loss.
    pub fn seeds(&self, case: &Case) -> Sequence<f32> {
        let seeds = Sequence::new(case.steps, case.batch, case.hidden, &self.seeds);
        seeds.expect("a number for each unit")
    }
}
