//! The ledger as JSON, schema `bptt.ledger/2`; `NOTATION.md` documents it.

use bptt::{Component, Entry, EntryState, GateSaturation, Ledger, Losses, Matrix, PathSplit, PerLoss};
use serde_json::{Map, Value, json};

/// The schema's name and version. Later versions of this program only add keys to it.
pub const SCHEMA: &str = "bptt.ledger/2";

/// The fraction of the contributions that the horizons in the JSON cover.
pub const HORIZON: f64 = 0.99;

/// What the JSON says besides the ledger: inputs, losses, and where they come from.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    /// The symbol read at each step, if the inputs are symbols and there is one sequence.
    pub symbols: Option<&'a [String]>,
    /// The losses that the ledger was made from.
    pub losses: Option<&'a Losses<f64>>,
    /// Named values: the file or run, the module, the cell, the loss, the precision.
    pub provenance: Map<String, Value>,
    /// What was assumed because it was not given, one sentence each.
    pub assumptions: &'a [String],
}

/// A ledger. Numbers that JSON does not have (NaN and infinities) become null.
pub fn ledger(ledger: &Ledger, context: &Context<'_>) -> Map<String, Value> {
    let steps = ledger.steps();
    let mut entries: Vec<Value> = ledger.entries().iter().map(|of| entry(ledger, of)).collect();
    entries.extend(ledger.per_loss().iter().map(per_loss));
    let balance: Map<String, Value> =
        ledger.balance().iter().map(|b| (b.parameter.clone(), json!(b.relative_error))).collect();
    let recurrent = ledger.recurrent(0);
    let mut object = Map::new();
    let mut insert = |key: &str, value: Value| object.insert(key.into(), value);
    insert("schema", json!(SCHEMA));
    insert("provenance", Value::Object(context.provenance.clone()));
    insert("assumptions", json!(context.assumptions));
    insert("steps", json!(steps));
    insert("loss_steps", (0..steps).filter(|&k| ledger.has_loss(k)).collect());
    insert("losses", context.losses.map_or(Value::Null, |of| losses(ledger, of)));
    insert("total_loss", json!(context.losses.map(|of| of.total).filter(|total| total.is_finite())));
    insert("symbols", json!(context.symbols));
    insert(
        "gradient_span",
        (0..steps).map(|k| [ledger.gradient_span(k).start, ledger.gradient_span(k).end]).collect(),
    );
    if let Some(tolerance) = ledger.tolerance() {
        insert("tolerance", json!(tolerance));
    }
    insert("states", states());
    insert("entries", Value::Array(entries));
    insert("balance", Value::Object(balance));
    let conditioning = ledger.balance().iter().map(|b| (b.parameter.clone(), json!(b.conditioning)));
    insert("conditioning", Value::Object(conditioning.collect()));
    insert("horizon", horizon(recurrent));
    insert("decay_per_step", json!(recurrent.and_then(Entry::decay)));
    object
}

/// The loss of each step, summed over the sequences, before any reduction; null where there is none, or where losses are
/// known by their gradients only.
fn losses(ledger: &Ledger, of: &Losses<f64>) -> Value {
    let steps = ledger.steps();
    if of.values.is_empty() {
        return Value::Null;
    }
    let batch = of.values.len() / steps;
    let sum = |k: usize| of.values[k * batch..(k + 1) * batch].iter().sum::<f64>();
    (0..steps).map(|k| ledger.has_loss(k).then(|| sum(k))).collect()
}

fn horizon(entry: Option<&Entry>) -> Value {
    json!({ HORIZON.to_string(): entry.and_then(|entry| entry.horizon(HORIZON)) })
}

fn entry(ledger: &Ledger, entry: &Entry) -> Value {
    let steps = entry.steps();
    // A row per step; none where the step has no loss.
    let rows = |number: &dyn Fn(usize, usize) -> Option<f64>| -> Value {
        let row = |k| (0..steps).map(|t| number(k, t).filter(|v| v.is_finite())).collect::<Vec<_>>();
        (0..steps).map(|k| ledger.has_loss(k).then(|| row(k))).collect()
    };
    let by_gate = entry.gates().iter().enumerate();
    let by_gate: Map<String, Value> =
        by_gate.map(|(gate, &name)| (name.into(), rows(&|k, t| entry.gate_norm(k, t, gate)))).collect();
    let state = |k| (0..steps).map(|t| state_letter(entry.state(k, t))).collect::<String>();
    let profile = entry.profile();
    let mut object = json!({
        "layer": entry.cell.layer,
        "direction": entry.cell.direction.as_str(),
        "parameter": entry.parameter.as_str(),
        "norm": rows(&|k, t| entry.norm(k, t)),
        "share": rows(&|k, t| entry.share(k, t)),
        "state": (0..steps).map(|k| ledger.has_loss(k).then(|| state(k))).collect::<Vec<_>>(),
        "total_norm": entry.total_norm(),
        "cancellation": entry.cancellation(),
        "horizon": horizon(Some(entry)),
        "decay_per_step": entry.decay(),
        "log10_profile": profile.iter().map(|p| p.log10).collect::<Vec<_>>(),
        "profile_lags": profile.iter().map(|p| p.lag).collect::<Vec<_>>(),
        "profile_losses": profile.iter().map(|p| p.losses).collect::<Vec<_>>(),
    });
    if !by_gate.is_empty() {
        object["gate_norm"] = Value::Object(by_gate);
    }
    let row = |number: &dyn Fn(usize) -> Option<f64>| -> Vec<Option<f64>> {
        (0..steps).map(|t| number(t).filter(|v| v.is_finite())).collect()
    };
    if entry.remainder_norm(0).is_some() {
        object["remainder_norm"] = json!(row(&|t| entry.remainder_norm(t)));
        object["remainder_share"] = json!(row(&|t| entry.remainder_share(t)));
    }
    object
}

