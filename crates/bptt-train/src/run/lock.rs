//! One process at a time writes into the folder of a run or of a comparison.

use std::fs::{File, Metadata, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bptt_io::files::{self, Output};

use crate::Error;

/// The file that is locked: it names the process. The system takes the lock back when the process ends, however that
/// happens, so that a file that was left behind locks nobody out.
const FILE: &str = ".lock";

/// Held by the training that writes into a folder.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Output,
    path: PathBuf,
}

/// Locks the folder of a run or of a comparison, and removes what interrupted writes left in it and in `subfolders`.
///
/// # Errors
/// If another process has locked it, or the file cannot be written.
pub(crate) fn lock(folder: &Path, subfolders: &[&str]) -> Result<Lock, Error> {
    let path = folder.join(FILE);
    let cannot = |source| bptt_io::Error::File { action: "lock", path: path.clone(), source };
    let mut tries = 0;
    let mut lock = loop {
        let file = Output::open(&path).map_err(cannot)?;
        match file.file().try_lock() {
            Ok(()) => {
                let lock = Lock { file, path: path.clone() };
                // Whoever held it before may have removed it in between.
                if lock.is_in_place() {
                    break lock;
                }
            }
            // Someone may look whether it is locked.
            Err(TryLockError::WouldBlock) if tries < 5 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::RunBusy { folder: folder.into(), by: holder(&file) });
            }
            Err(TryLockError::Error(source)) => return Err(cannot(source).into()),
        }
    };
    let named = format!("process {} on {}\n", std::process::id(), host());
    let written = lock.file.set_len(0).and_then(|()| lock.file.write_all(named.as_bytes()));
    written.map_err(cannot)?;
    for inside in [""].iter().chain(subfolders) {
        files::remove_temporaries(&folder.join(inside))?;
    }
    Ok(lock)
}

/// Whether a training writes into `folder`.
pub fn is_locked(folder: &Path) -> bool {
    let path = folder.join(FILE);
    // A pipe would keep whoever opens it waiting.
    let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
    let held = |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    is_file && File::open(path).is_ok_and(held)
}

/// Whether a file is that of a lock.
pub(crate) fn is_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE)
}

/// Who has locked a file.
fn holder(file: &Output) -> String {
    let mut by = String::new();
    let _ = file.file().read_to_string(&mut by);
    if by.trim().is_empty() { "another process".into() } else { by.trim().into() }
}

fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("COMPUTERNAME"));
    name.map_or_else(|_| "this machine".into(), |name| name.trim().to_owned())
}

impl Lock {
    /// Whether the folder is the one that was locked: neither removed, nor renamed, nor replaced by another.
    pub fn is_in_place(&self) -> bool {
        match (self.file.file().metadata(), self.path.metadata()) {
            (Ok(held), Ok(there)) => is_same(&held, &there),
            _ => false,
        }
    }
}

#[cfg(unix)]
fn is_same(held: &Metadata, there: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

/// Where a file has no number, a locked one cannot be replaced.
#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so that no other process has just begun to use it.
        if self.is_in_place() {
            let _ = files::remove(&self.path);
        }
        let _ = self.file.file().unlock();
    }
}
