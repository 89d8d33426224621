//! Descriptors: pipes, copies, locks, reading and writing.
//!
//! Differences between systems:
//! - flock(2) and fcntl(2) locks exclude each other on the BSDs and macOS: our flock fails while another process has an
//!   fcntl lock. Linux keeps the two apart, except on NFS [flock(2)], and illumos turns flock into locks of the open
//!   file [flock(3C)]. On every system the lock belongs to the open file, a forked child shares it, and unlocking one
//!   copy of the descriptor unlocks all of them. The program therefore hands no copy to another process.
//! - `F_DUPFD_CLOEXEC` exists everywhere, although some manuals omit it [fcntl(2)]. `dup2` to the same number changes
//!   nothing and leaves close-on-exec on.
//! - A pipe goes both ways on FreeBSD [pipe(2)]. A writer gets EPIPE there too, once the other end is closed.
//! - The limit of descriptors may be infinite on macOS and FreeBSD [getrlimit(2)]. No loop may count up to it.
//! - A child does not inherit a timer of setitimer(2), but the timer survives execve. `write_briefly` switches it off.

use super::{check, check_count, check_number, inherit, poll, retry};
use std::fs::OpenOptions;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::time::Duration;

/// Makes a pipe and returns its reading and its writing end, both close-on-exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    make_pipe(&mut ends)?;
    let [reader, writer] = ends.map(own);
    Ok((reader, writer))
}

#[cfg(not(target_os = "macos"))]
fn make_pipe(ends: &mut [RawFd; 2]) -> io::Result<()> {
    // SAFETY: ends has room for the two numbers that pipe2 writes.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })
}

/// macOS has no pipe2.
#[cfg(target_os = "macos")]
fn make_pipe(ends: &mut [RawFd; 2]) -> io::Result<()> {
    // SAFETY: ends has room for the two numbers that pipe writes.
    check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    for &mut end in ends {
        super::inherit::set_close_on_exec(end, true)?;
    }
    Ok(())
}

/// Opens /dev/null, which reads as end-of-file and discards what is written to it.
pub fn open_null() -> io::Result<OwnedFd> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    match null {
        Ok(null) => Ok(null.into()),
        // A root folder without devices has none. The reading end of a pipe without a writer reads as end-of-file too.
        Err(_) => Ok(pipe()?.0),
    }
}

/// Takes ownership of a descriptor that a system call has just returned.
pub(super) fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just handed out this number, so it has no other owner.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Makes reading and writing return at once. The flag belongs to the open file and not to the descriptor, so it must
/// never be set on a file that a worker shares.
pub fn set_nonblocking(fd: BorrowedFd) -> io::Result<()> {
    set_flags(fd, flags(fd)? | libc::O_NONBLOCK)
}

/// Makes reading and writing wait again.
pub fn set_blocking(fd: BorrowedFd) -> io::Result<()> {
    set_flags(fd, flags(fd)? & !libc::O_NONBLOCK)
}

fn flags(fd: BorrowedFd) -> io::Result<libc::c_int> {
    // SAFETY: F_GETFL takes no argument and touches no memory.
    check_number(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })
}

fn set_flags(fd: BorrowedFd, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETFL takes an integer and touches no memory.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) })
}

/// Makes a close-on-exec copy at the lowest free number that is at least `lowest`.
pub fn duplicate(fd: BorrowedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory.
    let number =
        check_number(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    Ok(own(number))
}

/// Moves a descriptor out of the way: the lowest free numbers are for the sockets of the workers. If the limit of
/// descriptors leaves no high number, the descriptor stays where it is.
pub fn move_up(fd: OwnedFd) -> OwnedFd {
    const LOWEST: RawFd = 100;
    duplicate(fd.as_fd(), LOWEST).unwrap_or(fd)
}

/// Moves a descriptor whose number is `taken` to the next free number that is not.
pub fn move_off(fd: OwnedFd, taken: impl Fn(RawFd) -> bool) -> io::Result<OwnedFd> {
    let mut moved = fd;
    while taken(moved.as_raw_fd()) {
        moved = duplicate(moved.as_fd(), moved.as_raw_fd() + 1)?;
    }
    Ok(moved)
}

/// Makes a standard stream of this process the same open file as `fd`.
pub fn redirect(fd: BorrowedFd, stream: Stream) -> io::Result<()> {
    // SAFETY: dup2 touches no memory. It closes a standard stream, which no OwnedFd of this program owns.
    retry(|| check(unsafe { libc::dup2(fd.as_raw_fd(), stream as RawFd) }))
}

/// Puts a descriptor in the place of another one, which is closed. The number of that one stays in use.
pub fn replace(old: BorrowedFd, new: OwnedFd) -> io::Result<()> {
    let number = old.as_raw_fd();
    // SAFETY: dup2 touches no memory, and the owner of the old descriptor now owns the new one under this number.
    retry(|| check(unsafe { libc::dup2(new.as_raw_fd(), number) }))?;
    inherit::set_close_on_exec(number, true)
}

/// The standard streams.
#[derive(Clone, Copy)]
pub enum Stream {
    Input = 0,
    Output = 1,
    Error = 2,
}

/// Reads once. A count of 0 is end-of-file.
pub fn read(fd: BorrowedFd, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: buffer is writable for its length and outlives the call.
        check_count(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
    })
}

