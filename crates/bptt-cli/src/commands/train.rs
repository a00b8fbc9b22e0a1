//! `bptt train`: learn a text, leave a run behind.

use std::path::{Path, PathBuf};

use bptt::Symbols;
use bptt_train::{
    Baselines, Config, Corpus, Ending, Event, Flow, Observer, Outcome, Run, Streams, Vocabulary, run as runs,
    train,
};
use bptt_view::report::{Report, Subject};
use bptt_view::table::{Align, table};
use serde_json::json;

use super::report::{self, Reading, facts};
use super::{print, print_json};
use crate::Failure;
use crate::args::TrainArgs;
use crate::progress::{Watch, bits, stop_on_ctrl_c};
use crate::tensorboard::TensorBoard;

pub(crate) fn run(args: &TrainArgs, quiet: bool) -> Result<(), Failure> {
    let mut config = match &args.config {
        Some(path) => runs::read_config(path)?,
        None => Config::default(),
    };
    if args.text.is_some() {
        config.text.clone_from(&args.text);
    }
    if args.generate.is_some() {
        config.text = None;
    }
    if args.text.is_none() && args.generate.is_none() && config.text.is_none() && args.config.is_none() {
        return Err(Failure::Usage("nothing to learn: give --text FILE or --generate pantry".into()));
    }
    let config = args.settings.over(config);
    config.check()?;
    let text = runs::load_text(&config)?;
    let (vocabulary, corpus) = runs::prepare(&config, &text)?;
    let folder = args.out.clone().unwrap_or_else(free_folder);

    if config.bidirectional {
        eprintln!(
            "--bidirectional: the network reads the symbol it is to predict; its loss says nothing of how well it predicts, and \
             it cannot be sampled"
        );
    }
    stop_on_ctrl_c()?;
    let mut board = args.tensorboard.as_deref().map(TensorBoard::new).transpose()?;
    let also = board.as_mut().map(|board| board as &mut dyn Observer);
    let learned = learn("", &config, &vocabulary, &corpus, &folder, false, quiet, also)?;
    if let Some(board) = board {
        let log = board.finish()?;
        eprintln!("wrote {}", log.display());
    }
    let written = report::finish(args.report, folder.join(report::FILE), || {
        let subject = first_steps(&config, &vocabulary, &corpus, &folder, &learned)?;
        let reproduce = vec![facts::train_command(&config, &folder)];
        let title = format!("Which past step taught the network in {} what", folder.display());
        Ok(Report { title, program: facts::program(), reproduce, subjects: vec![subject] })
    });
    tell(&learned, &vocabulary, &folder, written.as_deref(), args.json)?;
    match learned.outcome.ending {
        Ending::NotFinite { step, what } => Err(Failure::Other(format!(
            "training stopped at update {step}: {what}; the network of {} updates, the last whose loss and gradient \
             were finite, is kept in {}. Try a lower --learning-rate or a smaller --clip-norm",
            learned.outcome.steps,
            folder.display(),
        ))),
        Ending::Finished | Ending::Stopped => Ok(()),
    }
}

/// Steps that the report after training takes apart at most: more would take longer than one likes to wait.
const REPORTED: usize = 128;

/// The run on the beginning of its held-out text, or of all text if none is held out.
fn first_steps(
    config: &Config,
    vocabulary: &Vocabulary,
    corpus: &Corpus,
    folder: &Path,
    learned: &Learned,
) -> Result<Subject, Failure> {
    let ids = if corpus.held_out.len() > 1 { &corpus.held_out } else { &corpus.train };
    let steps = config.window.min(REPORTED).min(ids.len() - 1);
    let window = Streams::new(ids.clone(), 1, steps)?.next_window();
    let symbols = |ids| Symbols::new(steps, 1, ids);
    let (inputs, targets) = (symbols(window.inputs)?, symbols(window.targets)?);
    let name =
        folder.file_name().map_or_else(|| "network".into(), |name| name.to_string_lossy().into_owned());
    Reading { config, vocabulary, inputs, targets, k: steps - 1 }.subject(
        name,
        folder,
        &learned.outcome.network,
    )
}

/// The first of runs/train, runs/train-2, … that does not exist.
fn free_folder() -> PathBuf {
    let names = std::iter::once("runs/train".to_owned()).chain((2..).map(|n| format!("runs/train-{n}")));
    names.map(PathBuf::from).find(|path| !path.exists()).expect("some number is free")
}

/// What training reached.
pub(crate) struct Learned {
    pub outcome: Outcome,
    pub baselines: Option<Baselines>,
    pub seconds: f64,
}

