//! The ledger as JSON, schema `bptt.ledger/1`; `NOTATION.md` documents it.

use bptt::{Component, Entry, EntryState, GateSaturation, Ledger, Matrix, Parameter, PathSplit, PerLoss};
use serde_json::{Map, Value, json};

/// The schema's name and version.
pub const SCHEMA: &str = "bptt.ledger/1";

/// The fraction that horizons in the JSON are of.
pub const HORIZON: f64 = 0.99;

/// A ledger. `symbols` are what the network read at each step, if it read symbols.
///
/// Numbers that JSON does not have (NaN and infinities) become null.
pub fn ledger(ledger: &Ledger, symbols: Option<&[String]>) -> Map<String, Value> {
    let mut entries: Vec<Value> = ledger.entries().iter().map(entry).collect();
    entries.extend(ledger.per_loss().iter().map(per_loss));
    let balance: Map<String, Value> =
        ledger.balance().iter().map(|b| (b.parameter.clone(), json!(b.relative_error))).collect();
    let recurrent = ledger.entry(0, Parameter::WeightHh);
    let mut object = Map::new();
    object.insert("schema".into(), json!(SCHEMA));
    object.insert("loss_steps".into(), json!(ledger.steps()));
    object.insert("steps".into(), json!(ledger.steps()));
    object.insert("symbols".into(), json!(symbols));
    let uncut = (0..ledger.steps()).map(|k| [ledger.uncut(k).start, ledger.uncut(k).end]);
    object.insert("uncut".into(), uncut.collect());
    object.insert("entries".into(), Value::Array(entries));
    object.insert("balance".into(), Value::Object(balance));
    object.insert("horizon".into(), horizon(recurrent));
    object.insert("decay_per_step".into(), json!(recurrent.and_then(Entry::decay)));
    object
}

fn horizon(entry: Option<&Entry>) -> Value {
    json!({ HORIZON.to_string(): entry.and_then(|entry| entry.horizon(HORIZON)) })
}

fn entry(entry: &Entry) -> Value {
    let steps = entry.steps();
    let rows = |number: &dyn Fn(usize, usize) -> Option<f64>| -> Vec<Vec<Option<f64>>> {
        let row = |k| (0..steps).map(|t| number(k, t).filter(|v| v.is_finite())).collect();
        (0..steps).map(row).collect()
    };
    let by_gate = entry.gates().iter().enumerate();
    let by_gate: Map<String, Value> = by_gate
        .map(|(gate, &name)| (name.into(), json!(rows(&|k, t| entry.gate_norm(k, t, gate)))))
        .collect();
    let state = |k| (0..steps).map(|t| state_letter(entry.state(k, t))).collect::<String>();
    let mut object = json!({
        "layer": entry.place.layer,
        "direction": entry.place.direction.as_str(),
        "parameter": entry.parameter.as_str(),
        "norm": rows(&|k, t| entry.norm(k, t)),
        "share": rows(&|k, t| entry.share(k, t)),
        "state": (0..steps).map(state).collect::<Vec<_>>(),
        "total_norm": entry.total_norm(),
        "cancellation": entry.cancellation(),
        "horizon": horizon(Some(entry)),
        "decay_per_step": entry.decay(),
        "log10_profile": entry.profile().iter().map(|p| p.log10).collect::<Vec<_>>(),
    });
    if !by_gate.is_empty() {
        object["gate_norm"] = Value::Object(by_gate);
    }
    object
}

/// One letter for each state, so that a row is a short string.
pub(crate) fn state_letter(state: EntryState) -> char {
    match state {
        EntryState::Value => 'v',
        EntryState::Zero => '0',
        EntryState::Underflow => 'u',
        EntryState::Cut(_) => 'c',
        EntryState::Masked => 'm',
        EntryState::Unreached => '.',
    }
}

pub(crate) fn per_loss(measured: &PerLoss) -> Value {
    let losses = 0..measured.norm.len();
    json!({
        "layer": measured.place.map(|place| place.layer),
        "direction": measured.place.map(|place| place.direction.as_str()),
        "parameter": measured.parameter.as_str(),
        "norm": measured.norm,
        "share": losses.map(|k| measured.share(k).filter(|v| v.is_finite())).collect::<Vec<_>>(),
    })
}

/// The way the gradient of one loss came, cell by cell: the ledger's key `paths`.
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
            "layer": split.place.layer,
            "direction": split.place.direction.as_str(),
            "share": by_path(&|t, path| split.share(t, path)),
            "log10_norm": by_path(&|t, path| split.log10_norm(t, path)),
        })
    };
    splits.iter().map(split).collect()
}

/// How saturated the gates were: the ledger's key `saturation`.
pub fn saturation(gates: &[GateSaturation]) -> Value {
    let gate = |of: &GateSaturation| {
        json!({
            "layer": of.place.layer,
            "direction": of.place.direction.as_str(),
            "gate": of.gate,
            "low": of.saturated.map(|(low, _)| low),
            "high": of.saturated.map(|(_, high)| high),
            "dead_units": of.dead,
        })
    };
    gates.iter().map(gate).collect()
}

/// Components as nested arrays `[k][t]`, each matrix in (inputs, units) orientation: the transpose of PyTorch's, which is
/// how the article prints them. Components must be those of all losses, in order.
pub fn components(components: &[Component<f64>]) -> Value {
    let losses = components.iter().map(|c| c.k + 1).max().unwrap_or(0);
    let grid = |value: &dyn Fn(&Component<f64>) -> Value| -> Value {
        let row = |k| components.iter().filter(|c| c.k == k).map(value).collect();
        Value::Array((0..losses).map(|k| Value::Array(row(k))).collect())
    };
    json!({
        "weight_ih": grid(&|c| json!(transposed(&c.w_ih))),
        "weight_hh": grid(&|c| json!(transposed(&c.w_hh))),
        "bias": grid(&|c| json!(c.b_ih.data())),
    })
}

/// The rows of the transpose.
pub fn transposed(matrix: &Matrix<f64>) -> Vec<Vec<f64>> {
    (0..matrix.cols()).map(|j| (0..matrix.rows()).map(|i| matrix.row(i)[j]).collect()).collect()
}
