//! The metrics of a run.

use std::path::Path;

use bptt_train::Run;
use bptt_view::figure::Curves;
use serde_json::Value;

use crate::Failure;
use crate::commands::report;

/// The metrics of the run in `folder`.
pub(super) fn read(folder: &Path) -> Result<Curves, Failure> {
    // Opening the run gives better errors.
    let of_text = Run::open(folder)?.config.task.is_none();
    let mut curves = Curves { name: folder.display().to_string(), of_text, ..Curves::default() };
    report::metrics(folder)?.iter().for_each(|event| add(&mut curves, event));
    let Curves { loss, held_out, gradient, horizon, .. } = &mut curves;
    let mut sorted = true;
    for points in [loss, held_out, gradient, horizon] {
        sorted &= points.is_sorted_by(|a, b| a.0 <= b.0);
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    if !sorted {
        eprintln!(
            "warning: the steps in the metrics of {} are out of order; they are shown sorted",
            folder.display()
        );
    }
    Ok(curves)
}

/// Adds one event; null values and unknown events are skipped.
fn add(curves: &mut Curves, event: &Value) {
    let number = |key: &str| event[key].as_f64();
    let (loss, held_out) =
        if curves.of_text { ("loss_bits", "held_out_bits") } else { ("loss", "held_out_loss") };
    let mut point = |points: fn(&mut Curves) -> &mut Vec<(f64, f64)>, key: &str| {
        points(curves).extend(number("step").zip(number(key)));
    };
    match event["event"].as_str() {
        Some("step") => {
            point(|curves| &mut curves.loss, loss);
            point(|curves| &mut curves.gradient, "gradient_norm");
        }
        Some("trace") => point(|curves| &mut curves.horizon, "horizon"),
        Some("evaluation") => point(|curves| &mut curves.held_out, held_out),
        Some("end") => {
            for name in ["unigram", "bigram"] {
                curves.baselines.extend(number(&format!("{name}_bits")).map(|bits| (name.to_owned(), bits)));
            }
            curves.baselines.extend(number("baseline_loss").map(|loss| ("without memory".to_owned(), loss)));
            // The last evaluation, unless it is already there.
            let end = event["steps"].as_f64().zip(number(held_out));
            curves
                .held_out
                .extend(end.filter(|end| curves.held_out.last().is_none_or(|last| last.0 < end.0)));
        }
        _ => {}
    }
}
