//! Processes: forking, reaping, signalling, and their ages. [`super::exec`] executes programs.
//!
//! Differences between systems:
//! - In POSIX a signal to a zombie is not an error. Linux, FreeBSD and macOS agree; on other systems the call may fail
//!   with ESRCH [kill(2)]. The caller reaps such a child soon after.
//! - A process that ignores SIGCHLD gets no zombies, and waitpid fails with ECHILD [sigaction(2)]. If the program
//!   inherited that, it would get no wait status. [`super::signals`] therefore catches SIGCHLD in any case.
//! - Linux has the age of a process in /proc. On the other systems ps(1) prints it.

use super::poll::{self, Interest};
use super::{check, check_number, fd, retry};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

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

/// The effective user of this process: the owner of the files that it makes.
pub fn user() -> u32 {
    // SAFETY: geteuid touches no memory and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether a user is root or the user of this process.
pub fn is_trusted(other: u32) -> bool {
    other == 0 || other == user()
}

/// The users of a process: the real and the effective one, and on Linux also the saved one and the one for files.
#[cfg(target_os = "linux")]
pub fn users(pid: libc::pid_t) -> io::Result<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    Ok(numbers(line.unwrap_or_default()))
}

/// The users of a process: the real and the effective one.
#[cfg(not(target_os = "linux"))]
pub fn users(pid: libc::pid_t) -> io::Result<Vec<u32>> {
    let words = ["-o", "ruid=", "-o", "uid=", "-p", &pid.to_string()];
    let ps = std::process::Command::new("ps").args(words).output()?;
    Ok(numbers(&String::from_utf8_lossy(&ps.stdout)))
}

fn numbers(text: &str) -> Vec<u32> {
    let words = text.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Makes a pipe from which `text` can be read. A child writes the part for which the pipe has no room. It ends after
/// the whole text, or with the last reader.
pub fn pipe_containing(text: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = fd::pipe()?;
    fd::set_nonblocking(writer.as_fd())?;
    let mut rest = text;
    fill(writer.as_fd(), &mut rest)?;
    if rest.is_empty() {
        return Ok(reader);
    }
    if let ForkResult::Parent = fork()? {
        return Ok(reader);
    }
    close_all_but(writer.as_raw_fd());
    while !rest.is_empty() {
        let written = poll::wait(&mut [Interest::writable(writer.as_fd())], None)
            .and_then(|_| fill(writer.as_fd(), &mut rest));
        if written.is_err() {
            exit_now(1);
        }
    }
    exit_now(0)
}

/// Writes as much of the rest as a pipe holds.
fn fill(pipe: BorrowedFd, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match fd::write(pipe, rest) {
            Ok(count) => *rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Closes all descriptors of a child but one. If the child kept the others, it would hold our sockets, our locks and
/// our caller's output when we have ended, and it would wait for ever as a reader of its own pipe. Ours are low
/// numbers: each was the lowest free one above a small number.
fn close_all_but(kept: RawFd) {
    const HIGHEST: RawFd = 65_535;
    for number in (0..=HIGHEST).filter(|number| *number != kept) {
        // SAFETY: close touches no memory, and the child neither uses nor drops these descriptors: it ends in exit_now.
        unsafe { libc::close(number) };
    }
}

/// Reaps one child that has exited, and returns its pid and wait status.
pub fn reap() -> Option<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: status is an int that outlives the call.
    let pid = retry(|| check_number(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) }));
    // The only possible error is ECHILD: this process has no children.
    pid.ok().filter(|&pid| pid > 0).map(|pid| (pid, status))
}

/// Waits for the end of a child, and returns its wait status; `None` if the system does not keep it.
pub fn wait(pid: libc::pid_t) -> Option<libc::c_int> {
    let mut status = 0;
    // SAFETY: status is an int that outlives the call.
    let waited = retry(|| check_number(unsafe { libc::waitpid(pid, &mut status, 0) }));
    waited.ok().map(|_| status)
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

/// The file that a process executes: its device and its inode. Only Linux tells.
pub fn executable(pid: libc::pid_t) -> Option<(u64, u64)> {
    let metadata = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The name of the file that a process executes: of the interpreter, if its program is a script. Only Linux tells.
pub fn executable_name(pid: libc::pid_t) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// Ends this process at once. No destructor runs, so no file is removed that another process still needs.
pub fn exit_now(status: libc::c_int) -> ! {
    // SAFETY: _exit touches no memory and does not return.
    unsafe { libc::_exit(status) }
}

/// The fields that Linux has about a process in /proc/PID/stat. Other systems have no such file.
pub struct Stat(String);

pub fn stat(pid: libc::pid_t) -> io::Result<Stat> {
    fs::read_to_string(format!("/proc/{pid}/stat")).map(Stat)
}

impl Stat {
    /// The field with a number of proc(5), 3 or more: the fields after the program's name, which stands in parentheses
    /// and may itself have blanks and parentheses in it.
    pub fn field<T: std::str::FromStr>(&self, number: usize) -> Option<T> {
        let (_, fields) = self.0.rsplit_once(')')?;
        fields.split_whitespace().nth(number - 3)?.parse().ok()
    }
}

/// The time since a process began, as `[[days-]hours:]minutes:seconds`, which is the format of ps(1).
#[cfg(target_os = "linux")]
pub fn age(pid: libc::pid_t) -> Option<String> {
    // The start, in clock ticks since the boot.
    let start: u64 = stat(pid).ok()?.field(22)?;
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
