//! What the tables have in common: medians, the machine, and files.

use std::error::Error;
use std::path::Path;
use std::process::Command;

/// The middle one of `numbers`; not a number if there is none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => numbers[n / 2],
        n => f64::midpoint(numbers[n / 2 - 1], numbers[n / 2]),
    }
}

/// The slope of ln y over ln x, by least squares.
pub fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let products: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    products / logs.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}

/// Milliseconds with three figures.
pub fn ms(seconds: f64) -> String {
    three(1e3 * seconds)
}

/// Three figures.
pub fn three(number: f64) -> String {
    match number {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 1.0 => format!("{n:.2}"),
        n => format!("{n:.3}"),
    }
}

/// Megabytes (10⁶) with three figures.
pub fn mb(bytes: u64) -> String {
    three(bytes as f64 / 1e6)
}

/// A line of a Markdown table.
pub fn row<S: AsRef<str>>(cells: &[S]) -> String {
    cells.iter().fold("|".to_owned(), |line, cell| line + " " + cell.as_ref() + " |") + "\n"
}

/// The head of a Markdown table: the first column is text, the others numbers.
pub fn head(titles: &[&str]) -> String {
    let lines: Vec<&str> =
        titles.iter().enumerate().map(|(i, _)| if i == 0 { "---" } else { "---:" }).collect();
    row(titles) + &row(&lines)
}

/// The machine, the compiler and the day, in one sentence.
pub fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}: {}, {cores} cores, {} registers, {}, Linux {}.",
        said("date", &["+%F"]),
        cpu.unwrap_or("an unnamed processor"),
        bptt::kernel::registers::name(),
        said("rustc", &["--version"]),
        said("uname", &["-r"]),
    )
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| "?".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Prints a table and writes it to `folder`.
pub fn publish(folder: &Path, name: &str, table: &str) -> Result<(), Box<dyn Error>> {
    print!("{table}");
    write_whole(&folder.join(name), table)
}

/// Writes a table to a file, whole or not at all.
pub fn write_whole(path: &Path, table: &str) -> Result<(), Box<dyn Error>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(file.path(), table)?;
    file.persist(path)?;
    eprintln!("written to {}", path.display());
    Ok(())
}
