//! A report: one HTML file that works offline, with the training, a summary of the ledgers in words, interactive figures,
//! tables, and the commands that reproduce it.
//!
//! The page is in `report/page/`; [`html`] joins its parts, plotly and the numbers of the ledgers into one file. Texts of
//! the user enter the page as JSON and are inserted as text nodes, never as HTML.

mod comparison;
mod numbers;
#[cfg(feature = "report")]
mod page;

use bptt::cell::{ParamKind, ParamSpec, Role};
use bptt::dynamics::sigma_max;
use bptt::{CellId, CellSpec, Entry, GateSaturation, Ledger, Network, cell_by_name};
use serde_json::{Map, Value, json};

#[cfg(feature = "report")]
use crate::glossary::WORDS;
use crate::json;
use numbers::Numbers;

pub use comparison::{ComparisonPage, comparison};

#[cfg(feature = "report")]
pub use page::{CONTROLS, MODULES, NETWORK, STYLE, filled, plotly_js};

/// The schema of the data that the scripts of the page read.
pub const SCHEMA: &str = "bptt.report/1";

/// The contents of a report.
#[derive(Clone, Debug)]
pub struct Report {
    /// The title of the page.
    pub title: String,
    /// The program and its version.
    pub program: String,
    /// Commands that reproduce the run and the report.
    pub reproduce: Vec<String>,
    /// One or several networks, each with one sequence.
    pub subjects: Vec<Subject>,
}

/// A network and its ledgers of one sequence.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// The name of the cell, see [`bptt::cells`].
    pub cell: String,
    /// A description of the training: names and values.
    pub facts: Vec<(String, String)>,
    /// What the numbers mean in sentences, the most important one first.
    pub verdict: Vec<String>,
    /// The input of each step as text, (T).
    pub symbols: Vec<String>,
    /// The target of each loss, (T), if the targets are symbols.
    pub targets: Option<Vec<String>>,
    /// The losses, (T), if their values are known.
    pub losses: Option<Vec<f64>>,
    /// The unit of the losses.
    pub unit: LossUnit,
    /// The loss that is shown first.
    pub k: usize,
    /// The largest singular value of each gate's block of each W_hh at the end of the training.
    pub blocks: Vec<Block>,
    /// The saturation of the gates at the end of the training.
    pub saturation: Vec<GateSaturation>,
    /// The events in the `metrics.jsonl` of the run.
    pub metrics: Vec<Value>,
    /// Ledgers of the same sequence at several times of the training, earliest first; at least one.
    pub stages: Vec<Stage>,
}

/// The unit of losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossUnit {
    /// Bits, for predicted symbols.
    Bits,
    /// Nats, for classes.
    Nats,
    /// (y − target)², summed over the outputs.
    SquaredError,
}

impl LossUnit {
    /// The unit as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bits => "bits",
            Self::Nats => "nats",
            Self::SquaredError => "squared error",
        }
    }
}

/// A ledger at one time of the training.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Number of updates; `None` if the network was not trained.
    pub step: Option<u64>,
    /// The ledger.
    pub ledger: Ledger,
}

/// The (H, H) block of one gate in a W_hh.
#[derive(Clone, Debug)]
pub struct Block {
    /// Which cell.
    pub cell: CellId,
    /// Which gate.
    pub gate: &'static str,
    /// Its largest singular value.
    pub sigma_max: f64,
}

/// The largest number of units with singular values; larger blocks would take longer than the rest of a report.
const MOST_UNITS: usize = 256;

impl Block {
    /// Those of a network's recurrent weights; none if it has too many units.
    pub fn all(network: &Network<f64>) -> Vec<Self> {
        if network.hidden() > MOST_UNITS {
            return Vec::new();
        }
        let cells = network.weights().cells.iter().enumerate();
        let blocks = cells.flat_map(|(index, params)| {
            network.spec().gates.iter().enumerate().filter_map(move |(number, gate)| {
                let sigma_max = sigma_max(params.recurrent_block(number)?);
                Some(Self { cell: network.weights().cell_id(index), gate: gate.name, sigma_max })
            })
        });
        blocks.collect()
    }
}

impl Subject {
    /// The ledger at the end of training.
    pub fn ledger(&self) -> &Ledger {
        &self.stages.last().expect("a subject has a ledger").ledger
    }
}

/// The numbers of a report do not fit into 8 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the report would be larger than 8 MB; use fewer steps")
    }
}

impl std::error::Error for TooLarge {}

/// The largest number of characters of the packed numbers: 8 MB less plotly and the page.
const ROOM: usize = 5_500_000;

