use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::Result;

/// How the libraries are told their number of threads.
const VARIABLES: [&str; 3] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "MATMUL_NUM_THREADS"];

/// Reads `--threads N` and keeps the process to the last N of the cores it was started on and every
/// library to N threads. To be called first in `main`, before there is a second thread.
pub fn keep_to_threads() -> Result<()> {
    let count = threads_argument()?;
    for variable in VARIABLES {
        // SAFETY: no other thread runs yet that could read or write the environment.
        unsafe { std::env::set_var(variable, count.to_string()) };
    }
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let cores = (0..CpuSet::count()).rev().filter(|&core| allowed.is_set(core).unwrap_or(false));
    let mut kept = CpuSet::new();
    for core in cores.take(count) {
        kept.set(core)?;
    }
    Ok(sched_setaffinity(this, &kept)?)
}

fn threads_argument() -> Result<usize> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(1),
        (Some("--threads"), Some(count)) => match count.parse()? {
            0 => Err("--threads takes a positive number".into()),
            count => Ok(count),
        },
        _ => Err("usage: baseline --threads N".into()),
    }
}
