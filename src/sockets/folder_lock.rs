//! The lock that makes one start_server after another bind in a folder.

use crate::sys::fd;
use crate::sys::poll;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// Locks the folders of these paths. Between bind and listen a socket looks dead, and another start at the same moment
/// would take its place. Somebody else's lock, or none to be had, is no reason not to start.
pub fn take_turns(paths: &[PathBuf]) -> Vec<OwnedFd> {
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
    let turns = folders
        .into_iter()
        .map(|folder| turn(OsStr::from_bytes(folder)));
    turns.filter_map(Result::ok).collect()
}

fn turn(folder: &OsStr) -> io::Result<OwnedFd> {
    // What is no folder, such as a FIFO, must not hold us up.
    let mut reading = fs::OpenOptions::new();
    let opened = reading
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(folder)?;
    let folder = fd::duplicate(opened.as_fd(), OUT_OF_THE_WAY)?;
    for _ in 0..TURN_LOOKS {
        match fd::lock(folder.as_fd(), fd::Lock::TryExclusive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll::wait(&mut [], Some(TURN_PAUSE))?;
            }
            locked => return locked.map(|()| folder),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// The first free numbers are those of sockets.
const OUT_OF_THE_WAY: RawFd = 100;

/// Others are done within a moment; who is not does not bind a socket there.
const TURN_LOOKS: u32 = 200;
const TURN_PAUSE: Duration = Duration::from_millis(10);
