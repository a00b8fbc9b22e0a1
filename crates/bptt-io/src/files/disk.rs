//! The operations that change a disk. Whatever this project writes goes through them, so that tests can let each one fail.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

#[cfg(feature = "faults")]
use super::faults::{before, writable};

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A file is created, or opened to be changed.
    Open,
    /// Bytes are written.
    Write,
    /// A file's length is set.
    Length,
    /// A file or a folder is synced.
    Sync,
    /// A file gets its name.
    Rename,
    /// A file is removed.
    Remove,
    /// A folder is created.
    Folder,
}

#[cfg(not(feature = "faults"))]
#[allow(clippy::unnecessary_wraps)] // it fails in tests
fn before(_: Operation, _: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(feature = "faults"))]
#[allow(clippy::unnecessary_wraps)] // it fails in tests
fn writable<'a>(_: &Path, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    Ok(bytes)
}

/// A file that is written.
#[derive(Debug)]
pub struct Output {
    file: File,
    path: PathBuf,
}

impl Output {
    /// Opens a file to read and write it; a new one is empty.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with(path, File::options().read(true).write(true).create(true).truncate(false))
    }

    /// Creates a file that does not exist yet.
    ///
    /// # Errors
    /// If it cannot be created, or exists.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        Self::with(path, File::options().write(true).create_new(true))
    }

    fn with(path: &Path, options: &fs::OpenOptions) -> io::Result<Self> {
        before(Operation::Open, path)?;
        Ok(Self { file: options.open(path)?, path: path.into() })
    }

    /// A new temporary file in `folder`, and its path, which is removed when it is dropped.
    pub(super) fn temporary(
        folder: &Path,
        builder: &tempfile::Builder<'_, '_>,
    ) -> io::Result<(Self, TempPath)> {
        before(Operation::Open, folder)?;
        let (file, path) = builder.tempfile_in(folder)?.into_parts();
        Ok((Self { file, path: path.to_path_buf() }, path))
    }

    /// The file, to be read or locked.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Sets its length.
    ///
    /// # Errors
    /// If that is impossible.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        before(Operation::Length, &self.path)?;
        self.file.set_len(length)
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// If that is impossible.
    pub fn sync(&self) -> io::Result<()> {
        before(Operation::Sync, &self.path)?;
        self.file.sync_all()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(writable(&self.path, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Output {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

pub(super) fn rename(from: TempPath, to: &Path) -> io::Result<()> {
    before(Operation::Rename, to)?;
    from.persist(to).map_err(|error| error.error)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    before(Operation::Remove, path)?;
    fs::remove_file(path)
}

/// Creates a folder and its parents.
pub(super) fn create_folders(path: &Path) -> io::Result<()> {
    before(Operation::Folder, path)?;
    fs::create_dir_all(path)
}

/// Creates a folder in one that exists.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    before(Operation::Folder, path)?;
    fs::create_dir(path)
}

/// Makes names in a folder durable; where folders cannot be synced, or not be opened, nothing.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    before(Operation::Sync, folder)?;
    match File::open(folder) {
        Ok(opened) if cfg!(unix) => opened.sync_all(),
        Err(error) if cfg!(unix) && error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}
