//! Faults planted in networks of every task are found by the diagnosis, and healthy networks pass.

use bptt::{ForwardCache, Inputs, Losses, Network, Objective, Reduction, ScanOptions};
use bptt_train::data_source::held_out_batch;
use bptt_train::diagnose::{Evidence, Kind, Limits, Origin, Subject, check, diagnose, measure, remedies};
use bptt_train::{Config, Error, Init, Task, task_by_name, tasks};

const SEQUENCES: usize = 4;

/// A network, a task, and a planted fault.
struct Case {
    config: Config,
    network: Network<f64>,
    inputs: Inputs<f64>,
    objective: Objective<f64>,
    detach: Vec<usize>,
    lag: Option<std::ops::RangeInclusive<usize>>,
}

impl Case {
    fn new(task: &dyn Task, config: Config) -> Self {
        let length = task.usual_length().min(40).max(task.least_length());
        let drawn = held_out_batch(task, length, SEQUENCES, 1).unwrap();
        let (inputs, objective) = drawn.batch.objective(Reduction::Sum);
        let network = config.network(task.inputs(), task.outputs()).unwrap().cast().unwrap();
        Self { config, network, inputs, objective, detach: Vec::new(), lag: Some(task.lag(length)) }
    }

    fn steps(&self) -> usize {
        self.inputs.shape().0
    }

    fn farthest(&self) -> usize {
        *self.lag.as_ref().unwrap().end()
    }

    fn evidence(&self) -> Evidence {
        let subject = Subject {
            network: self.network.clone(),
            inputs: self.inputs.clone(),
            initial: self.network.zero_state(SEQUENCES),
            options: ScanOptions { detach: self.detach.clone(), ..ScanOptions::default() },
            lag: self.lag.clone(),
            untrained: None,
            bias: Some(0.05),
        };
        let losses = |network: &Network<f64>, trace: &ForwardCache<f64>| -> Result<Losses<f64>, Error> {
            Ok(network.losses(trace, &self.objective)?)
        };
        measure(subject, losses).unwrap()
    }
}

fn config(cell: &str) -> Config {
    Config { cell: cell.into(), hidden: 16, ..Config::default() }
}

/// Biases at which every slope is almost zero, with alternating signs.
fn biases(network: &mut Network<f64>, size: f64) {
    for tensor in network.tensors_mut().into_iter().skip(2).take(1) {
        for (i, bias) in tensor.data_mut().iter_mut().enumerate() {
            *bias = if i % 2 == 0 { size } else { -size };
        }
    }
}

fn gain(cell: &str, sigma: f64) -> Config {
    Config { init: Init::Identity, sigma_max: Some(sigma), ..config(cell) }
}

