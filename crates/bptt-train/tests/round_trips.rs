//! What is written is read again as the same: settings, vocabularies, texts, metrics, and runs.

use std::fs;

use bptt::Network;
use bptt_train::run::{self, Existing, Writer, metrics};
use bptt_train::vocabulary::Unknown;
use bptt_train::{
    Config, DataSource, Event, Flow, Init, Keep, Level, OptimizerKind, Run, Schedule, Training, Vocabulary,
    text,
};
use proptest::option::of as maybe;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn cases(cases: u32) -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_241);
    ProptestConfig { cases, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

/// Any finite number.
fn number() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
}

/// Any number from 0 up, and any below 1.
fn size() -> impl Strategy<Value = f64> {
    number().prop_map(f64::abs)
}

fn fraction() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1.0, Just(1.0_f64.next_down()), Just(f64::MIN_POSITIVE)]
}

/// A count that TOML has.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, 0..=i64::MAX as u64]
}

fn places() -> impl Strategy<Value = usize> {
    count().prop_map(|count| usize::try_from(count).expect("a 64-bit machine"))
}

fn init() -> impl Strategy<Value = Init> {
    prop_oneof![
        maybe(size()).prop_map(|bound| Init::Uniform { bound }),
        size().prop_map(|std| Init::Normal { std }),
        (1..=usize::MAX, size()).prop_map(|(nonzeros, std)| Init::Sparse { nonzeros, std }),
        Just(Init::Xavier),
        Just(Init::Orthogonal),
        Just(Init::Identity),
    ]
}

fn optimizer() -> impl Strategy<Value = OptimizerKind> {
    prop_oneof![
        size().prop_map(|momentum| OptimizerKind::Sgd { momentum }),
        size().prop_map(|eps| OptimizerKind::Adagrad { eps }),
        (fraction(), size()).prop_map(|(alpha, eps)| OptimizerKind::RmsProp { alpha, eps }),
        (fraction(), fraction(), size()).prop_map(|(beta1, beta2, eps)| OptimizerKind::Adam {
            beta1,
            beta2,
            eps
        }),
        (fraction(), fraction(), size(), size()).prop_map(|(beta1, beta2, eps, weight_decay)| {
            OptimizerKind::AdamW { beta1, beta2, eps, weight_decay }
        }),
    ]
}

fn schedule() -> impl Strategy<Value = Schedule> {
    prop_oneof![
        Just(Schedule::Constant),
        (any::<u64>(), fraction()).prop_map(|(warmup, floor)| Schedule::Cosine { warmup, floor }),
        (1..=u64::MAX, size().prop_filter("above 0", |factor| *factor > 0.0))
            .prop_map(|(every, factor)| Schedule::Step { every, factor }),
    ]
}

/// Settings of every kind, possible together or not.
fn config() -> impl Strategy<Value = Config> {
    let names = (maybe(".*"), maybe(places()), maybe("[^\0]+"), any::<bool>(), any::<bool>(), ".*");
    let network = (places(), places(), any::<bool>(), number(), init(), init(), any::<bool>());
    let scales = (maybe(number()), maybe(number()), maybe(number()), maybe(number()), maybe(places()));
    let data = (places(), places(), number());
    let updates =
        (count(), places(), places(), places(), optimizer(), number(), schedule(), number(), number());
    let rest = (number(), count(), maybe(places()), count(), any::<bool>(), count(), count(), count());
    (names, network, scales, data, updates, rest).prop_map(|(names, network, scales, data, updates, rest)| {
        Config {
            task: names.0,
            length: names.1,
            text: names.2.map(Into::into),
            level: if names.3 { Level::Word } else { Level::Char },
            unk: names.4,
            cell: names.5,
            hidden: network.0,
            layers: network.1,
            bidirectional: network.2,
            dropout: network.3,
            init: network.4,
            init_others: network.5,
            zero_biases: network.6,
            sigma_max: scales.0,
            spectral_radius: scales.1,
            forget_bias: scales.2,
            input_bias: scales.3,
            chrono: scales.4,
            sentences: data.0,
            min_count: data.1,
            held_out: data.2,
            steps: updates.0,
            batch: updates.1,
            window: updates.2,
            detach_every: updates.3,
            optimizer: updates.4,
            learning_rate: updates.5,
            schedule: updates.6,
            clip_norm: updates.7,
            clip_value: updates.8,
            omega: rest.0,
            floss: rest.1,
            floss_exponents: rest.2,
            evaluate_every: rest.3,
            keep: if rest.4 { Keep::Best } else { Keep::Last },
            patience: rest.5,
            trace_every: rest.6,
            seed: rest.7,
        }
    })
}

/// Any JSON.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        number().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An event of the metrics.
fn event() -> impl Strategy<Value = Value> {
    let keys = proptest::collection::vec(("[a-z_\",}]{1,8}", json()), 0..5);
    keys.prop_map(|keys| {
        let named: Map<String, Value> =
            [("event".to_owned(), Value::from("step"))].into_iter().chain(keys).collect();
        named.into()
    })
}

