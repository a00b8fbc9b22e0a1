//! How much memory a command may use: what is asked for beyond it is refused before work starts.

use std::fs;
use std::sync::OnceLock;

use crate::Failure;

/// The part of the available memory that is used if no limit is given.
const PART: f64 = 0.8;

/// The limit in bytes, if one is given.
static GIVEN: OnceLock<f64> = OnceLock::new();

/// Takes the limit of `--max-memory`.
pub(crate) fn limit_to(bytes: f64) {
    let _ = GIVEN.set(bytes);
}

/// Bytes of a size such as 500M or 8G; 1G is 1024³.
pub(crate) fn parse(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&text[..at], 1024.0),
        Some((at, 'M' | 'm')) => (&text[..at], 1024.0 * 1024.0),
        Some((at, 'G' | 'g')) => (&text[..at], 1024.0 * 1024.0 * 1024.0),
        Some((at, 'T' | 't')) => (&text[..at], 1024.0 * 1024.0 * 1024.0 * 1024.0),
        _ => (text, 1.0),
    };
    match digits.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(factor * number),
        _ => Err("expected a size above 0, such as 500M or 8G".into()),
    }
}

/// The bytes that may be used; `None` where the system does not say what is available.
pub(crate) fn limit() -> Option<f64> {
    GIVEN.get().copied().or_else(|| Some(PART * available()?))
}

/// Refuses what needs more than may be used; `instead` says what would fit into a number of bytes.
pub(crate) fn allow(
    what: &str,
    needed: f64,
    instead: impl FnOnce(f64) -> Result<Option<String>, Failure>,
) -> Result<(), Failure> {
    let Some(limit) = limit() else { return Ok(()) };
    if needed <= limit {
        return Ok(());
    }
    let instead = instead(limit)?.map_or(String::new(), |fits| format!("; {fits} fits"));
    Err(Failure::Usage(format!(
        "{what} needs about {}, and {} may be used{instead}; --max-memory allows more",
        shown(needed),
        shown(limit)
    )))
}

/// A number of bytes with its unit.
fn shown(bytes: f64) -> String {
    const UNITS: [&str; 7] = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut scaled = bytes;
    for unit in UNITS {
        if scaled < 1000.0 {
            return if scaled < 10.0 { format!("{scaled:.1} {unit}") } else { format!("{scaled:.0} {unit}") };
        }
        scaled /= 1000.0;
    }
    format!("{bytes:.0e} bytes")
}

/// What is available to this process: the least of what the system, its control group and its own limits leave. Linux alone
/// tells.
fn available() -> Option<f64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let system = meminfo.lines().find_map(|line| kilobytes(line.strip_prefix("MemAvailable:")?))?;
    Some([control_group(), address_space()].into_iter().flatten().fold(system, f64::min))
}

/// A number in front of "kB".
fn kilobytes(text: &str) -> Option<f64> {
    Some(1024.0 * text.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()?)
}

/// What the control group leaves, in either version.
fn control_group() -> Option<f64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<f64>().ok();
    let left = |most: &str, used: &str| Some((number(most)? - number(used)?).max(0.0));
    left("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current").or_else(|| {
        left("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
    })
}

/// What the limit of the address space (`ulimit -v`) leaves.
fn address_space() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max address space"))?;
    let most: f64 = line.split_whitespace().nth(3)?.parse().ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let used = status.lines().find_map(|line| kilobytes(line.strip_prefix("VmSize:")?))?;
    Some((most - used).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse("8G"), Ok(8.0 * 1024f64.powi(3)));
        assert_eq!(parse("1.5m"), Ok(1.5 * 1024.0 * 1024.0));
        assert_eq!(parse("100"), Ok(100.0));
        for wrong in ["", "G", "-1G", "0", "inf", "NaN", "8GB", "é"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!([1.0, 2_500.0, 8.6e9, 3e30].map(shown), ["1.0 bytes", "2.5 kB", "8.6 GB", "3e30 bytes"]);
    }
}
