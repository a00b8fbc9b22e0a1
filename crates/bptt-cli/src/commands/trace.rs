//! `bptt trace`: the ledger of a network.

pub(super) mod array_files;
mod tables;
mod wanted;

use std::path::Path;

use bptt::in_f64;
use bptt::{
    CellId, Direction, Entry, ForwardCache, Inputs, ItemizeOptions, Ledger, Losses, Network, Objective,
    Reduction, ScanOptions, Symbols, Targets,
};
use bptt_io::files;
use bptt_train::{Config, Level, Run, Streams, run as runs};
use bptt_view::entries::entries;
use bptt_view::json::Context;
use bptt_view::{json, npz};
use serde_json::Value;

use super::provenance::Provenance;
use super::{cannot_make, ending, print, print_json, table_bytes, trace_model, trace_task};
use crate::Failure;
use crate::args::{Reading, ReadingArgs, TraceArgs};
use crate::progress::{bits, with_bar};

pub(crate) use wanted::{OF_FIGURE, OF_REPORT, Wanted};

/// The file types of a ledger.
const ENDINGS: [&str; 4] = ["npz", "json", "parquet", "csv"];

pub(crate) fn run(args: &TraceArgs, quiet: bool) -> Result<(), Failure> {
    args.out.as_deref().map(|path| ending("--out", path, &ENDINGS)).transpose()?;
    for (option, path) in [("--components", &args.components), ("--states", &args.states)] {
        path.as_deref().map(|path| ending(option, path, &array_files::ENDINGS)).transpose()?;
    }
    if let Some(file) = &args.reading.model.model {
        return trace_model::run((args, quiet), file);
    }
    let folder = args
        .run
        .as_deref()
        .ok_or_else(|| Failure::Usage("expected the folder of a run, or --model".into()))?;
    let run = Run::open(folder)?;
    if let Some(task) = &run.config.task {
        return trace_task::run((args, quiet), folder, &run, task);
    }
    let read = Text::of(folder, run, &args.reading)?;
    let k = chosen_loss(args.loss_step, args.predicting.as_deref(), &read.run, &read.targets)?;
    let (steps, sequences) = read.targets.shape();
    let losses: Vec<bool> = (0..steps).map(|t| t >= args.reading.burn_in).collect();
    array_files::check(args, &read.run.network, &losses, sequences)?;
    let (network, traced) = read.ledger(Wanted::of_trace(args))?;

    let batch = read.targets.shape().1;
    let others = if batch == 1 { String::new() } else { format!(" (first of {batch} sequences)") };
    let (loss, k_shown) = (bits(traced.losses.values[k * batch]), &read.predicted[k]);
    let headline =
        format!("loss {k}: predicting “{k_shown}” after “{}”{others}, {loss:.3} bits", read.symbols[k]);
    let shown = Read { symbols: &read.symbols, alone: batch == 1 };
    output((args, quiet), &network, &traced, &read.provenance, Some(shown), k, &headline)
}

/// A run and the text it reads.
pub(super) struct Text {
    pub run: Run,
    inputs: Symbols,
    targets: Symbols,
    options: ScanOptions<f64>,
    /// The symbol of each step of the first sequence.
    pub symbols: Vec<String>,
    /// The target of each of its losses.
    pub predicted: Vec<String>,
    /// Where it comes from.
    pub provenance: Provenance,
}

impl Text {
    /// A run that was opened.
    pub fn of(folder: &Path, run: Run, reading: &ReadingArgs) -> Result<Self, Failure> {
        let (inputs, targets) = match &reading.text {
            Some(text) => sentence(&run, text)?,
            None => held_out(&run, fitting(reading.steps, run.config.window, Some(reading.batch), 1))?,
        };
        let (steps, _) = targets.shape();
        let vocabulary = run.vocabulary()?;
        let shown = |ids: &Symbols| -> Vec<String> {
            (0..steps).map(|t| vocabulary.show(ids.step(t)[0]).into_owned()).collect()
        };
        let (symbols, predicted) = (shown(&inputs), shown(&targets));
        let provenance = text_provenance(folder, &run, reading.text.is_some(), targets.shape());
        let options = scan_options(reading, steps);
        Ok(Self { run, inputs, targets, options, symbols, predicted, provenance })
    }

