//! What is in the way of binding: existing files, and processes that hold the address.

use crate::supervisor::worker::Pid;
use crate::sys;
use crate::sys::holders::{self, Holder};
use crate::sys::socket::{self, Probe};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Refuses a path that is not ours to bind. True: a socket lies there that nobody listens on.
pub fn check_path(path: &Path, orphans: &[Pid]) -> Result<bool, String> {
    socket::check_unix_path(path.as_os_str())
        .map_err(|error| refuse_path(path, &sys::reason(&error)))?;
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        // If it is more than a name that is free, bind will say so.
        Err(_) => return Ok(false),
    };
    if !kind.is_socket() {
        let what = match kind {
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_dir() => "a directory",
            kind if kind.is_file() => "a regular file",
            _ => "something that is no socket",
        };
        return Err(refuse_path(path, &format!("{what} is in the way")));
    }
    match socket::probe_unix(path.as_os_str()) {
        Ok(Probe::Abandoned) => Ok(true),
        Ok(Probe::Listening) => {
            let holders = describe_holders(&holders::of_path(path), orphans);
            Err(refuse_path(
                path,
                &format!("another process listens there{holders}"),
            ))
        }
        Err(error) => {
            let reason = sys::reason(&error);
            Err(refuse_path(
                path,
                &format!("cannot find out who listens there: {reason}"),
            ))
        }
    }
}

/// What to add to a message that something is in use. Nothing where the system does not tell.
pub fn describe_holders(holders: &[Holder], orphans: &[Pid]) -> String {
    let each = holders.iter().map(|holder| {
        let whose = match orphans.contains(&holder.pid) {
            true => ", a worker of a start_server that is gone",
            false => "",
        };
        format!("process {} ({}){whose}", holder.pid, holder.name)
    });
    match each.collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => none,
        list => format!(": {list}"),
    }
}

pub fn refuse_bind(path: &Path, error: &io::Error) -> String {
    refuse_path(path, &format!("cannot bind: {}", sys::reason(error)))
}

fn refuse_path(path: &Path, reason: &str) -> String {
    format!("--path={}: {reason}", path.display())
}
