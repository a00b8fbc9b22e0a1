//! When checkpoints are written.

use std::path::Path;
use std::time::{Duration, Instant};

use bptt_train::Training;
use bptt_train::run::checkpoints;

use crate::Failure;
use crate::progress::Watch;

/// The time between checkpoints if no number of updates is given, and the largest part of the training that they take.
const INTERVAL: Duration = Duration::from_secs(30);
const PART: u32 = 100;

pub(super) struct Saving {
    /// Updates between them.
    every: Option<u64>,
    /// When the last one was written, and how long that took.
    last: Instant,
    took: Duration,
}

impl Saving {
    pub fn new(every: Option<u64>) -> Self {
        Self { every, last: Instant::now(), took: Duration::ZERO }
    }

    /// Writes a checkpoint if it is time for one, or if the training `ends` here.
    pub fn save(
        &mut self,
        folder: &Path,
        training: &Training<'_, '_>,
        ends: bool,
        watch: &mut Watch,
    ) -> Result<(), Failure> {
        let due = match self.every {
            Some(every) => training.steps().is_multiple_of(every),
            None => self.last.elapsed() >= INTERVAL.max(PART * self.took),
        };
        if !due && !ends {
            return Ok(());
        }
        let start = Instant::now();
        let metrics = watch.flushed().map_err(|error| {
            Failure::Other(format!("cannot write the metrics in {}: {error}", folder.display()))
        })?;
        checkpoints::save(folder, training, metrics)?;
        (self.last, self.took) = (Instant::now(), start.elapsed());
        Ok(())
    }
}
