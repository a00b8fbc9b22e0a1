//! `plot`, the tables of `trace`, and TensorBoard events.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use common::{bptt, refusal, stdout};

/// A small run in `a` and one of another cell in `b`, whose events are in `tb`.
fn runs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let common = "train --generate cue_sentences --level word --sentences 200 --hidden 8 --steps 12 --window 12 --batch 10 \
                  --trace-every 4 --evaluate-every 6 --quiet";
    for more in ["--out a", "--out b --cell lstm --tensorboard tb"] {
        let arguments: Vec<&str> =
            common.split(' ').chain(more.split(' ')).filter(|word| !word.is_empty()).collect();
        stdout(&bptt(folder.path(), &arguments));
    }
    folder
}

fn run(folder: &Path, line: &str) -> Output {
    bptt(folder, &line.split(' ').collect::<Vec<_>>())
}

#[test]
fn a_comparison_has_a_figure_and_a_report_even_before_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let compare = "compare --task delayed_xor:delay=4 --length 8 --hidden 6 --steps 20 --batch 8 --remedy none,lstm,clip:0.5 \
                   --seeds 2 --out c";
    stdout(&run(folder, compare));
    stdout(&run(folder, "plot c --kind compare --out c.svg"));
    let svg = fs::read_to_string(folder.join("c.svg")).unwrap();
    for name in ["none", "lstm", "clip:0.5", "lag, 2 to 4 steps", "after training", "without memory"] {
        assert!(svg.contains(&format!(">{name}<")), "{name}");
    }
    let numbers = stdout(&run(folder, "plot c --kind compare --table"));
    assert_eq!(numbers.lines().filter(|line| line.trim_start().starts_with("lstm")).count(), 2, "{numbers}");

    fs::remove_file(folder.join("c/trainings/lstm-seed-1.json")).unwrap();
    stdout(&run(folder, "report c"));
    let page = fs::read_to_string(folder.join("c/report.html")).unwrap();
    assert!(
        page.contains("1 trainings have not finished")
            && page.contains("<svg")
            && page.contains(">clip:0.5</td>")
    );
    // The command of the page makes the same comparison.
    let command = page.split("Again: <code>bptt ").nth(1).unwrap().split("</code>").next().unwrap();
    stdout(&run(folder, command));
    stdout(&run(folder, "report c"));
    assert!(!fs::read_to_string(folder.join("c/report.html")).unwrap().contains("have not finished"));

    let refused = |line: &str| String::from_utf8(run(folder, line).stderr).unwrap();
    assert!(refused("report c c").contains("c holds a comparison, whose report has no other folder"));
    assert!(refused("report c --steps 5").contains("--steps applies to runs"));
}

