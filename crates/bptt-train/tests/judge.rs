//! Verdicts that were wrong once, and the sentences that are right.

use bptt::cell::GateRole;
use bptt_train::Config;
use bptt_train::diagnose::{
    CutBy, Evaluated, Evidence, Gate, Kind, Lag, LagStatistics, Training, Verdict, diagnose, of_training,
    remedies,
};

/// Lags 0 to `last` at which the gradient is `kept` times that of the lag before.
fn lags(last: usize, kept: f64) -> LagStatistics {
    let log10 = |lag: usize| lag as f64 * kept.log10();
    LagStatistics {
        horizon: Some(last.min(3)),
        decay_per_step: Some(kept.ln()),
        gradient_norm: 1.0,
        log10_profile: (0..=last).map(|lag| (lag, Some(log10(lag)))).collect(),
        target: last,
        log10_kept: Some(log10(last).min(0.0)),
        reached: (0..=last).take_while(|&lag| log10(lag) >= -2.0).last().unwrap_or(0),
        log10_growth: Some(log10(last).max(0.0)),
        ..LagStatistics::default()
    }
}

fn network(steps: usize, kept: f64) -> Evidence {
    Evidence {
        cell: "rnn".into(),
        steps,
        sequences: 1,
        losses: steps,
        lag_statistics: Some(lags(steps - 1, kept)),
        ..Evidence::default()
    }
}

fn text(held_out: f64, unigram: f64, bigram: f64) -> Training {
    Training {
        ending: "finished".into(),
        updates: 2_000,
        of_text: true,
        held_out: Some(held_out),
        best: Some(Evaluated { updates: 2_000, loss: held_out }),
        unigram: Some(unigram),
        bigram: Some(bigram),
        losses: Some([held_out, held_out, held_out]),
        update_ratios: Some([0.04, 0.001]),
        ..Training::default()
    }
}

fn of_text(training: Training) -> Verdict {
    diagnose(&Evidence { training: Some(training), ..network(60, 0.9) })
}

fn gate(role: GateRole, name: &'static str, low: f64, high: f64) -> Gate {
    Gate {
        layer: 0,
        direction: "forward",
        gate: name,
        saturated: Some((low, high)),
        shuts: role != GateRole::Candidate,
        role,
        dead: None,
        sigma_max: None,
        spectral_radius: None,
        bound_to_vanish: false,
    }
}

#[test]
fn what_was_learned_comes_before_how_far_gradients_reach() {
    let verdict = of_text(text(10.5, 8.2, 5.0));
    assert_eq!(verdict.kind, Kind::LearnedNothing);
    assert!(
        verdict.sentence.starts_with(
            "has learned nothing: 10.500 bits per symbol on held-out text, 8.200 by counting symbols, 5.000 by counting pairs"
        ),
        "{}",
        verdict.sentence
    );
    let by_heart = Training {
        best: Some(Evaluated { updates: 400, loss: 7.9 }),
        losses: Some([8.0, 6.0, 2.0]),
        ..text(10.5, 8.2, 5.0)
    };
    let verdict = of_text(by_heart.clone());
    assert_eq!(verdict.kind, Kind::Overfits);
    assert!(
        verdict.sentence.contains("lowest after 400 updates, 7.900 bits per symbol, and ended at 10.500"),
        "{verdict:?}"
    );
    let evidence = Evidence { training: Some(by_heart), ..network(60, 0.9) };
    let options = &remedies(&verdict, &evidence, &Config::default())[0].options;
    assert_eq!(options.join(" "), "--keep best --patience 3");

    let wild = Training {
        update_ratios: Some([900.0, 3.0]),
        losses: Some([9.0, 9.0, 1e5]),
        ..text(413_083.0, 8.2, 5.0)
    };
    assert_eq!(of_training(&wild).unwrap().kind, Kind::UpdatesTooLarge);
    assert!(of_text(wild).sentence.contains("the first one changed the weights by 900 times their norm"));
}

#[test]
fn updates_that_do_not_move_the_weights_are_named_with_their_reason() {
    let still = Training { update_ratios: Some([2e-8, 2e-8]), ..text(8.3, 8.2, 5.0) };
    let verdict = of_text(still.clone());
    assert_eq!(verdict.kind, Kind::UpdatesTooSmall);
    assert!(
        verdict.sentence.contains("all 2000 together by at most a fraction of 4.0e-5"),
        "{}",
        verdict.sentence
    );
    let evidence = Evidence { training: Some(still.clone()), ..network(60, 0.9) };
    let first = |config: &Config| remedies(&verdict, &evidence, config)[0].options.join(" ");
    let config = Config { learning_rate: 1e-9, ..Config::default() };
    assert_eq!(first(&config), "--learning-rate 1e-3");
    let clipped = Training { clipped: Some(1e-7), ..still };
    let verdict = of_text(clipped.clone());
    assert!(
        verdict.sentence.contains("since clipping leaves a fraction of 1.0e-7 of a gradient"),
        "{}",
        verdict.sentence
    );
    let evidence = Evidence { training: Some(clipped), ..network(60, 0.9) };
    let config = Config { clip_norm: 1e-7, ..Config::default() };
    assert_eq!(remedies(&verdict, &evidence, &config)[0].options.join(" "), "--clip-norm 5");
}

