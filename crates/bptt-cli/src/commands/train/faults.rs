//! Trainings on a disk on which each operation fails in turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bptt_io::files::Operation;
use bptt_io::files::faults::{Fault, arm};
use bptt_train::compare::{
    Budget, Comparison, ComparisonObserver, Folder, Plan as Comparing, Training, TrainingResult,
};
use bptt_train::run::{self as runs, Existing};
use bptt_train::{Config, Corpus, Flow, Vocabulary};
use serde_json::Value;

use super::{Learned, Plan, Start, learn};
use crate::{Failure, in_full};

struct Problem {
    config: Config,
    vocabulary: Vocabulary,
    corpus: Corpus,
}

/// A text, with everything that a run may have: snapshots, ledgers, the best network, states of an optimizer and of dropout.
fn problem() -> Problem {
    let settings = "
        cell = \"lstm\"\nlayers = 2\nhidden = 3\ndropout = 0.2\nwindow = 6\nbatch = 2\nsteps = 24\nsentences = 30
        level = \"word\"\nevaluate_every = 8\ntrace_every = 6\nkeep = \"best\"\n";
    let config: Config = toml::from_str(settings).unwrap();
    let (vocabulary, corpus) = runs::prepare(&config, &runs::load_text(&config).unwrap()).unwrap();
    Problem { config, vocabulary, corpus }
}

impl Problem {
    fn train(&self, folder: &Path, start: Start) -> Result<Learned, Failure> {
        let plan = Plan { folder, start, checkpoint_every: Some(5), quiet: true };
        learn("", &self.config, &self.vocabulary, &self.corpus, &plan, &mut [])
    }

    /// Goes on with what an interrupted training left, and begins again if that is nothing.
    fn go_on(&self, folder: &Path, what: &str) {
        let start = if !runs::exists(folder) {
            Start::New(Existing::Refuse)
        } else if runs::ended(folder).unwrap() {
            return;
        } else {
            runs::verify(folder).unwrap_or_else(|error| panic!("{what}: {}", in_full(&error)));
            Start::Resume
        };
        self.train(folder, start).unwrap_or_else(|failure| panic!("{what}: {failure}"));
    }
}

/// The files of a run that have to be equal, events without their times.
fn contents(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (inside, names) in [(run.to_owned(), None), (run.join("snapshots"), Some("snapshots"))] {
        for path in fs::read_dir(inside).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // Digests of metrics, and so of times; and what failed to be removed.
            if path.is_file() && !["run.json", ".lock"].contains(&&*name) {
                found.insert(format!("{}/{name}", names.unwrap_or_default()), fs::read(&path).unwrap());
            }
        }
    }
    let metrics = found.get_mut("/metrics.jsonl").unwrap();
    let lines = metrics.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.map(|line| {
        let mut event: Value = serde_json::from_slice(line).unwrap();
        for key in ["seconds", "check"] {
            event.as_object_mut().unwrap().remove(key);
        }
        event
    });
    *metrics = events.collect::<Value>().to_string().into_bytes();
    found
}

