//! `cargo xtask verdicts`: the table of situations with their verdicts, first advice, and the training that followed it.
//!
//! With `--check`, one seed, and nothing is written: every verdict must be the expected one, and the advice of the situations
//! that are marked must not make the held-out loss larger.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::shell::built;

const PAGE: &str = "book/src/verdicts.md";

/// The seeds of the table.
const SEEDS: [u64; 3] = [1, 2, 3];

/// What a network reads.
#[derive(Clone, Copy)]
enum Data {
    /// Symbols drawn independently of each other.
    Random,
    /// One symbol.
    Constant,
    /// A short sentence, over and over.
    Repeated,
    /// A generated text, or a task, as the arguments say.
    Given,
}

struct Situation {
    name: &'static str,
    data: Data,
    train: &'static str,
    diagnose: &'static str,
    verdict: &'static str,
    /// Whether `--check` runs the advice.
    advice: bool,
}

const fn of(name: &'static str, train: &'static str, verdict: &'static str) -> Situation {
    Situation { name, data: Data::Given, train, diagnose: "", verdict, advice: false }
}

impl Situation {
    const fn reads(self, data: Data) -> Self {
        Self { data, ..self }
    }

    const fn diagnosed(self, diagnose: &'static str) -> Self {
        Self { diagnose, ..self }
    }

    const fn advised(self) -> Self {
        Self { advice: true, ..self }
    }
}

include!("situations.rs");

/// What a training ended with, and what the diagnosis says of it.
struct Found {
    loss: Option<f64>,
    unit: &'static str,
    verdict: String,
    sentence: String,
    advice: Option<(String, Option<String>)>,
}