/// Texts of ordinary words and English punctuation, as [`text::join`] spaces them.
fn words() -> impl Strategy<Value = Vec<String>> {
    let symbol = prop_oneof![6 => "[a-zA-Zéü]{1,5}", 2 => "[,.;:!?()…\n]", 1 => "[0-9]{1,3}"];
    proptest::collection::vec(symbol, 0..30)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn settings_come_back_from_their_file(config in config()) {
        let file = toml::to_string(&config).unwrap();
        prop_assert_eq!(&toml::from_str::<Config>(&file).unwrap(), &config);
        // As in the files of a comparison.
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }

    #[test]
    fn vocabularies_come_back_from_their_file(
        text in "(?s).{1,40}", word in any::<bool>(), map in any::<bool>(), min_count in 1..3usize,
    ) {
        let level = if word { Level::Word } else { Level::Char };
        let unknown = if map { Unknown::Map } else { Unknown::Refuse };
        if let Ok(vocabulary) = Vocabulary::build(&text, level, unknown, min_count) {
            let json = serde_json::to_vec(&vocabulary).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Vocabulary>(&json).unwrap(), &vocabulary);
            let ids = vocabulary.encode(&text).unwrap();
            prop_assert_eq!(ids.len(), text::symbols(&text, level).len());
            if level == Level::Char && min_count == 1 {
                prop_assert_eq!(vocabulary.decode(&ids), text);
            }
        }
    }

    #[test]
    fn words_come_back_from_their_text(words in words()) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let joined = text::join(&words, Level::Word);
        let cut: Vec<&str> = text::symbols(&joined, Level::Word).into_iter().map(|(_, symbol)| symbol).collect();
        prop_assert_eq!(cut, words, "{:?}", joined);
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn metrics_come_back_from_their_lines(events in proptest::collection::vec(event(), 0..6), torn in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let mut lines: String = events.iter().map(|event| metrics::line(event) + "\n").collect();
        if torn {
            lines.push_str("{\"event\":\"st");
        }
        fs::write(folder.path().join(run::METRICS), lines).unwrap();
        let (read, note) = metrics::read(folder.path()).unwrap();
        prop_assert_eq!(note.is_some(), torn);
        prop_assert_eq!(read.len(), events.len());
        for (read, event) in read.into_iter().zip(&events) {
            let mut keys = read.as_object().unwrap().clone();
            keys.shift_remove("check");
            prop_assert_eq!(&Value::from(keys), event);
        }
    }
}

/// Settings of trainings of a few milliseconds.
fn small() -> impl Strategy<Value = Config> {
    let cells = proptest::sample::select(bptt::cells());
    let sizes = (1..4usize, 1..3usize, 1..4usize, 1..6usize);
    (cells, sizes, any::<bool>(), optimizer_of_trainings(), count(), 0..3usize).prop_map(
        |(cell, (hidden, layers, batch, window), bidirectional, optimizer, seed, detach_every)| Config {
            cell: cell.into(),
            hidden,
            layers,
            batch,
            window,
            bidirectional,
            optimizer,
            seed,
            detach_every,
            dropout: if layers > 1 { 0.25 } else { 0.0 },
            steps: 4,
            evaluate_every: 1,
            trace_every: 0,
            text: Some("text.txt".into()),
            ..Config::default()
        },
    )
}

fn optimizer_of_trainings() -> impl Strategy<Value = OptimizerKind> {
    proptest::sample::select(vec!["sgd", "sgd:momentum=0.9", "adagrad", "rmsprop", "adam", "adamw"])
        .prop_map(|name| name.parse().unwrap())
}

fn bits(network: &Network<f32>) -> Vec<u32> {
    let tensors = network.weights().tensors();
    tensors.iter().flat_map(|(_, tensor)| tensor.data().iter().map(|w| w.to_bits())).collect()
}

proptest! {
    #![proptest_config(cases(24))]

    /// Settings to the file of a run, from there to a network that learns, to a checkpoint, and on from that: the network of a
    /// training that was not interrupted, in all bits.
    #[test]
    fn a_run_goes_on_from_its_files(config in small(), stop in 1..4u64) {
        let learned = "the cat sat on the mat.\n".repeat(8);
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("run");
        let (vocabulary, corpus) = run::prepare(&config, &learned).unwrap();
        let data = DataSource::Text { corpus: &corpus, symbols: vocabulary.len() };
        let whole = bptt_train::train(&config, &data, &mut |_: &Event<'_>| Flow::Continue).unwrap();

        let writer = Writer::begin(&folder, &config, Some((&vocabulary, &corpus)), Existing::Refuse).unwrap();
        let written = writer.metrics(0).unwrap().0.written().unwrap();
        let mut training = Training::new(&config, &data).unwrap();
        let mut observer = |event: &Event<'_>| match event {
            Event::Updated { training, .. } if training.steps() == stop => {
                writer.save_checkpoint(training, &written).unwrap();
                Flow::Stop
            }
            _ => Flow::Continue,
        };
        training.begin(&mut observer).unwrap();
        let stopped = training.go_on(&mut observer).unwrap();
        drop(writer);

        prop_assert_eq!(&run::read_config(&folder.join(run::CONFIG)).unwrap(), &config);
        let opened = Run::open(&folder).unwrap();
        prop_assert_eq!(bits(&opened.network), bits(&stopped.network));
        prop_assert_eq!(opened.vocabulary().unwrap(), &vocabulary);
        opened.check_text(&corpus).unwrap();

        let mut training = Training::new(&opened.config, &data).unwrap();
        let (writer, at) = Writer::resume(&folder, &opened.config, Some(&corpus), &mut training).unwrap();
        prop_assert_eq!(at.step, stop);
        let resumed = training.go_on(&mut |_: &Event<'_>| Flow::Continue).unwrap();
        prop_assert_eq!(bits(&resumed.network), bits(&whole.network));
        prop_assert_eq!(resumed.held_out, whole.held_out);

        writer.save_model(&resumed.network).unwrap();
        writer.finish(true).unwrap();
        prop_assert!(run::ended(&folder).unwrap());
        prop_assert_eq!(bits(&Run::open(&folder).unwrap().network), bits(&whole.network));
        let verified = run::verify(&folder).unwrap();
        prop_assert!(verified.finished && verified.checkpoint == Some(stop) && verified.notes.is_empty());
    }
}
