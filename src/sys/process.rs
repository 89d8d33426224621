//! Processes: reaping, signalling, how old one is, going into the background.
//!
//! What differs:
//! - To signal a zombie is no error by POSIX, and is none on Linux, FreeBSD and macOS; elsewhere it may be ESRCH
//!   [kill(2)]. A caller that knows of the child hears of its death next.
//! - Who ignores SIGCHLD has no zombies, and waitpid says ECHILD [sigaction(2)]: inherited, that would hide every
//!   death. [`super::signals`] catches it whatever the caller had.
//! - How long a process lives is in /proc on Linux; ps(1) tells it elsewhere.

use super::{check, fd, retry};
#[cfg(target_os = "linux")]
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A pipe from which `text` can be read, however long it is: a child writes it, and ends.
pub fn pipe_containing(text: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = fd::pipe()?;
    // SAFETY: this process has one thread, so the child is whole, and it only makes async-signal-safe calls.
    if check(unsafe { libc::fork() })? != 0 {
        return Ok(reader);
    }
    // SAFETY: close touches no memory, and this copy is not used again: only the reader's end shall be the reader's.
    unsafe { libc::close(reader.as_raw_fd()) };
    let mut rest = text;
    while !rest.is_empty() {
        match fd::write(writer.as_fd(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(_) => exit_now(1),
        }
    }
    exit_now(0)
}

/// Reaps a child that has died, if there is one: its pid and wait status.
pub fn reap() -> Option<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: status is an int that outlives the call.
    let pid = retry(|| check(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) }));
    // ECHILD, the only error, says that there are no children at all.
    pid.ok().filter(|&pid| pid > 0).map(|pid| (pid, status))
}

/// Sends a signal to one process.
pub fn signal(pid: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill touches no memory.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// The number of this process.
pub fn id() -> libc::pid_t {
    // SAFETY: getpid touches no memory and cannot fail.
    unsafe { libc::getpid() }
}

/// Ends this process at once: no destructor runs, so no file is removed that another process still needs.
pub fn exit_now(status: libc::c_int) -> ! {
    // SAFETY: _exit touches no memory and does not return.
    unsafe { libc::_exit(status) }
}

/// How long ago a process began, as `[[days-]hours:]minutes:seconds`, the format of ps(1).
///
/// proc(5): the 22nd field of `stat`, in clock ticks since the boot. The second, in parentheses, may have
/// anything in it.
#[cfg(target_os = "linux")]
pub fn age(pid: libc::pid_t) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let began: u64 = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: u64 = uptime.split('.').next()?.parse().ok()?;
    // SAFETY: sysconf touches no memory.
    let ticks = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let age = uptime.saturating_sub(began.checked_div(ticks)?);
    let clock = format!("{:02}:{:02}", age / 60 % 60, age % 60);
    Some(match (age / 86_400, age / 3_600 % 24) {
        (0, 0) => clock,
        (0, hours) => format!("{hours:02}:{clock}"),
        (days, hours) => format!("{days}-{hours:02}:{clock}"),
    })
}

/// How long ago a process began, as ps(1) tells, which every other system has.
#[cfg(not(target_os = "linux"))]
pub fn age(pid: libc::pid_t) -> Option<String> {
    let mut ps = std::process::Command::new("ps");
    let output = ps
        .args(["-o", "etime=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let age = String::from_utf8(output.stdout).ok()?.trim().to_string();
    (!age.is_empty()).then_some(age)
}

/// Which of the two processes after a fork this is.
pub enum ForkResult {
    Parent,
    Child,
}

/// Splits this process in two, of which both go on.
pub fn fork() -> io::Result<ForkResult> {
    // SAFETY: this process has one thread, so the child is whole.
    match check(unsafe { libc::fork() })? {
        0 => Ok(ForkResult::Child),
        _ => Ok(ForkResult::Parent),
    }
}

/// Makes this process the leader of a new session without a terminal.
pub fn new_session() -> io::Result<()> {
    // SAFETY: setsid touches no memory.
    check(unsafe { libc::setsid() })?;
    Ok(())
}