#[test]
fn a_text_without_structure_and_an_untrained_network_are_not_judged() {
    let verdict = of_text(text(4.01, 4.0, 4.0));
    assert_eq!(verdict.kind, Kind::NothingToLearn);
    assert!(remedies(&verdict, &network(60, 0.9), &Config::default()).is_empty());
    let untrained = Training { updates: 0, ..text(5.2, 4.0, 2.0) };
    let verdict = of_text(untrained);
    assert_eq!(verdict.kind, Kind::CannotTell);
    assert!(verdict.sentence.starts_with("cannot tell: the network is untrained"), "{}", verdict.sentence);
    // It beats pairs, and there is no dependency that its gradient could vanish before.
    let verdict = of_text(text(2.1, 4.0, 3.0));
    assert_eq!(verdict.kind, Kind::Decays);
    assert!(
        !verdict.sentence.contains("vanish")
            && verdict.sentence.contains("more than pairs of symbols was learned")
    );
    let solved =
        Training { of_text: false, memoryless: Some(0.69), solved: Some(1.0), ..text(0.001, 1.0, 1.0) };
    assert_eq!(of_text(solved).kind, Kind::Learned);
}

#[test]
fn each_end_of_each_gate_has_its_own_meaning() {
    let with = |gates: Vec<Gate>, kept: f64| Evidence {
        gates,
        lag: Some(Lag { nearest: 59, farthest: 59 }),
        ..network(60, kept)
    };
    let at_lag = |mut evidence: Evidence| {
        evidence.lag_statistics.as_mut().unwrap().at_lag = 1;
        evidence
    };
    let open = at_lag(with(
        vec![gate(GateRole::Keep, "f", 0.0, 0.99), gate(GateRole::Candidate, "g", 0.1, 0.1)],
        0.99,
    ));
    let verdict = diagnose(&open);
    assert_eq!(verdict.kind, Kind::Reaches);
    assert!(
        verdict.evidence.iter().any(|said| said.contains("open, so the state and its gradient are kept")),
        "{verdict:?}"
    );
    let closed =
        at_lag(with(vec![gate(GateRole::Write, "i", 1.0, 0.0), gate(GateRole::Keep, "f", 0.0, 0.5)], 0.99));
    let verdict = diagnose(&closed);
    assert_eq!(verdict.kind, Kind::Saturated);
    assert!(
        verdict
            .sentence
            .contains("gate i of layer 0 (forward) are closed: nothing is written into the state"),
        "{verdict:?}"
    );
    let forgets =
        at_lag(with(vec![gate(GateRole::Keep, "f", 0.9, 0.0), gate(GateRole::Write, "i", 0.0, 0.5)], 0.3));
    assert!(diagnose(&forgets).sentence.contains("gate f of layer 0 (forward) are closed"));
}

#[test]
fn a_few_steps_are_too_few_to_tell() {
    // The article: three steps, 12.4 % left per step.
    let verdict = diagnose(&network(3, 0.124));
    assert_eq!(verdict.kind, Kind::CannotTell);
    assert!(
        verdict
            .sentence
            .contains("the sequence has 3 steps, too few to tell how far gradients reach; per step, 12.4 %"),
        "{}",
        verdict.sentence
    );
    assert_eq!(diagnose(&network(3, 0.001)).kind, Kind::Decays);
    assert_eq!(diagnose(&network(60, 1.001)).kind, Kind::Reaches, "growth by a few percent is no explosion");
    assert_eq!(diagnose(&network(60, 1.2)).kind, Kind::Explodes);
}

#[test]
fn burn_in_and_resets_are_told_from_truncation() {
    let cut = |by: CutBy, at_lag: usize, cut_at_lag: f64, reset_at_lag: f64| {
        let mut evidence = network(60, 0.99);
        evidence.lag = Some(Lag { nearest: 20, farthest: 20 });
        evidence.cut_by = vec![by];
        evidence.cut = by != CutBy::Reset;
        evidence.uncut = Some(9);
        let lags = evidence.lag_statistics.as_mut().unwrap();
        (lags.target, lags.at_lag, lags.cut_at_lag, lags.reset_at_lag) =
            (20, at_lag, cut_at_lag, reset_at_lag);
        diagnose(&evidence)
    };
    assert!(cut(CutBy::BurnIn, 5, 1.0, 0.0).sentence.starts_with("cut by burn-in"));
    assert!(cut(CutBy::Detach, 5, 1.0, 0.0).sentence.starts_with("cut by truncation"));
    let verdict = cut(CutBy::Reset, 0, 0.0, 1.0);
    assert_eq!(verdict.kind, Kind::CannotTell);
    assert!(verdict.sentence.contains("episodes begin in between (resets)"), "{}", verdict.sentence);
    assert!(!verdict.sentence.contains("longer sequences"));
}
