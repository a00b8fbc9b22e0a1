//! A description of a training, and the command that repeats it.

use std::path::Path;

use bptt::Weights;
use bptt_train::{Config, Level};
use serde_json::Value;

use super::super::tasks::lags;
use super::Source;

/// The program and its version.
pub(in super::super) fn program() -> String {
    format!("bptt {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)
}

/// The cell's title; its name where there is no such cell any more.
fn cell(name: &str) -> String {
    bptt::cell_by_name(name).map_or_else(|_| name.to_owned(), |cell| cell.spec().title.clone())
}

/// The settings of a run, the number of its parameters, and its result: names and values.
pub(in super::super) fn of_run(
    config: &Config,
    source: Source<'_>,
    weights: Option<&Weights<f64>>,
    metrics: &[Value],
) -> Vec<(String, String)> {
    let layers = match (config.layers, config.bidirectional) {
        (1, false) => String::new(),
        (1, true) => ", bidirectional".into(),
        (layers, false) => format!(", {layers} layers"),
        (layers, true) => format!(", {layers} layers, bidirectional"),
    };
    let clipping = match (config.clip_norm, config.clip_value) {
        (0.0, 0.0) => "none".into(),
        (norm, 0.0) => format!("norm {norm}"),
        (0.0, value) => format!("entries {value}"),
        (norm, value) => format!("norm {norm}, then entries {value}"),
    };
    let mut facts = of_source(config, source);
    let cell_at = facts.len();
    let sequences = match source {
        Source::Text(_) => format!("{} × {} symbols", config.batch, config.window),
        Source::Task(_) => format!("{} sequences", config.batch),
    };
    facts.extend([
        ("Cell", format!("{}, {} units{layers}", cell(&config.cell), config.hidden)),
        ("Training", format!("{} updates of {sequences}", config.steps)),
        ("Optimizer", in_words(&config.optimizer.to_string())),
        ("Learning rate", format!("{}, {}", config.learning_rate, in_words(&config.schedule.to_string()))),
        ("Clipping", clipping),
        ("Seed", config.seed.to_string()),
    ]);
    if let Some(weights) = weights {
        let parameters: usize = weights.tensors().iter().map(|(_, matrix)| matrix.data().len()).sum();
        facts.insert(cell_at + 1, ("Parameters", parameters.to_string()));
    }
    if let Some(end) = metrics.iter().find(|line| line["event"] == "end") {
        facts.extend(reached(end));
    }
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The text or task.
fn of_source(config: &Config, source: Source<'_>) -> Vec<(&'static str, String)> {
    match source {
        Source::Text(vocabulary) => {
            let kind = if config.level == Level::Word { "words" } else { "characters" };
            let text = match &config.text {
                Some(path) => path.display().to_string(),
                None => format!(
                    "{} generated sentences, in each of which one early word determines the last",
                    config.sentences
                ),
            };
            vec![("Text", text), ("Symbols", format!("{} {kind}", vocabulary.len()))]
        }
        Source::Task(task) => {
            let length = config.length_of(task);
            let baseline = task.baseline_loss(length);
            vec![
                ("Task", format!("{}, L = {length}", task.name())),
                ("Lag of the dependency", format!("{} steps", lags(&task.lag(length)))),
                ("Baseline", format!("a loss of {baseline:.4} without memory")),
            ]
        }
    }
}

/// A choice with its constants, separated by commas.
fn in_words(choice: &str) -> String {
    choice.replace([':', ','], ", ").replace('=', " ")
}

/// The result, from the last line of the metrics.
fn reached(end: &Value) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let (Some(ending), Some(seconds)) = (end["ending"].as_str(), end["seconds"].as_f64()) {
        facts.push(("Ended", format!("{ending}, {} updates in {seconds:.1} s", end["steps"])));
    }
    if let Some(bits) = end["held_out_bits"].as_f64() {
        let baseline = end["bigram_bits"].as_f64();
        let beside = baseline.map(|bigram| format!(" (bigram: {bigram:.3})")).unwrap_or_default();
        facts.push(("Held-out text", format!("{bits:.3} bits per symbol{beside}")));
    }
    if let Some(loss) = end["held_out_loss"].as_f64() {
        let solved = end["solved"].as_f64();
        let beside = solved.map(|solved| format!(", {:.1} % solved", 100.0 * solved)).unwrap_or_default();
        facts.push(("Held-out sequences", format!("a loss of {loss:.4}{beside}")));
    }
    facts
}

/// The command that trains this run into `folder`: one option per setting that differs from its default.
pub(in super::super) fn train_command(config: &Config, folder: &Path) -> String {
    let mut line = "bptt train".to_owned();
    if config.text.is_none() && config.task.is_none() {
        line += " --generate cue_sentences";
    }
    line + &options(config, &Config::default()) + &format!(" --out {}", quoted(&folder.to_string_lossy()))
}

/// The options that give the settings of `config` where those of `otherwise` are the default.
pub(super) fn options(config: &Config, otherwise: &Config) -> String {
    let of = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let (given, default) = (of(config), of(otherwise));
    let mut line = String::new();
    for (key, value) in
        given.as_object().into_iter().flatten().filter(|(key, value)| default[*key] != **value)
    {
        line += &format!(" --{}", key.replace('_', "-"));
        match value {
            Value::Bool(_) => {}
            Value::String(text) => line += &format!(" {}", quoted(text)),
            other => line += &format!(" {other}"),
        }
    }
    line
}

/// A word quoted for a shell if necessary.
pub(in super::super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_an_option_for_what_differs() {
        let config =
            Config { cell: "lstm".into(), unk: true, forget_bias: Some(1.0), seed: 7, ..Config::default() };
        assert_eq!(
            train_command(&config, Path::new("runs/a b")),
            "bptt train --generate cue_sentences --unk --cell lstm --forget-bias 1.0 --seed 7 --out 'runs/a b'"
        );
    }

    #[test]
    fn a_quote_stays_a_quote() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("runs/a"), "runs/a");
    }
}
