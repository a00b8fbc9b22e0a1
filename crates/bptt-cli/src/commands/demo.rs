//! `bptt demo`: from nothing to "which word taught it dinner".

use std::path::Path;

use bptt::Symbols;
use bptt_train::{
    Config, Ending, Event, Flow, Init, Lesson, Level, Rng, Sampling, Schedule, Vocabulary, files, pantry,
    run as runs, sample,
};
use bptt_view::json;
use bptt_view::table::{Align, bar, number, table};
use serde_json::{Value, json};

use super::trace::{Traced, take_apart};
use super::train::{Learned, learn, losses};
use super::{print, print_json};
use crate::Failure;
use crate::args::DemoArgs;
use crate::progress::{bits, stop_on_ctrl_c};

/// What it costs, in bits, to know everything but the deciding word: it is one of sixteen.
const MISSED: f64 = 4.0;

/// Lines of sample text.
const SAMPLE_LINES: usize = 3;

pub(crate) fn run(args: &DemoArgs, quiet: bool) -> Result<(), Failure> {
    let config = Config {
        level: Level::Word,
        hidden: 64,
        init: Init::Orthogonal,
        steps: 6_000,
        window: 32,
        learning_rate: 3e-3,
        schedule: Schedule::Cosine { warmup: 0, floor: 0.0 },
        evaluate_every: 1_000,
        seed: args.seed,
        ..Config::default()
    };
    let (vocabulary, corpus) = runs::prepare(&config, &runs::load_text(&config)?)?;
    let sentence = pantry::article_sentence();
    let mut ids = vec![vocabulary.id("\n").expect("every sentence of the text ends its line")];
    ids.extend(vocabulary.encode(&sentence.text)?);
    // The line break comes first, so the loss of predicting symbol i of the sentence is loss i.
    let (k, cue) = (sentence.effect, sentence.cue + 1);

    // An older demo may be replaced, but no run of another kind.
    if args.out.join("model.safetensors").exists() && !args.out.join("ledger.json").exists() {
        return Err(bptt_train::Error::RunExists { folder: args.out.clone() }.into());
    }
    stop_on_ctrl_c()?;
    let mut lesson = Lesson::new(&config.network(vocabulary.len())?, &ids, k)?;
    let mut failed = None;
    let mut account = |event: &Event<'_>| match event {
        Event::Step { network, .. } => match lesson.enter(network) {
            Ok(()) => Flow::Continue,
            Err(error) => {
                failed = Some(error);
                Flow::Stop
            }
        },
        Event::Trace { .. } | Event::Evaluation { .. } => Flow::Continue,
    };
    let learned = learn(&config, &vocabulary, &corpus, &args.out, true, quiet, Some(&mut account))?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if let Ending::NotFinite { step, what } = &learned.outcome.ending {
        return Err(Failure::Other(format!("training stopped at update {step}: {what}")));
    }

    let network = learned.outcome.network.cast::<f64>()?;
    let steps = ids.len() - 1;
    let symbols = |ids: &[u32]| Symbols::new(steps, 1, ids.to_vec());
    let traced = take_apart(&network, symbols(&ids[..steps])?, symbols(&ids[1..])?)?;
    let words: Vec<String> = ids.iter().map(|&id| vocabulary.show(id).into_owned()).collect();
    let ledger = Value::Object(json::ledger(&traced.ledger, Some(&words[..steps])));
    files::write(&args.out.join("ledger.json"), ledger.to_string().as_bytes())?;
    let found = Found { lesson: &lesson, traced: &traced, words: &words, k, cue };
    if args.json {
        return print_json(&found.json(&learned, &args.out));
    }

    print(&format!(
        "{} sentences, {} words; in each, one early word decides the last: food → dinner, ink → writing, …\na tanh \
         network of {} units read them {} words at a time, {} updates in {:.1} s\n\n",
        config.sentences,
        vocabulary.len(),
        config.hidden,
        config.window,
        learned.outcome.steps,
        learned.seconds,
    ))?;
    print(&losses(&learned))?;
    print(&format!("\nit writes\n{}\n", sampled(&learned, &vocabulary, args.seed)?))?;
    print(&found.table())?;
    print(&found.conclusion())?;
    let run = args.out.display();
    print(&format!(
        "\nwrote {run} (config.toml, vocabulary.json, model.safetensors, metrics.jsonl, ledger.json)\ntry\n  bptt trace \
         {run} --text \"{}\" --of {}\n  bptt sample {run} --prime \"Without ink\" --length 20\n  bptt article\n",
        sentence.text,
        words[k + 1],
    ))
}

/// A few sentences of the network's own, indented.
fn sampled(learned: &Learned, vocabulary: &Vocabulary, seed: u64) -> Result<String, Failure> {
    let mut rng = Rng::new(seed, super::sample::STREAM);
    let sampling = Sampling { temperature: 0.8, top_k: None };
    let drawn = sample(&learned.outcome.network, vocabulary, &[], 40 * SAMPLE_LINES, &sampling, &mut rng)?;
    let text = vocabulary.decode(&drawn);
    Ok(text.lines().take(SAMPLE_LINES).map(|line| format!("  {}\n", line.trim())).collect())
}

/// What there is to say of the one loss.
struct Found<'a> {
    lesson: &'a Lesson,
    traced: &'a Traced,
    words: &'a [String],
    /// The loss of predicting the effect.
    k: usize,
    /// The step that reads the cue.
    cue: usize,
}

