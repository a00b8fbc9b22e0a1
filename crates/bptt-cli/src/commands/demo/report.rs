//! The output of the demo.

use std::path::{Path, PathBuf};

use bptt::{Entry, Parameter};
use bptt_train::{Config, LossChangeAllocation, Rng, Sampling, Vocabulary, sample};
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

/// The loss in bits of guessing one of sixteen endings.
const GUESSED: f64 = 4.0;

/// The loss in bits above which an ending is not learned: better than guessing, but not better than one of four.
const NOT_LEARNED: f64 = 2.0;

/// The part of the decrease that may be left as a remainder if a word is to be named.
const REMAINDER: f64 = 0.1;

/// Number of lines of sample text from each network.
const SAMPLE_LINES: usize = 2;

/// A trained network with its measurements.
pub(super) struct Trained {
    pub name: &'static str,
    pub cell: String,
    pub folder: PathBuf,
    pub learned: Learned,
    /// The allocation of the loss of the effect.
    pub allocation: LossChangeAllocation,
    /// The ledger of the longer reading before training.
    pub before: Traced,
    /// The ledger of the longer reading after training.
    pub traced: Traced,
}

/// Both networks and what they read.
pub(super) struct Report {
    /// The settings of both, except the cell.
    pub config: Config,
    pub vocabulary: Vocabulary,
    /// What the allocation reads.
    pub allocation: Reading,
    /// What the horizons are measured on.
    pub horizon: Reading,
    pub networks: [Trained; 2],
}

/// The horizons of a network, in steps back from the loss.
struct Horizon {
    /// The lag within which 99 % of the loss of the effect lie.
    effect: Option<usize>,
    /// The lag within which 99 % of Σ m(τ) lie.
    median: Option<usize>,
    /// The slope of ln m(τ) per step.
    decay: Option<f64>,
}

impl Horizon {
    fn of(traced: &Traced, k: usize) -> Self {
        let entry = w_ih(traced);
        Self {
            effect: entry.horizon_of_loss(k, HORIZON),
            median: entry.horizon(HORIZON),
            decay: entry.decay(),
        }
    }

    /// The factor per step.
    fn kept(&self) -> Option<f64> {
        self.decay.map(f64::exp)
    }

    fn json(&self) -> Value {
        json!({ "horizon_of_effect": self.effect, "horizon": self.median, "decay_per_step": self.decay })
    }
}

/// Contributions to W_ih. For one-hot inputs their norm is that of the gradient of the pre-activations, which does not
/// depend on the size of h, and the first word has one.
fn w_ih(traced: &Traced) -> &Entry {
    traced.ledger.entry(0, Parameter::WEIGHT_IH).expect("a ledger has the input weights")
}

impl Trained {
    /// By how much the input weights at step t decreased the loss, bits.
    fn taught(&self, t: usize) -> f64 {
        bits(self.allocation.steps()[t][0])
    }

    /// By how much all recurrent weights and biases decreased the loss, bits.
    fn taught_inside(&self) -> f64 {
        bits(self.allocation.steps().iter().map(|[_, w_hh, b]| w_hh + b).sum())
    }

    /// By how much the input weights at all steps before `start` decreased the loss, bits.
    fn taught_before(&self, start: usize) -> f64 {
        (0..start).map(|t| self.taught(t)).sum()
    }

    /// The step of the sentence whose input weights decreased the loss most, and the second one.
    fn best(&self, reading: &Reading) -> (usize, usize) {
        let mut ranked: Vec<usize> = (reading.start..=reading.k).collect();
        ranked.sort_by(|&a, &b| self.taught(b).total_cmp(&self.taught(a)));
        (ranked[0], ranked[1])
    }