type Fault = (&'static str, Kind, fn(&dyn Task) -> Case);

const FAULTS: [Fault; 13] = [
    ("healthy LSTM", Kind::Reaches, |task| {
        Case::new(task, Config { forget_bias: Some(6.0), ..config("lstm") })
    }),
    ("healthy identity", Kind::Reaches, |task| Case::new(task, gain("rnn_identity", 1.0))),
    ("σ_max tiny", Kind::Vanishes, |task| {
        Case::new(task, Config { init: Init::Orthogonal, sigma_max: Some(0.2), ..config("rnn") })
    }),
    ("forget gates half shut", Kind::Vanishes, |task| {
        Case::new(task, Config { forget_bias: Some(-2.0), ..config("lstm") })
    }),
    ("gain 2 and no end", Kind::Explodes, |task| Case::new(task, gain("rnn_identity", 2.0))),
    ("gain 2, relu", Kind::Explodes, |task| Case::new(task, gain("rnn_relu", 2.0))),
    ("window shorter than the lag", Kind::Cut, |task| {
        let mut case = Case::new(task, Config { forget_bias: Some(6.0), ..config("lstm") });
        case.detach = ScanOptions::<f64>::detach_every((case.farthest() / 2).max(1), case.steps());
        case
    }),
    ("gates' biases at ±50", Kind::Saturated, |task| {
        let mut case = Case::new(task, config("lstm"));
        biases(&mut case.network, 50.0);
        case
    }),
    ("tanh at its ends", Kind::Saturated, |task| {
        let mut case = Case::new(task, config("rnn"));
        biases(&mut case.network, 50.0);
        case
    }),
    ("biases of relu units far below 0", Kind::DeadUnits, |task| {
        let mut case = Case::new(task, config("rnn_relu"));
        case.network.tensors_mut()[2].data_mut().fill(-50.0);
        case
    }),
    ("a weight that is no number", Kind::NotFinite, |task| {
        let mut case = Case::new(task, config("gru"));
        case.network.tensors_mut()[1].data_mut()[7] = f64::NAN;
        case
    }),
    ("no loss", Kind::CannotTell, |task| {
        let mut case = Case::new(task, config("gru"));
        case.objective.mask = Some(vec![false; case.steps() * SEQUENCES]);
        case
    }),
    ("shorter than the dependency", Kind::CannotTell, |task| {
        let mut case = Case::new(task, config("gru"));
        case.lag = Some(case.steps()..=case.steps());
        case
    }),
];

#[test]
fn every_planted_fault_is_found_on_every_task() {
    let mut wrong = Vec::new();
    for task in tasks() {
        for (fault, expected, plant) in FAULTS {
            let case = plant(&*task);
            let evidence = case.evidence();
            let verdict = diagnose(&evidence);
            if verdict.kind != expected {
                wrong.push(format!("{}, {fault}: {}", task.name(), verdict.sentence));
            }
            let proposed = remedies(&verdict, &evidence, &case.config);
            let healthy = [Kind::Reaches, Kind::CannotTell].contains(&verdict.kind);
            assert!(proposed.len() <= 3 && proposed.is_empty() == healthy, "{}, {fault}", task.name());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_first_number_that_is_not_finite_is_found_data_first() {
    let task = task_by_name("adding").unwrap();
    let mut case = Case::new(&*task, gain("rnn_identity", 1.0));
    case.network.tensors_mut()[0].data_mut()[0] = f64::NAN;
    let found = case.evidence().not_finite.unwrap();
    assert_eq!((found.what.as_str(), found.origin, found.step), ("weight_ih_l0", Origin::Weights, None));

    let Inputs::Dense(x) = &mut case.inputs else { panic!("adding reads numbers") };
    x.at_mut(7, 2)[0] = f64::INFINITY;
    let evidence = case.evidence();
    let found = evidence.not_finite.clone().unwrap();
    assert_eq!((found.origin, found.step, found.sequence), (Origin::Data, Some(7), Some(2)));
    let sentence = diagnose(&evidence).sentence;
    assert_eq!(sentence, "not finite: first at step 7 of sequence 2, in the input x (the data contain it)");

    // 10³⁰ a step: the state leaves f64's range at the eleventh.
    let case = Case::new(&*task, gain("rnn_identity", 1e30));
    let found = case.evidence().not_finite.unwrap();
    assert_eq!((found.what.as_str(), found.origin), ("hidden state of layer 0", Origin::States));
    assert_eq!(found.step, Some(11));
}

#[test]
fn the_decay_is_that_of_the_closed_form() {
    // A gradient of the identity times ½ halves every step: 2^−τ falls below a hundredth after 6 steps.
    let task = task_by_name("parity").unwrap();
    let case = Case::new(&*task, gain("rnn_identity", 0.5));
    let evidence = case.evidence();
    let lags = evidence.lag_statistics.clone().unwrap();
    let (lag, half) = (case.farthest(), 0.5f64.log10());
    assert_eq!((lags.target, lags.reached), (lag, 6));
    assert!((lags.log10_kept.unwrap() - lag as f64 * half).abs() < 1e-6);
    assert_eq!(lags.log10_growth, Some(0.0));
    assert!((evidence.exponent.unwrap().per_step - 0.5f64.ln()).abs() < 1e-6);
    assert!(evidence.gates[0].bound_to_vanish);
    assert_eq!((lags.at_lag, lags.cut_at_lag), (1, 0.0));
}

#[test]
fn without_a_lag_the_verdict_is_about_the_end_of_the_window() {
    let task = task_by_name("flip_flop").unwrap();
    let mut case = Case::new(&*task, gain("rnn_identity", 1.0));
    case.lag = None;
    let last = case.steps() - 1;
    let verdict = diagnose(&case.evidence());
    assert_eq!(verdict.kind, Kind::Reaches);
    assert!(verdict.sentence.starts_with(&format!("reaches the end of the sequence, {last} steps back")));
    case.detach = ScanOptions::<f64>::detach_every(8, case.steps());
    let verdict = diagnose(&case.evidence());
    assert!(
        verdict.sentence.starts_with("reaches the end of the window, 7 steps back"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn limits_are_compared_with_the_measurements() {
    let task = task_by_name("parity").unwrap();
    let mut case = Case::new(&*task, gain("rnn_identity", 0.5));
    let all = Limits { min_horizon: Some(5), max_decay: Some(0.7), no_cuts: true };
    let passed = |evidence: &Evidence, limits: &Limits| -> Vec<bool> {
        check(evidence, limits).iter().map(|check| check.passed).collect()
    };
    let evidence = case.evidence();
    let strict = Limits { min_horizon: Some(40), max_decay: Some(0.5), no_cuts: false };
    assert_eq!(passed(&evidence, &strict), [false, false]);
    assert!(passed(&evidence, &all)[0] && passed(&evidence, &all)[2]);
    case.detach = vec![10];
    assert!(!passed(&case.evidence(), &all)[2]);
    case.objective.mask = Some(vec![false; case.steps() * SEQUENCES]);
    assert_eq!(passed(&case.evidence(), &all), [false; 3]);
}

#[test]
fn proposals_are_possible_and_not_made_already() {
    let task = task_by_name("parity").unwrap();
    let case = Case::new(&*task, Config { sigma_max: Some(0.2), ..config("rnn") });
    let evidence = case.evidence();
    let verdict = diagnose(&evidence);
    let options = |config: &Config| -> Vec<String> {
        remedies(&verdict, &evidence, config).iter().map(|remedy| remedy.options.join(" ")).collect()
    };
    let lag = case.farthest();
    assert_eq!(
        options(&case.config),
        [
            format!("--cell lstm --chrono {}", lag + 1),
            "--init orthogonal --sigma-max 1".into(),
            "--omega 1".into()
        ]
    );
    let done = Config { init: Init::Orthogonal, omega: 2.0, ..config("rnn") };
    let expected = [
        format!("--cell lstm --omega 0 --chrono {}", lag + 1),
        // The regularizer is for vanilla cells.
        format!("--cell rnn_leaky:{:.3} --omega 0", 1.0 / lag as f64),
    ];
    assert_eq!(options(&done), expected);
    // σ(b)^lag = ½.
    let lstm = Config { forget_bias: Some(1.0), init: Init::Orthogonal, ..config("lstm") };
    let [bias] = options(&lstm).try_into().unwrap();
    let bias: f64 = bias.strip_prefix("--forget-bias ").unwrap().parse().unwrap();
    let kept = (1.0 + (-bias).exp()).powi(-i32::try_from(lag).unwrap());
    assert!((kept - 0.5).abs() < 0.05, "{kept}");
}
