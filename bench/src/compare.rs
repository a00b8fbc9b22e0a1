//! Times of all participants at every shape, measured in turns, and the tables of `compare.md`.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::case::{Case, Kind, Selection, write};
use crate::checks::difference;
use crate::participants::{Baselines, Notes, Participant};
use crate::roofline;
use crate::summary::{head, machine, mb, median, ms, row, three, write_whole};

/// Approximate seconds of one turn.
const TURN: f64 = 0.15;

/// Tries of the roofline in one turn; they take about as long.
const ROOFLINE_TRIES: usize = 20;

/// Pause before a turn: threads of the previous participant may spin for 0.2 s.
const SETTLING: Duration = Duration::from_millis(250);

/// Participants with longer runs, in seconds, have one turn of one run; above the square of it, the run that made the check
/// is the measurement.
const SLOW: f64 = 2.0;

/// What to compare.
pub struct Choice {
    /// The cases.
    pub selection: Selection,
    /// The baselines; all if `None`.
    pub baselines: Option<Vec<String>>,
    /// Turns of every participant.
    pub rounds: usize,
}

/// The measurement of one participant.
struct Measured {
    name: String,
    own: bool,
    /// Whether its backward pass is a framework's automatic one.
    automatic: bool,
    /// The median run of every turn, in seconds.
    turns: Vec<f64>,
    /// Peak bytes beyond those at its start.
    extra: u64,
}

impl Measured {
    fn seconds(&self) -> f64 {
        median(self.turns.clone())
    }
}

/// One case's results.
struct Table {
    case: Case,
    /// Seconds of its matrix products at the roofline, in every turn.
    roofline: Vec<f64>,
    measured: Vec<Measured>,
    /// Participants that refused the case, with the reason.
    absent: Vec<String>,
}

/// Measures, prints the tables and writes `compare.md`.
pub fn run(choice: &Choice, baselines: &Baselines, out: &Path) -> Result<(), Box<dyn Error>> {
    let cases = choice.selection.cases()?;
    let rooflines = [1, 2].map(roofline::best);
    let (mut tables, mut notes, mut whole) = (Vec::new(), Notes::new(), String::new());
    for (i, case) in cases.iter().enumerate() {
        eprintln!("{case} ({} of {})", i + 1, cases.len());
        tables.push(measure(case, choice, baselines, &mut notes)?);
        // A full run takes most of an hour: keep the finished part even if a later case fails.
        whole = text(&tables, cases.len(), &notes, rooflines, choice.rounds, baselines.timeout);
        write_whole(&out.join("compare.md"), &whole)?;
    }
    print!("{whole}");
    Ok(())
}

fn measure(
    case: &Case,
    choice: &Choice,
    baselines: &Baselines,
    notes: &mut Notes,
) -> Result<Table, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    write(case, folder.path())?;
    let mut table =
        Table { case: case.clone(), roofline: Vec::new(), measured: Vec::new(), absent: Vec::new() };
    let mut running: Vec<(Participant, Measured, f64)> = Vec::new();
    let mut expected = None;
    for mut participant in baselines.start(case, choice.baselines.as_deref(), notes) {
        let start = Instant::now();
        let check = match participant.program.prepare(folder.path(), &participant.form) {
            Ok(check) => check,
            Err(why) => {
                table.absent.push(format!("{}: {why}", participant.name));
                continue;
            }
        };
        let prepared = start.elapsed().as_secs_f64();
        let expected = expected.get_or_insert_with(|| check.clone());
        if let Some(difference) = difference(expected, &check) {
            return Err(format!(
                "{case}: {} and bptt compute different numbers: {difference}",
                participant.name
            )
            .into());
        }
        let seconds = if prepared < SLOW * SLOW { median(participant.program.time(2)?) } else { prepared };
        eprintln!("  {:20} {:>9} ms", participant.name, ms(seconds));
        let mut measured = Measured {
            name: participant.name.clone(),
            own: participant.own,
            automatic: !participant.own && !participant.form.starts_with("hand"),
            turns: Vec::new(),
            extra: participant.program.extra_bytes()?,
        };
        if seconds > SLOW * SLOW {
            // Its process ends here: too many waiting processes would exceed the memory.
            measured.turns.push(seconds);
            table.measured.push(measured);
        } else {
            running.push((participant, measured, seconds));
        }
    }
    for round in 0..choice.rounds {
        std::thread::sleep(SETTLING);
        table.roofline.push(case.flops() / median(roofline::measure(case.threads, ROOFLINE_TRIES)));
        for (participant, measured, seconds) in &mut running {
            if round == 0 || *seconds < SLOW {
                std::thread::sleep(SETTLING);
                let repeats = (TURN / *seconds).clamp(3.0, 100.0);
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 3 to 100
                let mut times = participant.program.time(1 + repeats as usize)?;
                // Caches and threads are cold after the other turns.
                times.remove(0);
                measured.turns.push(median(times));
                measured.extra = participant.program.extra_bytes()?;
            }
        }
    }
    table.measured.extend(running.into_iter().map(|(_, measured, _)| measured));
    Ok(table)
}