pub fn run(root: &Path, cargo: &Path, check: bool) -> ExitCode {
    let Some(bptt) = built(root, cargo) else { return ExitCode::FAILURE };
    let folder = root.join("target/verdicts");
    let _ = fs::remove_dir_all(&folder);
    if let Err(error) = texts(&folder) {
        eprintln!("xtask: {}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    let (mut page, mut wrong) = (head(), Vec::new());
    for (number, situation) in SITUATIONS.iter().enumerate() {
        eprintln!("{} of {}: {}", number + 1, SITUATIONS.len(), situation.name);
        match row(&bptt, &folder, number + 1, situation, check) {
            Ok((text, problems)) => {
                page += &text;
                wrong.extend(problems);
            }
            Err(problem) => wrong.push(format!("{}: {problem}", situation.name)),
        }
    }
    if !check && let Err(error) = fs::write(root.join(PAGE), page) {
        wrong.push(format!("{PAGE}: {error}"));
    }
    for problem in &wrong {
        eprintln!("xtask: {problem}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn head() -> String {
    format!(
        "# Verdicts\n\nWhat `bptt diagnose` says of {} trainings, with what it advises first and what followed: the same training \
         with the advice, for seeds {SEEDS:?}. `cargo xtask verdicts` makes this table; `cargo xtask verdicts --check` holds every \
         verdict, and part of the advice, against it.\n\nLosses are held-out losses: bits per symbol of a text, otherwise the loss of \
         the task.\n\n| | situation | `bptt train` | verdict (seed 1) | first advice | loss, before → after |\n|---|---|---|---|---|---|\n",
        SITUATIONS.len()
    )
}

/// The row of a situation, and what is not as expected.
fn row(
    bptt: &Path,
    folder: &Path,
    number: usize,
    of: &Situation,
    check: bool,
) -> Result<(String, Vec<String>), String> {
    let (mut problems, mut losses) = (Vec::new(), Vec::new());
    let mut first: Option<Found> = None;
    for seed in if check { &SEEDS[..1] } else { &SEEDS[..] } {
        let found = trained(bptt, folder, of, &format!("{number}-{seed}"), *seed)?;
        if *seed == SEEDS[0] && found.verdict != of.verdict {
            problems.push(format!(
                "{}: {} ({}), expected {}",
                of.name, found.verdict, found.sentence, of.verdict
            ));
        }
        let command = found.advice.as_ref().and_then(|(_, command)| command.clone());
        let after = match command.filter(|_| !check || of.advice) {
            Some(command) => Some(follow(bptt, folder, &command, of.diagnose)?),
            None => None,
        };
        if let Some(after) = &after {
            let worse = match (found.loss, after.loss) {
                (Some(before), Some(after)) => after > 1.02 * before + 1e-3,
                (before, after) => before.is_some() && after.is_none(),
            };
            if worse {
                let (before, after) = (shown(found.loss), shown(after.loss));
                problems
                    .push(format!("{}, seed {seed}: the advice made it worse: {before} → {after}", of.name));
            }
            losses.push(format!("{} → {}", shown(found.loss), shown(after.loss)));
        } else {
            losses.push(shown(found.loss));
        }
        first.get_or_insert(found);
    }
    let first = first.expect("there is a seed");
    let advice = first.advice.as_ref().map_or("–", |(change, _)| change.as_str());
    let diagnose =
        if of.diagnose.is_empty() { String::new() } else { format!(", `diagnose {}`", of.diagnose) };
    let row = format!(
        "| {number} | {} | `{}`{diagnose} | {} | {advice} | {}{} |\n",
        of.name,
        of.train,
        first.sentence.replace('|', "\\|"),
        losses.join("; "),
        first.unit,
    );
    Ok((row, problems))
}

fn shown(loss: Option<f64>) -> String {
    match loss {
        None => "not finite".into(),
        Some(loss) if loss == 0.0 || (1e-3..1e4).contains(&loss) => format!("{loss:.3}"),
        Some(loss) => format!("{loss:.1e}"),
    }
}

/// Trains and diagnoses.
fn trained(bptt: &Path, folder: &Path, of: &Situation, run: &str, seed: u64) -> Result<Found, String> {
    let text = match of.data {
        Data::Given => "",
        Data::Random => "--text random.txt",
        Data::Constant => "--text constant.txt",
        Data::Repeated => "--text repeated.txt",
    };
    let line = format!("train {text} {} --seed {seed} --out {run}", of.train);
    finished(bptt, folder, &line, run, of.diagnose)
}

/// Trains as a diagnosis advises.
fn follow(bptt: &Path, folder: &Path, command: &str, diagnose: &str) -> Result<Found, String> {
    let line = command.strip_prefix("bptt ").ok_or_else(|| format!("no command: {command}"))?;
    let run = line.rsplit(' ').next().unwrap_or_default();
    finished(bptt, folder, line, run, diagnose)
}

fn finished(bptt: &Path, folder: &Path, train: &str, run: &str, diagnose: &str) -> Result<Found, String> {
    let json = |line: &str, may_fail: bool| -> Result<Value, String> {
        let output = Command::new(bptt)
            .args(line.split_whitespace())
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() && !may_fail {
            return Err(format!("bptt {line}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("bptt {line}: {error}"))
    };
    // A training that stops at a number that is not finite fails, but writes its run.
    let result = json(&format!("{train} --json --quiet --no-report"), true)?;
    let diagnosis = json(&format!("diagnose {run} {diagnose} --json"), false)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_text = !result["held_out_bits"].is_null();
    let stopped = text(&result["ending"]).starts_with("not finite");
    let loss = result["held_out_bits"].as_f64().or_else(|| result["held_out_loss"].as_f64());
    let first = &diagnosis["remedies"][0];
    Ok(Found {
        loss: loss.filter(|_| !stopped),
        unit: if of_text { " bits" } else { "" },
        verdict: text(&diagnosis["verdict"]),
        sentence: text(&diagnosis["sentence"]),
        advice: first
            .is_object()
            .then(|| (text(&first["change"]), first["command"].as_str().map(str::to_owned))),
    })
}

/// Writes the texts that are not generated by `bptt` itself.
fn texts(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut state = 1_u64;
    let mut letter = || {
        // Knuth's linear congruential generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from(state >> 60).expect("four bits"))
    };
    fs::write(folder.join("random.txt"), (0..40_000).map(|_| letter()).collect::<String>())?;
    fs::write(folder.join("constant.txt"), "a".repeat(5_000))?;
    fs::write(folder.join("repeated.txt"), "the quick brown fox jumps over the lazy dog\n".repeat(100))
}
