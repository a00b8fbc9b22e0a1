//! Reading files with named errors, and writing them atomically.

mod disk;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub mod faults;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use disk::{Operation, Output};

use crate::Error;

/// How the names of temporary files begin.
const TEMPORARY: &str = ".bptt-";

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { action, path: path.into(), source }
}

/// All bytes of a file.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(error("read", path))
}

/// Writes a temporary file in the same folder and renames it, so that no reader sees a partial file.
///
/// # Errors
/// If it cannot be written; an existing file is unchanged then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_with(path, |file| file.write_all(bytes))
}

/// The same with a function that writes the temporary file.
///
/// # Errors
/// If it cannot be written; an existing file is unchanged then.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut Output) -> io::Result<()>) -> Result<(), Error> {
    let folder = folder_of(path);
    let mut builder = tempfile::Builder::new();
    let temporary = Output::temporary(folder, builder.prefix(TEMPORARY).permissions(permissions()));
    let written = temporary.and_then(|(mut file, temporary)| {
        let _listed = Listed::new(temporary.to_path_buf());
        fill(&mut file)?;
        file.sync()?;
        disk::rename(temporary, path)?;
        disk::sync_folder(folder)
    });
    written.map_err(error("write", path))
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The temporary files that are being written.
static WRITING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// An entry in that list.
struct Listed(PathBuf);

impl Listed {
    fn new(path: PathBuf) -> Self {
        WRITING.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Self(path)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        WRITING.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.0);
    }
}

/// Removes the temporary files of this process that are being written: before it exits in the middle of a write.
pub fn abandon() {
    for path in WRITING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = fs::remove_file(path);
    }
}

/// Removes what interrupted writes left in a folder.
///
/// # Errors
/// If the folder cannot be read, or a file not be removed.
pub fn remove_temporaries(folder: &Path) -> Result<(), Error> {
    list(folder)?.into_iter().filter(|path| is_temporary(path)).try_for_each(|path| remove(&path))
}

/// Whether a file is one that an interrupted write left.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(TEMPORARY) && path.is_file()
}

/// The permissions of a new file, restricted by the umask; a temporary file would be private.
#[cfg(unix)]
fn permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// What a file's name ends with, in small letters.
pub fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// Removes a file, if there is one.
///
/// # Errors
/// If it cannot be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    match disk::remove(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(error("remove", path)),
    }
}

/// The entries of a folder; none if it does not exist.
///
/// # Errors
/// If it cannot be read.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match listed {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(error("read", folder)),
    }
}

/// Creates a folder and its parents.
///
/// # Errors
/// If one cannot be created.
pub fn create_folder(path: &Path) -> Result<(), Error> {
    created(path, disk::create_folders)
}

/// Creates a folder in one that exists: if that was removed, it does not come back.
///
/// # Errors
/// If it cannot be created.
pub fn create_folder_inside(path: &Path) -> Result<(), Error> {
    created(path, disk::create_folder)
}

fn created(path: &Path, create: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    create(path).and_then(|()| disk::sync_folder(folder_of(path))).map_err(error("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"first, and longer").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let message = write(Path::new("/nowhere/at/all"), b"").unwrap_err().to_string();
        assert_eq!(message, "cannot write /nowhere/at/all");
    }
}
