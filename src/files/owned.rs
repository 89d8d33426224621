//! Files as they are found: opened only where they are regular, removed only where they are ours.

use crate::saved::record;
use crate::sys::file;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Opens a regular file. Anything else is an error of kind `InvalidInput` and is not even opened: a FIFO would
/// block, a device might act.
pub fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let regular = |metadata: Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        )),
    };
    regular(fs::metadata(path)?)?;
    // It may have been replaced by a FIFO since.
    let file = options.custom_flags(libc::O_NONBLOCK).open(path)?;
    regular(file.metadata()?)?;
    Ok(file)
}

/// Makes sure that a file can be written or made, without touching anything.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => file::check_write_access(path),
        Err(_) => match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => file::check_write_access(dir),
            Some(_) | None => file::check_write_access(Path::new(".")),
        },
    }
}

/// A file of ours at a path. It is removed when this is dropped, unless somebody else's lies there by then.
pub struct OwnedFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

record! {
    "file" Saved {
        role: String,
        path: OsString,
        device: u64,
        inode: u64,
    }
}

impl OwnedFile {
    /// `role` tells it from our other files.
    pub fn save(&self, role: &str) -> Saved {
        Saved {
            role: role.to_string(),
            path: self.path.clone().into(),
            device: self.identity.0,
            inode: self.identity.1,
        }
    }

    /// The files of this role.
    pub fn restore(saved: &[Saved], role: &str) -> Vec<OwnedFile> {
        let ours = saved.iter().filter(|file| file.role == role);
        ours.map(|file| OwnedFile {
            path: file.path.clone().into(),
            identity: (file.device, file.inode),
        })
        .collect()
    }

    /// Takes charge of the file that lies at `path` now.
    pub fn at(path: &Path) -> io::Result<OwnedFile> {
        Ok(OwnedFile::new(path, &fs::symlink_metadata(path)?))
    }

    /// Takes charge of the file of `metadata`, which lies at `path` or is about to.
    pub fn new(path: &Path, metadata: &Metadata) -> OwnedFile {
        OwnedFile {
            path: path.to_path_buf(),
            identity: identity(metadata),
        }
    }

    /// The file of `metadata` has taken its place.
    pub fn is_replaced_by(&mut self, metadata: &Metadata) {
        self.identity = identity(metadata);
    }
}

impl Drop for OwnedFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            // Nobody is left to act on an error, and the next start copes with the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode: no two files have both in common.
pub fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