impl Found<'_> {
    /// By how much step t's input weights lowered the loss, bits.
    fn taught(&self, t: usize) -> f64 {
        bits(self.lesson.steps()[t][0])
    }

    /// How far the loss fell, bits.
    fn fall(&self) -> f64 {
        bits(self.lesson.loss().0 - self.lesson.loss().1)
    }

    /// The step whose input weights lowered the loss most, and the next best.
    fn best(&self) -> (usize, usize) {
        let mut ranked: Vec<usize> = (0..=self.k).collect();
        ranked.sort_by(|&a, &b| self.taught(b).total_cmp(&self.taught(a)));
        (ranked[0], ranked[1])
    }

    fn table(&self) -> String {
        let w_ih =
            self.traced.ledger.entry(0, bptt::Parameter::WeightIh).expect("a ledger has the input weights");
        let most = self.taught(self.best().0);
        let row = |t: usize| {
            let [_, w_hh, b] = self.lesson.steps()[t];
            vec![
                self.words[t].clone(),
                (self.k + 1 - t).to_string(),
                number(w_ih.norm(self.k, t).unwrap_or(0.0)),
                format!("{:+.2}", self.taught(t)),
                if self.fall() > 0.0 {
                    format!("{:+.0} %", 100.0 * self.taught(t) / self.fall())
                } else {
                    "–".into()
                },
                format!("{:+.2}", bits(w_hh + b)),
                bar(self.taught(t) / most, 20),
            ]
        };
        let header = [
            ("word", Align::Left),
            ("distance", Align::Right),
            ("norm now", Align::Right),
            ("taught (bits)", Align::Right),
            ("share", Align::Right),
            ("W_hh, b", Align::Right),
            ("", Align::Left),
        ];
        let rows: Vec<_> = (0..=self.k).map(row).collect();
        let (first, last) = self.lesson.loss();
        format!(
            "what taught it “{}”? Its loss went from {:.2} to {:.2} bits. Every update's effect on it, taken apart:\n\n{}\n  \
             taught: bits by which the weights that read this word (W_ih) lowered the loss; share: of the whole fall\n  \
             W_hh, b: the same through the recurrent weights and biases at that step. The readout: {:+.2}; left over: \
             {:+.2}\n  norm now: ‖component of dL/dW_ih‖ at the end, every component of the ledger adds up to the \
             gradient\n  (relative error {:.0e})\n",
            self.words[self.k + 1],
            bits(first),
            bits(last),
            table(&header, &rows),
            bits(self.lesson.readout()),
            bits(self.lesson.remainder()),
            self.traced.ledger.worst_balance(),
        )
    }

    fn horizon(&self) -> Option<usize> {
        let w_hh = self.traced.ledger.entry(0, bptt::Parameter::WeightHh)?;
        w_hh.horizon_of_loss(self.k, json::HORIZON)
    }

    /// How many symbols lie between cue and effect.
    fn distance(&self) -> usize {
        self.k + 1 - self.cue
    }

    fn conclusion(&self) -> String {
        let (best, next) = self.best();
        let effect = &self.words[self.k + 1];
        let horizon = match self.horizon() {
            Some(lag) => format!("{} words", lag + 1),
            None => "nothing".into(),
        };
        let reach = format!(
            "\nhorizon: 99 % of this loss's gradient comes from the last {horizon}; the dependency is {} words long\n",
            self.distance()
        );
        let taught = self.taught(best);
        let times = taught / self.taught(next).max(0.01);
        let word = &self.words[best];
        let last = bits(self.lesson.loss().1);
        let left_over = bits(self.lesson.remainder()).abs();
        let sentence = if last > MISSED {
            format!(
                "The network has not learned “{effect}” here: its loss is {last:.2} bits, and missing the word that decides it \
                 costs {MISSED:.0}."
            )
        } else if best == self.cue && taught > left_over {
            format!(
                "“{word}”, {} words before, is what taught the network “{effect}”: reading it lowered the loss by {taught:.2} \
                 bits,\n{times:.1} times as much as the next word (“{}”).",
                self.distance(),
                self.words[next],
            )
        } else {
            format!(
                "The network has learned “{effect}” ({last:.2} bits), but this account does not single out “{}”: its input \
                 weights\nlowered the loss by {:.2} bits, those of “{word}” by {taught:.2}, and {left_over:.2} are left over. Try \
                 another --seed.",
                self.words[self.cue],
                self.taught(self.cue),
            )
        };
        format!("{reach}\n{sentence}\n")
    }

    fn json(&self, learned: &Learned, folder: &Path) -> Value {
        let word = |t: usize| {
            let [w_ih, w_hh, b] = self.lesson.steps()[t].map(bits);
            let distance = self.k + 1 - t;
            json!({ "word": self.words[t], "distance": distance, "weight_ih": w_ih, "weight_hh": w_hh, "bias": b })
        };
        json!({
            "schema": "bptt.demo/1",
            "run": folder.to_string_lossy(),
            "steps": learned.outcome.steps,
            "seconds": learned.seconds,
            "held_out_bits": learned.outcome.held_out.map(bits),
            "unigram_bits": learned.baselines.map(|b| b.unigram_bits),
            "bigram_bits": learned.baselines.map(|b| b.bigram_bits),
            "effect": self.words[self.k + 1],
            "cue": self.words[self.cue],
            "named": self.words[self.best().0],
            "loss_bits": { "first": bits(self.lesson.loss().0), "last": bits(self.lesson.loss().1) },
            "taught_bits": (0..=self.k).map(word).collect::<Vec<_>>(),
            "readout_bits": bits(self.lesson.readout()),
            "remainder_bits": bits(self.lesson.remainder()),
            "horizon": self.horizon(),
            "dependency": self.distance(),
        })
    }
}
