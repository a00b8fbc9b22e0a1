//! `bptt article`: the numerical example of "Backpropagation and Vanishing Gradient Problem in RNN, part 1".

use bptt::dynamics::sigma_max;
use bptt::in_f64;
use bptt::{
    CellParams, Component, ForwardCache, Inputs, ItemizeOptions, Ledger, Losses, Matrix, Network, Parameter,
    ScanOptions, Select, Sequence, State, Weights, cell_by_name,
};
use bptt_train::article::article;
use bptt_train::diagnose::{Evidence, diagnose};
use bptt_view::json::{self, Context};
use bptt_view::report::{Block, LossUnit, Report, Stage, Subject};
use bptt_view::table::{Align, number, table};
use serde_json::{Value, json};

use super::provenance::Provenance;
use super::report::{self, facts};
use super::{print, print_json};
use crate::Failure;
use crate::args::ArticleArgs;

/// The last loss, which the article decomposes.
const LOSS: usize = 2;

pub(crate) fn run(args: &ArticleArgs) -> Result<(), Failure> {
    let data = article();
    let (steps, features, hidden) = (data.x[0].len(), data.wx.len(), data.b.len());
    let cell = cell_by_name("rnn")?;
    let biases = [Matrix::new(1, hidden, data.b)?, Matrix::zeros(1, hidden)];
    let tensors = [transpose(&data.wx)?, transpose(&data.wh)?].into_iter().chain(biases).collect();
    let layer = CellParams::new(cell.spec(), tensors)?;
    let sigma_max = sigma_max(layer["weight_hh"].view());
    let network = Network::new(cell, Weights { cells: vec![layer], bidirectional: false, readout: None })?;
    let sequence = |rows: &[Vec<Vec<f64>>], features: usize| {
        let flat: Vec<f64> = rows.iter().flatten().flatten().copied().collect();
        Sequence::from_batch_first(rows.len(), steps, features, &flat)
    };
    let initial = State::of_h(vec![Matrix::new(1, hidden, data.h0.concat())?]);
    let trace = in_f64::scan(&network, Inputs::Dense(sequence(&data.x, features)?), &initial)?;
    let losses = Losses::from_seeds(sequence(&data.dh, hidden)?);
    let ledger = in_f64::itemize(&network, &trace, &losses, &ItemizeOptions::default())?;
    let components = in_f64::components(&network, &trace, &losses, Select::All)?;

    if args.json {
        let mut provenance = Provenance::default();
        provenance.set("example", "article");
        provenance.set_network(&network);
        provenance.assume(
            "components are (inputs, units) matrices as the article prints them, the transpose of PyTorch's",
        );
        provenance.assume("the losses are given by their gradients dL/dh and have no values");
        provenance.say();
        let context = Context {
            losses: Some(&losses),
            provenance: provenance.values().clone(),
            assumptions: provenance.assumptions(),
            ..Context::default()
        };
        let mut object = json::ledger(&ledger, &context);
        object.insert("components".into(), json::components(&components));
        object.insert("sigma_max".into(), json!(sigma_max));
        return print_json(&Value::Object(object));
    }
    print(&matrices(&components, &ledger))?;
    print(&exercise(&ledger))?;
    print(&explanation(&ledger, sigma_max, trace.cells()[0].h()))?;
    let written = report::finish(args.report, args.out.join(report::FILE), || {
        Ok(example_report(&network, &trace, ledger))
    });
    match written {
        Some(path) => print(&format!("\nreport: {}\n", path.display())),
        None => Ok(()),
    }
}

/// The report of the example.
fn example_report(network: &Network<f64>, trace: &ForwardCache<f64>, ledger: Ledger) -> Report {
    let facts = [
        (
            "Network",
            "the example of the article: a vanilla RNN, tanh, with 4 units and three inputs of 3 numbers each",
        ),
        (
            "Training",
            "none: weights, inputs and the gradients of the losses are random numbers whose results the article prints",
        ),
    ];
    let subject = Subject {
        name: "the example of the article".into(),
        cell: network.spec().name.as_str().into(),
        facts: facts.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        verdict: diagnose(&Evidence::of_ledger(network, trace, &ledger, &ScanOptions::default(), None))
            .in_sentences(),
        symbols: (1..=ledger.steps()).map(|step| format!("x{step}")).collect(),
        targets: None,
        losses: None,
        unit: LossUnit::Nats,
        k: LOSS,
        blocks: Block::all(network),
        saturation: in_f64::saturation(network, trace),
        metrics: Vec::new(),
        stages: vec![Stage { step: None, ledger }],
    };
    let title = "Backpropagation and the vanishing gradient: the example of the article as a ledger".into();
    Report {
        title,
        program: facts::program(),
        reproduce: vec!["bptt article".into()],
        subjects: vec![subject],
    }
}