    /// The network in f64, and its ledger.
    pub fn ledger(&self, wanted: Wanted) -> Result<(Network<f64>, Traced), Failure> {
        let network = self.run.network.cast::<f64>()?;
        let (inputs, targets) = (self.inputs.clone(), self.targets.clone());
        let traced = Traced::text(&network, inputs, targets, self.options.clone(), wanted)?;
        Ok((network, traced))
    }

    /// Whether there is no other sequence.
    pub fn alone(&self) -> bool {
        self.targets.shape().1 == 1
    }
}

/// What is assumed of a run that reads `steps` steps of a text.
pub(super) fn text_provenance(
    folder: &Path,
    run: &Run,
    text_given: bool,
    shape: (usize, usize),
) -> Provenance {
    let mut provenance = Provenance::of_run(folder, &run.config);
    provenance.set("loss", "cross_entropy");
    provenance.set("reduction", "sum");
    if !text_given {
        let part = if run.config.held_out > 0.0 {
            "the held-out text"
        } else {
            "the text, of which none is held out,"
        };
        provenance.assume(match shape {
            (steps, 1) => format!("no text was given: the first {steps} steps of {part} are read"),
            (steps, batch) => {
                format!("no text was given: {steps} steps of {part} are read at {batch} places")
            }
        });
    } else if run.vocabulary().is_ok_and(|vocabulary| vocabulary.id("\n").is_some()) {
        provenance.assume("the text is read after a line break");
    }
    provenance.assume("the state before the first step is zero");
    provenance.assume("the loss is the cross-entropy of every next symbol, summed over the steps");
    provenance
}

/// The symbols of the first sequence.
pub(super) struct Read<'a> {
    pub symbols: &'a [String],
    /// Whether there is no other sequence.
    pub alone: bool,
}

/// The scan options of the command line for `steps` steps.
pub(super) fn scan_options(args: &ReadingArgs, steps: usize) -> ScanOptions<f64> {
    let detach = ScanOptions::<f64>::detach_every(args.detach_every, steps);
    ScanOptions { detach, burn_in: args.burn_in, ..ScanOptions::default() }
}

/// Writes the ledger to a file or as JSON to stdout, or prints the contributions to loss `k`, as the arguments say.
pub(super) fn output(
    (args, quiet): (&TraceArgs, bool),
    network: &Network<f64>,
    traced: &Traced,
    provenance: &Provenance,
    read: Option<Read<'_>>,
    k: usize,
    headline: &str,
) -> Result<(), Failure> {
    let ledger = &traced.ledger;
    if !ledger.has_loss(k) {
        let which = "it is masked, padding or burn-in; choose another with --loss-step";
        return Err(Failure::Usage(format!("there is no loss at step {k}: {which}")));
    }
    let chosen =
        (args.parameter.as_deref(), args.layer.unwrap_or(0), args.direction.unwrap_or(Reading::Forward));
    let entry = shown_entry(chosen, network, ledger)?;
    let paths =
        if args.paths { in_f64::path_split(network, &traced.trace, &traced.losses, k)? } else { Vec::new() };
    let saturation = if args.gates { in_f64::saturation(network, &traced.trace) } else { Vec::new() };

    let alone = read.as_ref().filter(|read| read.alone).map(|read| read.symbols);
    provenance.say();
    let json = || {
        let mut provenance = provenance.clone();
        provenance.set_network(network);
        let context = Context {
            symbols: alone,
            losses: Some(&traced.losses),
            provenance: provenance.values().clone(),
            assumptions: provenance.assumptions(),
        };
        let mut object = json::ledger(ledger, &context);
        if args.paths {
            object.insert("paths".into(), json::paths(&paths));
        }
        if args.gates {
            object.insert("saturation".into(), json::saturation(&saturation));
        }
        Value::Object(object)
    };
    if let Some(path) = &args.out {
        write(path, ledger, &json)?;
        eprintln!("wrote {}", path.display());
    }
    array_files::write(args, network, traced, &json, quiet)?;
    if args.json {
        return print_json(&json());
    }
    let (parameter, cell) = (entry.parameter.as_str(), cell_name(network, entry.cell));
    let symbols = read.map(|read| read.symbols);
    print(&format!("{headline}; contributions to {parameter}{cell}\n\n"))?;
    print(&tables::contributions(entry, k, symbols))?;
    if let Some(split) = paths.iter().find(|split| split.cell == entry.cell) {
        print(&tables::paths(split, symbols))?;
    }
    if args.gates {
        print(&tables::saturation(&saturation))?;
    }
    print(&tables::conclusion(ledger, entry, k))
}

