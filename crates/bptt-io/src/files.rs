//! Reading files with named errors, and writing them atomically.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
pub fn write_with(path: &Path, fill: impl FnOnce(&mut fs::File) -> io::Result<()>) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(TEMPORARY).permissions(permissions()).tempfile_in(folder);
    let written = temporary.and_then(|mut file| {
        let _listed = Listed::new(file.path().to_owned());
        fill(file.as_file_mut())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_folder(folder)
    });
    written.map_err(error("write", path))
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

/// Makes names in a folder durable; where folders cannot be synced, nothing.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
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

/// Removes a file, if there is one.
///
/// # Errors
/// If it cannot be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
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
    fs::create_dir_all(path).map_err(error("create", path))
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
