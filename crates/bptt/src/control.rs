//! Watching and ending a computation from another thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a computation is, and whether it should end: one thread computes, others look or cancel.
///
/// The counters publish no other memory, so that relaxed order is enough: whoever looks may see one of them a moment before the
/// other, and then a progress that is a little off.
#[derive(Debug, Default)]
pub struct Control {
    cancelled: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
}

impl Control {
    /// Asks the computation to end; it returns [`Error::Cancelled`](crate::Error::Cancelled) soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The part of the work that is done, from 0 to 1; `None` before its size is known.
    pub fn progress(&self) -> Option<f64> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| self.done.load(Ordering::Relaxed) as f64 / total as f64)
    }

    /// Says the size of the work to come, in any unit: for whoever computes.
    pub fn expect(&self, total: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total as u64, Ordering::Relaxed);
    }

    /// Says that so much of it is done.
    pub fn advance(&self, done: usize) {
        self.done.fetch_add(done as u64, Ordering::Relaxed);
    }
}