/// The transpose: matrices of the article are (rows, cols), ours (cols, rows).
fn transpose(rows: &[Vec<f64>]) -> Result<Matrix<f64>, bptt::Error> {
    let cols = rows[0].len();
    let data = (0..cols).flat_map(|j| rows.iter().map(move |row| row[j])).collect();
    Matrix::new(cols, rows.len(), data)
}

/// The components of the last loss for Wx, oriented and rounded as in the article, and their norms.
fn matrices(components: &[Component<f64>], ledger: &Ledger) -> String {
    let mut text = String::from("The gradient of loss 3 with respect to Wx, decomposed by step:\n");
    let entry = ledger.entry(0, Parameter::WEIGHT_IH).expect("every ledger has the input weights");
    for component in components.iter().filter(|c| c.k == LOSS) {
        text.push_str(&format!("\nstep {}\n", component.t + 1));
        for row in json::transposed(&component.params["weight_ih"]) {
            let cells: Vec<String> = row.iter().map(|v| format!("{v:12.8}")).collect();
            text.push_str(&format!("  {}\n", cells.join(" ")));
        }
        let norm = entry.norm(LOSS, component.t).expect("step t is before loss k");
        text.push_str(&format!("  norm {}\n", fifteen_digits(norm)));
    }
    let error = ledger.worst_balance();
    let equal = error < 1e-10;
    text + &format!(
        "\nsum of all components equals dW: {equal} (relative error {error:.1e} at most, every parameter)\n"
    )
}

/// A number above 1e-300 with fifteen significant digits, which do not depend on the order of summation.
fn fifteen_digits(value: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a decimal logarithm, small
    let decimals = (14.0 - value.log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

/// The exercise of the article: the norms for every loss and every parameter.
fn exercise(ledger: &Ledger) -> String {
    let parameters = [
        ("Wx", Parameter::WEIGHT_IH),
        ("Wh", Parameter::WEIGHT_HH),
        ("b", Parameter::BIAS),
        ("x", Parameter::INPUT),
    ];
    let mut rows = Vec::new();
    for k in 0..ledger.steps() {
        for t in 0..=k {
            let mut row = vec![(k + 1).to_string(), (t + 1).to_string()];
            row.extend(parameters.iter().map(|&(_, parameter)| {
                let entry = ledger.entry(0, parameter).expect("every ledger has the cell's parameters");
                format!("{:.8}", entry.norm(k, t).expect("step t is before loss k"))
            }));
            let h0 = ledger.per_loss().iter().find(|m| m.parameter == Parameter::INITIAL_STATE);
            row.push(match h0.and_then(|m| m.norm[k]) {
                Some(norm) if t == 0 => format!("{norm:.8}"),
                _ => String::new(),
            });
            rows.push(row);
        }
    }
    let mut header = vec![("loss", Align::Right), ("step", Align::Right)];
    header.extend(parameters.map(|(name, _)| (name, Align::Right)));
    header.push(("h0", Align::Right));
    format!(
        "\nThe exercise of the article: the same norms for every loss and parameter\n\n{}",
        table(&header, &rows)
    )
}

/// Why the gradient vanishes although the largest singular value is above 1.
fn explanation(ledger: &Ledger, sigma_max: f64, h: &Sequence<f64>) -> String {
    let bias = ledger.entry(0, Parameter::BIAS).expect("every ledger has the bias");
    let norm = |t| bias.norm(LOSS, t).expect("step t is before the last loss");
    let slope = |t: usize| h.at(t + 1, 0).iter().map(|h| 1.0 - h * h).fold(0.0, f64::max);
    let mean = |t: usize| h.at(t + 1, 0).iter().map(|h| 1.0 - h * h).sum::<f64>() / h.features() as f64;
    let slopes: Vec<String> =
        (0..ledger.steps()).map(|t| format!("{:.3} ({:.3})", slope(t), mean(t))).collect();
    format!(
        "\nσ_max(Wh) = {sigma_max:.3} is above 1, but the gradient of loss 3 shrinks in the backward pass: ‖dz‖ is\n{} at step \
         3, {} at step 2 and {} at step 1. σ_max > 1 is necessary for exploding gradients, but\nnot sufficient: every step \
         also multiplies by tanh' = 1 − h², whose largest (mean) value at steps\n1 to 3 is {}. The gradient dL/dW does not \
         vanish,\nbecause near steps dominate it; the far components of each loss do.\n",
        number(norm(2)),
        number(norm(1)),
        number(norm(0)),
        slopes.join(", "),
    )
}
