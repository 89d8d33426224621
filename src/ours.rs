//! Files that this process made: told from those that took their place since, and removed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file of ours at a path. It is removed when this is dropped, unless somebody else's lies there by then.
pub struct OurFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl OurFile {
    /// Takes charge of the file that lies at `path` now.
    pub fn at(path: &Path) -> io::Result<OurFile> {
        Ok(OurFile::new(path, &fs::symlink_metadata(path)?))
    }

    /// Takes charge of the file of `metadata`, which lies at `path` or is about to.
    pub fn new(path: &Path, metadata: &Metadata) -> OurFile {
        OurFile {
            path: path.to_path_buf(),
            identity: identity(metadata),
        }
    }
}

impl Drop for OurFile {
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
