//! A comparison of two remedies with two seeds: complete, interrupted and continued.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bptt_train::compare::{
    Budget, Comparison, ComparisonObserver, Folder, Plan, Report, Training, TrainingResult, wilson,
};
use bptt_train::{Config, DataSource, Flow, GradientHorizon, train};

fn comparison() -> Comparison {
    Comparison {
        base: Config {
            task: Some("noisy_latch".into()),
            length: Some(6),
            hidden: 12,
            steps: 60,
            batch: 16,
            learning_rate: 0.02,
            clip_norm: 0.0,
            evaluate_every: 20,
            trace_every: 0,
            seed: 7,
            ..Config::default()
        },
        remedies: vec!["orthogonal+clip".into(), "lstm".into()],
        seeds: 2,
        budget: Budget::Flops,
        solved_at: 0.95,
    }
}

/// Counts finished trainings and stops after a number of them; its clock is constant.
struct Counting {
    finished: AtomicUsize,
    stop_after: usize,
}

impl Counting {
    fn new(stop_after: usize) -> Self {
        Self { finished: AtomicUsize::new(0), stop_after }
    }
}

impl ComparisonObserver for Counting {
    fn seconds(&self) -> f64 {
        0.0
    }

    fn update(&self, _: &Training) -> Flow {
        if self.finished.load(Ordering::Relaxed) >= self.stop_after { Flow::Stop } else { Flow::Continue }
    }

    fn finished(&self, _: &Training, _: &TrainingResult) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
}

fn run(
    plan: &Plan,
    folder: &Path,
    threads: usize,
    stop_after: usize,
) -> (Option<Vec<TrainingResult>>, usize) {
    let observer = Counting::new(stop_after);
    let folder = Folder::open(folder, plan).unwrap();
    let results = plan.run(&folder, threads, &observer).unwrap();
    (results.into_iter().collect(), observer.finished.into_inner())
}

#[test]
fn a_comparison_equals_the_separate_trainings() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(comparison()).unwrap();
    let (results, finished) = run(&plan, folder.path(), 2, usize::MAX);
    let results = results.unwrap();
    assert_eq!(finished, 4);
    let order: Vec<_> = plan.trainings().iter().map(|t| (t.remedy.clone(), t.config.seed)).collect();
    let expected = [("orthogonal+clip", 7), ("lstm", 7), ("orthogonal+clip", 8), ("lstm", 8)];
    assert_eq!(order, expected.map(|(name, seed)| (name.to_owned(), seed)));

    for (training, reached) in plan.trainings().iter().zip(&results) {
        let config = &training.config;
        let data = DataSource::task(plan.task(), config);
        let begin = config.network(data.inputs(), data.outputs()).unwrap();
        let outcome = train(config, &data, &mut |_: &bptt_train::Event<'_>| Flow::Continue).unwrap();
        let held_out = outcome.held_out.unwrap();
        assert_eq!((reached.loss, Some(reached.solved)), (Some(held_out.loss), held_out.solved));
        assert_eq!((reached.seed, reached.updates), (config.seed, 60));
        let reach = |network| GradientHorizon::measure(network, plan.task(), 6, config).unwrap();
        assert_eq!((reached.before, reached.after), (reach(&begin), reach(&outcome.network)));
        assert!(reached.before.lyapunov.unwrap() < 0.1 && (1..6).contains(&reached.before.horizon.unwrap()));
    }

    let report = Report::new(&plan, &results.iter().cloned().map(Some).collect::<Vec<_>>()).unwrap();
    let [rnn, lstm] = &report.remedies[..] else { panic!("one row for each remedy") };
    assert_eq!((rnn.cell.as_str(), rnn.hidden, lstm.cell.as_str(), lstm.hidden), ("rnn", 12, "lstm", 6));
    // 16 sequences of 6 steps with one input, two outputs and one loss: recurrent, input, readout, loss.
    assert_eq!(rnn.flops, 60 * 16 * (6 * (6 * 144 + 4 * 12 + 4 * 2 * 12) + 2 * 2 * 12));
    assert_eq!(lstm.flops, 60 * 16 * (6 * (24 * 36 + 16 * 6 + 4 * 2 * 6) + 2 * 2 * 6));
    assert_eq!((rnn.parameters, lstm.parameters), (12 + 144 + 24 + 26, 24 + 144 + 48 + 14));
    let changes = serde_json::json!({ "init": "orthogonal", "clip_norm": 1.0 });
    assert_eq!(serde_json::Value::Object(rnn.changes.clone()), changes);
    assert_eq!((rnn.solved, rnn.trained), (2, 2));
    assert_eq!(rnn.solved_interval, [wilson(2, 2).0, 1.0]);
    let mean = |a: f64, b: f64| f64::midpoint(a, b);
    assert_eq!(rnn.median.loss, Some(mean(results[0].loss.unwrap(), results[2].loss.unwrap())));
    assert!(rnn.median.loss.unwrap() < 0.5 * report.baseline_loss, "{:?}", rnn.median);
    let solved = rnn.median.updates_to_solve.unwrap();
    assert!((20.0..=60.0).contains(&solved) && solved % 10.0 == 0.0, "{solved}");
}