/// The entry that the arguments choose.
pub(super) fn shown_entry<'a>(
    (parameter, layer, direction): (Option<&str>, usize, Reading),
    network: &Network<f64>,
    ledger: &'a Ledger,
) -> Result<&'a Entry, Failure> {
    let direction = match direction {
        Reading::Forward => Direction::Forward,
        Reading::Reverse => Direction::Reverse,
    };
    if direction == Direction::Reverse && network.directions() == 1 {
        let problem = "this network is not bidirectional; train one with --bidirectional";
        return Err(Failure::Usage(format!("--direction reverse: {problem}")));
    }
    let layers = network.depth();
    if layer >= layers {
        let problem = format!("--layer {layer}: this network of {layers} layers has no such layer");
        return Err(Failure::Usage(problem));
    }
    let cell = CellId { layer, direction };
    let name = parameter.map(|name| name.to_lowercase().replace('-', "_"));
    let of_cell = || ledger.entries().iter().filter(|entry| entry.cell == cell);
    let find = |name: &str| of_cell().find(|entry| entry.parameter.as_str() == name);
    let found = match name.as_deref() {
        None => ledger.recurrent_at(cell),
        // A GRU has two biases; that of the input side is da itself.
        Some("bias") => find("bias").or_else(|| find("bias_ih")),
        Some(name) => find(name),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = of_cell().map(|entry| entry.parameter.as_str()).collect();
        let given = parameter.unwrap_or("the default");
        let of = if layers > 1 { format!(" in layer {layer}") } else { String::new() };
        Failure::Usage(format!("--parameter {given} is not possible{of}; expected {}", names.join(", ")))
    })
}

/// The name of a cell, if there are several.
pub(super) fn cell_name(network: &Network<f64>, CellId { layer, direction }: CellId) -> String {
    let layer = if network.depth() > 1 { format!(" of layer {layer}") } else { String::new() };
    let direction =
        if network.directions() == 2 { format!(", {} cell", direction.as_str()) } else { String::new() };
    layer + &direction
}

/// A ledger with the scan and the losses that it was made from.
pub(crate) struct Traced {
    pub trace: ForwardCache<f64>,
    pub losses: Losses<f64>,
    pub ledger: Ledger,
}

impl Traced {
    /// Makes the ledger.
    pub fn new(
        network: &Network<f64>,
        trace: ForwardCache<f64>,
        losses: Losses<f64>,
        wanted: Wanted,
    ) -> Result<Self, Failure> {
        let present = losses.present.iter().filter(|&&present| present).count();
        wanted.fits(network, losses.present.len(), present)?;
        let ledger = with_bar("of the ledger", |control| {
            let options = ItemizeOptions { control: Some(control), ..wanted.options() };
            in_f64::itemize(network, &trace, &losses, &options)
        })?;
        Ok(Self { trace, losses, ledger })
    }

    /// Runs a network over symbols from h0 = 0 and makes the ledger of the summed cross-entropy.
    pub fn text(
        network: &Network<f64>,
        inputs: Symbols,
        targets: Symbols,
        reading: ScanOptions<f64>,
        wanted: Wanted,
    ) -> Result<Self, Failure> {
        let (_, batch) = inputs.shape();
        let trace = in_f64::scan_with(network, Inputs::Symbols(inputs), &network.zero_state(batch), reading)?;
        let targets = Targets::CrossEntropy(targets);
        let losses =
            in_f64::losses(network, &trace, &Objective { targets, mask: None, reduction: Reduction::Sum })?;
        Self::new(network, trace, losses, wanted)
    }
}