fn folder() -> tempfile::TempDir {
    // In memory where that is possible: syncs are slow elsewhere.
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn faults(of: Operation) -> Vec<Fault> {
    let mut faults = vec![Fault::Broken, Fault::Full, Fault::FullFromHere];
    faults.extend((of == Operation::Write).then_some(Fault::Short));
    faults
}

/// Whether a failure says what has failed, and where the network is, if there is one.
fn check(failure: &Failure, begun: bool, what: &str) {
    let said = in_full(failure);
    assert_eq!(failure.code(), 1, "{what}: {said}");
    assert!(said.starts_with("cannot ") && said.contains(" (os error "), "{what}: {said}");
    if begun {
        let kept = said.split_once("is kept in ").and_then(|(_, rest)| rest.split_once(';'));
        let (path, _) = kept.unwrap_or_else(|| panic!("{what}: {said}"));
        bptt_io::model::load(Path::new(path)).unwrap_or_else(|error| panic!("{what}: {}", in_full(&error)));
        if path.contains("bptt-network-") {
            fs::remove_file(path).unwrap();
        }
    }
}

/// The operations of a training from `start`, in a folder that `prepare` makes; each fails in turn. Returns how many failed, and
/// how many of these trainings went on.
fn all_fail(
    problem: &Problem,
    expected: &BTreeMap<String, Vec<u8>>,
    start: Start,
    prepare: impl Fn(&Path),
) -> (Vec<Operation>, usize, usize) {
    let folder = folder();
    let run = folder.path().join("run");
    prepare(&run);
    let armed = arm(&run, 0, Fault::Broken);
    problem.train(&run, start).unwrap();
    let operations = armed.seen();
    drop(armed);
    assert!(contents(&run) == *expected, "without a fault");
    // The length of the metrics is the last that is set; then the training begins.
    let opened =
        operations.iter().rposition(|&operation| operation == Operation::Length).map_or(0, |i| i + 1);
    let (mut injected, mut went_on) = (0, 0);
    for (at, &operation) in (1..).zip(&operations) {
        for fault in faults(operation) {
            let what = format!("{operation:?}, number {at} of {}, {fault:?}", operations.len());
            let run = folder.path().join(format!("run-{at}-{fault:?}"));
            prepare(&run);
            let armed = arm(&run, at, fault);
            let result = problem.train(&run, start);
            drop(armed);
            injected += 1;
            if let Err(failure) = result {
                check(&failure, at > opened, &what);
            } else {
                // What could not be removed does no harm.
                let no_space = [Operation::Remove, Operation::Sync];
                let unharmed = match fault {
                    Fault::FullFromHere => operations[at - 1..].iter().all(|later| no_space.contains(later)),
                    _ => operation == Operation::Remove,
                };
                assert!(unharmed, "{what}");
                went_on += 1;
            }
            problem.go_on(&run, &what);
            assert!(contents(&run) == *expected, "{what}");
            runs::verify(&run).unwrap_or_else(|error| panic!("{what}: {}", in_full(&error)));
            fs::remove_dir_all(&run).unwrap();
        }
    }
    (operations, injected, went_on)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

#[test]
fn every_failure_of_the_disk_leaves_a_run_that_goes_on_bit_for_bit() {
    let problem = problem();
    let whole = folder();
    let run = whole.path().join("run");
    problem.train(&run, Start::New(Existing::Refuse)).unwrap();
    let expected = contents(&run);
    assert!(expected.len() > 7, "{:?}", expected.keys());

    let (operations, injected, went_on) = all_fail(&problem, &expected, Start::New(Existing::Refuse), |_| {});
    println!(
        "{injected} faults at {} operations of a training, {went_on} of them only noted",
        operations.len()
    );
    let all = [
        Operation::Open,
        Operation::Write,
        Operation::Length,
        Operation::Sync,
        Operation::Rename,
        Operation::Remove,
        Operation::Folder,
    ];
    assert!(operations.len() > 100 && all.iter().all(|kind| operations.contains(kind)), "{operations:?}");

    // Stopped by a full disk in the middle, and continued on a disk that fails again.
    let stopped = whole.path().join("stopped");
    let armed = arm(&stopped, operations.len() / 2, Fault::FullFromHere);
    assert!(problem.train(&stopped, Start::New(Existing::Refuse)).is_err());
    drop(armed);
    let (operations, injected, went_on) =
        all_fail(&problem, &expected, Start::Resume, |run| copy(&stopped, run));
    println!(
        "{injected} faults at {} operations of a resumed one, {went_on} of them only noted",
        operations.len()
    );
    assert!(operations.len() > 50, "{operations:?}");
}

/// A clock that stands, so that results are equal byte by byte.
struct Still;

impl ComparisonObserver for Still {
    fn seconds(&self) -> f64 {
        0.0
    }

    fn update(&self, _: &Training) -> Flow {
        Flow::Continue
    }

    fn finished(&self, _: &Training, _: &TrainingResult) {}
}

#[test]
fn every_failure_of_the_disk_leaves_a_comparison_that_goes_on_bit_for_bit() {
    let base = Config {
        task: Some("parity".into()),
        length: Some(3),
        hidden: 2,
        batch: 2,
        steps: 3,
        ..Config::default()
    };
    let remedies = ["none", "clip:0.1"].map(String::from).into();
    let comparison = Comparison { base, remedies, seeds: 1, budget: Budget::Units, solved_at: 0.9 };
    let plan = Comparing::new(comparison).unwrap();
    let run = |folder: &Path| plan.run(&Folder::open(folder, &plan)?, 1, &Still);
    let contents = |folder: &Path| {
        let names = ["comparison.json", "trainings/none-seed-1.json", "trainings/clip_0.1-seed-1.json"];
        names.map(|name| fs::read(folder.join(name)).unwrap())
    };
    let folder = folder();
    let whole = folder.path().join("whole");
    let armed = arm(&whole, 0, Fault::Broken);
    run(&whole).unwrap();
    let operations = armed.seen();
    drop(armed);
    let expected = contents(&whole);
    let mut injected = 0;
    for (at, &operation) in (1..).zip(&operations) {
        for fault in faults(operation) {
            let what = format!("{operation:?}, number {at} of {}, {fault:?}", operations.len());
            let one = folder.path().join(format!("{at}-{fault:?}"));
            let armed = arm(&one, at, fault);
            let result = run(&one);
            drop(armed);
            injected += 1;
            match result {
                Err(error) => {
                    let said = in_full(&error);
                    assert!(said.starts_with("cannot ") && said.contains(" (os error "), "{what}: {said}");
                }
                // The last one removes the lock, which is open.
                Ok(_) => assert!(at + 1 >= operations.len(), "{what}"),
            }
            run(&one).unwrap_or_else(|error| panic!("{what}: {}", in_full(&error)));
            assert!(contents(&one) == expected, "{what}");
        }
    }
    println!("{injected} faults at {} operations of a comparison", operations.len());
    assert!(operations.len() > 20, "{operations:?}");
}