#[test]
fn missing_trainings_are_repeated_with_the_same_results() {
    let plan = Plan::new(comparison()).unwrap();
    let whole = tempfile::tempdir().unwrap();
    let expected = run(&plan, whole.path(), 2, usize::MAX).0.unwrap();
    let table = |results: &[TrainingResult]| {
        let results: Vec<_> = results.iter().cloned().map(Some).collect();
        serde_json::to_string(&Report::new(&plan, &results).unwrap()).unwrap()
    };

    let stopped = tempfile::tempdir().unwrap();
    assert!(Folder::existing(stopped.path()).unwrap().is_none());
    assert_eq!(run(&plan, stopped.path(), 1, 1), (None, 1));
    // What there is can be read without repeating the settings.
    let (folder, same) = Folder::existing(stopped.path()).unwrap().unwrap();
    let same = Plan::new(same).unwrap();
    let results = folder.results(&same).unwrap();
    assert_eq!((results[0].is_some(), results.iter().flatten().count()), (true, 1));
    let report = Report::new(&same, &results).unwrap();
    let trained: Vec<_> = report.remedies.iter().map(|remedy| remedy.trained).collect();
    assert_eq!((trained, report.remedies[1].solved_interval), (vec![1, 0], [0.0, 1.0]));
    assert_eq!(run(&plan, stopped.path(), 1, 0), (None, 0));
    let (again, finished) = run(&plan, stopped.path(), 1, usize::MAX);
    assert_eq!((table(&again.unwrap()), finished), (table(&expected), 3));

    for lost in ["lstm-seed-7.json", "orthogonal+clip-seed-8.json"] {
        std::fs::remove_file(whole.path().join("trainings").join(lost)).unwrap();
    }
    let (again, finished) = run(&plan, whole.path(), 2, usize::MAX);
    assert_eq!((table(&again.unwrap()), finished), (table(&expected), 2));
    assert_eq!(run(&plan, whole.path(), 2, usize::MAX), (Some(expected), 0));
}

#[test]
fn a_folder_accepts_one_comparison_only() {
    let folder = tempfile::tempdir().unwrap();
    Folder::open(folder.path(), &Plan::new(comparison()).unwrap()).unwrap();
    let refused =
        |other: Comparison| Folder::open(folder.path(), &Plan::new(other).unwrap()).unwrap_err().to_string();
    let other = Comparison { seeds: 3, ..comparison() };
    assert!(refused(other).contains("contains a comparison whose seeds is 2, not 3;"));
    let mut other = comparison();
    other.base.hidden = 13;
    assert!(refused(other).contains("whose hidden is 12, not 13;"));
    let mut other = comparison();
    other.base.chrono = None;
    other.base.sigma_max = Some(1.0);
    assert!(refused(other).contains("whose sigma_max is unset, not 1.0;"));
}

#[test]
fn impossible_comparisons_are_named() {
    let refused = |change: fn(&mut Comparison)| {
        let mut other = comparison();
        change(&mut other);
        Plan::new(other).unwrap_err().to_string()
    };
    assert!(refused(|c| c.seeds = 0).starts_with("seeds: 0 is not possible"));
    assert!(refused(|c| c.base.steps = 0).starts_with("steps: 0 is not possible"));
    assert!(refused(|c| c.base.task = None).starts_with("length: 6 is not possible"));
    assert!(refused(|c| c.solved_at = 1.5).starts_with("solved: 1.5 is not possible"));
    assert!(
        refused(|c| c.remedies.clear()).starts_with("remedy: none is not possible; expected at least one")
    );
    assert!(refused(|c| c.remedies.push("lstm".into())).starts_with("remedy: lstm twice is not possible"));
    assert!(refused(|c| c.remedies.push("omega+gru".into())).starts_with("omega: 1 with cell gru"));
    assert!(refused(|c| c.base.length = Some(2)).contains("length: 2 for noisy_latch is not possible"));
}
