//! The report of a model from another program, on arrays.

use std::path::{Path, PathBuf};

use bptt::{ScanOptions, in_f64};
use bptt_train::diagnose::{Evidence, diagnose};
use bptt_view::report::{Block, LossUnit, Report, Stage, Subject};

use super::super::loss_source::LossSource;
use super::super::trace::{OF_REPORT, Traced, Wanted, loss_at};
use super::super::trace_model::Arrays;
use super::{FILE, facts, finished};
use crate::Failure;
use crate::args::ReportArgs;

pub(super) fn run(args: &ReportArgs, file: &Path) -> Result<(), Failure> {
    if args.predicting.is_some() {
        return Err(Failure::Usage("--predicting applies to runs only; give --loss-step".into()));
    }
    let subject = subject(args, file)?;
    let title = format!("Ledger of {}", subject.name);
    // Everything after the command's name.
    let words: Vec<String> = std::env::args().skip(1).map(|word| facts::quoted(&word)).collect();
    let reproduce = vec![format!("bptt {}", words.join(" "))];
    let report = Report { title, program: facts::program(), reproduce, subjects: vec![subject] };
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(FILE));
    finished(args, &path, &report)
}

fn subject(args: &ReportArgs, file: &Path) -> Result<Subject, Failure> {
    let Arrays { module, network, inputs, initial, bounds, losses, symbols, provenance } =
        Arrays::open(file, &args.model, 0, 0)?;
    provenance.say();
    let (steps, batch) = inputs.shape();
    let scan: ScanOptions<f64> = bounds.clone();
    let unit = unit(&losses);
    let trace = in_f64::scan_with(&network, inputs, &initial, bounds)?;
    let losses = losses.of(&network, &trace)?;
    let Traced { trace, losses, ledger } =
        Traced::new(&network, trace, losses, Wanted { gates: true, made: OF_REPORT, tolerance: None })?;
    let last = (0..steps).rev().find(|&k| ledger.has_loss(k)).ok_or_else(|| {
        Failure::Usage("there is no loss at any step: everything is masked, ignored or padding".into())
    })?;
    let k = loss_at(args.loss_step, steps)?.unwrap_or(last);
    let mut facts = vec![("Cell".to_owned(), module.description())];
    if batch > 1 {
        facts.push(("Sequences".to_owned(), format!("{batch}, whose contributions are added up")));
    }
    let assumed = provenance.assumptions().iter().map(|sentence| ("Assumed".to_owned(), sentence.clone()));
    facts.extend(assumed);
    let verdict = diagnose(&Evidence::of_ledger(&network, &trace, &ledger, &scan, None)).in_sentences();
    let sums: Vec<f64> = losses.values.chunks(batch).map(|of_step| of_step.iter().sum()).collect();
    Ok(Subject {
        name: module.outline.title().to_owned(),
        cell: network.spec().name.clone(),
        facts,
        verdict,
        symbols: symbols
            .filter(|_| batch == 1)
            .unwrap_or_else(|| (0..steps).map(|t| t.to_string()).collect()),
        targets: None,
        losses: (!sums.is_empty()).then_some(sums),
        unit,
        k,
        blocks: Block::all(&network),
        saturation: in_f64::saturation(&network, &trace),
        metrics: Vec::new(),
        stages: vec![Stage { step: None, ledger }],
    })
}

/// The unit of the losses.
fn unit(losses: &LossSource) -> LossUnit {
    match losses {
        LossSource::Objective(objective) => match objective.targets {
            bptt::Targets::CrossEntropy(_) => LossUnit::Nats,
            bptt::Targets::SquaredError(_) => LossUnit::SquaredError,
        },
        _ => LossUnit::Nats,
    }
}
