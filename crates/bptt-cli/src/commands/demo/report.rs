//! What the demo has to say of its two networks, and in what order.

use std::path::{Path, PathBuf};

use bptt::{Entry, Parameter};
use bptt_train::{Config, Lesson, Rng, Sampling, Vocabulary, sample};
use bptt_view::json::HORIZON;
use bptt_view::report as html;
use bptt_view::table::{Align, bar, level, number, table};
use serde_json::{Value, json};

use super::super::report::{Reading as Shown, Source, facts, of_symbols};
use super::super::train::{self, Learned};
use super::{Reading, Traced};
use crate::Failure;
use crate::args::DemoArgs;
use crate::progress::bits;

/// What it costs, in bits, to know everything but the deciding word: it is one of sixteen.
const MISSED: f64 = 4.0;

/// Lines of sample text from each network.
const SAMPLE_LINES: usize = 2;

/// A trained network with everything measured of it.
pub(super) struct Pupil {
    pub name: &'static str,
    pub cell: String,
    pub folder: PathBuf,
    pub learned: Learned,
    /// The account of the loss of the effect.
    pub lesson: Lesson,
    /// The ledger of the longer reading before training.
    pub before: Traced,
    /// And after it.
    pub traced: Traced,
}

/// The whole comparison.
pub(super) struct Report {
    /// The settings of both, but for the cell.
    pub config: Config,
    pub vocabulary: Vocabulary,
    pub lesson: Reading,
    pub reach: Reading,
    pub pupils: [Pupil; 2],
}

/// How far a network's gradient reaches. Lags count steps; a contribution at lag τ comes from the word τ + 1 before the one
/// that is predicted.
struct Reach {
    /// 99 % of the effect's loss lie within this lag.
    effect: Option<usize>,
    /// 99 % of Σ m(τ) lie within this lag.
    median: Option<usize>,
    /// The slope of ln m(τ) per step.
    decay: Option<f64>,
}

impl Reach {
    fn of(traced: &Traced, k: usize) -> Self {
        let entry = w_ih(traced);
        Self {
            effect: entry.horizon_of_loss(k, HORIZON),
            median: entry.horizon(HORIZON),
            decay: entry.decay(),
        }
    }

    /// What is left of a contribution after one more step.
    fn kept(&self) -> Option<f64> {
        self.decay.map(f64::exp)
    }

    fn json(&self) -> Value {
        json!({ "horizon_of_effect": self.effect, "horizon": self.median, "decay_per_step": self.decay })
    }
}

/// Contributions to W_ih. Of a one-hot input their norm is that of the gradient at the cell's gates, so it does not depend on how
/// large h is, which differs from cell to cell, and the first word has one.
fn w_ih(traced: &Traced) -> &Entry {
    traced.ledger.entry(0, Parameter::WEIGHT_IH).expect("a ledger has the input weights")
}

impl Pupil {
    /// By how much step t's input weights lowered the loss, bits.
    fn taught(&self, t: usize) -> f64 {
        bits(self.lesson.steps()[t][0])
    }

    /// By how much all recurrent weights and biases lowered it, bits.
    fn taught_inside(&self) -> f64 {
        bits(self.lesson.steps().iter().map(|[_, w_hh, b]| w_hh + b).sum())
    }

    /// By how much the input weights lowered it at all steps before `start`, bits.
    fn taught_before(&self, start: usize) -> f64 {
        (0..start).map(|t| self.taught(t)).sum()
    }

    /// The step of the sentence whose input weights lowered the loss most, and the next best.
    fn best(&self, reading: &Reading) -> (usize, usize) {
        let mut ranked: Vec<usize> = (reading.start..=reading.k).collect();
        ranked.sort_by(|&a, &b| self.taught(b).total_cmp(&self.taught(a)));
        (ranked[0], ranked[1])
    }

