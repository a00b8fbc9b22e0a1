//! Failures of a disk on demand. For this project's tests alone: no program is built with the feature `faults`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::Operation;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Once, with EIO.
    Broken,
    /// Once, with ENOSPC.
    Full,
    /// A write stops halfway, and what follows fails with ENOSPC; other operations as [`Full`](Self::Full).
    Short,
    /// There is no space from here on: everything that needs some fails with ENOSPC.
    FullFromHere,
}

struct Plan {
    folder: PathBuf,
    /// Which operation fails, from 1.
    at: usize,
    fault: Fault,
    seen: Vec<Operation>,
    /// A write has stopped halfway.
    halfway: bool,
}

static PLAN: Mutex<Option<Plan>> = Mutex::new(None);
/// Held while a plan is in force: there is one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn plan() -> MutexGuard<'static, Option<Plan>> {
    PLAN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In force until it is dropped.
#[derive(Debug)]
pub struct Armed {
    _turn: MutexGuard<'static, ()>,
}

/// Lets operation number `at` on files in `folder` fail, counted from 1 in all threads; none if it is 0.
pub fn arm(folder: &Path, at: usize, fault: Fault) -> Armed {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    *plan() = Some(Plan { folder: folder.into(), at, fault, seen: Vec::new(), halfway: false });
    Armed { _turn: turn }
}

impl Armed {
    /// The operations so far.
    pub fn seen(&self) -> Vec<Operation> {
        plan().as_ref().map_or_else(Vec::new, |plan| plan.seen.clone())
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        *plan() = None;
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// The fault of the next operation, if it is to fail.
fn next(operation: Operation, path: &Path) -> Option<Fault> {
    let mut plan = plan();
    let plan = plan.as_mut().filter(|plan| path.starts_with(&plan.folder))?;
    plan.seen.push(operation);
    if std::mem::take(&mut plan.halfway) {
        return Some(Fault::Full);
    }
    let (now, needs_space) = (plan.seen.len(), !matches!(operation, Operation::Remove | Operation::Sync));
    match plan.fault {
        Fault::FullFromHere => (plan.at > 0 && now >= plan.at && needs_space).then_some(Fault::Full),
        Fault::Short if now == plan.at && operation == Operation::Write => {
            plan.halfway = true;
            Some(Fault::Short)
        }
        fault => (now == plan.at).then_some(fault),
    }
}

fn error(fault: Fault) -> io::Error {
    io::Error::from_raw_os_error(if fault == Fault::Broken { EIO } else { ENOSPC })
}

pub(super) fn before(operation: Operation, path: &Path) -> io::Result<()> {
    next(operation, path).map_or(Ok(()), |fault| Err(error(fault)))
}

/// What of some bytes can be written.
pub(super) fn writable<'a>(path: &Path, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    match next(Operation::Write, path) {
        None => Ok(bytes),
        Some(Fault::Short) if bytes.len() > 1 => Ok(&bytes[..bytes.len() / 2]),
        Some(fault) => Err(error(fault)),
    }
}
