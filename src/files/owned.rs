//! The safe ways to open and to remove files: only regular files are opened, and only our own files are removed.

use crate::saved::record;
use crate::sys::file;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Opens a regular file. Any other file is an error of kind `InvalidInput` and is not opened: opening a FIFO would
/// block, and opening a device could start it.
pub fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    check_regular(&fs::metadata(path)?)?;
    open_checked(path, options)
}

/// Opens a file that was found to be regular. Another file may have its path now: this call does not wait for the other
/// side of a FIFO, and reports it as [`open_regular`] does.
pub fn open_checked(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NONBLOCK).open(path)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Makes sure that this is the metadata of a regular file. Otherwise the error is of kind `InvalidInput`.
pub fn check_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let reason = "not a regular file";
    Err(io::Error::new(ErrorKind::InvalidInput, reason))
}

/// Makes sure that a file can be written, or created if it is missing. Changes nothing.
pub fn check_writable(path: &Path) -> io::Result<()> {
    let path = end_of_links(path);
    if fs::symlink_metadata(&path).is_ok() {
        return file::check_write_access(&path);
    }
    file::check_write_access(folder_of(&path))
}

/// The path at which a file is created by opening this path: a symbolic link may lead to a file that does not exist yet.
pub fn end_of_links(path: &Path) -> PathBuf {
    match (fs::metadata(path), fs::read_link(path)) {
        (Err(error), Ok(target)) if error.kind() == ErrorKind::NotFound => {
            end_of_links(&folder_of(path).join(target))
        }
        _ => path.to_path_buf(),
    }
}

/// The folder that contains the last component of a path.
pub fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Whether a folder belongs to a user who is not trusted, or has the sticky bit like /tmp.
pub fn is_shared(folder: &Path, is_trusted: impl Fn(u32) -> bool) -> io::Result<bool> {
    let folder = fs::metadata(folder)?;
    Ok(folder.mode() & STICKY != 0 || !is_trusted(folder.uid()))
}

/// The mode bit of folders in which every user can make files, but not remove those of others [sticky(7), unlink(2)].
pub const STICKY: u32 = 0o1000;

/// A file that we created. It is removed when this value is dropped, unless another file has its path by then.
pub struct OwnedFile(SavedFile);

record! {
    "file" SavedFile {
        /// Tells this file from our other ones.
        role: String,
        path: OsString,
        device: u64,
        inode: u64,
    }
}

impl OwnedFile {
    /// Takes ownership of a file that we have created. It is at `path`, or is renamed to it next.
    pub fn new(path: &Path, role: &str, metadata: &Metadata) -> OwnedFile {
        OwnedFile(SavedFile {
            role: role.to_string(),
            path: path.into(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Takes ownership of another file of ours, which is at the path now. The one before is gone.
    pub fn set_metadata(&mut self, metadata: &Metadata) {
        (self.0.device, self.0.inode) = identity(metadata);
    }

    pub fn path(&self) -> &OsStr {
        &self.0.path
    }

    /// Whether this is the metadata of this file.
    pub fn is(&self, metadata: &Metadata) -> bool {
        identity(metadata) == (self.0.device, self.0.inode)
    }

    pub fn save(&self) -> SavedFile {
        self.0.clone()
    }

    /// All the saved files of this role.
    pub fn restore(saved: &[SavedFile], role: &str) -> Vec<OwnedFile> {
        let ours = saved.iter().filter(|file| file.role == role);
        ours.cloned().map(OwnedFile).collect()
    }
}

impl Drop for OwnedFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(self.path()).is_ok_and(|found| self.is(&found)) {
            // We are about to end and cannot act on an error. The next start can handle a file that is left.
            let _ = fs::remove_file(self.path());
        }
    }
}

/// The device and the inode of a file. Two files that exist at the same time never have the same ones.
pub fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