/// The largest number of floats of all ledgers with which earlier stages are kept.
const STAGED: usize = 700_000;

/// Levels of detail: bits of mantissa, and whether the norms of gates are kept. The first that fits is used.
const DETAIL: [(u32, bool); 4] = [(23, true), (14, true), (14, false), (10, false)];

/// The report as one self-contained HTML file.
///
/// # Errors
/// If the numbers do not fit into 8 MB.
#[cfg(feature = "report")]
pub fn html(report: &Report) -> Result<String, TooLarge> {
    let (mut data, numbers) = data(report)?;
    data["glossary"] = WORDS.iter().map(|&(word, meaning)| (word.to_owned(), json!(meaning))).collect();
    Ok(page::html(&report.title, &data, &numbers))
}

/// The data of the page: the JSON, and the numbers it refers to, in zlib format as base64.
///
/// # Errors
/// If the numbers do not fit into 8 MB.
pub fn data(report: &Report) -> Result<(Value, String), TooLarge> {
    for (bits, gates) in DETAIL {
        let mut numbers = Numbers::new(bits);
        let subjects: Vec<Value> = report
            .subjects
            .iter()
            .map(|of| subject(of, gates, STAGED / report.subjects.len(), &mut numbers))
            .collect();
        let text = numbers.pack();
        if text.len() <= ROOM {
            let data = json!({
                "schema": SCHEMA,
                "title": report.title,
                "program": report.program,
                "reproduce": report.reproduce,
                "mantissa_bits": bits,
                "subjects": subjects,
            });
            return Ok((data, text));
        }
    }
    Err(TooLarge)
}

/// Whether a contribution to the weights of this role is the outer product of one to a bias and of one vector: in all
/// gates they have the same adjoints.
fn is_outer_product(spec: &CellSpec, role: Role) -> bool {
    let Some(weights) = spec.params.iter().find(|param| param.role == role) else { return false };
    let adjoints = |of: &ParamSpec| -> Vec<_> {
        of.blocks.iter().map(|block| (block.gates.clone(), block.adjoint)).collect()
    };
    let is_its_bias =
        |param: &ParamSpec| param.kind == ParamKind::Bias && adjoints(param) == adjoints(weights);
    weights.blocks.iter().all(|block| block.operand == weights.blocks[0].operand)
        && spec.params.iter().any(is_its_bias)
}

fn subject(of: &Subject, gates: bool, room: usize, numbers: &mut Numbers) -> Value {
    let cell = cell_by_name(&of.cell).ok();
    let spec = cell.as_ref().map(|cell| &**cell.spec());
    let last = of.stages.len() - 1;
    let stages: Vec<Value> = thinned(of, room)
        .into_iter()
        // Earlier stages have no gates.
        .map(|i| stage(&of.stages[i], spec, gates && i == last, numbers))
        .collect();
    let block = |block: &Block| {
        json!({
            "layer": block.cell.layer, "direction": block.cell.direction.as_str(),
            "gate": block.gate, "sigma_max": block.sigma_max,
        })
    };
    json!({
        "name": of.name,
        "cell": of.cell,
        "vanilla": spec.is_some_and(|spec| spec.vanilla.is_some()),
        "equations": spec.map(|spec| &spec.equations),
        "outer_products": {
            "input": spec.is_some_and(|spec| is_outer_product(spec, Role::Input)),
            "recurrent": spec.is_some_and(|spec| is_outer_product(spec, Role::Recurrent)),
        },
        "facts": of.facts,
        "verdict": of.verdict,
        "symbols": of.symbols,
        "targets": of.targets,
        "losses": of.losses,
        "unit": of.unit.as_str(),
        "k": of.k,
        "blocks": of.blocks.iter().map(block).collect::<Vec<_>>(),
        "saturation": json::saturation(&of.saturation),
        "training": training(&of.metrics),
        "stages": stages,
    })
}

/// The stages whose numbers fit into `room` floats: the last one, then the first, then evenly spaced ones.
fn thinned(of: &Subject, room: usize) -> Vec<usize> {
    let ledger = of.ledger();
    let each = 2 * ledger.entries().len() * numbers::pairs(ledger).count();
    let (all, fit) = (of.stages.len(), (room / each.max(1)).max(1));
    if fit >= all {
        return (0..all).collect();
    }
    let mut kept: Vec<usize> = match fit {
        1 => vec![all - 1],
        _ => (0..fit).map(|i| i * (all - 1) / (fit - 1)).collect(),
    };
    kept.dedup();
    kept
}

