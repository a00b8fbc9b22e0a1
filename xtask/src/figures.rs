//! `cargo xtask figures`: the demo's numbers in the README and the book, and the README's pictures, made anew.
//!
//! What is written stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`.

use std::fmt::Write;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::pictures;
use crate::shell::released;

const README: &str = "README.md";
const CHAPTER: &str = "book/src/first-ledger.md";
const SEEDS_PAGE: &str = "bench/results/demo.md";

/// The seeds of the chapter's table, and those of the page.
const SHORT: RangeInclusive<u64> = 1..=5;
const LONG: [RangeInclusive<u64>; 2] = [1..=20, 101..=120];

/// Remainders above this fraction of the decrease are counted.
const LARGE_REMAINDER: f64 = 0.1;

/// Runs the demo and writes; with `seeds`, on forty seeds for a page of their own.
pub fn run(root: &Path, cargo: &Path, seeds: bool) -> ExitCode {
    let Some(bptt) = released(root, cargo) else { return ExitCode::FAILURE };
    let scratch = root.join("target/figures");
    let done = if seeds { of_seeds(root, &bptt, &scratch) } else { of_demo(root, cargo, &bptt, &scratch) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn of_demo(root: &Path, cargo: &Path, bptt: &Path, scratch: &Path) -> Result<(), String> {
    let text = demo(bptt, scratch, 1, &[])?;
    let section = |from: &str, to: &str| -> Result<String, String> {
        let start = text.find(from).ok_or_else(|| format!("the demo prints no {from:?}"))?;
        let rest = &text[start..];
        Ok(rest[..rest.find(to).ok_or_else(|| format!("the demo prints no {to:?}"))?].to_owned())
    };
    let rows = section("            ⏎", "\n\n")?;
    let rows: Vec<&str> = rows.lines().map(str::trim_end).collect();
    put(root, README, "rows", &format!("```text\n{}\n```\n", rows.join("\n")))?;

    let table = section("                              steps back", "  earlier words")?;
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    let from = lines.iter().position(|line| line.starts_with("  food")).ok_or("no row of “food”")?;
    let last = lines.len();
    let shown = [lines[0], lines[from], lines[from + 1], "  …", lines[last - 2], lines[last - 1]];
    put(root, CHAPTER, "words", &format!("```text\n{}\n```\n", shown.join("\n")))?;

    let seeds: Vec<Demo> = SHORT.map(|seed| Demo::run(bptt, scratch, seed)).collect::<Result<_, _>>()?;
    let [rnn, lstm] = &seeds[0].networks;
    let first = format!(
        "In this run (seed 1), reading “{}” lowered the loss by {:.2} bits in the tanh RNN and by {:.2} bits in the LSTM; the next word \
         lowered it by {:.2} and {:.2} bits.\n",
        seeds[0].cue, rnn.by_cue, lstm.by_cue, rnn.by_next, lstm.by_next
    );
    put(root, CHAPTER, "seed", &first)?;
    let mut table = "\
| seed | loss of the endings, bits | by “food”, bits | by the next word | 99 % of all losses, steps | factor per step | untrained: 99 % |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"
    .to_owned();
    for Demo { seed, networks, .. } in &seeds {
        let both = |show: &dyn Fn(&Network) -> String| networks.each_ref().map(show).join(" / ");
        let _ = writeln!(
            table,
            "| {seed} | {} | {} | {} | {} | {} | {} |",
            both(&|of| format!("{:.2}", of.loss)),
            both(&|of| format!("{:.2}", of.by_cue)),
            both(&|of| format!("{:.2}", of.by_next)),
            both(&|of| of.horizon.to_string()),
            both(&|of| format!("{:.3}", of.factor)),
            both(&|of| of.untrained.to_string()),
        );
    }
    let all = seeds.iter().flat_map(|demo| &demo.networks);
    let named = all.clone().filter(|of| of.named == seeds[0].cue).count();
    let slower = seeds.iter().filter(|demo| demo.networks[1].factor > demo.networks[0].factor).count();
    let _ = write!(
        table,
        "\n“{}” is the first word in {named} of {} networks; the contributions of the LSTM decay more slowly with {slower} of {} seeds. \
         These are the numbers of {}.\n",
        seeds[0].cue,
        all.count(),
        seeds.len(),
        build(bptt)?
    );
    put(root, CHAPTER, "seeds", &table)?;
    if pictures::run(root, cargo) == ExitCode::SUCCESS { Ok(()) } else { Err("no pictures".into()) }
}

fn of_seeds(root: &Path, bptt: &Path, scratch: &Path) -> Result<(), String> {
    let mut page = format!(
        "# The demo on forty seeds\n\n`bptt demo --seed N`, {}; made by `cargo xtask figures --seeds`. “Named” is the word that taught \
         the network the ending most, by the loss change allocated to the input weights; “food” is right. The remainder is the part of the decrease \
         that belongs to no word, in percent of the decrease.\n",
        build(bptt)?
    );
    for seeds in LONG {
        let demos: Vec<Demo> =
            seeds.clone().map(|seed| Demo::run(bptt, scratch, seed)).collect::<Result<_, _>>()?;
        page.push_str(&table_of_seeds(&demos, &seeds));
        fs::write(root.join(SEEDS_PAGE), &page).map_err(|error| format!("{SEEDS_PAGE}: {error}"))?;
    }
    Ok(())
}

fn table_of_seeds(demos: &[Demo], seeds: &RangeInclusive<u64>) -> String {
    let mut page = format!(
        "\n## Seeds {} to {}\n\n\
         | seed | network | loss of the endings, bits | named | by “food”, bits | by the next word | remainder |\n\
         | ---: | --- | ---: | --- | ---: | ---: | ---: |\n",
        seeds.start(),
        seeds.end()
    );
    for Demo { seed, networks, .. } in demos {
        for of in networks {
            let _ = writeln!(
                page,
                "| {seed} | {} | {:.2} | {} | {:.2} | {:.2} | {:+.1} % |",
                of.cell,
                of.loss,
                of.named,
                of.by_cue,
                of.by_next,
                100.0 * of.remainder
            );
        }
    }
    let all = || demos.iter().flat_map(|demo| &demo.networks);
    let right = demos.iter().filter(|demo| demo.networks.iter().all(|of| of.named == demo.cue)).count();
    let large = all().filter(|of| of.remainder.abs() > LARGE_REMAINDER).count();
    let largest = all().map(|of| of.remainder.abs()).fold(0.0, f64::max);
    let factor = all().map(|of| of.by_cue / of.by_next).fold(f64::INFINITY, f64::min);
    let _ = writeln!(
        page,
        "\n“food” is named in both networks with {right} of {} seeds, by a factor of at least {factor:.1} over the next word. The \
         remainder is over 10 % in {large} of {} networks, at most {:.1} %.",
        demos.len(),
        all().count(),
        100.0 * largest
    );
    page
}

/// What one demo found.
struct Demo {
    seed: u64,
    cue: String,
    networks: [Network; 2],
}

struct Network {
    cell: String,
    /// Of telling the endings apart, at the end, bits.
    loss: f64,
    named: String,
    by_cue: f64,
    /// The largest of the other words.
    by_next: f64,
    /// As a fraction of the decrease.
    remainder: f64,
    horizon: u64,
    factor: f64,
    untrained: u64,
}

impl Demo {
    fn run(bptt: &Path, scratch: &Path, seed: u64) -> Result<Self, String> {
        let text = demo(bptt, scratch, seed, &["--json"])?;
        let json: Value =
            serde_json::from_str(&text).map_err(|error| format!("bptt demo --json: {error}"))?;
        let cue = json["cue"].as_str().ok_or("no cue")?.to_owned();
        let networks: Vec<Network> = json["networks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|of| Network::of(of, &cue))
            .collect();
        let networks = networks.try_into().map_err(|_| "bptt demo --json lacks numbers")?;
        Ok(Self { seed, cue, networks })
    }
}

impl Network {
    fn of(json: &Value, cue: &str) -> Option<Self> {
        let words = json["taught_bits"].as_array()?;
        let taught = |of: &Value| of["weight_ih"].as_f64();
        let (first, last) = (json["loss_bits"]["first"].as_f64()?, json["loss_bits"]["last"].as_f64()?);
        let others = words.iter().filter(|of| of["word"] != cue).filter_map(taught);
        Some(Self {
            cell: json["cell"].as_str()?.to_owned(),
            loss: last,
            named: json["named"].as_str()?.to_owned(),
            by_cue: words.iter().find(|of| of["word"] == cue).and_then(taught)?,
            by_next: others.fold(f64::NEG_INFINITY, f64::max),
            remainder: json["remainder_bits"].as_f64()? / (first - last),
            horizon: json["reach"]["horizon"].as_u64()?,
            factor: json["reach"]["decay_per_step"].as_f64()?.exp(),
            untrained: json["untrained_reach"]["horizon"].as_u64()?,
        })
    }
}

fn demo(bptt: &Path, scratch: &Path, seed: u64, more: &[&str]) -> Result<String, String> {
    eprintln!("== bptt demo --seed {seed}");
    let seed = seed.to_string();
    let output = Command::new(bptt)
        .args(["demo", "--quiet", "--no-report", "--seed", &seed, "--out"])
        .arg(scratch)
        .args(more)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", bptt.display()))?;
    if !output.status.success() {
        return Err(format!("bptt demo --seed {seed} failed"));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// Writes what stands between the marks of `name` in a file.
fn put(root: &Path, file: &str, name: &str, text: &str) -> Result<(), String> {
    let path = root.join(file);
    let whole = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
    let new = between(&whole, name, text).ok_or_else(|| format!("{file} has no marks for {name}"))?;
    fs::write(&path, new).map_err(|error| format!("{file}: {error}"))
}

fn between(whole: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = whole.split_once(&format!("<!-- figures: {name} -->\n"))?;
    let (_, after) = rest.split_once("<!-- end of figures -->")?;
    Some(format!("{before}<!-- figures: {name} -->\n{text}<!-- end of figures -->{after}"))
}

/// The version of the command, and the processor.
fn build(bptt: &Path) -> Result<String, String> {
    let output = Command::new(bptt).arg("--version").output().map_err(|error| error.to_string())?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let registers = if cpu.contains(" avx512f") { " with AVX-512" } else { "" };
    Ok(format!("{version} on {model}{registers}"))
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let whole = "a\n<!-- figures: x -->\nold\n<!-- end of figures -->\nb\n<!-- figures: y -->\n1\n<!-- end of figures -->\n";
        let new = between(whole, "y", "2\n").unwrap();
        assert_eq!(new, whole.replace("1\n", "2\n"));
        assert_eq!(between(&new, "y", "2\n").unwrap(), new);
        assert!(between(whole, "z", "").is_none());
    }
}
