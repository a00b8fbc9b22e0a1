//! Time and memory as functions of T, H, B and the number of losses, with fitted exponents next to those of the operation count.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use crate::case::{Case, Kind, write};
use crate::participants::{serve, this_build};
use crate::program::Program;
use crate::roofline;
use crate::summary::{exponent, head, machine, mb, median, ms, publish, row, three};

/// Limit on the time of one answer.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The measurement of one size.
struct Point {
    size: usize,
    flops: f64,
    seconds: f64,
    extra: u64,
}

/// A series: what varies, and the case of every size.
struct Series {
    title: String,
    cases: Vec<(usize, Case)>,
}

/// Measures all series, prints the tables and writes `scale.md`.
pub fn run(longest: usize, out: &Path) -> Result<(), Box<dyn Error>> {
    let roofline = roofline::best(2);
    let mut text = format!(
        "# How time and memory grow\n\n{}\nTwo threads, f32. Exponents are fitted by least squares of logarithms over the \
         upper half of the sizes.\n\n",
        machine()
    );
    for series in all(longest) {
        eprintln!("{}", series.title);
        let mut points = Vec::new();
        for (size, case) in &series.cases {
            points.push(measure(*size, case)?);
            let Point { seconds, extra, .. } = points[points.len() - 1];
            eprintln!("  {size}: {} ms, {} MB", ms(seconds), mb(extra));
        }
        text += &section(&series.title, &points, roofline);
    }
    publish(out, "scale.md", &text)
}

/// Sizes from `first` to `last`, in steps of a factor of four.
fn fourfold(first: usize, last: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(first), |size| Some(4 * size)).take_while(move |&size| size <= last)
}

fn all(longest: usize) -> Vec<Series> {
    let case = |kind, batch, steps, hidden, cell: &str| {
        Case::new(kind, ("scale", batch, steps, hidden, 64, 2), cell)
    };
    let series = |title: String, cases: Vec<(usize, Case)>| Series { title, cases };
    let mut all = Vec::new();
    for kind in [Kind::Train, Kind::Itemize] {
        let name = kind.as_str();
        let (batch, steps) = if kind == Kind::Train { (32, 128) } else { (1, 256) };
        let itemize = kind == Kind::Itemize;
        let t = fourfold(64, longest).filter(|&t| itemize || t <= 4_096);
        let hidden_of_t = if itemize { 256 } else { 128 };
        all.push(series(
            format!("{name}: steps T (B = {}, H = {hidden_of_t}, tanh RNN)", if itemize { 1 } else { batch }),
            t.map(|t| (t, case(kind, batch, t, hidden_of_t, "rnn"))).collect(),
        ));
        for cell in ["rnn", "lstm"] {
            let h = [32, 64, 128, 256, 512, 1_024];
            all.push(series(
                format!("{name}: units H (B = {batch}, T = {steps}, {cell})"),
                h.map(|h| (h, case(kind, batch, steps, h, cell))).to_vec(),
            ));
        }
        let b = [1, 4, 16, 64].into_iter().chain((kind == Kind::Train).then_some(256));
        all.push(series(
            format!("{name}: sequences B (T = {steps}, H = 128, tanh RNN)"),
            b.map(|b| (b, case(kind, b, steps, 128, "rnn"))).collect(),
        ));
    }
    let losses = |k: usize| Case { losses: Some(k), ..case(Kind::Itemize, 1, 1_024, 128, "rnn") };
    all.push(series(
        "itemize: losses K, the last ones of T = 1024 steps (B = 1, H = 128, tanh RNN)".into(),
        fourfold(4, 1_024).map(|k| (k, losses(k))).collect(),
    ));
    all
}

/// Measures one size in a process of its own, because memory is measured per process.
fn measure(size: usize, case: &Case) -> Result<Point, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    write(case, folder.path())?;
    let mut own = Program::start(&mut serve(&this_build(), case.threads), TIMEOUT)?;
    own.prepare(folder.path(), "bptt")?;
    let once = median(own.time(1)?);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to 50
    let repeats = (1.0 / once).clamp(1.0, 50.0) as usize;
    let seconds = if once > 5.0 { once } else { median(own.time(repeats)?) };
    Ok(Point { size, flops: case.flops(), seconds, extra: own.extra_bytes()? })
}

fn section(title: &str, points: &[Point], roofline: f64) -> String {
    let mut text = format!("## {title}\n\n");
    text += &head(&["size", "ms", "GFLOP", "of the roofline", "memory, MB"]);
    for point in points {
        text += &row(&[
            point.size.to_string(),
            ms(point.seconds),
            three(point.flops / 1e9),
            format!("{:.0} %", 100.0 * point.flops / roofline / point.seconds),
            mb(point.extra),
        ]);
    }
    let upper = &points[(points.len() - 1) / 2..];
    let fit = |of: fn(&Point) -> f64| {
        three(exponent(&upper.iter().map(|point| (point.size as f64, of(point))).collect::<Vec<_>>()))
    };
    text + &format!(
        "\nExponents: time {}, operations {}, memory {}.\n\n",
        fit(|p| p.seconds),
        fit(|p| p.flops),
        fit(|p| p.extra as f64)
    )
}
