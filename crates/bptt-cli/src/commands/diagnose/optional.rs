//! The optional parts of a diagnosis: the shares of the lags in the optimizer's update, and the precision of number
//! formats.

use std::path::Path;

use bptt::{Format, LagPrecision, PrecisionAudit};
use bptt_train::update_shares::{UpdateShares, WARMUP_BATCHES};
use bptt_train::{Config, DataSource, Run, run as runs, task_by_name};
use bptt_view::table::{Align, table};
use serde_json::{Value, json};

use super::Measured;
use crate::Failure;

/// The relative difference above which a contribution counts as lost.
const LOST: f64 = 0.5;

/// The shares of lags in the next update of a run.
pub(super) fn update(of: &Measured) -> Result<UpdateShares, Failure> {
    let run = Run::open(Path::new(&of.name))?;
    let Run { config, network, .. } = &run;
    if let Some(name) = &config.task {
        let task = task_by_name(name)?;
        return Ok(UpdateShares::next(network, &DataSource::task(&*task, config), config)?);
    }
    let (vocabulary, corpus) = runs::prepare(config, &runs::load_text(config)?)?;
    let data = DataSource::Text { corpus: &corpus, symbols: vocabulary.len() };
    Ok(UpdateShares::next(network, &data, config)?)
}

pub(super) fn update_json(of: &UpdateShares) -> Value {
    let lag = |share: &bptt_train::update_shares::LagShare| {
        json!({
            "first": share.lags.start, "last": share.lags.end - 1,
            "gradient": share.gradient, "update": share.update,
        })
    };
    json!({
        "batches_seen": WARMUP_BATCHES, "lags": of.by_lag.iter().map(lag).collect::<Vec<_>>(),
        "carried": of.carried, "decay": of.decay,
    })
}

pub(super) fn update_text(of: &UpdateShares, config: &Config) -> String {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let lag = |share: &bptt_train::update_shares::LagShare| {
        let (first, last) = (share.lags.start, share.lags.end - 1);
        let lags = if first == last { format!("{first}") } else { format!("{first} to {last}") };
        vec![lags, percent(share.gradient), percent(share.update)]
    };
    let mut rows: Vec<Vec<String>> = of.by_lag.iter().map(lag).collect();
    let others = [("earlier updates", of.carried), ("weight decay", of.decay)];
    for (name, share) in others.into_iter().filter(|(_, share)| *share != 0.0) {
        rows.push(vec![name.into(), String::new(), percent(share)]);
    }
    let columns = [("lag", Align::Right), ("gradient", Align::Right), ("update", Align::Right)];
    format!(
        "\nshares of the lags in the next update ({}, moments of {WARMUP_BATCHES} batches at these weights)\n{}",
        config.optimizer,
        table(&columns, &rows)
    )
}

/// The precision of the gradients of the bottom layer in several formats.
pub(super) fn precision(of: &Measured) -> Result<PrecisionAudit, Failure> {
    let (Some(subject), Some(objective)) = (&of.subject, &of.objective) else {
        return Err(Failure::Usage("--precision needs targets and finite numbers: give --target".into()));
    };
    let audits =
        subject.network.precision_audit(&subject.inputs, &subject.initial, &subject.options, objective)?;
    Ok(audits.into_iter().next().expect("a network has a layer"))
}

pub(super) fn precision_json(of: &PrecisionAudit) -> Value {
    let format = |at: &LagPrecision, format: Format| {
        let of = at.formats[format as usize];
        json!({
            "log10_norm": finite(of.log10), "difference": finite(of.difference), "numbers": of.numbers,
            "denormals": of.denormals, "zeros": of.zeros,
        })
    };
    let lag = |at: &LagPrecision| {
        let mut value = json!({ "lag": at.lag, "losses": at.losses, "log10_norm": at.log10_exact });
        for of in Format::ALL {
            value[of.as_str()] = format(at, of);
        }
        value
    };
    json!({
        "small_from": of.small_from(),
        "lost_from": Format::ALL.map(|format| json!({ "format": format.as_str(), "lag": of.lost_from(format, LOST) })),
        "lags": of.lags.iter().map(lag).collect::<Vec<_>>(),
    })
}

/// `None` for numbers that JSON cannot represent.
fn finite(number: f64) -> Option<f64> {
    Some(number).filter(|number| number.is_finite())
}

pub(super) fn precision_text(of: &PrecisionAudit) -> String {
    let mut text = "\nprecision of the backpropagated gradient\n".to_owned();
    for format in Format::ALL {
        let name = format.as_str().replace('_', ", ");
        text += &match of.lost_from(format, LOST) {
            Some(lag) => format!("  {name}: off by more than half from {lag} steps back on\n"),
            None => format!("  {name}: sufficient at every lag\n"),
        };
    }
    text += &match of.small_from() {
        Some(lag) => {
            format!("  the exact gradient is below the smallest normal number from {lag} steps back on\n")
        }
        None => "  the exact gradient is above the smallest normal number at every lag\n".to_owned(),
    };
    let octaves = std::iter::successors(Some(1), |lag: &usize| lag.checked_mul(2));
    let last = of.lags.last().map_or(0, |at| at.lag);
    let shown: Vec<usize> =
        std::iter::once(0).chain(octaves.take_while(|&lag| lag < last)).chain([last]).collect();
    let row = |at: &LagPrecision| {
        let mut row = vec![at.lag.to_string(), format!("{:.1}", at.log10_exact)];
        for format in Format::ALL {
            row.push(format!("{:.1e}", at.formats[format as usize].difference));
        }
        row.push(at.formats[Format::F32 as usize].denormals.to_string());
        row
    };
    let rows: Vec<Vec<String>> = of.lags.iter().filter(|at| shown.contains(&at.lag)).map(row).collect();
    let columns = [
        ("lag", Align::Right),
        ("log10 norm", Align::Right),
        ("f32 error", Align::Right),
        ("f32 flushed", Align::Right),
        ("bf16", Align::Right),
        ("denormals in f32", Align::Right),
    ];
    text + &table(&columns, &rows)
}
