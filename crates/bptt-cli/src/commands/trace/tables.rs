//! The tables of `bptt trace`.

use bptt::{Entry, EntryState, GateSaturation, ILL_CONDITIONED, Ledger, PathSplit};
use bptt_view::json;
use bptt_view::table::{Align, bar, number, table};

/// One line for each step that a path leads from to loss k.
pub(super) fn contributions(entry: &Entry, k: usize, symbols: Option<&[String]>) -> String {
    let reached = |t: &usize| !matches!(entry.state(k, *t), EntryState::Unreached | EntryState::Masked);
    let steps: Vec<usize> = (0..entry.steps()).filter(reached).collect();
    let largest = steps.iter().filter_map(|&t| entry.log10_norm(k, t)).fold(f64::NEG_INFINITY, f64::max);
    let row = |&t: &usize| {
        let log10 = entry.log10_norm(k, t).unwrap_or(f64::NEG_INFINITY);
        let norm = match entry.state(k, t) {
            EntryState::Underflow => format!("1e{log10:.1}"),
            EntryState::Cut(step) => format!("cut at {step}"),
            EntryState::Remainder => "remainder".into(),
            EntryState::Cancelled => {
                format!("{} (sequences cancel)", number(entry.norm(k, t).unwrap_or(0.0)))
            }
            _ => number(entry.norm(k, t).unwrap_or(0.0)),
        };
        let share = entry.share(k, t).filter(|share| share.is_finite());
        let share = share.map_or("–".to_owned(), |share| format!("{} %", number(100.0 * share)));
        let bar = bar(10f64.powf(log10 - largest), 24);
        let gates = (0..entry.gates().len()).map(|gate| number(entry.gate_norm(k, t, gate).unwrap_or(0.0)));
        place(k, t, symbols).chain([norm, bar]).chain(gates).chain([share]).collect()
    };
    let gates = entry.gates().iter().map(|&gate| (gate, Align::Right));
    // The bar beside the norm, which is what it shows.
    let header = place_header(symbols).chain([("norm", Align::Right), ("", Align::Left)]).chain(gates);
    let header: Vec<_> = header.chain([("share", Align::Right)]).collect();
    table(&header, &steps.iter().map(row).collect::<Vec<_>>())
}

/// Step, symbol and lag.
fn place(k: usize, t: usize, symbols: Option<&[String]>) -> impl Iterator<Item = String> {
    let symbol = symbols.map(|symbols| symbols[t].clone());
    std::iter::once(t.to_string()).chain(symbol).chain([k.abs_diff(t).to_string()])
}

/// The headers of the columns of [`place`].
fn place_header(symbols: Option<&[String]>) -> impl Iterator<Item = (&'static str, Align)> + use<> {
    let symbol = symbols.map(|_| ("symbol", Align::Left));
    std::iter::once(("step", Align::Right)).chain(symbol).chain([("lag", Align::Right)])
}

/// The shares of dL_k/dh_t by path, step by step.
pub(super) fn paths(split: &PathSplit<f64>, symbols: Option<&[String]>) -> String {
    let names = split.paths();
    let row = |t: usize| -> Option<Vec<String>> {
        let shares: Option<Vec<f64>> = (0..names.len()).map(|path| split.share(t, path)).collect();
        let percent = |share: f64| format!("{} %", number(100.0 * share));
        let shares =
            shares?.into_iter().map(|share| if share.is_finite() { percent(share) } else { "–".into() });
        Some(place(split.k, t, symbols).chain(shares).collect())
    };
    let header = place_header(symbols).chain(names.iter().map(|&name| (name, Align::Right)));
    let rows: Vec<_> = (0..split.steps()).filter_map(row).collect();
    let k = split.k;
    format!(
        "\ndL_{k}/dh_t by path, in shares that add up to 100 %\n\n{}",
        table(&header.collect::<Vec<_>>(), &rows)
    )
}

/// The saturation of each gate.
pub(super) fn saturation(gates: &[GateSaturation]) -> String {
    let percent = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
    let row = |of: &GateSaturation| {
        let end = |pick: fn((f64, f64)) -> f64| of.saturated.map_or("–".into(), |both| percent(pick(both)));
        let dead = of.dead.as_ref().map_or("–".into(), |units| units.len().to_string());
        let cell = [of.cell.layer.to_string(), of.cell.direction.as_str().into(), of.gate.into()];
        cell.into_iter().chain([end(|both| both.0), end(|both| both.1), dead]).collect()
    };
    let header = [
        ("layer", Align::Right),
        ("direction", Align::Left),
        ("gate", Align::Left),
        ("low end", Align::Right),
        ("high end", Align::Right),
        ("dead units", Align::Right),
    ];
    let rows: Vec<Vec<String>> = gates.iter().map(row).collect();
    format!("\nsaturation: activations beyond 95 % of their range\n\n{}", table(&header, &rows))
}

/// Horizon, decay and balance.
pub(super) fn conclusion(ledger: &Ledger, entry: &Entry, k: usize) -> String {
    let lag = |horizon: Option<usize>| horizon.map_or("none".into(), |lag| format!("{lag} steps"));
    let decay = match entry.decay() {
        Some(decay) => format!("{decay:.3} per step (a factor {:.3})", decay.exp()),
        None => "none (too few lags)".into(),
    };
    let remainder = ledger.tolerance().map_or(String::new(), |tolerance| {
        let share: f64 = (0..entry.steps()).filter_map(|t| entry.remainder_share(t)).sum();
        format!(
            "remainder  contributions below {tolerance:e} of their largest, merged into one row: {} % of the gradient\n",
            number(100.0 * share)
        )
    });
    let worst = ledger.balance().iter().min_by(|a, b| a.conditioning.total_cmp(&b.conditioning));
    let conditioning = worst.filter(|of| of.conditioning < ILL_CONDITIONED).map_or(String::new(), |of| {
        format!(
            "cancel   the gradient of {} is {:.1e} of the sum of its parts' norms: shares are ill-conditioned\n",
            of.parameter, of.conditioning
        )
    });
    format!(
        "\nhorizon  99 % of the norms of this loss lie within {}, of the median of all losses within {}\ndecay    \
         {decay}\nbalance  the components add up to the ordinary gradient: relative error {:.1e} at most\nshare    of the \
         gradient of all losses; a share may be negative\n{conditioning}{remainder}",
        lag(entry.horizon_of_loss(k, json::HORIZON)),
        lag(entry.horizon(json::HORIZON)),
        ledger.worst_balance(),
    )
}
