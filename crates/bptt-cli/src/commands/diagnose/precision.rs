//! An optional part of a diagnosis: the precision of number formats.

use bptt::{
    Format, Framework, FrameworkSums, LagPrecision, ParameterSums, PrecisionAudit, SumInFormat, SumOrder,
};
use bptt_train::diagnose::Subject;
use bptt_view::table::{Align, table};
use serde_json::{Value, json};

use super::Measured;
use crate::Failure;

/// The relative difference above which a contribution counts as lost.
const LOST: f64 = 0.5;

/// What formats lose of the bottom layer's backward pass, and what bf16 loses in sums over steps.
pub(super) struct Precision {
    audit: PrecisionAudit,
    sums: Vec<FrameworkSums>,
}

/// The precision of the gradients of the bottom layer in several formats.
pub(super) fn precision(of: &Measured) -> Result<Precision, Failure> {
    let (Some(subject), Some(objective)) = (&of.subject, &of.objective) else {
        return Err(Failure::Usage("--precision needs targets and finite numbers: give --target".into()));
    };
    let Subject { network, inputs, initial, options, .. } = subject;
    let audits = network.precision_audit(inputs, initial, options, objective)?;
    let audit = audits.into_iter().next().expect("a network has a layer");
    let sums = network.precision_sums(inputs, initial, options, objective)?;
    Ok(Precision { audit, sums })
}

pub(super) fn precision_json(Precision { audit: of, sums }: &Precision) -> Value {
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
        "bf16_sums": sums.iter().flat_map(sums_json).collect::<Vec<_>>(),
    })
}

fn sums_json(of: &FrameworkSums) -> impl Iterator<Item = Value> {
    of.parameters.iter().map(|parameter| {
        let mut value = json!({
            "framework": of.framework.as_str(), "rounds_within_steps": of.rounds_within_steps,
            "layer": parameter.cell.layer, "direction": parameter.cell.direction.as_str(),
            "parameter": parameter.parameter, "order": parameter.order.as_str(),
        });
        for order in SumOrder::ALL {
            let SumInFormat { difference, lost_from, .. } = parameter.of(order);
            value[order.as_str()] = json!({ "difference": finite(*difference), "lost_from": lost_from });
        }
        value
    })
}

/// `None` for numbers that JSON cannot represent.
fn finite(number: f64) -> Option<f64> {
    Some(number).filter(|number| number.is_finite())
}

pub(super) fn precision_text(Precision { audit: of, sums }: &Precision) -> String {
    let mut text = "\nprecision of the backpropagated gradient\n".to_owned();
    for format in Format::ALL {
        let name = format.as_str().replace('_', ", ");
        text += &match of.lost_from(format, LOST) {
            Some(lag) => format!("  {name}: off by more than half from {lag} steps back on\n"),
            None => format!("  {name}: sufficient at every lag of a single loss\n"),
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
    text + &table(&columns, &rows) + &sums_text(sums)
}

/// The bf16 gradients of every framework, parameter by parameter.
fn sums_text(sums: &[FrameworkSums]) -> String {
    let mut text = "\ngradients added up over the steps, weights in bf16 on a CPU\n".to_owned();
    for of in sums {
        let framework = framework(of.framework);
        let lost = of.parameters.iter().filter_map(|parameter| {
            let from = parameter.in_framework().lost_from?;
            Some(format!("  {framework}, {}: lost from {from} steps before the end on\n", name(parameter)))
        });
        let lost: String = lost.collect();
        text += &if lost.is_empty() { format!("  {framework}: every step reaches the sum\n") } else { lost };
    }
    for of in sums.iter().filter(|of| !of.rounds_within_steps) {
        text += &format!(
            "  {}: what is rounded within a step is not modelled here, only what a step leaves and how steps are added up\n",
            framework(of.framework)
        );
    }
    let rows = sums[0].parameters.iter().enumerate().map(|(i, parameter)| {
        let error = |of: &FrameworkSums| format!("{:.1e}", of.parameters[i].in_framework().difference);
        std::iter::once(name(parameter)).chain(sums.iter().map(error)).collect()
    });
    let columns = std::iter::once(("error of the gradient", Align::Left))
        .chain(sums.iter().map(|of| (framework(of.framework), Align::Right)));
    text + &table(&columns.collect::<Vec<_>>(), &rows.collect::<Vec<Vec<String>>>())
}

fn framework(of: Framework) -> &'static str {
    match of {
        Framework::PyTorch => "PyTorch",
        Framework::JaxCastOutside => "JAX, cast outside",
        Framework::JaxCastInside => "JAX, cast inside",
        _ => of.as_str(),
    }
}

fn name(of: &ParameterSums) -> String {
    format!("{}_{}", of.parameter, of.cell.suffix())
}