#[test]
fn every_kind_of_figure_is_drawn_and_has_its_numbers() {
    let folder = runs();
    let folder = folder.path();
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    for kind in ["heatmap", "profile", "rainbow", "spectrum", "truncation", "curves"] {
        stdout(&run(folder, &format!("plot a --kind {kind} --out {kind}.svg --title Title&<{kind}>")));
        let svg = read(&format!("{kind}.svg"));
        assert!(svg.starts_with("<svg") && svg.contains(&format!(">Title&amp;&lt;{kind}&gt;<")), "{kind}");
        stdout(&run(folder, &format!("plot a --kind {kind} --out {kind}.png")));
        assert!(fs::read(folder.join(format!("{kind}.png"))).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
        stdout(&run(folder, &format!("plot a --kind {kind} --out {kind}.pdf")));
        let pdf = fs::read(folder.join(format!("{kind}.pdf"))).unwrap();
        assert!(pdf.starts_with(b"%PDF-1.") && pdf.trim_ascii_end().ends_with(b"%%EOF"), "{kind}");
    }
    assert_eq!(read("heatmap.svg").matches("<image").count(), 4, "entries, scale, “zero”, “no path”");

    stdout(&run(folder, "plot a b --kind compare --out both.svg"));
    assert!(
        read("both.svg").contains(">a, horizon(0.99) =") && read("both.svg").contains(">b, horizon(0.99) =")
    );

    stdout(&run(folder, "plot b --kind heatmap --all --out all.svg"));
    for name in ["W_ih", "W_hh", "b", "the input"] {
        assert!(read("all.svg").contains(&format!(">{name}<")), "{name}");
    }

    // The step of the cue is 10 before the one that predicts "dinner", which comes 11 words after it.
    let sentence = "Because no food was available in the market, John had to skip dinner.";
    stdout(&bptt(folder, &["plot", "a", "--kind", "profile", "--text", sentence, "--out", "lag.svg"]));
    assert!(read("lag.svg").contains(">true lag, 10 steps<"));
    stdout(&run(folder, "plot a --kind profile --lag 3 --out lag.svg"));
    assert!(read("lag.svg").contains(">true lag, 3 steps<"));

    stdout(&run(folder, "plot b --kind spectrum --out spectrum.csv"));
    let count = |what: &str| read("spectrum.csv").lines().filter(|line| line.starts_with(what)).count();
    // Four gates' blocks of 8 by 8, and an LSTM's state of 16 numbers.
    assert_eq!(
        (count("singular_value,f,"), count("singular_value,"), count("lyapunov_exponent,,")),
        (8, 32, 16)
    );
    let inspected: Value = serde_json::from_str(&stdout(&run(folder, "inspect b --json"))).unwrap();
    let sigma_max = inspected["modules"][0]["blocks"][0]["sigma_max"].as_f64().unwrap();
    let first: f64 =
        read("spectrum.csv").lines().nth(1).unwrap().rsplit(',').next().unwrap().parse().unwrap();
    assert!((first / sigma_max - 1.0).abs() < 1e-6, "{first} {sigma_max}");

    stdout(&run(folder, "plot b --kind truncation --steps 12 --out truncation.csv"));
    let rows: Vec<String> = read("truncation.csv").lines().skip(1).map(str::to_owned).collect();
    // Windows 1, 2, 3, 4, 6, 8 and 12 of all parameters and two weights; the last is no truncation.
    assert_eq!(rows.len(), 3 * 7);
    let last: Vec<&str> = rows[6].split(',').collect();
    assert_eq!(last[..3], ["all parameters", "12", "0e0"]);
    assert!((last[3].parse::<f64>().unwrap() - 1.0).abs() < 1e-12, "{last:?}");

    let table = stdout(&run(folder, "plot a --kind curves --table"));
    let updates = table.lines().filter(|line| line.contains("loss_bits")).count();
    assert_eq!(updates, 12, "{table}");
    stdout(&run(folder, "plot a --kind profile --out profile.csv"));
    let ledger: Value = serde_json::from_str(&stdout(&run(folder, "trace a --json"))).unwrap();
    let w_hh = &ledger["entries"][1];
    assert_eq!(w_hh["parameter"], "weight_hh");
    for (line, quantiles) in
        read("profile.csv").lines().skip(1).zip(w_hh["log10_profile"].as_array().unwrap())
    {
        let median: f64 = line.split(',').nth(4).unwrap().parse().unwrap();
        assert_eq!(quantiles[2].as_f64().unwrap_or(f64::NEG_INFINITY), median, "{line}");
    }
}

#[test]
fn impossible_figures_are_refused_before_anything_is_written() {
    let folder = runs();
    let folder = folder.path();
    for (line, expected) in [
        (
            "plot a --kind heatmap --out a.gif",
            "--out: a.gif has an unknown extension; expected .svg, .pdf, .png, .csv or .parquet",
        ),
        (
            "plot a b --kind heatmap --out a.svg",
            "this kind of figure needs one run, given 2; --kind compare takes several",
        ),
        (
            "plot a --kind compare --out a.svg",
            "--kind compare needs the folders of at least two runs, or one of bptt compare",
        ),
        ("plot a --kind rainbow --lag 3 --out a.svg", "--lag applies to --kind profile only"),
        ("plot a --kind rainbow --all --out a.svg", "--all applies to --kind heatmap only"),
        (
            "plot a --kind heatmap --layer 1 --out a.svg",
            "--layer 1: this network of 1 layers has no such layer",
        ),
        (
            "trace a --out a.xls",
            "--out: a.xls has an unknown extension; expected .npz, .json, .parquet or .csv",
        ),
    ] {
        assert_eq!(refusal(&run(folder, line)), (2, expected.to_owned()), "{line}");
    }
    assert_eq!(run(folder, "plot a --kind heatmap").status.code(), Some(2), "neither --out nor --table");
    assert!(!folder.join("a.svg").exists());
}

#[test]
fn a_ledger_as_a_long_table_is_the_ledgers_json() {
    let folder = runs();
    let folder = folder.path();
    let json: Value = serde_json::from_str(&stdout(&run(folder, "trace b --gates --json"))).unwrap();
    stdout(&run(folder, "trace b --gates --out ledger.csv"));
    let parquet = run(folder, "trace b --gates --out ledger.parquet");
    if cfg!(feature = "parquet") {
        stdout(&parquet);
        assert!(fs::read(folder.join("ledger.parquet")).unwrap().starts_with(b"PAR1"));
    } else {
        let (code, message) = refusal(&parquet);
        assert!(code == 2 && message.contains("--features parquet"), "{message}");
        assert!(!folder.join("ledger.parquet").exists());
    }
    let csv = fs::read_to_string(folder.join("ledger.csv")).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("layer,direction,parameter,gate,k,t,lag,norm,log10_norm,share,state"));
    let entry = |parameter: &str| {
        json["entries"].as_array().unwrap().iter().find(|entry| entry["parameter"] == parameter).unwrap()
    };
    let mut compared = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let (parameter, gate, k) = (fields[2], fields[3], fields[4].parse::<usize>().unwrap());
        let entry = entry(parameter);
        let norm = match (fields[5].parse::<usize>(), gate) {
            (Ok(t), "") if entry["norm"][k].is_array() => &entry["norm"][k][t],
            (Ok(t), gate) if !gate.is_empty() => &entry["gate_norm"][gate][k][t],
            _ => &entry["norm"][k],
        };
        assert_eq!(fields[7].parse::<f64>().ok(), norm.as_f64(), "{line}");
        compared += 1;
    }
    // (12 · 13 / 2) of 4 parameters, of 4 gates of 3 of them, and h0, c0, and two of the head for each loss.
    assert_eq!(compared, 78 * 4 + 78 * 12 + 12 * 4);
}