    /// What taught it the effect, in a sentence.
    fn lesson_learned(&self, reading: &Reading) -> String {
        let (name, effect) = (self.name, reading.effect());
        let (best, next) = self.best(reading);
        let (word, taught) = (&reading.words[best], self.taught(best));
        let last = bits(self.lesson.loss().1);
        let left_over = bits(self.lesson.remainder()).abs();
        if last > MISSED {
            format!(
                "The {name} has not learned “{effect}” here: its loss is {last:.2} bits, and missing the word that decides it \
                 costs {MISSED:.0}.\n"
            )
        } else if taught <= left_over {
            format!(
                "The {name} has learned “{effect}” ({last:.2} bits), but {left_over:.2} bits of its account are left over: more \
                 than any word has,\nso it names none.\n"
            )
        } else if best == reading.cue {
            format!(
                "“{word}”, {} words before, is what taught the {name} “{effect}”: reading it lowered the loss by {taught:.2} \
                 bits.\nNext is “{}” with {:.2}.\n",
                reading.distance(),
                reading.words[next],
                self.taught(next),
            )
        } else {
            format!(
                "The {name} has learned “{effect}” ({last:.2} bits), but its account does not single out “{}”: its input \
                 weights\nlowered the loss by {:.2} bits, those of “{word}” by {taught:.2}.\n",
                reading.words[reading.cue],
                self.taught(reading.cue),
            )
        }
    }

    /// A few sentences of the network's own, indented.
    fn sampled(&self, vocabulary: &Vocabulary, seed: u64) -> Result<String, Failure> {
        let mut rng = Rng::new(seed, super::super::sample::STREAM);
        let sampling = Sampling { temperature: 0.8, top_k: None };
        let network = &self.learned.outcome.network;
        let drawn = sample(network, vocabulary, &[], 40 * SAMPLE_LINES, &sampling, &mut rng)?;
        let text = vocabulary.decode(&drawn);
        Ok(text.lines().take(SAMPLE_LINES).map(|line| format!("  {}\n", line.trim())).collect())
    }

    fn json(&self, lesson: &Reading, reach: &Reading) -> Value {
        let outcome = &self.learned.outcome;
        let words = lesson.start..=lesson.k;
        let word = |t: usize| {
            let [w_ih, w_hh, b] = self.lesson.steps()[t].map(bits);
            let distance = lesson.k + 1 - t;
            json!({ "word": lesson.words[t], "distance": distance, "weight_ih": w_ih, "weight_hh": w_hh, "bias": b })
        };
        let entry = w_ih(&self.traced);
        let norm = |t: usize| json!({ "word": reach.words[t], "distance": reach.k + 1 - t, "norm": entry.norm(reach.k, t) });
        let earlier = self.lesson.steps()[..lesson.start].iter().flatten().sum();
        json!({
            "cell": self.cell,
            "run": self.folder.to_string_lossy(),
            "steps": outcome.steps,
            "seconds": self.learned.seconds,
            "held_out_bits": outcome.held_out.map(|held_out| bits(held_out.loss)),
            "loss_bits": { "first": bits(self.lesson.loss().0), "last": bits(self.lesson.loss().1) },
            "named": lesson.words[self.best(lesson).0],
            "taught_bits": words.map(word).collect::<Vec<_>>(),
            "earlier_bits": bits(earlier),
            "readout_bits": bits(self.lesson.readout()),
            "remainder_bits": bits(self.lesson.remainder()),
            "row": (0..=reach.k).map(norm).collect::<Vec<_>>(),
            "reach": Reach::of(&self.traced, reach.k).json(),
            "untrained_reach": Reach::of(&self.before, reach.k).json(),
        })
    }
}

impl Report {
    pub(super) fn text(&self, out: &Path) -> Result<String, Failure> {
        let config = &self.config;
        let mut text = format!(
            "{} sentences, {} words; in each, one early word decides the last: food → dinner, ink → writing, …\na tanh RNN \
             and an LSTM of {} units read the same sentences, {} words at a time, in {} updates each\n\n",
            config.sentences,
            self.vocabulary.len(),
            config.hidden,
            config.window,
            config.steps,
        );
        let networks = self.pupils.each_ref().map(|pupil| (pupil.name, &pupil.learned));
        text += &train::losses(&networks);
        for pupil in &self.pupils {
            let seconds = pupil.learned.seconds;
            let sampled = pupil.sampled(&self.vocabulary, config.seed)?;
            text += &format!("\nthe {} ({seconds:.1} s) writes\n{sampled}", pupil.name);
        }
        text += &self.lessons();
        text += &self.rows();
        text += &self.reaches();
        let run = out.display();
        text += &format!(
            "\nwrote {run}/rnn and {run}/lstm, each a run with its ledger.json\ntry\n  bptt trace {run}/lstm --text \"{}\" \
             --predicting {}\n  bptt sample {run}/rnn --prime \"Without ink\" --length 20\n  bptt article\n",
            bptt_train::pantry::ARTICLE_SENTENCE,
            self.lesson.effect(),
        );
        Ok(text)
    }

