//! TensorBoard events of a training.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bptt::{Ledger, Parameter};
use bptt_io::files::{self, Output};
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
    /// Whether the training is continued, so that events of an earlier file may come again.
    resumed: bool,
    /// Created at the first event, so that a training that is refused leaves no file.
    file: Option<Output>,
    failed: Option<Failure>,
}

impl TensorBoard {
    /// An event file in `folder`, which is created if necessary, with losses in `unit`. If a training is `resumed`, earlier files of
    /// this command there lose the events that come again.
    pub fn new(folder: &Path, unit: Unit, resumed: bool) -> Result<Self, Failure> {
        files::create_folder(folder)?;
        // TensorBoard reads every file with "tfevents" in its name, and the parts of a run in the order of their seconds.
        let name = format!("events.out.tfevents.{:.0}.bptt.{}", now().floor(), std::process::id());
        Ok(Self { path: folder.join(name), unit, resumed, file: None, failed: None })
    }

    /// Closes the file and returns its path.
    ///
    /// # Errors
    /// If an event could not be written.
    pub fn finish(self) -> Result<PathBuf, Failure> {
        let Self { path, file, failed, .. } = self;
        if let Some(failure) = failed {
            return Err(failure);
        }
        match file.map_or(Ok(()), |file| file.sync()) {
            Ok(()) => Ok(path),
            Err(error) => Err(cannot_write(&path, &error)),
        }
    }

    fn scalar(&mut self, step: u64, tag: &str, value: f64) {
        self.write(step, tag, &records::scalar(now(), step, tag, value));
    }

    fn write(&mut self, step: u64, tag: &str, record: &[u8]) {
        if self.failed.is_none() && self.resumed && self.file.is_none() {
            self.failed = self.forget(step, tag.starts_with(FLOSSING)).err();
        }
        if self.failed.is_none() {
            self.failed = self.try_write(record).err().map(|error| cannot_write(&self.path, &error));
        }
    }

    /// Removes the events from `step` on from earlier files; if the training begins again with its flossing, all of them.
    fn forget(&self, step: u64, again: bool) -> Result<(), Failure> {
        for path in files::list(self.path.parent().unwrap_or(Path::new(".")))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !(name.contains(".tfevents.") && name.contains(".bptt.")) {
                continue;
            }
            let whole = files::read(&path)?;
            let kept = records::keep(&whole, |at, tag| !again && (at < step || tag.starts_with(FLOSSING)));
            if kept.len() < whole.len() {
                files::write(&path, &kept)?;
            }
        }
        Ok(())
    }

    fn try_write(&mut self, record: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let mut file = Output::create_new(&self.path)?;
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
            Ok((size, png)) => self.write(step, HEATMAP, &records::image(now(), step, HEATMAP, size, png)),
            Err(error) => self.failed = self.failed.take().or(Some(cannot_write(&self.path, &error))),
        }
    }
}

/// The tag of the heatmap, and how those of flossing begin.
const HEATMAP: &str = "gradflow/l0/heatmap";
const FLOSSING: &str = "flossing/";

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Other(format!("cannot write {}: {error}", path.display()))
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
