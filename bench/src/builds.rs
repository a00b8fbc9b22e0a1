//! Two builds of this project at every shape, measured in turns, with the older one twice as a control.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bptt::{Bootstrap, Interval, quantile_interval};
use bptt_train::Rng;
use clap::Args;
use serde_json::Value;

use crate::case::{Case, Selection, write};
use crate::checks::difference;
use crate::participants::{serve, this_build};
use crate::program::Program;
use crate::summary::{head, machine, median, ms, row, three, write_whole};

/// Approximate seconds of one turn of one build.
const TURN: f64 = 0.1;

/// Pause before a turn, for idle threads of the previous process to go to sleep.
const SETTLING: Duration = Duration::from_millis(10);

/// Limit on the time of one answer.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The order of the builds in consecutive turns: every build follows every other one equally often.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1], [1, 0, 2]];

/// Positions in every array of three: the build under test, the baseline, the baseline again.
const NEW: usize = 0;
const OLD: usize = 1;
const CONTROL: usize = 2;

/// Which builds to compare, and how.
#[derive(Clone, Debug, Args)]
pub struct BuildsArgs {
    /// The older build of `bptt-bench`, of any version since 0.1.0
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// The build under test [default: this program]
    #[arg(long, value_name = "FILE")]
    candidate: Option<PathBuf>,
    /// Exit code 1 if a case's interval of the ratio lies wholly above this
    #[arg(long, default_value_t = 1.02)]
    limit: f64,
    /// Approximate seconds for each case; slow cases need more for the least number of turns
    #[arg(long, default_value_t = 38.0)]
    seconds: f64,
    /// How often the processes of a case are started anew, because memory addresses affect the speed of a process
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    starts: u8,
    /// Also write `builds.md`
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    selection: Selection,
}

/// The measurement of one case.
struct Measured {
    case: Case,
    /// For each turn, the median run of each build, in seconds.
    turns: Vec<[f64; 3]>,
    /// Peak bytes beyond those at the start, of each build.
    extra: [u64; 3],
    /// Whether both builds computed the same bits.
    identical: bool,
}

impl Measured {
    fn seconds(&self, build: usize) -> f64 {
        median(self.turns.iter().map(|turn| turn[build]).collect())
    }

    /// The ratio of a build's time to the baseline's: the median over turns and its bootstrap interval.
    fn ratio(&self, build: usize) -> Interval {
        let ratios: Vec<f64> = self.turns.iter().map(|turn| turn[build] / turn[OLD]).collect();
        let mut rng = Rng::new(1, 0);
        let interval = quantile_interval(&ratios, 0.5, Bootstrap::default(), |n| rng.below(n));
        interval.expect("a median is a quantile").expect("there are turns")
    }
}