#[test]
fn events_are_whole_records_with_few_tags() {
    let folder = runs();
    let files: Vec<_> = fs::read_dir(folder.path().join("tb")).unwrap().collect();
    assert_eq!(files.len(), 1);
    let bytes = fs::read(files[0].as_ref().unwrap().path()).unwrap();
    let (mut at, mut records) = (0, Vec::new());
    while at < bytes.len() {
        let length = usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
        records.push(&bytes[at + 12..at + 12 + length]);
        at += length + 16;
    }
    assert_eq!(at, bytes.len());
    let with = |tag: &str| {
        records
            .iter()
            .filter(|record| record.windows(tag.len()).any(|window| window == tag.as_bytes()))
            .count()
    };
    assert_eq!(with("brain.Event:2"), 1);
    assert_eq!((with("train/loss_bits"), with("grad/norm_preclip")), (12, 12));
    assert_eq!(
        (with("gradflow/l0/horizon"), with("gradflow/l0/decay"), with("gradflow/l0/heatmap")),
        (3, 3, 3)
    );
    assert_eq!(with("held_out/loss_bits"), 2);
    assert_eq!(records.len(), 1 + 2 * 12 + 3 * 3 + 2);
}

#[test]
fn a_report_of_a_task_names_it_and_refuses_options_of_texts() {
    let folder = tempfile::tempdir().unwrap();
    let train = [
        "train", "--task", "adding", "--length", "8", "--hidden", "4", "--steps", "4", "--batch", "2",
        "--out", "sums", "--json",
    ];
    let end: Value = serde_json::from_str(&stdout(&bptt(folder.path(), &train))).unwrap();
    assert_eq!(end["report"], "sums/report.html");
    let html = fs::read_to_string(folder.path().join("sums/report.html")).unwrap();
    for words in ["adding, L = 8", "squared error", "5–7 steps", "bptt train --task adding --length 8"] {
        assert!(html.contains(words), "{words}");
    }
    assert_eq!(
        stdout(&bptt(folder.path(), &["report", "sums", "--loss-step", "7"])),
        "wrote sums/report.html\n"
    );
    let (code, message) = refusal(&bptt(folder.path(), &["report", "sums", "--text", "a text"]));
    assert_eq!(
        (code, message.contains("applies to texts only; this is a run of the task adding")),
        (2, true),
        "{message}"
    );
}
