//! The lock that makes one start_server after another bind in a folder.

use crate::sys::poll;
use crate::sys::{fd, file};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// Locks the folders of these paths. Between bind and listen a socket looks dead, and another start at the same moment
/// would take its place. Somebody else's lock, or none to be had, is no reason not to start.
pub fn lock_folders(paths: &[PathBuf]) -> Vec<OwnedFd> {
    let mut folders: Vec<&[u8]> = Vec::new();
    for path in paths {
        let path = path.as_os_str().as_bytes();
        let folder = match path.iter().rposition(|&byte| byte == b'/') {
            None => b".",
            Some(slash) => &path[..=slash],
        };
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let locks = folders
        .into_iter()
        .map(|folder| lock_folder(OsStr::from_bytes(folder)));
    locks.filter_map(Result::ok).collect()
}

fn lock_folder(folder: &OsStr) -> io::Result<OwnedFd> {
    let opened = file::open_folder(folder)?;
    let folder = fd::duplicate(opened.as_fd(), LOWEST_LOCK_FD)?;
    for _ in 0..LOCK_ATTEMPTS {
        match fd::lock(folder.as_fd(), fd::Lock::TryExclusive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll::wait(&mut [], Some(POLL_INTERVAL))?;
            }
            locked => return locked.map(|()| folder),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// The first free numbers are those of sockets.
const LOWEST_LOCK_FD: RawFd = 100;

/// Others are done within a moment; who is not does not bind a socket there.
const LOCK_ATTEMPTS: u32 = 200;
const POLL_INTERVAL: Duration = Duration::from_millis(10);
