//! When checkpoints are written.

use std::time::{Duration, Instant};

use bptt_train::Training;
use bptt_train::run::Writer;

use crate::Failure;
use crate::progress::Watch;

/// The time between checkpoints if no number of updates is given, and the largest part of the training that they take.
const INTERVAL: Duration = Duration::from_secs(30);
const PART: u32 = 100;

/// How often it is looked whether the folder of the run is still there.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Saving {
    /// Updates between them.
    every: Option<u64>,
    /// When the last one was written, and how long that took.
    last: Instant,
    took: Duration,
    /// When the folder was last looked at.
    looked: Instant,
}

impl Saving {
    pub fn new(every: Option<u64>) -> Self {
        Self { every, last: Instant::now(), took: Duration::ZERO, looked: Instant::now() }
    }

    /// Writes a checkpoint if it is time for one, or if the training `ends` here.
    pub fn save(
        &mut self,
        writer: &Writer,
        training: &Training<'_, '_>,
        ends: bool,
        watch: &mut Watch,
    ) -> Result<(), Failure> {
        let due = match self.every {
            Some(every) => training.steps().is_multiple_of(every),
            None => self.last.elapsed() >= INTERVAL.max(PART * self.took),
        };
        if self.looked.elapsed() >= LOOK {
            writer.check()?;
            self.looked = Instant::now();
        }
        if !due && !ends {
            return Ok(());
        }
        let start = Instant::now();
        writer.save_checkpoint(training, &watch.written()?)?;
        (self.last, self.took) = (Instant::now(), start.elapsed());
        Ok(())
    }
}
