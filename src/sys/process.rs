//! Processes: forking, reaping, signalling, and their ages. [`super::exec`] executes programs.
//!
//! Differences between systems:
//! - In POSIX a signal to a zombie is not an error. Linux, FreeBSD and macOS agree; on other systems the call may fail
//!   with ESRCH [kill(2)]. The caller reaps such a child soon after.
//! - A process that ignores SIGCHLD gets no zombies, and waitpid fails with ECHILD [sigaction(2)]. If the program
//!   inherited that, it would get no wait status. [`super::signals`] therefore catches SIGCHLD in any case.
//! - Linux has the age of a process in /proc. On the other systems ps(1) prints it.

use super::{check, check_number, fd, retry};
#[cfg(target_os = "linux")]
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The process in which a fork has returned.
pub enum ForkResult {
    Parent,
    Child,
}

/// Forks this process. Both processes go on.
pub fn fork() -> io::Result<ForkResult> {
    // SAFETY: this process has one thread, so no lock in the child's memory is held by a thread that the child lacks.
    let pid = check_number(unsafe { libc::fork() })?;
    Ok(if pid == 0 {
        ForkResult::Child
    } else {
        ForkResult::Parent
    })
}

/// Makes this process the leader of a new session without a terminal.
pub fn new_session() -> io::Result<()> {
    // SAFETY: setsid touches no memory.
    check(unsafe { libc::setsid() })
}

/// Makes a pipe from which `text` can be read. A child writes the text and ends, so the text may be longer than a pipe
/// can hold.
pub fn pipe_containing(text: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = fd::pipe()?;
    if let ForkResult::Parent = fork()? {
        return Ok(reader);
    }
    // If the child kept its copy of the reading end, it would wait for ever after the reader has exited.
    // SAFETY: close touches no memory, and the child neither uses nor drops its copy of reader: it ends in exit_now.
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

/// Reaps one child that has exited, and returns its pid and wait status.
pub fn reap() -> Option<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: status is an int that outlives the call.
    let pid = retry(|| check_number(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) }));
    // The only possible error is ECHILD: this process has no children.
    pid.ok().filter(|&pid| pid > 0).map(|pid| (pid, status))
}

/// Sends a signal to one process.
pub fn signal(pid: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill touches no memory.
    check(unsafe { libc::kill(pid, signal) })
}

/// The pid of this process.
pub fn id() -> libc::pid_t {
    // SAFETY: getpid touches no memory and cannot fail.
    unsafe { libc::getpid() }
}

/// Ends this process at once. No destructor runs, so no file is removed that another process still needs.
pub fn exit_now(status: libc::c_int) -> ! {
    // SAFETY: _exit touches no memory and does not return.
    unsafe { libc::_exit(status) }
}

/// The time since a process began, as `[[days-]hours:]minutes:seconds`, which is the format of ps(1).
#[cfg(target_os = "linux")]
pub fn age(pid: libc::pid_t) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): the start is the 22nd field, in clock ticks since the boot. The second field is the program's name in
    // parentheses, which may itself have blanks and parentheses in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let start: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: u64 = uptime.split('.').next()?.parse().ok()?;
    // SAFETY: sysconf touches no memory.
    let ticks_per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let age = uptime.saturating_sub(start.checked_div(ticks_per_second)?);
    let clock = format!("{:02}:{:02}", age / 60 % 60, age % 60);
    Some(match (age / 86_400, age / 3_600 % 24) {
        (0, 0) => clock,
        (0, hours) => format!("{hours:02}:{clock}"),
        (days, hours) => format!("{days}-{hours:02}:{clock}"),
    })
}

/// The time since a process began, as `[[days-]hours:]minutes:seconds`, which is the format of ps(1).
#[cfg(not(target_os = "linux"))]
pub fn age(pid: libc::pid_t) -> Option<String> {
    let words = ["-o", "etime=", "-p", &pid.to_string()];
    let ps = std::process::Command::new("ps").args(words).output().ok()?;
    let age = String::from_utf8(ps.stdout).ok()?.trim().to_string();
    (!age.is_empty()).then_some(age)
}
