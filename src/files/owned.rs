//! The safe ways to open and to remove files: only regular files are opened, and only our own files are removed.

use crate::saved::record;
use crate::sys::file;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Opens a regular file. Any other file is an error of kind `InvalidInput` and is not opened: opening a FIFO would
/// block, and opening a device could start it.
pub fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    check_regular(&fs::metadata(path)?)?;
    // A FIFO may have replaced the file since the check.
    let file = options.custom_flags(libc::O_NONBLOCK).open(path)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Makes sure that this is the metadata of a regular file. Otherwise the error is of kind `InvalidInput`.
pub fn check_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        "not a regular file",
    ))
}

/// Makes sure that a file can be written, or created if it is missing. Changes nothing.
pub fn check_writable(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return file::check_write_access(path);
    }
    let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    file::check_write_access(folder.unwrap_or(Path::new(".")))
}

/// A file that we created. It is removed when this value is dropped, unless another file has its path by then.
pub struct OwnedFile {
    path: PathBuf,
    identity: Identity,
}

record! {
    "file" SavedFile {
        role: String,
        path: OsString,
        device: u64,
        inode: u64,
    }
}

impl OwnedFile {
    /// The file that is at `path` now becomes ours.
    pub fn at(path: &Path) -> io::Result<OwnedFile> {
        Ok(OwnedFile::new(path, &fs::symlink_metadata(path)?))
    }

    /// The file with this metadata becomes ours. It is at `path` already, or will be soon.
    pub fn new(path: &Path, metadata: &Metadata) -> OwnedFile {
        OwnedFile {
            path: path.to_path_buf(),
            identity: identity(metadata),
        }
    }

    /// Another file of ours, with this metadata, was renamed to the same path and becomes this file.
    pub fn replace(&mut self, metadata: &Metadata) {
        self.identity = identity(metadata);
    }

    /// `role` distinguishes this file from our other files.
    pub fn save(&self, role: &str) -> SavedFile {
        SavedFile {
            role: role.to_string(),
            path: self.path.clone().into(),
            device: self.identity.0,
            inode: self.identity.1,
        }
    }

    /// All the saved files of this role.
    pub fn restore(saved: &[SavedFile], role: &str) -> Vec<OwnedFile> {
        let ours = saved.iter().filter(|file| file.role == role);
        ours.map(|file| OwnedFile {
            path: file.path.clone().into(),
            identity: (file.device, file.inode),
        })
        .collect()
    }
}

impl Drop for OwnedFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            // We are about to end and cannot act on an error. The next start can handle a file that is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The device and the inode of a file. Two files that exist at the same time never have the same ones.
pub type Identity = (u64, u64);

pub fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}
