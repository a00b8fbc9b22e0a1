//! Computing for clients: a few at a time, and none for one who has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Requests that compute at a time: each uses all threads.
const AT_A_TIME: usize = 2;

/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// Turns at computing.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    turns: Arc<Semaphore>,
}

/// Whether whoever asked has gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone(Arc<AtomicBool>);

impl Gone {
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends the work of one who has gone.
    pub fn check(&self) -> Result<(), Problem> {
        if self.is_so() {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "whoever asked has gone"));
        }
        Ok(())
    }
}

/// Says so when it is dropped, with the request's future: hyper drops that when the connection closes.
struct Leaving(Gone);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Work {
    pub fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Computes when it is this request's turn.
    pub async fn compute<T: Send + 'static>(
        &self,
        compute: impl FnOnce(&Gone) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests at once; try again",
            ));
        };
        let gone = Gone::default();
        let leaving = Leaving(gone.clone());
        let computed = tokio::task::spawn_blocking(move || {
            let result = gone.check().and_then(|()| compute(&gone));
            drop(turn);
            result
        })
        .await;
        drop(leaving);
        computed.unwrap_or_else(|_| {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the computation failed"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_for_one_who_has_gone_is_told_so() {
        let (told, hears) = std::sync::mpsc::channel();
        let work = Work::new();
        let computing = work.compute(move |gone| {
            while gone.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            told.send(()).unwrap();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(30), computing).await.is_err());
        assert!(hears.recv_timeout(Duration::from_secs(10)).is_ok());
    }
}