fn text(
    tables: &[Table],
    cases: usize,
    notes: &Notes,
    rooflines: [f64; 2],
    rounds: usize,
    timeout: Duration,
) -> String {
    let so_far = match tables.len() {
        all if all == cases => String::new(),
        some => format!("\n\nThe first {some} of {cases} cases."),
    };
    let mut text = format!(
        "# bptt, its baselines and the roofline\n\n{}{so_far}\n\nThe roofline is the rate of f32 fused multiply-adds: at \
         best {:.0} GFLOP/s on one core, {:.0} on two.\nIt is measured in turn with the participants, and fractions of it \
         are taken turn by turn. Times are milliseconds, medians\nof {rounds} turns; in a turn all participants run one \
         after another, each after a pause and a run that is not counted.\nRatios are medians of the turns' ratios. All \
         results were compared before the first turn. Memory is the peak of a process\nbeyond its size at the start. \
         Implementations over {SLOW} s for one run have one turn; those over {} s or 8 GB are\nexcluded.\n\n",
        machine(),
        rooflines[0] / 1e9,
        rooflines[1] / 1e9,
        timeout.as_secs(),
    );
    for kind in [Kind::Train, Kind::Itemize] {
        let tables: Vec<_> = tables.iter().filter(|table| table.case.kind == kind).collect();
        if !tables.is_empty() {
            text += &overview(kind, &tables);
        }
    }
    text += "## All implementations\n\n";
    for table in tables {
        text += &details(table);
    }
    text += "## Versions\n\n";
    for (name, note) in notes {
        let _ = writeln!(text, "- {name}: {note}");
    }
    text
}

/// A filter of measurements.
type Filter = fn(&Measured) -> bool;

/// The fastest baseline that passes `filter`.
fn fastest(table: &Table, filter: Filter) -> Option<&Measured> {
    let measured = table.measured.iter().filter(|measured| !measured.own && filter(measured));
    measured.min_by(|a, b| a.seconds().total_cmp(&b.seconds()))
}

/// The time of `other` relative to `own`: the median over paired turns, if both have the same number of turns.
fn ratio(own: &[f64], other: &[f64]) -> f64 {
    if own.len() == other.len() {
        return median(own.iter().zip(other).map(|(own, other)| other / own).collect());
    }
    median(other.to_vec()) / median(own.to_vec())
}

fn overview(kind: Kind, tables: &[&Table]) -> String {
    let (title, columns): (&str, [(&str, Filter); 2]) = match kind {
        Kind::Train => (
            "## A training step: forward and backward",
            [("fastest baseline", |_| true), ("fastest automatic", |m| m.automatic)],
        ),
        Kind::Itemize => (
            "## Norms of every contribution",
            [("fastest by hand", |m| !m.automatic), ("fastest automatic", |m| m.automatic)],
        ),
    };
    let titles = [
        "shape (B, T, H, V)",
        "bptt",
        "of the roofline",
        columns[0].0,
        "times",
        columns[1].0,
        "times",
        "bptt's memory",
    ];
    let mut text = format!("{title}\n\n{}", head(&titles));
    for table in tables {
        let Case { batch, steps, hidden, symbols, .. } = table.case;
        let Some(own) = table.measured.iter().find(|measured| measured.own) else { continue };
        let mut cells = vec![
            format!("{} ({batch}, {steps}, {hidden}, {symbols})", table.case),
            ms(own.seconds()),
            format!("{:.0} %", 100.0 * ratio(&own.turns, &table.roofline)),
        ];
        for (_, filter) in columns {
            let baseline = fastest(table, filter);
            let time = |baseline: &Measured| format!("{} {}", ms(baseline.seconds()), baseline.name);
            cells.push(baseline.map_or("–".into(), time));
            cells.push(baseline.map_or("–".into(), |baseline| three(ratio(&own.turns, &baseline.turns))));
        }
        cells.push(format!("{} MB", mb(own.extra)));
        text += &row(&cells);
    }
    text + "\n"
}

fn details(table: &Table) -> String {
    let roofline = median(table.roofline.clone());
    let mut text = format!(
        "### {}\n\nAt the roofline of these turns, {:.0} GFLOP/s: {} ms.\n\n",
        table.case,
        table.case.flops() / roofline / 1e9,
        ms(roofline)
    );
    text += &head(&["implementation", "ms", "of the roofline", "times bptt's", "memory, MB", "turns"]);
    let own = table.measured.iter().find(|measured| measured.own);
    let mut all: Vec<_> = table.measured.iter().collect();
    all.sort_by(|a, b| a.seconds().total_cmp(&b.seconds()));
    for measured in all {
        text += &row(&[
            measured.name.clone(),
            ms(measured.seconds()),
            format!("{:.1} %", 100.0 * ratio(&measured.turns, &table.roofline)),
            own.map_or("–".into(), |own| three(ratio(&own.turns, &measured.turns))),
            mb(measured.extra),
            measured.turns.len().to_string(),
        ]);
    }
    for absent in &table.absent {
        let _ = writeln!(text, "\nExcluded: {absent}");
    }
    text + "\n"
}