/// The symbols of a text after a line break (if the vocabulary has one), and the next symbol of each.
pub(super) fn sentence(run: &Run, text: &str) -> Result<(Symbols, Symbols), Failure> {
    let mut ids: Vec<u32> = run.vocabulary()?.id("\n").into_iter().collect();
    ids.extend(run.vocabulary()?.encode(text)?);
    if ids.len() < 2 {
        return Err(Failure::Usage("--text has nothing to predict; expected at least two symbols".into()));
    }
    let steps = ids.len() - 1;
    let symbols = |ids: &[u32]| Symbols::new(steps, 1, ids.to_vec());
    Ok((symbols(&ids[..steps])?, symbols(&ids[1..])?))
}

/// The beginning of the held-out text of the run, or of its text if none is held out, as contiguous streams; `shape` has
/// their length and number for this many predictions.
pub(super) fn held_out(
    run: &Run,
    shape: impl FnOnce(usize) -> (usize, usize),
) -> Result<(Symbols, Symbols), Failure> {
    let text = runs::load_text(&run.config)?;
    let ids = run.vocabulary()?.encode(&text)?;
    let corpus = bptt_train::Corpus::split(ids, run.config.held_out)?;
    run.check_text(&corpus)?;
    let ids = corpus.shown();
    let (steps, batch) = shape(ids.len().saturating_sub(1));
    let window = Streams::new(ids.to_vec(), batch, steps)?.next_window();
    Ok((Symbols::new(steps, batch, window.inputs)?, Symbols::new(steps, batch, window.targets)?))
}

/// Steps and sequences as given; those that are not are at most the usual ones and as many as fit.
pub(super) fn fitting(
    steps: Option<usize>,
    usual_steps: usize,
    batch: Option<usize>,
    usual_batch: usize,
) -> impl FnOnce(usize) -> (usize, usize) {
    move |symbols| {
        let wanted = steps.unwrap_or(usual_steps).max(1);
        let batch = batch.unwrap_or_else(|| usual_batch.min(symbols / wanted).max(1));
        (steps.unwrap_or_else(|| usual_steps.min(symbols / batch.max(1)).max(1)), batch)
    }
}

/// Refuses options that apply to texts only if the run learned a task.
pub(super) fn refuse_for_task(config: &Config, of_text: &[(&str, bool)]) -> Result<(), Failure> {
    let given = of_text.iter().find(|(_, given)| *given);
    match (&config.task, given) {
        (Some(task), Some((option, _))) => {
            Err(Failure::Usage(format!("{option} applies to texts only; this is a run of the task {task}")))
        }
        _ => Ok(()),
    }
}

/// The loss at step `at` or of predicting `of`; by default the last one.
pub(super) fn chosen_loss(
    at: Option<usize>,
    of: Option<&str>,
    run: &Run,
    targets: &Symbols,
) -> Result<usize, Failure> {
    let (steps, _) = targets.shape();
    if let Some(k) = loss_at(at, steps)? {
        return Ok(k);
    }
    let Some(symbol) = of else { return Ok(steps - 1) };
    let vocabulary = run.vocabulary()?;
    let id = vocabulary.id(symbol);
    let found = (0..steps).rev().find(|&t| Some(targets.step(t)[0]) == id);
    found.ok_or_else(|| {
        let kind = if vocabulary.level() == Level::Word { "word" } else { "character" };
        Failure::Usage(format!("--predicting: the {kind} {symbol:?} is not predicted anywhere in this text"))
    })
}

/// The loss at this step, checked.
pub(super) fn loss_at(at: Option<usize>, steps: usize) -> Result<Option<usize>, Failure> {
    match at {
        Some(k) if k >= steps => {
            Err(Failure::Usage(format!("--loss-step: there is no loss {k}; expected 0 to {}", steps - 1)))
        }
        at => Ok(at),
    }
}

fn write(path: &Path, ledger: &Ledger, json: &dyn Fn() -> Value) -> Result<(), Failure> {
    let bytes = match ending("--out", path, &ENDINGS)? {
        "npz" => npz::ledger(ledger).map_err(|error| cannot_make(path, &error))?,
        "json" => json().to_string().into_bytes(),
        kind => table_bytes(path, kind, &entries(ledger))?,
    };
    Ok(files::write(path, &bytes)?)
}