/// The states of a row; a row of a masked step is null. The step of a cut does not matter here.
const STATES: [EntryState; 7] = [
    EntryState::Value,
    EntryState::Cancelled,
    EntryState::Zero,
    EntryState::Underflow,
    EntryState::Cut(0),
    EntryState::Remainder,
    EntryState::Unreached,
];

/// What the letters of `state` stand for.
fn states() -> Value {
    let named = |&state: &EntryState| (state_letter(state).to_string(), json!(state_name(state)));
    Value::Object(STATES.iter().map(named).collect())
}

/// A state in a word, as tables write it.
pub(crate) fn state_name(state: EntryState) -> &'static str {
    match state {
        EntryState::Value => "value",
        EntryState::Cancelled => "cancelled",
        EntryState::Zero => "zero",
        EntryState::Underflow => "underflow",
        EntryState::Cut(_) => "cut",
        EntryState::Remainder => "remainder",
        EntryState::Masked => "masked",
        EntryState::Unreached => "unreached",
    }
}

/// One letter per state, so that a row is a short string.
pub fn state_letter(state: EntryState) -> char {
    match state {
        EntryState::Value => 'v',
        EntryState::Cancelled => 'x',
        EntryState::Zero => '0',
        EntryState::Underflow => 'u',
        EntryState::Cut(_) => 'c',
        EntryState::Remainder => 'r',
        EntryState::Masked => 'm',
        EntryState::Unreached => '.',
    }
}

pub(crate) fn per_loss(measured: &PerLoss) -> Value {
    let losses = 0..measured.norm.len();
    let mut object = json!({
        "layer": measured.cell.map(|place| place.layer),
        "direction": measured.cell.map(|place| place.direction.as_str()),
        "parameter": measured.parameter.as_str(),
        "norm": measured.norm,
        "share": losses.map(|k| measured.share(k).filter(|v| v.is_finite())).collect::<Vec<_>>(),
    });
    if let Some((norm, _)) = measured.remainder {
        object["remainder_norm"] = json!(norm);
        object["remainder_share"] = json!(measured.remainder_share().filter(|v| v.is_finite()));
    }
    object
}

/// The gradient of one loss by path, cell by cell: the ledger's key `paths`.
pub fn paths(splits: &[PathSplit<f64>]) -> Value {
    let split = |split: &PathSplit<f64>| {
        let by_path = |number: &dyn Fn(usize, usize) -> Option<f64>| -> Map<String, Value> {
            let row = |path: usize| -> Value {
                (0..split.steps()).map(|t| number(t, path).filter(|v| v.is_finite())).collect()
            };
            split.paths().iter().enumerate().map(|(path, &name)| (name.into(), row(path))).collect()
        };
        json!({
            "loss": split.k,
            "layer": split.cell.layer,
            "direction": split.cell.direction.as_str(),
            "share": by_path(&|t, path| split.share(t, path)),
            "log10_norm": by_path(&|t, path| split.log10_norm(t, path)),
        })
    };
    splits.iter().map(split).collect()
}

/// The fraction of saturated activations of each gate: the ledger's key `saturation`.
pub fn saturation(gates: &[GateSaturation]) -> Value {
    let gate = |of: &GateSaturation| {
        json!({
            "layer": of.cell.layer,
            "direction": of.cell.direction.as_str(),
            "gate": of.gate,
            "low": of.saturated.map(|(low, _)| low),
            "high": of.saturated.map(|(_, high)| high),
            "dead_units": of.dead,
        })
    };
    gates.iter().map(gate).collect()
}

/// Components as nested arrays `[k][t]`, for the components of all losses in order. Matrices are (inputs, units), as the
/// article prints them: the transpose of PyTorch's.
pub fn components(components: &[Component<f64>]) -> Value {
    let losses = components.iter().map(|c| c.k + 1).max().unwrap_or(0);
    let grid = |value: &dyn Fn(&Component<f64>) -> Value| -> Value {
        let row = |k| components.iter().filter(|c| c.k == k).map(value).collect();
        Value::Array((0..losses).map(|k| Value::Array(row(k))).collect())
    };
    json!({
        "weight_ih": grid(&|c| json!(transposed(&c.params["weight_ih"]))),
        "weight_hh": grid(&|c| json!(transposed(&c.params["weight_hh"]))),
        "bias": grid(&|c| json!(c.params["bias_ih"].data())),
    })
}

/// The rows of the transpose.
pub fn transposed(matrix: &Matrix<f64>) -> Vec<Vec<f64>> {
    (0..matrix.cols()).map(|j| (0..matrix.rows()).map(|i| matrix.row(i)[j]).collect()).collect()
}
