//! Everyone's times at every shape, in turns, and one table of them.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::case::{CELLS, Case, Kind, write};
use crate::forms::{Form, Notes, Peers};
use crate::roof;
use crate::summary::{head, machine, mb, median, ms, row, three, write_whole};

/// Seconds of one turn, about.
const TURN: f64 = 0.15;

/// As many tries of the roof are about as long as a turn.
const ROOF_TRIES: usize = 20;

/// Before a turn: threads of the form before may spin for 0.2 s after their work is done.
const SETTLING: Duration = Duration::from_millis(250);

/// A form that needs more seconds than this for one run has one turn, of one run; and one that needs more than the square
/// of it, none: the run that made its check is its time.
const SLOW: f64 = 2.0;

/// What takes part.
pub struct Choice {
    /// Shapes; all without one.
    pub shapes: Vec<String>,
    /// Cells; all without one.
    pub cells: Vec<String>,
    /// Peers.
    pub peers: Option<Vec<String>>,
    /// Turns of everyone.
    pub rounds: usize,
}

/// What was measured of one form.
struct Measured {
    name: String,
    own: bool,
    /// Whether it needs no way back by hand: a framework's automatic one.
    automatic: bool,
    /// The median run of every turn, seconds.
    turns: Vec<f64>,
    /// Bytes beyond those it had at its start.
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
    /// Seconds of its products at the roof, in every turn.
    roof: Vec<f64>,
    forms: Vec<Measured>,
    /// Who could not do it, and why.
    absent: Vec<String>,
}

/// Measures, prints and writes.
pub fn run(choice: &Choice, peers: &Peers, out: &Path) -> Result<(), Box<dyn Error>> {
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|wanted| wanted == name);
    if let Some(unknown) = choice.cells.iter().find(|cell| !CELLS.contains(&cell.as_str())) {
        return Err(format!("there is no cell {unknown}: expected {}", CELLS.join(", ")).into());
    }
    let cases: Vec<Case> = Case::all()
        .into_iter()
        .filter(|case| wanted(&choice.shapes, &case.name) && wanted(&choice.cells, &case.cell))
        .collect();
    if cases.is_empty() {
        return Err("there is no such shape: expected A, B, C, D, a, b or c".into());
    }
    let roofs = [1, 2].map(roof::best);
    let (mut tables, mut notes, mut whole) = (Vec::new(), Notes::new(), String::new());
    for (i, case) in cases.iter().enumerate() {
        eprintln!("{case} ({} of {})", i + 1, cases.len());
        tables.push(measure(case, choice, peers, &mut notes)?);
        // It takes most of an hour: what is measured is kept, whatever happens to the rest.
        whole = text(&tables, cases.len(), &notes, roofs, choice.rounds, peers.patience);
        write_whole(&out.join("compare.md"), &whole)?;
    }
    print!("{whole}");
    Ok(())
}

fn measure(case: &Case, choice: &Choice, peers: &Peers, notes: &mut Notes) -> Result<Table, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    write(case, folder.path())?;
    let mut table = Table { case: case.clone(), roof: Vec::new(), forms: Vec::new(), absent: Vec::new() };
    let mut taking_part: Vec<(Form, Measured, f64)> = Vec::new();
    let mut expected = None;
    for mut form in peers.start(case, choice.peers.as_deref(), notes) {
        let start = Instant::now();
        let check = match form.peer.prepare(folder.path(), &form.called) {
            Ok(check) => check,
            Err(why) => {
                table.absent.push(format!("{}: {why}", form.name));
                continue;
            }
        };
        let prepared = start.elapsed().as_secs_f64();
        let expected = expected.get_or_insert_with(|| check.clone());
        if let Some(difference) = difference(expected, &check) {
            return Err(format!("{} finds other numbers than bptt at {case}: {difference}", form.name).into());
        }
        let seconds = if prepared < SLOW * SLOW { median(form.peer.time(2)?) } else { prepared };
        eprintln!("  {:20} {:>9} ms", form.name, ms(seconds));
        let mut measured = Measured {
            name: form.name.clone(),
            own: form.own,
            automatic: !form.own && !form.called.starts_with("hand"),
            turns: Vec::new(),
            extra: form.peer.extra_bytes()?,
        };
        if seconds > SLOW * SLOW {
            // Its process ends here: the memory of all that wait would be too much.
            measured.turns.push(seconds);
            table.forms.push(measured);
        } else {
            taking_part.push((form, measured, seconds));
        }
    }
    for round in 0..choice.rounds {
        std::thread::sleep(SETTLING);
        table.roof.push(case.flops() / median(roof::measure(case.threads, ROOF_TRIES)));
        for (form, measured, seconds) in &mut taking_part {
            if round == 0 || *seconds < SLOW {
                std::thread::sleep(SETTLING);
                let repeats = (TURN / *seconds).clamp(3.0, 100.0);
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 3 to 100
                let mut times = form.peer.time(1 + repeats as usize)?;
                // Caches and threads are cold after the others' turns, for everyone alike.
                times.remove(0);
                measured.turns.push(median(times));
                measured.extra = form.peer.extra_bytes()?;
            }
        }
    }
    table.forms.extend(taking_part.into_iter().map(|(_, measured, _)| measured));
    Ok(table)
}

