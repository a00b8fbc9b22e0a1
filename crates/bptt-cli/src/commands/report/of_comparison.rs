//! The report of a comparison of remedies.

use std::path::Path;

use bptt_train::Config;
use bptt_train::compare::{Budget, Comparison, Plan, Report};
use bptt_view::report::{ComparisonPage, comparison};

use super::{FILE, facts, place};
use crate::Failure;
use crate::args::ReportArgs;
use crate::commands::compare::{existing, table};
use crate::commands::{cannot_make, plot};

/// Writes the report if a comparison is what the folder holds, and `None` if it is not.
///
/// # Errors
/// If it cannot be read or written, or stands beside other folders or with options that are for runs.
pub(super) fn run(args: &ReportArgs) -> Result<Option<()>, Failure> {
    for folder in &args.runs {
        let Some((kept, plan)) = existing(folder)? else { continue };
        if args.runs.len() > 1 {
            let folder = folder.display();
            return Err(Failure::Usage(format!(
                "{folder} holds a comparison, whose report has no other folder"
            )));
        }
        let options = [
            ("--text", args.text.is_some()),
            ("--steps", args.steps.is_some()),
            ("--loss-step", args.loss_step.is_some()),
            ("--predicting", args.predicting.is_some()),
        ];
        if let Some((option, _)) = options.iter().find(|(_, given)| *given) {
            return Err(Failure::Usage(format!(
                "{option} applies to runs, and {} holds a comparison",
                folder.display()
            )));
        }
        let results = kept.results(&plan)?;
        let report = Report::new(&plan, &results)?;
        let path = args.out.clone().unwrap_or_else(|| folder.join(FILE));
        let html = html(folder, &plan, &report, results.iter().filter(|result| result.is_none()).count())?;
        return place(args, &path, &html).map(Some);
    }
    Ok(None)
}

fn html(folder: &Path, plan: &Plan, report: &Report, missing: usize) -> Result<String, Failure> {
    let title = format!("Remedies compared: {}", report.task);
    let svg = plot::remedies(&title, report).svg().map_err(|error| cannot_make(folder, &error))?;
    let unfinished =
        (missing > 0).then(|| format!("{missing} trainings have not finished and are not in the table."));
    let facts: Vec<String> =
        [table::head(report)].into_iter().chain(unfinished).chain(table::notes(report)).collect();
    let rows: Vec<Vec<String>> = report.remedies.iter().map(table::cells).collect();
    Ok(comparison(&ComparisonPage {
        title: &title,
        facts: &facts,
        svg: &svg,
        columns: &table::COLUMNS,
        rows: &rows,
        meaning: table::MEANING,
        reproduce: &command(plan.comparison(), folder),
        program: &facts::program(),
    }))
}

/// The command that makes the comparison.
fn command(of: &Comparison, folder: &Path) -> String {
    let Comparison { base, remedies, seeds, budget, solved_at } = of;
    let evaluate_every = base.steps.div_ceil(20);
    let usual = Config { clip_norm: 0.0, trace_every: 0, evaluate_every, ..Config::default() };
    let budget = match budget {
        Budget::Flops => "",
        Budget::Units => " --budget units",
    };
    format!(
        "bptt compare --remedy {} --seeds {seeds}{budget} --solved-at {solved_at}{} --out {}",
        facts::quoted(&remedies.join(",")),
        facts::options(base, &usual),
        facts::quoted(&folder.to_string_lossy())
    )
}
