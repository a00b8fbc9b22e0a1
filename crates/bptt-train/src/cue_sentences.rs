//! A generated text with known long dependencies: in every sentence one early word alone determines the last one.
//!
//! "Because no food was available in the market, John had to skip dinner." Food determines dinner, 11 symbols later;
//! everything between is drawn independently of it. A model that predicts the last word better than chance among [`PAIRS`]
//! has therefore carried the cue over the whole lag.

use crate::Rng;
use crate::text::{self, Level};

/// The cues with their effects: sixteen pairs, equally likely, so that the last word costs exactly 4 bits without the cue.
pub const PAIRS: [(&str, &str); 16] = [
    ("food", "dinner"),
    ("flour", "baking"),
    ("wool", "knitting"),
    ("ink", "writing"),
    ("paper", "printing"),
    ("paint", "decorating"),
    ("bait", "fishing"),
    ("petrol", "driving"),
    ("clay", "pottery"),
    ("cloth", "sewing"),
    ("soap", "laundry"),
    ("soil", "gardening"),
    ("film", "photography"),
    ("timber", "carpentry"),
    ("snow", "skiing"),
    ("tea", "breakfast"),
];

/// The sentence of the article, which the generator can produce.
pub const ARTICLE_SENTENCE: &str = "Because no food was available in the market, John had to skip dinner.";

/// Sentences as word symbols, with a slot in braces for each word or phrase that is drawn.
const TEMPLATES: [&str; 5] = [
    "Because no {cue} was {state} in the {size} {place} {time} , {name} had to {skip} {effect} .",
    "Since the {cue} had run out at the {size} {place} {time} , {name} had to {skip} {effect} .",
    "No {cue} was {state} {time} , so {name} had to {skip} {effect} .",
    "Without {cue} from the {size} {place} , {name} had to {skip} {effect} .",
    "With no {cue} at the {size} {place} {time} , {name} must {skip} {effect} .",
];

const STATES: [&str; 4] = ["available", "sold", "left", "found"];
const SIZES: [&str; 6] = ["", "", "old", "small", "busy", "nearest"];
const PLACES: [&str; 8] = ["market", "village", "shop", "town", "harbor", "station", "square", "valley"];
const TIMES: [&str; 7] =
    ["", "", "today", "that week", "on Monday", "all through winter", "until late spring"];
const NAMES: [&str; 8] = ["John", "Mary", "Peter", "Anna", "Tom", "Clara", "David", "Ruth"];
const SKIPS: [&str; 5] = ["skip", "cancel", "postpone", "miss", "abandon"];

/// The random stream of the sentences.
const STREAM: u64 = u64::from_le_bytes(*b"sentence");

/// A sentence and its dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The text.
    pub text: String,
    /// The symbols as [`text::symbols`] returns them for [`Level::Word`], with the full stop.
    pub symbols: Vec<String>,
    /// The index of the cue.
    pub cue: usize,
    /// The index of the effect, the last symbol before the full stop.
    pub effect: usize,
}

impl Sentence {
    /// Number of symbols from the cue to the effect.
    pub fn lag(&self) -> usize {
        self.effect - self.cue
    }
}

/// The generator; a seed determines its sentences.
#[derive(Clone, Debug)]
pub struct CueSentences {
    rng: Rng,
}

impl CueSentences {
    /// A generator before its first sentence.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed, STREAM) }
    }

    /// The next sentence.
    pub fn sentence(&mut self) -> Sentence {
        sentence(&mut self.rng)
    }
}

/// A sentence: pair, template and every filler drawn uniformly and independently.
pub fn sentence(rng: &mut Rng) -> Sentence {
    let (cue, effect) = *rng.choose(&PAIRS);
    let template = *rng.choose(&TEMPLATES);
    let phrases = template.split(' ').map(|slot| match slot {
        "{cue}" => cue,
        "{effect}" => effect,
        slot => fillers(slot).map_or(slot, |fillers| *rng.choose(fillers)),
    });
    sentence_of(&phrases.flat_map(str::split_whitespace).collect::<Vec<_>>())
}

/// The fillers of a slot, except cue and effect; `None` for a word.
fn fillers(slot: &str) -> Option<&'static [&'static str]> {
    match slot {
        "{state}" => Some(&STATES),
        "{size}" => Some(&SIZES),
        "{place}" => Some(&PLACES),
        "{time}" => Some(&TIMES),
        "{name}" => Some(&NAMES),
        "{skip}" => Some(&SKIPS),
        _ => None,
    }
}

