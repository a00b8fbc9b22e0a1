//! One training at a time writes into the folder of a run.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bptt_io::files;

use crate::Error;

/// The file that is locked: it names the process. The system takes the lock back when the process ends, however that
/// happens, so that a file that was left behind locks nobody out.
const FILE: &str = ".lock";

/// Held by the training that writes into a folder.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Locks the folder of a run.
///
/// # Errors
/// If another process has locked it, or the file cannot be written.
pub fn lock(folder: &Path) -> Result<Lock, Error> {
    let path = folder.join(FILE);
    let cannot = |source| bptt_io::Error::File { action: "lock", path: path.clone(), source };
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            let _ = file.read_to_string(&mut by);
            let by = if by.trim().is_empty() { "another process".into() } else { by.trim().into() };
            return Err(Error::RunBusy { folder: folder.into(), by });
        }
        Err(TryLockError::Error(source)) => return Err(cannot(source).into()),
    }
    let written =
        file.set_len(0).and_then(|()| writeln!(file, "process {} on {}", std::process::id(), host()));
    written.map_err(cannot)?;
    for inside in [folder.to_owned(), folder.join(super::SNAPSHOTS), folder.join(super::checkpoints::FOLDER)]
    {
        files::remove_temporaries(&inside)?;
    }
    Ok(Lock { file, path })
}

/// Whether a file is that of a lock.
pub(super) fn is_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE)
}

fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("COMPUTERNAME"));
    name.map_or_else(|_| "this machine".into(), |name| name.trim().to_owned())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so that no other process has just begun to use it.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}
