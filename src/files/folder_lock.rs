//! The locks on the folders of `--path` sockets and of the status file.
//!
//! Between bind and listen a socket looks abandoned. Another start_server that starts at the same moment would remove
//! the socket's file and bind its own socket there. In the same way, a status file looks unused before the first write.
//! The lock on the folder prevents both.

use crate::files::owned::{folder_of, identity};
use crate::sys::fd::{self, Lock, Locked};
use crate::sys::{file, poll};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Together with [`POLL_INTERVAL`]: give up after two seconds and continue without the lock.
const ATTEMPTS: u32 = 200;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Locks the folders of these paths until the result is dropped. A folder that cannot be locked is left out, because
/// the start does not depend on the lock.
pub fn lock_folders(paths: &[PathBuf]) -> Vec<OwnedFd> {
    let locks = folders(paths)
        .into_iter()
        .map(|(_, folder)| lock_folder(folder));
    locks.filter_map(Result::ok).collect()
}

/// The folders of these paths with their identities. All instances get them in the same order.
fn folders(paths: &[PathBuf]) -> Vec<((u64, u64), OwnedFd)> {
    let mut names: Vec<&Path> = Vec::new();
    for name in paths.iter().map(|path| folder_of(path)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // Two names may lead to the same folder.
    let mut folders: Vec<((u64, u64), OwnedFd)> = Vec::new();
    for (identity, folder) in names.into_iter().filter_map(|name| open(name).ok()) {
        if let Err(place) = folders.binary_search_by_key(&identity, |folder| folder.0) {
            folders.insert(place, (identity, folder));
        }
    }
    folders
}

/// Opens a folder, and returns it with its identity.
fn open(name: &Path) -> io::Result<((u64, u64), OwnedFd)> {
    let folder = File::from(fd::move_up(file::open_folder(name)?));
    Ok((identity(&folder.metadata()?), folder.into()))
}

fn lock_folder(folder: OwnedFd) -> io::Result<OwnedFd> {
    for _ in 0..ATTEMPTS {
        if let Locked::Acquired = fd::try_lock(folder.as_fd(), Lock::Exclusive)? {
            return Ok(folder);
        }
        poll::wait(&mut [], Some(POLL_INTERVAL))?;
    }
    Err(io::ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_two_names_is_locked_once() {
        let paths = ["/a", "/./b", "/dev/c", "/dev/../d"].map(PathBuf::from);
        assert_eq!(folders(&paths).len(), 2);
        let mut reversed = paths.clone();
        reversed.reverse();
        let order = |paths| folders(paths).into_iter().map(|(identity, _)| identity);
        assert!(order(&paths).eq(order(&reversed)));
    }
}