/// How two checks differ, if they do by more than 1e-4 of a number. Norms far below a list's largest have fewer digits.
fn difference(expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let apart =
                |(key, a): (&String, &Value)| difference(a, b.get(key)?).map(|what| format!("{key}: {what}"));
            a.iter().find_map(apart)
        }
        (Value::Array(a), Value::Array(b)) => {
            let largest = a.iter().filter_map(Value::as_f64).fold(0.0, |m: f64, v| m.max(v.abs()));
            a.iter().zip(b).find_map(|(a, b)| match (a.as_f64(), b.as_f64()) {
                (Some(x), Some(y)) => apart(x, y, 1e-12 * largest),
                _ => difference(a, b),
            })
        }
        (a, b) => apart(a.as_f64()?, b.as_f64().unwrap_or(f64::NAN), 0.0),
    }
}

fn apart(x: f64, y: f64, least: f64) -> Option<String> {
    let near = (x - y).abs() <= 1e-4 * x.abs() + least;
    (!near).then(|| format!("{y} instead of {x}"))
}

fn text(
    tables: &[Table],
    cases: usize,
    notes: &Notes,
    roofs: [f64; 2],
    rounds: usize,
    patience: Duration,
) -> String {
    let so_far = match tables.len() {
        all if all == cases => String::new(),
        some => format!("\n\nThe first {some} of {cases} cases."),
    };
    let mut text = format!(
        "# bptt, its peers and the roof\n\n{}{so_far}\n\nThe roof is that of fused multiplications and additions in f32: at \
         best {:.0} GFLOP/s on one core, {:.0} on two;\nit has its turn as everyone has, and fractions of it are those \
         of the turns. Times are milliseconds, medians of\n{rounds} turns in which everyone worked one after another, \
         after a pause and a run that is not counted;\nratios are medians of the turns' ratios. All results were \
         compared before the first turn. Memory is what\na process needed beyond what it had at its start. A form \
         that needs more than {SLOW} s for one run had\none turn; one that needs more than {} s or 8 GB does not take \
         part.\n\n",
        machine(),
        roofs[0] / 1e9,
        roofs[1] / 1e9,
        patience.as_secs(),
    );
    for kind in [Kind::Train, Kind::Itemize] {
        let tables: Vec<_> = tables.iter().filter(|table| table.case.kind == kind).collect();
        if !tables.is_empty() {
            text += &overview(kind, &tables);
        }
    }
    text += "## Everyone\n\n";
    for table in tables {
        text += &details(table);
    }
    text += "## Versions\n\n";
    for (name, note) in notes {
        let _ = writeln!(text, "- {name}: {note}");
    }
    text
}

/// Which forms take part in a comparison.
type Wanted = fn(&Measured) -> bool;

/// The fastest of the forms that `wanted` lets take part.
fn fastest(table: &Table, wanted: Wanted) -> Option<&Measured> {
    let forms = table.forms.iter().filter(|form| !form.own && wanted(form));
    forms.min_by(|a, b| a.seconds().total_cmp(&b.seconds()))
}

/// How many times as long as the turns of `own` those of another are.
fn ratio(own: &[f64], other: &[f64]) -> f64 {
    if own.len() == other.len() {
        return median(own.iter().zip(other).map(|(own, other)| other / own).collect());
    }
    median(other.to_vec()) / median(own.to_vec())
}

fn overview(kind: Kind, tables: &[&Table]) -> String {
    let (title, peers): (&str, [(&str, Wanted); 2]) = match kind {
        Kind::Train => (
            "## A training step: forward and backward",
            [("fastest peer", |_| true), ("fastest automatic", |m| m.automatic)],
        ),
        Kind::Itemize => (
            "## Itemized norms",
            [("fastest by hand", |m| !m.automatic), ("fastest automatic", |m| m.automatic)],
        ),
    };
    let titles = [
        "shape (B, T, H, V)",
        "bptt",
        "of the roof",
        peers[0].0,
        "times",
        peers[1].0,
        "times",
        "bptt's memory",
    ];
    let mut text = format!("{title}\n\n{}", head(&titles));
    for table in tables {
        let Case { batch, steps, hidden, symbols, .. } = table.case;
        let Some(own) = table.forms.iter().find(|form| form.own) else { continue };
        let mut cells = vec![
            format!("{} ({batch}, {steps}, {hidden}, {symbols})", table.case),
            ms(own.seconds()),
            format!("{:.0} %", 100.0 * ratio(&own.turns, &table.roof)),
        ];
        for (_, wanted) in peers {
            let peer = fastest(table, wanted);
            cells.push(peer.map_or("–".into(), |peer| format!("{} {}", ms(peer.seconds()), peer.name)));
            cells.push(peer.map_or("–".into(), |peer| three(ratio(&own.turns, &peer.turns))));
        }
        cells.push(format!("{} MB", mb(own.extra)));
        text += &row(&cells);
    }
    text + "\n"
}

fn details(table: &Table) -> String {
    let roof = median(table.roof.clone());
    let mut text = format!(
        "### {}\n\nAt the roof of these turns, {:.0} GFLOP/s: {} ms.\n\n",
        table.case,
        table.case.flops() / roof / 1e9,
        ms(roof)
    );
    text += &head(&["form", "ms", "of the roof", "times bptt's", "memory, MB", "turns"]);
    let own = table.forms.iter().find(|form| form.own);
    let mut forms: Vec<_> = table.forms.iter().collect();
    forms.sort_by(|a, b| a.seconds().total_cmp(&b.seconds()));
    for form in forms {
        text += &row(&[
            form.name.clone(),
            ms(form.seconds()),
            format!("{:.1} %", 100.0 * ratio(&form.turns, &table.roof)),
            own.map_or("–".into(), |own| three(ratio(&own.turns, &form.turns))),
            mb(form.extra),
            form.turns.len().to_string(),
        ]);
    }
    for absent in &table.absent {
        let _ = writeln!(text, "\nNot there: {absent}");
    }
    text + "\n"
}