/// Trains into `folder`, with `name` beside the progress; `also` sees the events too.
#[allow(clippy::too_many_arguments)] // each from another hand, and none of them together a thing
pub(crate) fn learn(
    name: &str,
    config: &Config,
    vocabulary: &Vocabulary,
    corpus: &Corpus,
    folder: &Path,
    replace: bool,
    quiet: bool,
    mut also: Option<&mut dyn Observer>,
) -> Result<Learned, Failure> {
    // What cannot be trained is refused before anything is written.
    config.check()?;
    Streams::new(corpus.train.clone(), config.batch, config.window)?;
    let metrics = runs::begin(folder, config, vocabulary, replace)?;
    let mut watch = Watch::new(name, &metrics, config.steps, quiet)?;
    let held_out = &corpus.held_out[..corpus.held_out.len().min(bptt_train::trainer::EVALUATED)];
    let baselines = Baselines::measure(&corpus.train, held_out, vocabulary.len()).ok();
    let kept = snapshot_times(config);
    let mut failed = None;
    let outcome = train(config, corpus, vocabulary.len(), &mut |event: &Event<'_>| {
        let mut flow = watch.event(event);
        if let Event::Step { step, network, .. } = event
            && kept.contains(step)
            && let Err(error) = Run::save_snapshot(folder, *step, network)
        {
            failed = Some(error);
            flow = Flow::Stop;
        }
        also.as_mut().map_or(flow, |also| flow.and(also.event(event)))
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let seconds = watch.seconds();
    Run::save_model(folder, &outcome.network)?;
    watch.write(&end(&outcome, baselines, seconds));
    watch.finish()?;
    Ok(Learned { outcome, baselines, seconds })
}

/// Halvings of the updates at which a snapshot is kept: most changes early.
const HALVINGS: u32 = 6;

/// The updates after which the network is kept for looking back, besides the last: half of all, a quarter, and so on. None
/// where gradients are not to be traced over the training.
fn snapshot_times(config: &Config) -> Vec<u64> {
    if config.trace_every == 0 {
        return Vec::new();
    }
    (1..=HALVINGS).map(|halving| config.steps >> halving).filter(|&step| step > 0).collect()
}

/// The last line of the metrics.
fn end(outcome: &Outcome, baselines: Option<Baselines>, seconds: f64) -> serde_json::Value {
    let ending = match &outcome.ending {
        Ending::Finished => "finished".to_owned(),
        Ending::Stopped => "stopped".to_owned(),
        Ending::NotFinite { step, what } => format!("not finite at update {step}: {what}"),
    };
    json!({
        "event": "end", "ending": ending, "steps": outcome.steps,
        "held_out_bits": outcome.held_out.map(bits),
        "unigram_bits": baselines.map(|b| b.unigram_bits),
        "bigram_bits": baselines.map(|b| b.bigram_bits),
        "seconds": seconds,
    })
}

fn tell(
    learned: &Learned,
    vocabulary: &Vocabulary,
    folder: &Path,
    report: Option<&Path>,
    as_json: bool,
) -> Result<(), Failure> {
    let Learned { outcome, baselines, seconds } = learned;
    if as_json {
        let mut value = end(outcome, *baselines, *seconds);
        value["run"] = json!(folder.to_string_lossy());
        value["report"] = json!(report.map(Path::to_string_lossy));
        return print_json(&value);
    }
    let symbols = vocabulary.len();
    print(&format!("{} updates in {seconds:.1} s, {symbols} symbols\n\n", outcome.steps))?;
    print(&losses(&[("network", learned)]))?;
    let run = folder.display();
    print(&format!("\nwrote {run}\n  bptt sample {run}\n  bptt trace {run}\n"))?;
    match report {
        Some(report) => print(&format!("the report, to open in a browser: {}\n", report.display())),
        None => Ok(()),
    }
}

/// The held-out losses of networks of one text, by their names, beside what counting reaches.
pub(crate) fn losses(networks: &[(&str, &Learned)]) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, bits: f64| {
        // A certain prediction is 0 bits, not −0.
        rows.push(vec![name.to_owned(), format!("{:.3}", bits + 0.0), format!("{:.1}", bits.exp2())]);
    };
    if let Some(baselines) = networks.first().and_then(|(_, learned)| learned.baselines) {
        row("unigram", baselines.unigram_bits);
        row("bigram", baselines.bigram_bits);
    }
    for (name, learned) in networks {
        if let Some(held_out) = learned.outcome.held_out {
            row(&format!("the {name}"), bits(held_out));
        }
    }
    if rows.is_empty() {
        return "nothing is held out, so nothing can be said of other text\n".into();
    }
    table(
        &[("held-out text", Align::Left), ("bits/symbol", Align::Right), ("perplexity", Align::Right)],
        &rows,
    )
}
