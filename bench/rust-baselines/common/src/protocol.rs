use std::{
    io::{BufRead, Write, stdin, stdout},
    path::{Path, PathBuf},
    time::Instant,
};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Case, Result};

/// The loss and the norms of its six gradients, by which the driver sees that it is the same job.
#[derive(Debug, Serialize)]
pub struct Check {
    /// The mean cross-entropy.
    pub loss: f64,
    /// ‖dL/dW_ih‖.
    pub w_ih: f64,
    /// ‖dL/dW_hh‖.
    pub w_hh: f64,
    /// ‖dL/db_ih‖.
    pub b_ih: f64,
    /// ‖dL/db_hh‖.
    pub b_hh: f64,
    /// ‖dL/dW_hy‖.
    pub w_hy: f64,
    /// ‖dL/db_y‖.
    pub b_y: f64,
}

/// A prepared case in one form.
pub trait Job {
    /// Does the whole job: the loss and its gradients, left in memory.
    fn run(&mut self) -> Result<()>;
    /// Tells what the last run computed.
    fn check(&self) -> Result<Check>;
}

/// A library under test.
pub struct Baseline {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The forms in which it does the job of kind `train`.
    pub forms: &'static [&'static str],
    /// Makes ready to do a case in one of the forms; an error says why it cannot be done.
    pub prepare: fn(&Case, &str) -> Result<Box<dyn Job>>,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Ask {
    Prepare { folder: PathBuf, form: String },
    Time { repeats: usize },
    Quit,
}

/// Answers the driver's questions until it says `quit` or goes away.
pub fn serve(baseline: &Baseline) -> Result<()> {
    tell(&json!({
        "name": baseline.name,
        "version": baseline.version,
        "forms": { "train": baseline.forms, "itemize": [] },
    }))?;
    let mut job = None;
    for line in stdin().lock().lines() {
        match serde_json::from_str(&line?)? {
            Ask::Prepare { folder, form } => {
                job = None;
                match prepare(baseline, &folder, &form) {
                    Ok((prepared, check)) => {
                        job = Some(prepared);
                        tell(&json!({ "ok": true, "check": check }))?;
                    }
                    Err(why) => tell(&json!({ "ok": false, "why": why.to_string() }))?,
                }
            }
            Ask::Time { repeats } => {
                let seconds = time(job.as_deref_mut().ok_or("nothing is prepared")?, repeats)?;
                tell(&json!({ "seconds": seconds, "peak_bytes": peak_bytes()? }))?;
            }
            Ask::Quit => break,
        }
    }
    Ok(())
}

fn prepare(baseline: &Baseline, folder: &Path, form: &str) -> Result<(Box<dyn Job>, Check)> {
    if !baseline.forms.contains(&form) {
        return Err(format!("no form {form}").into());
    }
    let mut job = (baseline.prepare)(&Case::read(folder)?, form)?;
    job.run()?;
    let check = job.check()?;
    Ok((job, check))
}

fn time(job: &mut dyn Job, repeats: usize) -> Result<Vec<f64>> {
    (0..repeats)
        .map(|_| {
            let start = Instant::now();
            job.run()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect()
}

fn peak_bytes() -> Result<i64> {
    // Linux counts in kibibytes.
    Ok(getrusage(UsageWho::RUSAGE_SELF)?.max_rss() * 1024)
}

fn tell(answer: &serde_json::Value) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}