fn stage(of: &Stage, spec: Option<&CellSpec>, gates: bool, numbers: &mut Numbers) -> Value {
    let ledger = &of.ledger;
    let steps = 0..ledger.steps();
    let mut object = Map::new();
    object.insert("step".into(), json!(of.step));
    object.insert("steps".into(), json!(ledger.steps()));
    object.insert("triangular".into(), json!(numbers::is_triangular(ledger)));
    object.insert("losses".into(), steps.clone().filter(|&k| ledger.has_loss(k)).collect());
    object.insert(
        "uncut".into(),
        steps.map(|k| [ledger.gradient_span(k).start, ledger.gradient_span(k).end]).collect(),
    );
    let balance = ledger.balance().iter();
    let balance: Map<String, Value> =
        balance.map(|b| (b.parameter.clone(), json!(b.relative_error))).collect();
    object.insert("balance".into(), Value::Object(balance));
    object.insert(
        "entries".into(),
        ledger
            .entries()
            .iter()
            .map(|of| {
                let mut value = entry(ledger, of, gates, numbers);
                value["role"] = json!(role(spec, of.parameter.as_str()));
                value
            })
            .collect(),
    );
    object.insert("per_loss".into(), ledger.per_loss().iter().map(json::per_loss).collect());
    Value::Object(object)
}

/// What a parameter of the cell is for, in words.
fn role(spec: Option<&CellSpec>, parameter: &str) -> Option<&'static str> {
    let param = spec?.params.iter().find(|param| param.name == parameter)?;
    Some(match param.role {
        Role::Input => "input weights",
        Role::Recurrent => "recurrent weights",
        Role::InputBias => "biases of the input side",
        Role::RecurrentBias => "biases of the recurrent side",
        Role::Peephole => "peephole weights",
        Role::Projection => "weights of the projection",
        Role::Scale => "scales of a normalized product",
        Role::Shift => "shifts of a normalized product",
        _ => return None,
    })
}

/// An entry without its (k, t) numbers, which are added to `numbers` from byte `at` on: states, norms, shares, norms of
/// gates.
fn entry(ledger: &Ledger, entry: &Entry, gates: bool, numbers: &mut Numbers) -> Value {
    let at = numbers.len();
    numbers.entry(ledger, entry, gates);
    let profile = entry.profile();
    json!({
        "layer": entry.cell.layer,
        "direction": entry.cell.direction.as_str(),
        "parameter": entry.parameter.as_str(),
        "gates": if gates { entry.gates() } else { &[] },
        "at": at,
        "total_norm": entry.total_norm(),
        "cancellation": Some(entry.cancellation()).filter(|c| c.is_finite()),
        "horizon": entry.horizon(json::HORIZON),
        "decay_per_step": entry.decay(),
        "losses_at": profile.iter().map(|p| p.losses).collect::<Vec<_>>(),
        "lags": profile.iter().map(|p| p.lag).collect::<Vec<_>>(),
        "log10_profile": profile.iter().map(|p| p.log10).collect::<Vec<_>>(),
    })
}

/// The largest number of points of a curve.
const POINTS: usize = 600;

/// Curves over the updates, from the metrics of a run: lists of \[update, number, …\].
pub fn training(metrics: &[Value]) -> Value {
    let curve = |event: &str, keys: &[&str]| -> Value {
        let points: Vec<&Value> = metrics.iter().filter(|line| line["event"] == event).collect();
        let every = points.len().div_ceil(POINTS).max(1);
        let point = |line: &&Value| -> Value { keys.iter().map(|key| line[*key].clone()).collect() };
        points
            .iter()
            .enumerate()
            .filter(|(i, _)| (i + 1) % every == 0 || i + 1 == points.len())
            .map(|(_, line)| point(line))
            .collect()
    };
    // The losses of tasks have different units.
    let of_text = metrics.iter().any(|line| !line["loss_bits"].is_null() || !line["held_out_bits"].is_null());
    let (loss, held_out, unit) = if of_text {
        ("loss_bits", "held_out_bits", "bits per symbol")
    } else {
        ("loss", "held_out_loss", "loss")
    };
    json!({
        "unit": unit,
        "steps": curve("step", &["step", loss, "gradient_norm", "gradient_norm_clipped"]),
        "traces": curve("trace", &["step", "horizon", "decay_per_step"]),
        "evaluations": curve("evaluation", &["step", held_out]),
        "end": metrics.iter().find(|line| line["event"] == "end"),
    })
}
