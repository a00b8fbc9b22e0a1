//! Figures show the numbers they were given.

mod common;

use std::io::Cursor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bptt::{Entry, EntryState, Parameter, ScanOptions};
use bptt_view::columns::Column;
use bptt_view::figure::{Curves, Panel, Profile, compare, curves, heatmap, profile, rainbow};

use common::ledger;

/// The pixels of the first image in an SVG: width, and RGB.
fn image(svg: &str) -> (usize, Vec<u8>) {
    let start = svg.find("data:image/png;base64,").unwrap() + "data:image/png;base64,".len();
    let data = &svg[start..start + svg[start..].find('"').unwrap()];
    let mut decoder = png::Decoder::new(Cursor::new(BASE64_STANDARD.decode(data).unwrap()));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    (frame.width as usize, pixels)
}

/// The colors of the pixels of cell (k, t).
fn cell(svg: &str, steps: usize, k: usize, t: usize) -> Vec<[u8; 3]> {
    let (width, pixels) = image(svg);
    let size = width / steps;
    let at = |x: usize, y: usize| [0, 1, 2].map(|c| pixels[3 * (y * width + x) + c]);
    (0..size * size).map(|i| at(t * size + i % size, k * size + i / size)).collect()
}

fn panel(entry: &Entry) -> Panel<'_> {
    Panel { title: "W_hh", entry }
}

#[test]
fn a_cells_color_is_its_logarithm_between_the_smallest_and_the_largest() {
    let steps = 6;
    let ledger = ledger("rnn", steps, 0.4, ScanOptions::default());
    let entry = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
    let svg = heatmap("A title", &[panel(entry)], 1, None, None, "nats").svg().unwrap();
    let logs: Vec<f64> = (0..steps)
        .flat_map(|k| (0..=k).map(move |t| (k, t)))
        .map(|(k, t)| entry.log10_norm(k, t).unwrap())
        .collect();
    let (low, high) = logs.iter().fold((f64::MAX, f64::MIN), |(low, high), &v| (low.min(v), high.max(v)));
    assert!(high - low > 1.0 && high - low < 12.0);
    for k in 0..steps {
        for t in 0..steps {
            let colors = cell(&svg, steps, k, t);
            let expected = match entry.log10_norm(k, t) {
                Some(log10) => {
                    let level = ((log10 - low) / (high - low) * 251.0).round();
                    // From the light end of viridis, small numbers paler.
                    let small = 1.0 - level / 251.0;
                    let channels = colorous::VIRIDIS.eval_continuous(0.9 * small).into_array().map(f64::from);
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 255
                    let paler = |c: f64| (c + (255.0 - c) * 0.4 * small * small).round() as u8;
                    channels.map(paler)
                }
                None => [255; 3],
            };
            assert!(colors.iter().all(|&color| color == expected), "({k}, {t})");
        }
    }
    assert!(svg.contains(">A title<") && svg.contains(">W_hh<") && svg.contains(">loss k (steps)<"));
}

#[test]
fn states_have_patterns_and_a_legend() {
    let steps = 8;
    let options = ScanOptions {
        detach: ScanOptions::<f64>::detach_every(4, steps),
        burn_in: 2,
        ..ScanOptions::default()
    };
    let ledger = ledger("rnn", steps, 0.4, options);
    let entry = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
    assert_eq!(entry.state(0, 0), EntryState::Masked);
    assert_eq!(entry.state(6, 3), EntryState::Cut(4));
    let svg = heatmap("", &[panel(entry)], 1, None, None, "nats").svg().unwrap();
    let mut masked = cell(&svg, steps, 0, 0);
    let mut cut = cell(&svg, steps, 6, 3);
    masked.sort_unstable();
    masked.dedup();
    cut.sort_unstable();
    cut.dedup();
    assert_eq!((masked, cut), (vec![[150; 3], [222; 3]], vec![[70; 3], [255; 3]]));
    for name in ["no loss (masked)", "cut off", "no path"] {
        assert!(svg.contains(name), "{name}");
    }
    assert!(!svg.contains("underflow"));
}

#[test]
fn symbols_stand_along_the_axes_of_short_texts_only() {
    let symbols: Vec<String> = ["<b>", "is", "&", "מים", "end"].map(String::from).to_vec();
    let small = ledger("rnn", 5, 0.4, ScanOptions::default());
    let entry = small.entry(0, Parameter::WEIGHT_HH).unwrap();
    let svg = heatmap("", &[panel(entry)], 1, Some(&symbols), Some(&symbols), "nats").svg().unwrap();
    assert_eq!(svg.matches(">&lt;b&gt;<").count(), 2);
    assert_eq!((svg.matches(">&amp;<").count(), svg.matches(">מים<").count()), (2, 2));
    assert!(svg.contains(">step t (reads …)<") && svg.contains(">loss k (predicts …)<"));
    let bars = rainbow("", entry, Some(&symbols), "nats").svg().unwrap();
    assert_eq!(bars.matches(">&lt;b&gt;<").count(), 1);

    let long = ledger("rnn", 200, 0.4, ScanOptions::default());
    let many: Vec<String> = (0..200).map(|i| format!("word{i}")).collect();
    let entry = long.entry(0, Parameter::WEIGHT_HH).unwrap();
    let svg = heatmap("", &[panel(entry)], 1, Some(&many), Some(&many), "nats").svg().unwrap();
    assert!(!svg.contains("word") && svg.contains(">step t (steps)<"));
}