    /// Which word taught it the effect, in a sentence.
    fn conclusion(&self, reading: &Reading) -> String {
        let (name, effect) = (self.name, reading.effect());
        let (best, next) = self.best(reading);
        let (word, taught) = (&reading.words[best], self.taught(best));
        let (first, last) = self.allocation.losses();
        let (decrease, last) = (bits(first - last), bits(last));
        if last > NOT_LEARNED {
            return format!(
                "The {name} has not learned to tell the endings apart: {last:.2} bits, and {GUESSED:.0} for guessing.\n"
            );
        }
        let learned = format!("The {name} has learned to tell the endings apart ({last:.2} bits)");
        if bits(self.allocation.remainder()).abs() > REMAINDER * decrease {
            let left = bits(self.allocation.remainder());
            return format!(
                "{learned}, but {left:+.2} bits of the decrease belong to no word, so none is named.\n"
            );
        }
        if best != reading.cue {
            let (cue, by_cue) = (&reading.words[reading.cue], self.taught(reading.cue));
            return format!(
                "{learned}, but not most of all from “{cue}” ({by_cue:.2} bits): from “{word}” ({taught:.2} bits).\n"
            );
        }
        format!(
            "{learned}, and it learned “{effect}” from “{word}”, {} steps back:\nreading such a word decreased the loss by \
             {taught:.2} bits; the second word is “{}” with {:.2}.\n",
            reading.lag(),
            reading.words[next],
            self.taught(next),
        )
    }

    /// A few generated sentences, indented.
    fn sampled(&self, vocabulary: &Vocabulary, seed: u64) -> Result<String, Failure> {
        let mut rng = Rng::new(seed, super::super::sample::STREAM);
        let sampling = Sampling { temperature: 0.8, top_k: None };
        let network = &self.learned.outcome.network;
        let drawn = sample(network, vocabulary, &[], 40 * SAMPLE_LINES, &sampling, &mut rng)?;
        let text = vocabulary.decode(&drawn);
        Ok(text.lines().take(SAMPLE_LINES).map(|line| format!("  {}\n", line.trim())).collect())
    }

    fn json(&self, read: &Reading, long: &Reading) -> Value {
        let outcome = &self.learned.outcome;
        let words = read.start..=read.k;
        let word = |t: usize| {
            let [w_ih, w_hh, b] = self.allocation.steps()[t].map(bits);
            let lag = read.k - t;
            json!({ "word": read.words[t], "lag": lag, "distance": lag + 1, "weight_ih": w_ih, "weight_hh": w_hh, "bias": b })
        };
        let entry = w_ih(&self.traced);
        let norm = |t: usize| json!({ "word": long.words[t], "lag": long.k - t, "distance": long.k + 1 - t, "norm": entry.norm(long.k, t) });
        let earlier = self.allocation.steps()[..read.start].iter().flatten().sum();
        json!({
            "cell": self.cell,
            "run": self.folder.to_string_lossy(),
            "steps": outcome.steps,
            "seconds": self.learned.seconds,
            "held_out_bits": outcome.held_out.map(|held_out| bits(held_out.loss)),
            "loss_bits": { "first": bits(self.allocation.losses().0), "last": bits(self.allocation.losses().1) },
            "named": read.words[self.best(read).0],
            "taught_bits": words.map(word).collect::<Vec<_>>(),
            "earlier_bits": bits(earlier),
            "readout_bits": bits(self.allocation.readout()),
            "remainder_bits": bits(self.allocation.remainder()),
            "row": (0..=long.k).map(norm).collect::<Vec<_>>(),
            "reach": Horizon::of(&self.traced, long.k).json(),
            "untrained_reach": Horizon::of(&self.before, long.k).json(),
        })
    }
}

impl Report {
    pub(super) fn text(&self, out: &Path) -> Result<String, Failure> {
        let config = &self.config;
        let mut text = format!(
            "{} sentences, {} words; in each sentence one early word determines the last: food → dinner, ink → writing, …\na \
             tanh RNN and an LSTM of {} units are trained on the same sentences, windows of {} words, {} updates each\n\n",
            config.sentences,
            self.vocabulary.len(),
            config.hidden,
            config.window,
            config.steps,
        );
        let networks = self.networks.each_ref().map(|network| (network.name, &network.learned));
        text += &train::losses(&networks);
        for network in &self.networks {
            let seconds = network.learned.seconds;
            let sampled = network.sampled(&self.vocabulary, config.seed)?;
            text +=
                &format!("\ntext generated by the {} (trained in {seconds:.1} s)\n{sampled}", network.name);
        }
        text += &self.allocations();
        text += &self.rows();
        text += &self.horizons();
        let run = out.display();
        text += &format!(
            "\nwrote the runs {run}/rnn and {run}/lstm, each with its ledger.json\ntry\n  bptt trace {run}/lstm --text \"{}\" \
             --predicting {}\n  bptt sample {run}/rnn --prime \"Without ink\" --length 20\n  bptt article\n",
            bptt_train::cue_sentences::ARTICLE_SENTENCE,
            self.allocation.effect(),
        );
        Ok(text)
    }

