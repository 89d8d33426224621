//! Obstacles to binding: a file at the path, or a process that holds the address.

use crate::error::{Error, Reason};
use crate::supervisor::worker::Pid;
use crate::sys::address;
use crate::sys::holders::{self, Holder};
use crate::sys::socket::{self, Probe};
use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The state of a path that we may bind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    Free,
    /// A socket file that no process listens on. It must be removed first.
    StaleSocket,
}

/// Refuses a path at which a socket must not be bound.
pub fn check_path(path: &Path, left_over: &[Pid]) -> Result<PathState, Error> {
    path_state(path, left_over).map_err(|reason| Error::option("path", path, reason))
}

/// The state of a path, or the reason why a socket must not be bound there.
pub fn path_state(path: &Path, left_over: &[Pid]) -> Result<PathState, Reason> {
    address::check_unix_path(path.as_os_str())?;
    let Ok(metadata) = fs::symlink_metadata(path) else {
        // Usually there is no file. With any other error bind fails too, and reports it.
        return Ok(PathState::Free);
    };
    let kind = metadata.file_type();
    if !kind.is_socket() {
        return Err(format!("{} is in the way", describe(kind)).into());
    }
    match socket::probe_unix(path.as_os_str()) {
        Ok(Probe::Abandoned) => Ok(PathState::StaleSocket),
        Ok(Probe::Listening) => {
            let holders = describe_holders(&holders::of_path(path), left_over);
            Err(format!("another process listens there{holders}").into())
        }
        Err(error) => {
            Err(Error::action("find out whether a process listens there", "", error).into())
        }
    }
}

fn describe(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a regular file"
    } else {
        "a file that is not a socket"
    }
}

/// Names the processes that hold an address, as the end of a message. The text is empty if no process is known.
pub fn describe_holders(holders: &[Holder], left_over: &[Pid]) -> String {
    let mut text = String::new();
    for holder in holders {
        text += if text.is_empty() { ": " } else { "; " };
        text += &format!("process {} ({})", holder.pid, holder.name);
        let parent = holder.ancestors.first().copied();
        let parent = parent.filter(|parent| holders::name(*parent) == "start_server");
        if let Some(parent) = parent {
            text += &format!(", a child of process {parent} (start_server)");
        } else if left_over.contains(&holder.pid) {
            text += ", a worker of a start_server that is gone";
        }
    }
    text
}