/// All possible symbols, in byte order.
pub fn words() -> Vec<&'static str> {
    let pairs = PAIRS.iter().flat_map(|&(cue, effect)| [cue, effect]);
    let slots = TEMPLATES.iter().flat_map(|template| template.split(' '));
    let slots = slots.filter(|slot| !["{cue}", "{effect}"].contains(slot));
    let phrases = slots.flat_map(|slot| fillers(slot).map_or(vec![slot], <[_]>::to_vec));
    let mut words: Vec<_> = pairs.chain(phrases.flat_map(str::split_whitespace)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// A text of `sentences` sentences, one per line, and the sentences.
pub fn generate(seed: u64, sentences: usize) -> (String, Vec<Sentence>) {
    let mut generator = CueSentences::new(seed);
    let sentences: Vec<Sentence> = (0..sentences).map(|_| generator.sentence()).collect();
    let text = sentences.iter().flat_map(|sentence| [sentence.text.as_str(), "\n"]).collect();
    (text, sentences)
}

/// [`ARTICLE_SENTENCE`] with its dependency.
pub fn article_sentence() -> Sentence {
    let symbols = text::symbols(ARTICLE_SENTENCE, Level::Word);
    sentence_of(&symbols.into_iter().map(|(_, symbol)| symbol).collect::<Vec<_>>())
}

/// The indices of cue and effect among the word symbols of one sentence: the first symbol that is a cue, and the first
/// symbol after it that is its effect. `None` if there is no such pair.
pub fn find_dependency(symbols: &[&str]) -> Option<(usize, usize)> {
    let (cue, effect) = symbols.iter().enumerate().find_map(|(at, symbol)| {
        let (_, effect) = PAIRS.iter().find(|(cue, _)| cue == symbol)?;
        Some((at, effect))
    })?;
    let lag = symbols[cue..].iter().position(|symbol| symbol == effect)?;
    Some((cue, cue + lag))
}

fn sentence_of(symbols: &[&str]) -> Sentence {
    let (cue, effect) = find_dependency(symbols).expect("every template has a cue, and its effect later");
    Sentence {
        text: text::join(symbols, Level::Word),
        symbols: symbols.iter().map(|&symbol| symbol.to_owned()).collect(),
        cue,
        effect,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap, HashSet};

    use super::*;

    const COUNT: usize = 20_000;

    #[test]
    fn sentences_are_cut_into_the_symbols_they_were_made_of() {
        let (text, sentences) = generate(1, 500);
        assert_eq!(text.lines().count(), 500);
        assert!(text.ends_with(".\n"));
        for (line, sentence) in text.lines().zip(&sentences) {
            assert_eq!(line, sentence.text);
            let symbols: Vec<_> = text::symbols(line, Level::Word).into_iter().map(|(_, s)| s).collect();
            assert_eq!(symbols, sentence.symbols);
            assert_eq!(find_dependency(&symbols), Some((sentence.cue, sentence.effect)));
        }
    }

    #[test]
    fn the_cue_decides_the_last_word_and_the_other_way_round() {
        let (mut cues, mut effects) = (HashMap::new(), HashMap::new());
        for sentence in generate(2, COUNT).1 {
            assert_eq!(sentence.effect, sentence.symbols.len() - 2);
            assert!(sentence.cue <= 2 && sentence.symbols.last().unwrap() == ".");
            let cue = sentence.symbols[sentence.cue].clone();
            let effect = sentence.symbols[sentence.effect].clone();
            assert_eq!(effects.entry(cue.clone()).or_insert(effect.clone()), &effect);
            assert_eq!(cues.entry(effect).or_insert(cue.clone()), &cue);
        }
        assert_eq!((cues.len(), effects.len()), (16, 16));
    }

    #[test]
    fn cues_and_effects_are_words_of_their_own() {
        let pairs: Vec<&str> = PAIRS.iter().flat_map(|&(cue, effect)| [cue, effect]).collect();
        assert_eq!(pairs.iter().collect::<HashSet<_>>().len(), 32);
        let fillers = [&STATES[..], &SIZES, &PLACES, &TIMES, &NAMES, &SKIPS, &TEMPLATES].concat();
        let mut words = fillers.iter().flat_map(|phrase| phrase.split(' '));
        assert!(words.all(|word| !pairs.contains(&word)));
    }

    #[test]
    fn lags_run_from_8_to_16() {
        let lags: BTreeSet<_> = generate(3, COUNT).1.iter().map(Sentence::lag).collect();
        assert_eq!(lags, (8..=16).collect());
    }

    /// Pearson's χ² of the cue and every kind of filler, and of the cue and the lag: with k degrees of freedom it has mean
    /// k and variance 2k if the two are independent; five standard deviations are allowed.
    #[test]
    fn everything_else_is_independent_of_the_cue() {
        let (_, sentences) = generate(4, COUNT);
        let among = |words: &'static [&'static str]| {
            move |sentence: &Sentence| {
                words.iter().position(|word| sentence.symbols.iter().any(|symbol| symbol == word))
            }
        };
        assert_independent("state", &sentences, among(&STATES));
        assert_independent("size", &sentences, among(&SIZES));
        assert_independent("place", &sentences, among(&PLACES));
        assert_independent("time", &sentences, among(&["today", "week", "Monday", "winter", "spring"]));
        assert_independent("name", &sentences, among(&NAMES));
        assert_independent("skip", &sentences, among(&SKIPS));
        assert_independent("template", &sentences, among(&["Because", "Since", "No", "Without", "With"]));
        assert_independent("lag", &sentences, |sentence| Some(sentence.lag()));
    }

    fn assert_independent(what: &str, sentences: &[Sentence], filler: impl Fn(&Sentence) -> Option<usize>) {
        let mut joint = HashMap::<(&str, Option<usize>), f64>::new();
        let (mut cues, mut fillers) = (HashMap::<&str, f64>::new(), HashMap::<Option<usize>, f64>::new());
        for sentence in sentences {
            let (cue, filler) = (sentence.symbols[sentence.cue].as_str(), filler(sentence));
            *joint.entry((cue, filler)).or_default() += 1.0;
            *cues.entry(cue).or_default() += 1.0;
            *fillers.entry(filler).or_default() += 1.0;
        }
        assert!(fillers.len() > 3, "{what} does vary");
        let mut chi_square = 0.0;
        for (cue, cue_count) in &cues {
            for (filler, filler_count) in &fillers {
                let expected = cue_count * filler_count / sentences.len() as f64;
                let observed = joint.get(&(*cue, *filler)).copied().unwrap_or(0.0);
                chi_square += (observed - expected).powi(2) / expected;
            }
        }
        let freedom = ((cues.len() - 1) * (fillers.len() - 1)) as f64;
        assert!(
            (chi_square - freedom).abs() < 5.0 * (2.0 * freedom).sqrt(),
            "{what}: {chi_square} for {freedom}"
        );
    }

    #[test]
    fn a_seed_is_a_text() {
        assert_eq!(generate(7, 50), generate(7, 50));
        assert_ne!(generate(7, 50).0, generate(8, 50).0);
        assert!(generate(7, 50).0.starts_with(&generate(7, 20).0));
        assert_eq!(
            CueSentences::new(7).sentence().text,
            "Because no flour was found in the village all through winter, David had to skip baking."
        );
    }

    #[test]
    fn the_articles_sentence_is_one_of_them() {
        let article = article_sentence();
        assert_eq!(article.text, ARTICLE_SENTENCE);
        assert_eq!((article.cue, article.effect, article.lag()), (2, 13, 11));
        assert_eq!((article.symbols[2].as_str(), article.symbols[13].as_str()), ("food", "dinner"));

        let (_, sentences) = generate(5, COUNT);
        let words: HashSet<_> = sentences.iter().flat_map(|sentence| &sentence.symbols).collect();
        assert!(article.symbols.iter().all(|symbol| words.contains(symbol)));
        assert_eq!(words.len(), 91);
        let shape = |s: &Sentence| (s.symbols[0].clone(), s.symbols.len(), s.lag());
        assert!(sentences.iter().any(|sentence| shape(sentence) == shape(&article)));
    }

    #[test]
    fn a_sentence_without_a_dependency_has_none() {
        assert_eq!(find_dependency(&["no", "food", ",", "no", "baking"]), None);
        assert_eq!(find_dependency(&["John", "had", "dinner"]), None);
    }
}
