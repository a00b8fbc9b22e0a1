//! TensorBoard events of a training.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bptt::{Ledger, Parameter};
use bptt_io::files;
use bptt_train::{Event, Flow, Observer};
use bptt_view::figure::heatmap_png;
use bptt_view::json::HORIZON;
use bptt_view::tensorboard as records;

use crate::Failure;
use crate::progress::Unit;

/// Writes an event file; a write error ends the training.
pub(crate) struct TensorBoard {
    path: PathBuf,
    unit: Unit,
    /// Created at the first event, so that a training that is refused leaves no file.
    file: Option<File>,
    failed: Option<io::Error>,
}

impl TensorBoard {
    /// An event file in `folder`, which is created if necessary, with losses in `unit`.
    pub fn new(folder: &Path, unit: Unit) -> Result<Self, Failure> {
        files::create_folder(folder)?;
        // TensorBoard reads every file with "tfevents" in its name, and the parts of a run in the order of their seconds.
        let name = format!("events.out.tfevents.{:.0}.bptt.{}", now().floor(), std::process::id());
        Ok(Self { path: folder.join(name), unit, file: None, failed: None })
    }

    /// Closes the file and returns its path.
    ///
    /// # Errors
    /// If an event could not be written.
    pub fn finish(self) -> Result<PathBuf, Failure> {
        let Self { path, file, failed, .. } = self;
        let ended = failed.map_or_else(|| file.map_or(Ok(()), |file| file.sync_all()), Err);
        match ended {
            Ok(()) => Ok(path),
            Err(error) => Err(Failure::Other(format!("cannot write {}: {error}", path.display()))),
        }
    }

    fn scalar(&mut self, step: u64, tag: &str, value: f64) {
        self.write(&records::scalar(now(), step, tag, value));
    }

    fn write(&mut self, record: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.try_write(record).err();
        }
    }

    fn try_write(&mut self, record: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let mut file = File::create_new(&self.path)?;
            file.write_all(&records::version(now()))?;
            self.file = Some(file);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(record))
    }

    /// Horizon and decay of W_hh of every cell, and the heatmap of W_hh of the bottom layer.
    fn ledger(&mut self, step: u64, ledger: &Ledger) {
        for entry in ledger.entries().iter().filter(|entry| entry.parameter == Parameter::WEIGHT_HH) {
            let place = format!("gradflow/{}", entry.cell.suffix());
            if let Some(lag) = entry.horizon(HORIZON) {
                self.scalar(step, &format!("{place}/horizon"), lag as f64);
            }
            if let Some(decay) = entry.decay() {
                self.scalar(step, &format!("{place}/decay"), decay);
            }
        }
        let Some(entry) = ledger.recurrent(0) else { return };
        match heatmap_png(entry) {
            Ok((size, png)) => self.write(&records::image(now(), step, "gradflow/l0/heatmap", size, png)),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Observer for TensorBoard {
    fn event(&mut self, event: &Event<'_>) -> Flow {
        match *event {
            Event::Step { step, loss, gradient, .. } => {
                let (name, shown) = self.unit.named("train/loss", loss);
                self.scalar(step, &name, shown);
                self.scalar(step, "grad/norm_preclip", gradient.before);
            }
            Event::Ledger { step, ledger, .. } => {
                if let Some(ledger) = ledger {
                    self.ledger(step, &ledger.ledger);
                }
            }
            Event::Flossing { step, loss, exponents } => {
                self.scalar(step, "flossing/loss", loss);
                if let Some(&largest) = exponents.first() {
                    self.scalar(step, "flossing/largest_exponent", largest);
                }
            }
            Event::Evaluation { step, loss, solved } => {
                let (name, shown) = self.unit.named("held_out/loss", loss);
                self.scalar(step, &name, shown);
                if let Some(solved) = solved {
                    self.scalar(step, "held_out/solved", solved);
                }
            }
            Event::Updated { .. } => {}
        }
        if self.failed.is_some() { Flow::Stop } else { Flow::Continue }
    }
}
