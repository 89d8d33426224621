//! The locks on the folders of `--path` sockets.
//!
//! Between bind and listen a socket looks abandoned. Another start_server that starts at the same moment would remove
//! the socket's file and bind its own socket there. The lock on the folder prevents this.

use crate::files::owned::folder_of;
use crate::sys::fd::{self, Lock, Locked};
use crate::sys::{file, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Together with [`POLL_INTERVAL`]: give up after two seconds and bind without the lock.
const ATTEMPTS: u32 = 200;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Locks the folders of these paths until the result is dropped. A folder that cannot be locked is left out, because
/// the start does not depend on the lock.
pub fn lock_folders(paths: &[PathBuf]) -> Vec<OwnedFd> {
    let mut folders: Vec<&Path> = Vec::new();
    for path in paths {
        let folder = folder_of(path);
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let locks = folders.into_iter().map(lock_folder);
    locks.filter_map(Result::ok).collect()
}

fn lock_folder(folder: &Path) -> io::Result<OwnedFd> {
    let folder = fd::move_up(file::open_folder(folder)?);
    for _ in 0..ATTEMPTS {
        if let Locked::Acquired = fd::try_lock(folder.as_fd(), Lock::Exclusive)? {
            return Ok(folder);
        }
        poll::wait(&mut [], Some(POLL_INTERVAL))?;
    }
    Err(io::ErrorKind::WouldBlock.into())
}
