//! This project as a participant: answers the driver's requests.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::time::Instant;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::case::Case;
use crate::own::Job;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    Prepare { folder: PathBuf },
    Time { repeats: usize },
    Quit,
}

/// Pins the process to the last `threads` of its cores and answers until `quit`.
pub fn run(threads: usize) -> Result<(), Box<dyn Error>> {
    pin_to_cores(threads)?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let forms = json!({"train": ["bptt"], "itemize": ["bptt"]});
    answer(&json!({"name": "bptt", "version": env!("CARGO_PKG_VERSION"), "forms": forms}))?;
    let mut job: Option<Job> = None;
    for line in stdin().lock().lines() {
        match serde_json::from_str(&line?)? {
            Request::Prepare { folder } => {
                let case: Case = serde_json::from_reader(File::open(folder.join("case.json"))?)?;
                let prepared = job.insert(Job::new(&case));
                prepared.run();
                answer(&json!({"ok": true, "check": prepared.check()}))?;
            }
            Request::Time { repeats } => {
                let job = job.as_mut().ok_or("nothing is prepared")?;
                let once = |_| {
                    job.forget();
                    let start = Instant::now();
                    job.run();
                    start.elapsed().as_secs_f64()
                };
                let seconds: Vec<f64> = (0..repeats).map(once).collect();
                answer(&json!({ "seconds": seconds }))?;
            }
            Request::Quit => break,
        }
    }
    Ok(())
}

/// Pins the process to the last `threads` cores it may run on, like every baseline.
fn pin_to_cores(threads: usize) -> Result<(), Box<dyn Error>> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let cores = (0..CpuSet::count()).rev().filter(|&core| allowed.is_set(core).unwrap_or(false));
    let mut kept = CpuSet::new();
    for core in cores.take(threads) {
        kept.set(core)?;
    }
    Ok(sched_setaffinity(this, &kept)?)
}

fn answer(message: &Value) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}
