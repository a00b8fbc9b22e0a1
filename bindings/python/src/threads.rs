//! Long computations in a thread of their own, so that Ctrl-C and a progress callback have their turns.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bptt::Control;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How often signals are looked at.
const TURN: Duration = Duration::from_millis(50);

/// Runs `compute` without the interpreter's lock. On Ctrl-C, or if `progress` raises, the computation is cancelled and its
/// exception raised at once; the thread ends as soon as it sees that. `progress` is called with the part that is done.
pub fn compute<R: Send + 'static>(
    py: Python<'_>,
    control: &Arc<Control>,
    progress: Option<&Bound<'_, PyAny>>,
    compute: impl FnOnce() -> R + Send + 'static,
) -> PyResult<R> {
    let (sender, receiver) = channel();
    let thread = thread::Builder::new().name("bptt".into()).spawn(move || {
        // Nobody is there to receive it after a cancellation.
        let _ = sender.send(compute());
    })?;
    // Locked by this thread alone; without the lock it could not be used without the interpreter's.
    let receiver = Mutex::new(receiver);
    loop {
        let received = py.detach(|| receiver.lock().expect("no panic while it is held").recv_timeout(TURN));
        match received {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => {
                let called = py.check_signals().and_then(|()| match (progress, control.progress()) {
                    (Some(progress), Some(done)) => progress.call1((done,)).map(drop),
                    _ => Ok(()),
                });
                if let Err(error) = called {
                    control.cancel();
                    return Err(error);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let panic = thread.join().err().and_then(|panic| {
                    let text = panic.downcast_ref::<String>().cloned();
                    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                });
                let text = panic.unwrap_or_else(|| "the computation ended without a result".into());
                return Err(PyRuntimeError::new_err(text));
            }
        }
    }
}
