//! A training is repeated by the command that its report prints, and by the file of its settings.

use std::path::Path;

use bptt_train::{Config, Keep, Level};
use clap::Parser;
use proptest::option::of as maybe;
use proptest::prelude::*;

use super::{config, facts};
use crate::args::{Cli, Command};

fn cases() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_243);
    ProptestConfig { cases: 128, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

/// The words of a line as a shell reads them: single quotes group, a backslash keeps the next letter.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            '\\' if !quoted => word.get_or_insert_default().extend(letters.next()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The settings that a line gives.
fn given(words: &[String]) -> Config {
    match Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{words:?}: {error}")).command {
        Command::Train(args) => config(&args).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Settings that the command can be given.
fn settings() -> impl Strategy<Value = Config> {
    let source = prop_oneof![
        Just((None, None, None)),
        "[^\0]{1,12}".prop_filter("no option", |path| !path.starts_with('-')).prop_map(|path| (
            Some(path),
            None,
            None
        )),
        (
            proptest::sample::select(bptt_train::tasks().iter().map(|task| task.name()).collect::<Vec<_>>()),
            maybe(1..90usize)
        )
            .prop_map(|(task, length)| (None, Some(task), length)),
    ];
    let size = || prop_oneof![Just(0.0), 1e-9..1e6, Just(f64::MIN_POSITIVE), Just(0.1 + 0.2)];
    let bias = || prop_oneof![-9.0..9.0, Just(-1e-7), Just(0.0)];
    let data = (1..9000usize, any::<[bool; 5]>(), 1..9usize, size());
    let inits =
        proptest::sample::select(vec!["uniform", "uniform:0.1", "sparse:nonzeros=4,std=0.5", "identity"]);
    let network = (proptest::sample::select(bptt::cells()), 1..999usize, 1..9usize, size(), inits);
    let scales = (maybe(size()), maybe(size()), maybe(bias()), maybe(bias()), maybe(3..999usize));
    let optimizers = proptest::sample::select(vec!["sgd:momentum=0.9", "adagrad", "adamw:weight_decay=0.5"]);
    let schedules =
        proptest::sample::select(vec!["constant", "cosine:warmup=9,floor=0.5", "step:every=3,factor=2"]);
    let updates = (any::<u64>(), 1..99usize, 1..99usize, 0..9usize, optimizers, size(), schedules, size());
    let rest = (
        size(),
        size(),
        any::<u64>(),
        maybe(1..9usize),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
    );
    (source, data, network, scales, updates, rest).prop_map(
        |((text, task, length), data, network, scales, updates, rest)| {
            let of_text = task.is_none();
            let default = Config::default();
            let [word, unk, bidirectional, zero_biases, best] = data.1;
            Config {
                text: text.map(Into::into),
                task,
                length,
                sentences: if of_text { data.0 } else { default.sentences },
                level: if of_text && word { Level::Word } else { Level::Char },
                unk: of_text && unk,
                min_count: if of_text { data.2 } else { default.min_count },
                held_out: if of_text { data.3 } else { default.held_out },
                cell: network.0.into(),
                hidden: network.1,
                layers: network.2,
                dropout: network.3,
                init: network.4.parse().unwrap(),
                bidirectional,
                zero_biases,
                sigma_max: scales.0,
                spectral_radius: scales.1,
                forget_bias: scales.2,
                input_bias: scales.3,
                chrono: scales.4,
                steps: updates.0,
                batch: updates.1,
                window: if of_text { updates.2 } else { default.window },
                detach_every: updates.3,
                optimizer: updates.4.parse().unwrap(),
                learning_rate: updates.5,
                schedule: updates.6.parse().unwrap(),
                clip_norm: updates.7,
                clip_value: rest.0,
                omega: rest.1,
                floss: rest.2,
                floss_exponents: rest.3,
                evaluate_every: rest.4,
                keep: if best { Keep::Best } else { Keep::Last },
                patience: rest.5,
                trace_every: rest.6,
                seed: rest.7,
                ..default
            }
        },
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_printed_command_has_the_settings(config in settings()) {
        let line = words(&facts::train_command(&config, Path::new("runs/it's mine")));
        prop_assert_eq!(line.last().unwrap(), "runs/it's mine");
        prop_assert_eq!(&given(&line), &config);
        // A run that is continued accepts the same options again, and no others.
        if let Command::Train(args) = Cli::try_parse_from(&line).unwrap().command {
            prop_assert_eq!(args.settings.over(config.clone()), config);
        }
    }

    #[test]
    fn the_file_of_a_run_has_the_settings(config in settings()) {
        // TOML has no larger integers; such settings are refused when they are checked.
        let most = |number: u64| number >> 1;
        let config = Config {
            steps: most(config.steps), floss: most(config.floss), evaluate_every: most(config.evaluate_every),
            patience: most(config.patience), trace_every: most(config.trace_every), seed: most(config.seed), ..config
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
        let line = ["bptt", "train", "--config", path.to_str().unwrap()].map(String::from);
        prop_assert_eq!(given(&line), config);
    }
}
