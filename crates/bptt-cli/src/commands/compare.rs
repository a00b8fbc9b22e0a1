//! `bptt compare`: trains with several remedies and compares the results.

pub(super) mod table;

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use bptt_train::compare::{
    ComparisonObserver, Folder, Plan, REMEDIES, Remedy, Report, Training, TrainingResult,
};
use bptt_train::{Flow, memory};
use bptt_view::table::{Align, table as of_text};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{print, print_json};
use crate::Failure;
use crate::args::CompareArgs;
use crate::memory::allow;
use crate::progress::{interrupted, signal, stop_on_signals};

pub(crate) fn run(args: &CompareArgs, quiet: bool) -> Result<(), Failure> {
    if args.list {
        return print(&list());
    }
    let comparison = args.comparison()?;
    super::train::fits(&comparison.base)?;
    let plan = Plan::new(comparison)?;
    let folder = Folder::open(&args.out, &plan)?;
    stop_on_signals()?;
    let all = plan.trainings().len();
    let watch = Watch::new(all, &folder.missing(&plan)?, quiet);
    let results = plan.run(&folder, rayon::current_num_threads(), &watch)?;
    watch.bar.finish_and_clear();
    let finished = results.iter().flatten().count();
    if finished < all {
        return Err(Failure::Signalled(
            signal().unwrap_or(1),
            format!(
                "stopped: {finished} of {all} trainings are finished and kept in {}; the same command continues with the others",
                args.out.display()
            ),
        ));
    }
    let report = Report::new(&plan, &results)?;
    match (args.json, args.csv) {
        (true, _) => print_json(&json!(report)),
        (_, true) => print(&table::csv(&report)),
        _ => print(&format!("{}\nresults in {}\n", table::text(&report), args.out.display())),
    }
}

/// The comparison in a folder, and its plan; `None` if the folder has none.
pub(super) fn existing(folder: &Path) -> Result<Option<(Folder, Plan)>, Failure> {
    let Some((kept, comparison)) = Folder::existing(folder)? else { return Ok(None) };
    let needed = memory::of_sequence(&memory::Sizes::of(&comparison.base, None)?);
    allow("a sequence of this comparison", needed, |_| Ok(None))?;
    Ok(Some((kept, Plan::new(comparison)?)))
}

/// The remedies with one sentence each.
fn list() -> String {
    let row = |remedy: Remedy| {
        let name = remedy.option.map_or(remedy.name.into(), |option| format!("{}:{option}", remedy.name));
        vec![name, remedy.about.to_owned()]
    };
    of_text(&[("remedy", Align::Left), ("description", Align::Left)], &REMEDIES.map(row))
}

/// Shows a progress bar of the updates of all trainings.
struct Watch {
    bar: ProgressBar,
    start: Instant,
    all: usize,
    /// Number of finished trainings, and number of those finished by this process that solved the task.
    finished: Mutex<(usize, usize)>,
}

impl Watch {
    /// For the missing ones of `all` trainings.
    fn new(all: usize, missing: &[Training], quiet: bool) -> Self {
        // indicatif itself is silent where stderr is no terminal.
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let updates = missing.iter().map(Training::updates).sum();
        let bar = ProgressBar::with_draw_target(Some(updates), target);
        let style = "{bar:24} {pos}/{len} updates  {msg}  {per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
        let finished = all - missing.len();
        let watch = Self { bar, start: Instant::now(), all, finished: Mutex::new((finished, 0)) };
        watch.say(finished, 0);
        watch
    }

    fn say(&self, finished: usize, solved: usize) {
        self.bar.set_message(format!("{finished}/{} trainings, {solved} solved", self.all));
    }
}

impl ComparisonObserver for Watch {
    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn update(&self, _: &Training) -> Flow {
        self.bar.inc(1);
        if interrupted() { Flow::Stop } else { Flow::Continue }
    }

    fn finished(&self, training: &Training, reached: &TrainingResult) {
        // A training that ended early makes no more updates.
        self.bar.inc(training.config.steps - reached.updates);
        let mut counts = self.finished.lock().expect("no thread panics while it holds the lock");
        counts.0 += 1;
        counts.1 += usize::from(reached.solved_after.is_some());
        self.say(counts.0, counts.1);
    }
}