    /// What taught both networks the effect, side by side.
    fn lessons(&self) -> String {
        let reading = &self.lesson;
        let norms = self.pupils.each_ref().map(|pupil| w_ih(&pupil.traced));
        let most = self.pupils.each_ref().map(|pupil| pupil.taught(pupil.best(reading).0));
        let mut rows: Vec<Vec<String>> = Vec::new();
        for t in reading.start..=reading.k {
            let mut row = vec![reading.words[t].clone(), (reading.k + 1 - t).to_string()];
            for ((pupil, norm), most) in self.pupils.iter().zip(norms).zip(most) {
                let lag = reading.k - t;
                row.push(number(norm.norm(self.reach.k, self.reach.k - lag).unwrap_or(0.0)));
                row.extend([format!("{:+.2}", pupil.taught(t)), bar(pupil.taught(t) / most, 12)]);
            }
            rows.push(row);
        }
        let mut add = |name: &str, of: &dyn Fn(&Pupil) -> f64| {
            let mut row = vec![name.to_owned(), String::new()];
            for pupil in &self.pupils {
                // Nothing is +0.00, not −0.00.
                row.extend([String::new(), format!("{:+.2}", of(pupil) + 0.0), String::new()]);
            }
            rows.push(row);
        };
        add("earlier words", &|pupil| pupil.taught_before(reading.start));
        add("W_hh and biases", &Pupil::taught_inside);
        add("readout", &|pupil| bits(pupil.lesson.readout()));
        add("left over", &|pupil| bits(pupil.lesson.remainder()));
        add("the fall", &|pupil| bits(pupil.lesson.loss().0 - pupil.lesson.loss().1));
        let [a, b] = self.pupils.each_ref().map(|pupil| pupil.name);
        let header = [
            ("", Align::Left),
            ("distance", Align::Right),
            (&format!("{a}: norm now"), Align::Right),
            ("taught", Align::Right),
            ("", Align::Left),
            (&format!("{b}: norm now"), Align::Right),
            ("taught", Align::Right),
            ("", Align::Left),
        ];
        let fall = |pupil: &Pupil| {
            let (first, last) = pupil.lesson.loss();
            format!("the {}'s from {:.2} to {:.2} bits", pupil.name, bits(first), bits(last))
        };
        format!(
            "\nwhat taught them “{}”? Its loss went down, {}, {}.\nEvery update's effect on it, taken apart:\n\n{}\n  taught: \
             bits by which the weights that read this word (W_ih) lowered the loss, over all updates\n  norm now: ‖component \
             of dL/dW_ih‖ at the end, after {} held-out sentences; all of them add up to the gradient (error {:.0e})\n\n{}",
            reading.effect(),
            fall(&self.pupils[0]),
            fall(&self.pupils[1]),
            table(&header, &rows),
            super::REACH_BEFORE,
            self.pupils.iter().map(|pupil| pupil.traced.ledger.worst_balance()).fold(0.0, f64::max),
            self.pupils.iter().map(|pupil| pupil.lesson_learned(reading)).collect::<String>(),
        )
    }

    /// The rows of the effect's loss, one above the other, under the words.
    fn rows(&self) -> String {
        let Reading { words, start, k, .. } = &self.reach;
        let width = self.pupils.iter().map(|pupil| pupil.name.chars().count()).max().unwrap_or(0);
        let sentence = words[*start..=*k].join(" ");
        let mut text = format!(
            "\nwhere the gradient of “{}” comes from now (the norms above; full height is the row's largest)\n\n  {:width$}  \
             {sentence}\n",
            self.reach.effect(),
            "",
        );
        for pupil in &self.pupils {
            let entry = w_ih(&pupil.traced);
            let norm = |t: usize| entry.norm(*k, t).unwrap_or(0.0);
            let largest = (0..=*k).map(norm).fold(0.0, f64::max);
            let block = |t: usize| level(norm(t) / largest).to_string().repeat(words[t].chars().count());
            let blocks: Vec<String> = (*start..=*k).map(block).collect();
            text += &format!("  {:width$}  {}\n", pupil.name, blocks.join(" "));
        }
        text
    }