    /// The allocations of both networks, side by side.
    fn allocations(&self) -> String {
        let reading = &self.allocation;
        let norms = self.networks.each_ref().map(|network| w_ih(&network.traced));
        let most = self.networks.each_ref().map(|network| network.taught(network.best(reading).0));
        let mut rows: Vec<Vec<String>> = Vec::new();
        for t in reading.start..=reading.k {
            let mut row = vec![reading.words[t].clone(), (reading.k - t).to_string()];
            for ((network, norm), most) in self.networks.iter().zip(norms).zip(most) {
                let lag = reading.k - t;
                row.push(number(norm.norm(self.horizon.k, self.horizon.k - lag).unwrap_or(0.0)));
                row.extend([format!("{:+.2}", network.taught(t)), bar(network.taught(t) / most, 12)]);
            }
            rows.push(row);
        }
        let mut add = |name: &str, of: &dyn Fn(&Trained) -> f64| {
            let mut row = vec![name.to_owned(), String::new()];
            for network in &self.networks {
                // Zero is shown as +0.00.
                row.extend([String::new(), format!("{:+.2}", of(network) + 0.0), String::new()]);
            }
            rows.push(row);
        };
        add("earlier words", &|network| network.taught_before(reading.start));
        add("W_hh and biases", &Trained::taught_inside);
        add("readout", &|network| bits(network.allocation.readout()));
        add("remainder", &|network| bits(network.allocation.remainder()));
        add("total decrease of the loss", &|network| {
            bits(network.allocation.losses().0 - network.allocation.losses().1)
        });
        let [a, b] = self.networks.each_ref().map(|network| network.name);
        let header = [
            ("", Align::Left),
            ("steps back", Align::Right),
            (&format!("{a}: norm"), Align::Right),
            ("decrease", Align::Right),
            ("", Align::Left),
            (&format!("{b}: norm"), Align::Right),
            ("decrease", Align::Right),
            ("", Align::Left),
        ];
        let change = |network: &Trained| {
            let (first, last) = network.allocation.losses();
            format!("from {:.2} to {:.2} bits in the {}", bits(first), bits(last), network.name)
        };
        format!(
            "\nwhat taught them to tell the sixteen endings apart, “{}” and the others? In sixteen versions of one sentence, which \
             differ in\n“{}” and the ending alone, the mean loss of telling the ending decreased {} and {}.\nThe decrease, allocated \
             to the words:\n\n{}\n  decrease: bits by which the weights that read this word (W_ih) decreased \
             the loss, over all updates\n  norm: ‖component of dL/dW_ih‖ of predicting the word, at the end, after {} held-out \
             sentences; the components add up to the gradient (error {:.0e})\n\n{}",
            reading.effect(),
            reading.words[reading.cue],
            change(&self.networks[0]),
            change(&self.networks[1]),
            table(&header, &rows),
            super::HORIZON_BEFORE,
            self.networks.iter().map(|network| network.traced.ledger.worst_balance()).fold(0.0, f64::max),
            self.networks.iter().map(|network| network.conclusion(reading)).collect::<String>(),
        )
    }

    /// The rows of the loss of the effect, under the words.
    fn rows(&self) -> String {
        let Reading { words, start, k, .. } = &self.horizon;
        let width = self.networks.iter().map(|network| network.name.chars().count()).max().unwrap_or(0);
        let sentence = words[*start..=*k].join(" ");
        let mut text = format!(
            "\nnorms of the contributions to the gradient of “{}” (as above; full height is the largest of the row)\n\n  {:width$}  \
             {sentence}\n",
            self.horizon.effect(),
            "",
        );
        for network in &self.networks {
            let entry = w_ih(&network.traced);
            let norm = |t: usize| entry.norm(*k, t).unwrap_or(0.0);
            let largest = (0..=*k).map(norm).fold(0.0, f64::max);
            let block = |t: usize| level(norm(t) / largest).to_string().repeat(words[t].chars().count());
            let blocks: Vec<String> = (*start..=*k).map(block).collect();
            text += &format!("  {:width$}  {}\n", network.name, blocks.join(" "));
        }
        text
    }

