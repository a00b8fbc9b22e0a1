//! Computations for clients: a few at a time, and stopped when the client is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Number of computations at a time; each uses all threads.
const AT_A_TIME: usize = 2;

/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// A queue of computations.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    turns: Arc<Semaphore>,
}

/// Whether the client is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if the client is gone.
    pub fn check(&self) -> Result<(), Problem> {
        if self.is_set() {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the client is gone"));
        }
        Ok(())
    }
}

/// Cancels when dropped with the future of the request, which hyper drops when the connection closes.
struct CancelOnDrop(Cancelled);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Work {
    pub fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Runs a computation when it is its turn.
    pub async fn compute<T: Send + 'static>(
        &self,
        compute: impl FnOnce(&Cancelled) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests at once; try again",
            ));
        };
        let cancelled = Cancelled::default();
        let guard = CancelOnDrop(cancelled.clone());
        let computed = tokio::task::spawn_blocking(move || {
            let result = cancelled.check().and_then(|()| compute(&cancelled));
            drop(turn);
            result
        })
        .await;
        drop(guard);
        computed.unwrap_or_else(|_| {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the computation failed"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_computation_for_a_client_that_is_gone_is_cancelled() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let work = Work::new();
        let computing = work.compute(move |cancelled| {
            while cancelled.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            sender.send(()).unwrap();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(30), computing).await.is_err());
        assert!(receiver.recv_timeout(Duration::from_secs(10)).is_ok());
    }
}