    /// The horizons and decays, one above the other, and what they answer.
    fn reaches(&self) -> String {
        let of = |traced: fn(&Pupil) -> &Traced| {
            self.pupils.each_ref().map(|pupil| Reach::of(traced(pupil), self.reach.k))
        };
        let (before, now) = (of(|pupil| &pupil.before), of(|pupil| &pupil.traced));
        let words = |lag: Option<usize>| lag.map_or("–".to_owned(), |lag| (lag + 1).to_string());
        let kept = |reach: &Reach| reach.kept().map_or("–".to_owned(), |kept| format!("{kept:.3}"));
        let effect = format!("99 % of “{}”", self.reach.effect());
        let header = [
            ("", Align::Left),
            (effect.as_str(), Align::Right),
            ("99 % of all losses", Align::Right),
            ("kept", Align::Right),
            ("untrained: 99 %", Align::Right),
            ("untrained: kept", Align::Right),
        ];
        let row = |((pupil, now), before): ((&Pupil, &Reach), &Reach)| {
            let within = |lag| format!("{} words", words(lag));
            let name = pupil.name.to_owned();
            vec![name, within(now.effect), within(now.median), kept(now), within(before.median), kept(before)]
        };
        let rows: Vec<_> = self.pupils.iter().zip(&now).zip(&before).map(row).collect();
        let steps = self.reach.k + 2;
        format!(
            "\nhow far back their gradients reach, over {steps} words of text ({} held-out sentences and this one; the same \
             norms)\n\n{}\n  all losses: their median at each distance; kept: what is left of it one step further back\n\n{}",
            super::REACH_BEFORE,
            table(&header, &rows),
            answer(self.reach.effect(), &now, &before),
        )
    }

    /// The two runs on the longer reading, as a report to look into.
    pub(super) fn to_look_into(&self, args: &DemoArgs) -> Result<html::Report, Failure> {
        let mut subjects = Vec::new();
        for pupil in &self.pupils {
            let (inputs, targets) = self.reach.symbols()?;
            let config = Config { steps: args.steps, seed: args.seed, ..super::settings(&pupil.cell) };
            let (source, batch) = (Source::Text(&self.vocabulary), of_symbols(inputs, targets));
            let reading = Shown { config: &config, source, batch, k: self.reach.k };
            subjects.push(reading.subject(
                pupil.name.into(),
                &pupil.folder,
                &pupil.learned.outcome.network,
            )?);
        }
        let out = facts::quoted(&args.out.to_string_lossy());
        Ok(html::Report {
            title: format!("What taught them “{}”: a tanh RNN and an LSTM", self.reach.effect()),
            program: facts::program(),
            reproduce: vec![format!("bptt demo --seed {} --steps {} --out {out}", args.seed, args.steps)],
            subjects,
        })
    }

    pub(super) fn json(&self) -> Value {
        let baselines = self.pupils[0].learned.baselines;
        json!({
            "schema": "bptt.demo/2",
            "seed": self.config.seed,
            "steps": self.config.steps,
            "unigram_bits": baselines.map(|b| b.unigram_bits),
            "bigram_bits": baselines.map(|b| b.bigram_bits),
            "effect": self.lesson.effect(),
            "cue": self.lesson.words[self.lesson.cue],
            "dependency": self.lesson.distance(),
            "parameter": Parameter::WEIGHT_IH.as_str(),
            "networks": self.pupils.each_ref().map(|pupil| pupil.json(&self.lesson, &self.reach)),
        })
    }
}

/// Whether the second network's gradient reaches further than the first's, measure by measure.
fn answer(effect: &str, now: &[Reach; 2], before: &[Reach; 2]) -> String {
    let lags = |of: fn(&Reach) -> Option<usize>| {
        let [a, b] = [of(&now[0])?, of(&now[1])?];
        Some((a.cmp(&b), format!("{} words against {}", b + 1, a + 1)))
    };
    let kept = |reach: &[Reach; 2]| {
        let [a, b] = [reach[0].kept()?, reach[1].kept()?];
        Some((a.total_cmp(&b), format!("it keeps {b:.3} per step against {a:.3}")))
    };
    let measures = [
        (format!("“{effect}”"), lags(|reach| reach.effect)),
        ("all losses".to_owned(), lags(|reach| reach.median)),
        ("far away".to_owned(), kept(now)),
        ("before training".to_owned(), kept(before)),
    ];
    let mut text = "does the LSTM's gradient reach further than the tanh RNN's?\n".to_owned();
    for (what, found) in measures {
        let (verdict, figures) = match &found {
            Some((std::cmp::Ordering::Less, figures)) => ("yes", figures.as_str()),
            Some((std::cmp::Ordering::Equal, figures)) => ("as far", figures.as_str()),
            Some((std::cmp::Ordering::Greater, figures)) => ("no", figures.as_str()),
            None => ("unknown", "a network has no gradient to measure"),
        };
        text += &format!("  {:17}{verdict}, {figures}\n", format!("{what}:"));
    }
    text
}