/// Measures, prints the table and, if asked for, writes `builds.md`. Exit code 1 if a case is slower than the limit.
pub fn run(args: &BuildsArgs, out: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let cases = args.selection.cases()?;
    // Copies, because a file may be replaced during the run; of equal path lengths, which affect addresses.
    let copies = tempfile::tempdir()?;
    let candidate = args.candidate.clone().unwrap_or_else(this_build);
    let files = [&candidate, &args.baseline, &args.baseline];
    let builds = ["0", "1", "2"].map(|name| copies.path().join(name));
    for (file, copy) in files.iter().zip(&builds) {
        std::fs::copy(file, copy).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut text = introduction(args, &candidate, load.split(' ').next().unwrap_or("?"));
    let mut all = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        eprint!("{case} ({} of {}) ", i + 1, cases.len());
        let measured = measure(case, args, &builds)?;
        eprintln!("{}; control {}", shown(&measured.ratio(NEW)), shown(&measured.ratio(CONTROL)));
        text += &line(&measured);
        all.push(measured);
    }
    let slower = above(&all, args.limit);
    text += &conclusion(&all, &slower, args.limit);
    print!("{text}");
    if args.write {
        write_whole(&out.join("builds.md"), &text)?;
    }
    Ok(if slower.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(case: &Case, args: &BuildsArgs, builds: &[PathBuf; 3]) -> Result<Measured, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    write(case, folder.path())?;
    let mut measured = Measured { case: case.clone(), turns: Vec::new(), extra: [0; 3], identical: true };
    let mut plan = None;
    for start in 0..usize::from(args.starts) {
        let mut programs: Vec<Option<Program>> = builds.iter().map(|_| None).collect();
        let mut checks = [const { Value::Null }; 3];
        for build in ORDERS[start % ORDERS.len()] {
            let mut program = Program::start(&mut serve(&builds[build], case.threads), TIMEOUT)?;
            checks[build] = program.prepare(folder.path(), "bptt")?;
            programs[build] = Some(program);
        }
        if let Some(difference) = difference(&checks[OLD], &checks[NEW]) {
            return Err(format!("{case}: the builds compute different numbers: {difference}").into());
        }
        measured.identical &= checks[OLD] == checks[NEW];
        let mut programs: Vec<Program> = programs.into_iter().flatten().collect();
        let (turns, repeats) = match plan {
            Some(plan) => plan,
            None => *plan.insert(planned(median(programs[OLD].time(3)?), args)),
        };
        for turn in 0..turns {
            let mut seconds = [0.0; 3];
            for build in ORDERS[turn % ORDERS.len()] {
                std::thread::sleep(SETTLING);
                let mut times = programs[build].time(repeats)?;
                if repeats > 1 {
                    // Caches are cold after the other builds' turns.
                    times.remove(0);
                }
                seconds[build] = median(times);
            }
            measured.turns.push(seconds);
            eprint!("{}", if turn % ORDERS.len() == 0 { "." } else { "" });
        }
        for (extra, program) in measured.extra.iter_mut().zip(&programs) {
            *extra = (*extra).max(program.extra_bytes()?);
        }
    }
    Ok(measured)
}

/// The turns of each start, a multiple of the number of orders, and the runs of a turn.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small and positive
fn planned(seconds: f64, args: &BuildsArgs) -> (usize, usize) {
    let repeats = (TURN / seconds).ceil().clamp(1.0, 200.0);
    // Several short runs begin with one that is not counted.
    let repeats = if repeats > 1.0 { repeats + 1.0 } else { repeats };
    let turn = 3.0 * (SETTLING.as_secs_f64() + repeats * seconds);
    let sets = args.seconds / f64::from(args.starts) / turn / ORDERS.len() as f64;
    (ORDERS.len() * sets.clamp(1.0, 100.0) as usize, repeats as usize)
}

/// The cases whose interval lies wholly above the limit.
fn above(all: &[Measured], limit: f64) -> Vec<String> {
    let slower = all.iter().filter(|measured| measured.ratio(NEW).low > limit);
    slower.map(|measured| measured.case.to_string()).collect()
}

fn shown(ratio: &Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", ratio.estimate, ratio.low, ratio.high)
}

fn introduction(args: &BuildsArgs, candidate: &Path, load: &str) -> String {
    format!(
        "# Two builds\n\n{}\nLoad average at the start: {load}.\n\nNew: `{}`. Old: `{}`.\n\nBoth builds and, as a control, the old one \
         a second time run one after another in every turn, in an order that\nchanges from turn to turn; the processes are \
         started {} times. Times are milliseconds, medians of the turns. Ratios are\nmedians of the turns' ratios, with 95 % \
         bootstrap intervals.\n\n",
        machine(),
        candidate.display(),
        args.baseline.display(),
        args.starts,
    ) + &head(&[
        "shape",
        "new",
        "old",
        "new / old",
        "interval",
        "control / old",
        "interval",
        "memory new / old",
        "turns",
    ])
}

fn line(measured: &Measured) -> String {
    let [new, control] = [NEW, CONTROL].map(|build| measured.ratio(build));
    let interval = |ratio: &Interval| format!("{:.4} to {:.4}", ratio.low, ratio.high);
    row(&[
        measured.case.to_string(),
        ms(measured.seconds(NEW)),
        ms(measured.seconds(OLD)),
        format!("{:.4}", new.estimate),
        interval(&new),
        format!("{:.4}", control.estimate),
        interval(&control),
        three(measured.extra[NEW] as f64 / measured.extra[OLD] as f64),
        measured.turns.len().to_string(),
    ])
}

fn conclusion(all: &[Measured], slower: &[String], limit: f64) -> String {
    let unequal: Vec<String> = all.iter().filter(|m| !m.identical).map(|m| m.case.to_string()).collect();
    let mut text = String::from("\nLosses and norms of both builds: ");
    let _ = match unequal.as_slice() {
        [] => writeln!(text, "identical in all bits."),
        unequal => writeln!(text, "equal within 1e-4, not in all bits, at {}.", unequal.join(", ")),
    };
    let mean = |build| {
        let logs = all.iter().map(|measured| measured.ratio(build).estimate.ln());
        (logs.sum::<f64>() / all.len() as f64).exp()
    };
    let _ = writeln!(text, "Geometric mean of the ratios: {:.4}; control {:.4}.\n", mean(NEW), mean(CONTROL));
    let contains = |m: &&Measured| m.ratio(NEW).low <= limit && m.ratio(NEW).high > limit;
    let undecided: Vec<String> = all.iter().filter(contains).map(|m| m.case.to_string()).collect();
    if !undecided.is_empty() {
        let _ =
            writeln!(text, "Undecided, because the interval contains {limit}: {}.\n", undecided.join(", "));
    }
    let _ = match slower {
        [] => writeln!(text, "No case has its interval wholly above {limit}."),
        slower => writeln!(text, "Wholly above {limit}: {}.", slower.join(", ")),
    };
    text
}
