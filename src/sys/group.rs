//! The process groups of workers.
//!
//! A worker that leads a process group gives the group its number: the worker's pid. The kernel gives a pid to nobody
//! else while a child with that pid is not reaped, even if the child has exited, and it makes no group with the number
//! of another process. So the number of the group is certainly ours until the leader is reaped. The functions here
//! therefore take the pid of a child that is not reaped yet, and [`exited`] looks at a child without reaping it.
//!
//! Differences between systems:
//! - On Linux a process that has exited counts as a member of its group for kill(2) until it is reaped, so only /proc
//!   tells whether a leader that has exited has left others.
//!   The other systems are not asked: some count such a process too, and others do not.

use super::{check, process, retry};
#[cfg(target_os = "linux")]
use std::fs;
use std::io;
use std::mem::zeroed;

/// Makes a child the leader of a process group of its own. In the child itself `pid` is 0.
pub fn lead(pid: libc::pid_t) {
    // The call only fails for a child that has executed its program, and that child has made the call itself.
    // SAFETY: setpgid touches no memory.
    unsafe { libc::setpgid(pid, 0) };
}

/// Sends a signal to the group of a child, or to the child alone if it has left its group.
pub fn signal(leader: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    let is_gone = |sent: &io::Result<()>| {
        let error = sent.as_ref().err();
        error.is_some_and(|error| error.raw_os_error() == Some(libc::ESRCH))
    };
    let sent = process::signal(-leader, signal);
    if !is_gone(&sent) {
        return sent;
    }
    match process::signal(leader, signal) {
        // Everybody has exited, but the child is not reaped yet.
        sent if is_gone(&sent) => Ok(()),
        sent => sent,
    }
}

/// Returns the wait status of a child that has exited, without reaping it.
pub fn exited(child: libc::pid_t) -> Option<libc::c_int> {
    let info = look(libc::P_PID, child)?;
    let (_, status) = pid_and_status(&info);
    Some(match info.si_code {
        libc::CLD_EXITED => status << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    })
}

/// Returns the pid of any child that has exited, without reaping it. As long as that child is not reaped, the answer is
/// the same.
pub fn any_exited() -> Option<libc::pid_t> {
    let (pid, _) = pid_and_status(&look(libc::P_ALL, 0)?);
    (pid > 0).then_some(pid)
}

fn look(kind: libc::idtype_t, id: libc::pid_t) -> Option<libc::siginfo_t> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: a siginfo_t of zeroes is valid.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    // SAFETY: info is a siginfo_t that outlives the call.
    retry(|| check(unsafe { libc::waitid(kind, id as libc::id_t, &mut info, options) })).ok()?;
    (info.si_signo != 0).then_some(info)
}

#[cfg(not(target_os = "openbsd"))]
fn pid_and_status(info: &libc::siginfo_t) -> (libc::pid_t, libc::c_int) {
    // SAFETY: waitid has filled in the fields that belong to SIGCHLD.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    (pid, status)
}

/// The libc crate has these fields in a wrong place. Children that we do not know are not found then, and no worker is
/// kept, so nobody needs a status.
#[cfg(target_os = "openbsd")]
fn pid_and_status(_: &libc::siginfo_t) -> (libc::pid_t, libc::c_int) {
    (0, 0)
}

/// Returns a live process in the group of a child that has exited, or `None` if there is none. `last` is the previous
/// answer: while that process lives, no other is looked at. The error is `Unsupported` if the system does not tell.
#[cfg(target_os = "linux")]
pub fn live_member(
    leader: libc::pid_t,
    last: Option<libc::pid_t>,
) -> io::Result<Option<libc::pid_t>> {
    if let Some(last) = last {
        if is_live_member(last, leader)? {
            return Ok(Some(last));
        }
    }
    // The leader itself is there until it is reaped, if /proc is there.
    if let Err(error) = process::stat(leader) {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        return Err(if is_missing {
            io::ErrorKind::Unsupported.into()
        } else {
            error
        });
    }
    for entry in retry(|| fs::read_dir("/proc"))? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if is_live_member(pid, leader)? {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

#[cfg(target_os = "linux")]
fn is_live_member(pid: libc::pid_t, leader: libc::pid_t) -> io::Result<bool> {
    let stat = match process::stat(pid) {
        Ok(stat) => stat,
        // It has been reaped before the file was opened, or before it was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
        Err(error) => return Err(error),
    };
    // A process whose first thread has ended has the state of a zombie, but lives while it has other threads.
    let is_zombie = matches!(stat.field(3), Some('Z' | 'X'));
    let has_exited = is_zombie && stat.field(20) == Some(1);
    Ok(stat.field(5) == Some(leader) && !has_exited)
}

/// Here the system is not asked.
#[cfg(not(target_os = "linux"))]
pub fn live_member(
    _leader: libc::pid_t,
    _last: Option<libc::pid_t>,
) -> io::Result<Option<libc::pid_t>> {
    Err(io::ErrorKind::Unsupported.into())
}
