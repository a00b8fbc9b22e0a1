//! An optional part of a diagnosis: the shares of the lags in the optimizer's update.

use std::path::Path;

use bptt_train::update_shares::{UpdateShares, WARMUP_BATCHES};
use bptt_train::{Config, DataSource, Run, run as runs, task_by_name};
use bptt_view::table::{Align, table};
use serde_json::{Value, json};

use super::Measured;
use crate::Failure;

/// The shares of lags in the next update of a run.
pub(super) fn update(of: &Measured) -> Result<UpdateShares, Failure> {
    let run = Run::open(Path::new(&of.name))?;
    let Run { config, network, .. } = &run;
    if let Some(name) = &config.task {
        let task = task_by_name(name)?;
        return Ok(UpdateShares::next(network, &DataSource::task(&*task, config), config)?);
    }
    let (vocabulary, corpus) = runs::prepare(config, &runs::load_text(config)?)?;
    run.check_text(&corpus)?;
    let data = DataSource::Text { corpus: &corpus, symbols: vocabulary.len() };
    Ok(UpdateShares::next(network, &data, config)?)
}

pub(super) fn update_json(of: &UpdateShares) -> Value {
    let lag = |share: &bptt_train::update_shares::LagShare| {
        json!({
            "first": share.lags.start, "last": share.lags.end - 1,
            "gradient": share.gradient, "update": share.update, "earlier": share.earlier,
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
        let earlier = share.earlier.map_or(String::new(), percent);
        vec![lags, percent(share.gradient), percent(share.update), earlier]
    };
    let mut rows: Vec<Vec<String>> = of.by_lag.iter().map(lag).collect();
    if of.decay != 0.0 {
        rows.push(vec!["weight decay".into(), String::new(), percent(of.decay), String::new()]);
    }
    let columns = [
        ("lag", Align::Right),
        ("gradient", Align::Right),
        ("update", Align::Right),
        ("by earlier gradients", Align::Right),
    ];
    format!(
        "\nshares of the lags in the next update ({}, moments of {WARMUP_BATCHES} batches at these weights)\n{}",
        config.optimizer,
        table(&columns, &rows)
    )
}