#[test]
fn a_heatmap_of_512_steps_is_small_and_a_png_has_its_pixels() {
    let steps = 512;
    let ledger = ledger("rnn", steps, 1.0, ScanOptions::default());
    let entry = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
    let figure = heatmap("", &[panel(entry)], 1, None, None, "nats");
    let svg = figure.svg().unwrap();
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
    let drawn = figure.png().unwrap();
    assert!(drawn.len() < 1_000_000, "{} bytes", drawn.len());
    let mut reader = png::Decoder::new(Cursor::new(drawn)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    // Three pixels a unit and three a cell, from where the image stands.
    let number = |name: &str| -> f64 {
        let image = &svg[svg.find("<image").unwrap()..];
        let start = image.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
        image[start..start + image[start..].find('"').unwrap()].parse().unwrap()
    };
    assert_eq!(number("width"), 512.0);
    let (left, top) = ((number("x") * 3.0).round(), (number("y") * 3.0).round());
    for (k, t) in [(511, 511), (300, 299), (17, 5), (5, 17)] {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let at = 4 * ((top as usize + 3 * k + 1) * frame.width as usize + left as usize + 3 * t + 1);
        assert_eq!(pixels[at..at + 3], cell(&svg, steps, k, t)[4], "({k}, {t})");
    }
}

#[test]
fn the_bars_of_a_step_are_as_high_as_its_norms() {
    let ledger = ledger("rnn", 4, 0.4, ScanOptions::default());
    let entry = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
    let figure = rainbow("", entry, None, "nats");
    let svg = figure.svg().unwrap();
    let attribute = |line: &str, name: &str| -> f64 {
        let start = line.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
        line[start..start + line[start..].find('"').unwrap()].parse().unwrap()
    };
    // A bar is 0.88 of 144 units wide.
    let bars: Vec<(f64, f64)> = svg
        .lines()
        .filter(|line| line.contains("<rect") && line.contains("width=\"126.72"))
        .map(|line| (attribute(line, "x"), attribute(line, "height")))
        .collect();
    assert_eq!(bars.len(), 10);
    let height = |t: usize| -> f64 {
        let x = 86.0 + 144.0 * t as f64 + 8.64;
        bars.iter().filter(|(at, _)| (at - x).abs() < 0.1).map(|(_, height)| height).sum()
    };
    let norms = |t: usize| (t..4).map(|k| entry.norm(k, t).unwrap()).sum::<f64>();
    for t in 1..4 {
        assert!((height(t) / height(0) - norms(t) / norms(0)).abs() < 1e-3, "{t}");
    }
    let Some(Column::Real(table)) = figure.table.column("norm") else { panic!("a column of norms") };
    assert_eq!(table[0], entry.norm(0, 0));
}

#[test]
fn a_profile_says_what_it_marks() {
    let ledger = ledger("rnn", 24, 0.4, ScanOptions::default());
    let entry = ledger.entry(0, Parameter::WEIGHT_IH).unwrap();
    let lags = entry.profile();
    let horizon = entry.horizon(0.99).unwrap();
    let of = Profile { lags: &lags, fit: entry.fit(), horizon: Some((0.99, horizon)), true_lag: Some(11) };
    let figure = profile("", &of, "nats per unit");
    let svg = figure.svg().unwrap();
    let (a, slope) = entry.fit().unwrap();
    assert_eq!(Some(slope), entry.decay());
    let decay = format!("{slope:.3}").replace('-', "−");
    for words in [
        &format!("horizon(0.99) = {horizon} steps"),
        "true lag, 11 steps",
        "median m(τ)",
        "10 % to 90 % of the losses",
        &format!("λ = {decay} per step"),
        "lag τ = |k − t| (steps)",
        "‖component (k, t)‖ (nats per unit)",
        "10⁻⁶",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    let column = |name| match figure.table.column(name) {
        Some(Column::Real(values)) => values.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(column("log10_q50")[7], Some(lags[7].log10_median()));
    let fitted = (a + 7.0 * slope) / std::f64::consts::LN_10;
    assert!((column("log10_fit")[7].unwrap() - fitted).abs() < 1e-12);
}

#[test]
fn runs_are_compared_in_one_figure_and_one_table() {
    let ledger = ledger("lstm", 12, 0.4, ScanOptions::default());
    let entry = ledger.entry(0, Parameter::WEIGHT_HH).unwrap();
    let lags = entry.profile();
    let of = Profile { lags: &lags, fit: entry.fit(), horizon: None, true_lag: None };
    let run = |name: &str| Curves {
        of_text: true,
        name: name.into(),
        loss: (1..=900).map(|step| (f64::from(step), 5.0 / f64::from(step))).collect(),
        held_out: vec![(450.0, 2.0), (900.0, 1.5)],
        gradient: vec![(1.0, 0.1), (900.0, 0.01)],
        horizon: vec![(100.0, 7.0)],
        baselines: vec![("bigram".into(), 2.5)],
    };
    let one = curves("Training", &run("a"));
    let svg = one.svg().unwrap();
    for words in
        ["training", "held out", "bigram", "loss (bits/symbol)", "horizon(0.99) of W_hh (steps)", "update"]
    {
        assert!(svg.contains(words), "{words}");
    }
    assert_eq!(one.table.rows(), 900 + 2 + 2 + 1 + 1);
    let both = compare("", &[(run("a"), of), (run("b"), of)], "nats");
    let svg = both.svg().unwrap();
    assert!(
        svg.contains(">a, λ =") && svg.contains(">b, λ =") && svg.contains("held-out loss (bits/symbol)")
    );
    assert_eq!(both.table.rows(), 2 * (906 + lags.len()));
    let csv = both.table.csv();
    assert!(csv.starts_with("run,quantity,update_or_lag,value\na,loss_bits,1e0,5e0\n"));
    assert!(csv.contains("b,held_out_bits,9e2,1.5e0\n") && csv.contains("a,bigram_bits,,2.5e0\n"));
}