    /// The horizons and decays, and their comparison.
    fn horizons(&self) -> String {
        let of = |traced: fn(&Trained) -> &Traced| {
            self.networks.each_ref().map(|network| Horizon::of(traced(network), self.horizon.k))
        };
        let (before, now) = (of(|network| &network.before), of(|network| &network.traced));
        let steps_back = |lag: Option<usize>| lag.map_or("–".to_owned(), |lag| lag.to_string());
        let kept = |of: &Horizon| of.kept().map_or("–".to_owned(), |kept| format!("{kept:.3}"));
        let effect = format!("99 % of “{}”", self.horizon.effect());
        let header = [
            ("", Align::Left),
            (effect.as_str(), Align::Right),
            ("99 % of all losses", Align::Right),
            ("factor", Align::Right),
            ("untrained: 99 %", Align::Right),
            ("untrained: factor", Align::Right),
        ];
        let row = |((network, now), before): ((&Trained, &Horizon), &Horizon)| {
            let within = |lag| format!("{} steps", steps_back(lag));
            let name = network.name.to_owned();
            vec![name, within(now.effect), within(now.median), kept(now), within(before.median), kept(before)]
        };
        let rows: Vec<_> = self.networks.iter().zip(&now).zip(&before).map(row).collect();
        let steps = self.horizon.k + 2;
        format!(
            "\nhow far back their gradients reach, in {steps} words of text ({} held-out sentences and this one; the same \
             norms)\n\n{}\n  99 %: steps back within which 99 % of the norms lie; all losses: their median at each lag; factor: per \
             step farther back\n\n{}",
            super::HORIZON_BEFORE,
            table(&header, &rows),
            answer(&self.horizon, &before),
        )
    }

    /// The report of the two runs on the longer reading.
    pub(super) fn html(&self, args: &DemoArgs) -> Result<html::Report, Failure> {
        let mut subjects = Vec::new();
        for network in &self.networks {
            let (inputs, targets) = self.horizon.symbols()?;
            let config = Config { steps: args.steps, seed: args.seed, ..super::settings(&network.cell) };
            let (source, batch) = (Source::Text(&self.vocabulary), of_symbols(inputs, targets));
            let reading = Shown { config: &config, source, batch, k: self.horizon.k };
            subjects.push(reading.subject(
                network.name.into(),
                &network.folder,
                &network.learned.outcome.network,
            )?);
        }
        let out = facts::quoted(&args.out.to_string_lossy());
        Ok(html::Report {
            title: format!("What taught them “{}”: a tanh RNN and an LSTM", self.horizon.effect()),
            program: facts::program(),
            reproduce: vec![format!("bptt demo --seed {} --steps {} --out {out}", args.seed, args.steps)],
            subjects,
        })
    }

    pub(super) fn json(&self) -> Value {
        let baselines = self.networks[0].learned.baselines;
        json!({
            "schema": "bptt.demo/2",
            "seed": self.config.seed,
            "steps": self.config.steps,
            "unigram_bits": baselines.map(|b| b.unigram_bits),
            "bigram_bits": baselines.map(|b| b.bigram_bits),
            "effect": self.allocation.effect(),
            "cue": self.allocation.words[self.allocation.cue],
            "dependency": self.allocation.lag() + 1,
            "lag": self.allocation.lag(),
            "parameter": Parameter::WEIGHT_IH.as_str(),
            "networks": self.networks.each_ref().map(|network| network.json(&self.allocation, &self.horizon)),
        })
    }
}

/// What decides whether the learning can begin, in a sentence.
fn answer(reading: &Reading, before: &[Horizon; 2]) -> String {
    let within = |of: &Horizon| of.effect.map_or("no step".to_owned(), |lag| format!("{lag} steps"));
    let [a, b] = before.each_ref().map(within);
    format!(
        "Before training, 99 % of the gradient of predicting “{}” lay within {a} in the tanh RNN and within {b} in the LSTM; the \
         word that decides it, “{}”, lies {} steps back.\n",
        reading.effect(),
        reading.words[reading.cue],
        reading.lag(),
    )
}