/// Writes once, perhaps less than all.
pub fn write(fd: BorrowedFd, bytes: &[u8]) -> io::Result<usize> {
    retry(|| write_once(fd, bytes))
}

/// Writes once and gives up after a tenth of a second. The error is then EINTR, unless a part was written.
///
/// The descriptor stays blocking, since O_NONBLOCK would also affect every process that shares the open file.
fn write_briefly(fd: BorrowedFd, bytes: &[u8]) -> io::Result<usize> {
    briefly(|| write_once(fd, bytes))
}

/// Makes a system call that is interrupted after a tenth of a second.
pub(super) fn briefly<T>(call: impl FnOnce() -> T) -> T {
    set_alarm(100_000);
    let result = call();
    set_alarm(0);
    result
}

fn write_once(fd: BorrowedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: bytes is readable for its length and outlives the call.
    check_count(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// Writes to a pipe are atomic up to this size.
#[allow(clippy::unnecessary_cast, reason = "it is an int on illumos")]
pub const PIPE_BUF: usize = libc::PIPE_BUF as usize;

/// Sends SIGALRM after each interval of so many microseconds; 0 switches the alarm off. The alarm repeats, because the
/// first one may come before the write begins.
fn set_alarm(microseconds: i32) {
    let interval = libc::timeval {
        tv_sec: 0,
        tv_usec: microseconds.into(),
    };
    let timer = libc::itimerval {
        it_value: interval,
        it_interval: interval,
    };
    // SAFETY: timer is initialised and outlives the call, and the null pointer says that the old timer is not wanted.
    unsafe { setitimer(ITIMER_REAL, &timer, null_mut()) };
}

#[cfg(not(target_os = "illumos"))]
use libc::{setitimer, ITIMER_REAL};

// The libc crate lacks these two for illumos.
#[cfg(target_os = "illumos")]
const ITIMER_REAL: libc::c_int = 0;
#[cfg(target_os = "illumos")]
extern "C" {
    fn setitimer(
        which: libc::c_int,
        timer: *const libc::itimerval,
        old: *mut libc::itimerval,
    ) -> libc::c_int;
}

/// Whether this is a regular file.
pub fn is_regular(fd: BorrowedFd) -> bool {
    // SAFETY: a stat consists of integers, for which zeroes are valid.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: stat is a stat that outlives the call.
    let result = unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) };
    result == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

/// Locks an open file with flock(2), if no other process stands in the way. Never waits. Children that inherit the
/// descriptor share the lock, which ends when the last copy of the descriptor is closed.
pub fn try_lock(fd: BorrowedFd, lock: Lock) -> io::Result<Locked> {
    let operation = match lock {
        Lock::Exclusive => libc::LOCK_EX | libc::LOCK_NB,
        Lock::Shared => libc::LOCK_SH | libc::LOCK_NB,
    };
    // SAFETY: flock touches no memory.
    match retry(|| check(unsafe { libc::flock(fd.as_raw_fd(), operation) })) {
        Ok(()) => Ok(Locked::Acquired),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Locked::HeldByAnother),
        Err(error) => Err(error),
    }
}

/// Releases a lock that this process holds.
pub fn unlock(fd: BorrowedFd) {
    // SAFETY: flock touches no memory. It cannot fail for a descriptor that is locked.
    unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_UN) };
}

/// The kinds of locks. Both fail while another process holds an exclusive lock. An exclusive lock
/// also fails while another process holds a shared one.
#[derive(Clone, Copy)]
pub enum Lock {
    Exclusive,
    Shared,
}

/// The outcome of [`try_lock`].
#[derive(Clone, Copy)]
pub enum Locked {
    Acquired,
    HeldByAnother,
}

/// The number of descriptors that this process may have: every descriptor number is lower.
pub fn limit() -> RawFd {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: limit is an rlimit that outlives the call. The call cannot fail for RLIMIT_NOFILE.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX)
}

/// Writes once if poll(2) reports that there is room. If another process takes the room first, the write waits a tenth
/// of a second at most.
pub fn write_if_ready(fd: BorrowedFd, bytes: &[u8]) -> Result<usize, WriteError> {
    let mut interest = [poll::Interest::writable(fd)];
    poll::wait(&mut interest, Some(Duration::ZERO))?;
    if interest[0].happened() {
        return Ok(write_briefly(fd, bytes)?);
    }
    Err(WriteError::WouldWait)
}

/// Reasons why a write to a log has failed.
#[derive(Clone, Copy)]
pub enum WriteError {
    /// The reader is slow: the write would have waited for it, or has waited too long.
    WouldWait,
    /// The disk or the quota is full. poll(2) still reports the file as writable.
    DiskFull,
    /// Any other error. Usually the other end of the pipe is closed.
    NoReader,
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> WriteError {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => WriteError::WouldWait,
            Some(libc::ENOSPC | libc::EDQUOT) => WriteError::DiskFull,
            Some(_) | None => WriteError::NoReader,
        }
    }
}
