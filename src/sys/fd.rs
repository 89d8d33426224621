//! Descriptors: pipes, copies, locks, reading and writing.
//!
//! What differs:
//! - flock(2) and fcntl(2) locks meet on the BSDs and macOS: an fcntl lock of another process refuses ours. Linux
//!   keeps them apart, but for NFS [flock(2)]; illumos makes flock of locks of the open file [flock(3C)]. Everywhere
//!   the lock belongs to the open file, a fork shares it, and unlocking any copy unlocks all: nobody but us gets one.
//! - `F_DUPFD_CLOEXEC` is everywhere, though not in every manual [fcntl(2)]. `dup2` to the same number changes nothing
//!   and leaves close-on-exec on.
//! - A pipe of FreeBSD goes both ways [pipe(2)]: a writer there is told EPIPE, as elsewhere, once the other end is
//!   closed.
//! - The limit of descriptors may be infinite on macOS and FreeBSD [getrlimit(2)]: it is no number to count up to.
//! - A timer of setitimer(2) is not inherited by a child, but survives execve: it is always switched off again.

use super::{check, retry};
use std::fs::OpenOptions;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

/// A pipe's reading and writing end, both close-on-exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    make_pipe(&mut ends)?;
    let [reader, writer] = ends.map(own);
    Ok((reader, writer))
}

#[cfg(not(target_os = "macos"))]
fn make_pipe(ends: &mut [RawFd; 2]) -> io::Result<()> {
    // SAFETY: ends has room for the two numbers that pipe2 writes.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok(())
}

/// macOS has no pipe2.
#[cfg(target_os = "macos")]
fn make_pipe(ends: &mut [RawFd; 2]) -> io::Result<()> {
    // SAFETY: ends has room for the two numbers that pipe writes.
    check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    for end in ends {
        // SAFETY: F_SETFD takes an integer and touches no memory; it cannot fail for a number that is open.
        unsafe { libc::fcntl(*end, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Something that has ended for who reads it.
pub fn open_null() -> io::Result<OwnedFd> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    match null {
        Ok(null) => Ok(null.into()),
        // A root folder without devices: a pipe whose other end is closed reads and writes no less in vain.
        Err(_) => Ok(pipe()?.0),
    }
}

/// Takes ownership of a descriptor that a system call has just returned.
pub(super) fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just handed this number out, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Takes over a descriptor that this process was started with, and makes it close-on-exec. Each is taken once.
pub fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes an integer and touches no memory; a number that is not open is an error.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(own(number))
}

pub fn set_close_on_exec(fd: BorrowedFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes an integer and touches no memory; fd is open.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(())
}

/// The flag belongs to the open file, not to the descriptor: never set it on what a worker shares.
pub fn set_nonblocking(fd: BorrowedFd) -> io::Result<()> {
    // SAFETY: F_GETFL takes nothing and touches no memory; fd is open.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: F_SETFL takes an integer and touches no memory; fd is open.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// A close-on-exec copy at the lowest free number that is at least `lowest`.
pub fn duplicate(fd: BorrowedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory; fd is open.
    let number = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    Ok(own(number))
}

/// Moves a descriptor to the lowest free number that is not `taken`, unless it has such a one already.
pub fn move_off(fd: OwnedFd, taken: impl Fn(RawFd) -> bool) -> io::Result<OwnedFd> {
    let mut moved = fd;
    while taken(moved.as_raw_fd()) {
        moved = duplicate(moved.as_fd(), moved.as_raw_fd() + 1)?;
    }
    Ok(moved)
}

/// Makes a standard stream of this process (0, 1 or 2) the same open file as `fd`.
pub fn redirect(fd: BorrowedFd, stream: Stream) -> io::Result<()> {
    // SAFETY: dup2 touches no memory. What it closes is one of the standard streams, which nobody owns.
    retry(|| check(unsafe { libc::dup2(fd.as_raw_fd(), stream as RawFd) }))?;
    Ok(())
}

#[derive(Clone, Copy)]
pub enum Stream {
    Input = 0,
    Output = 1,
    Error = 2,
}

/// Reads once. 0 is end-of-file.
pub fn read(fd: BorrowedFd, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: buffer is writable for its length and outlives the call.
        let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    })
}

/// Writes once, perhaps less than all.
pub fn write(fd: BorrowedFd, bytes: &[u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: bytes is readable for its length and outlives the call.
        let count = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    })
}

/// Writes once, but waits a tenth of a second at the most: then the error is EINTR, unless a part was written.
///
/// To make the descriptor non-blocking instead would do so for everybody who shares the open file.
pub fn write_briefly(fd: BorrowedFd, bytes: &[u8]) -> io::Result<usize> {
    let tenth = libc::timeval {
        tv_sec: 0,
        tv_usec: 100_000,
    };
    let never = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    // It comes again and again: the first one may come before the write begins.
    set_alarm(&libc::itimerval {
        it_value: tenth,
        it_interval: tenth,
    });
    // SAFETY: bytes is readable for its length and outlives the call.
    let count = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    let written = usize::try_from(count).map_err(|_| io::Error::last_os_error());
    set_alarm(&libc::itimerval {
        it_value: never,
        it_interval: never,
    });
    written
}

/// So much a pipe takes all at once or not at all, if it is not full.
#[allow(clippy::unnecessary_cast, reason = "it is an int on illumos")]
pub const PIPE_BUF: usize = libc::PIPE_BUF as usize;

fn set_alarm(timer: &libc::itimerval) {
    // SAFETY: timer is valid and outlives the call; the old one is not asked for. It cannot fail.
    unsafe { setitimer(ITIMER_REAL, timer, null_mut()) };
}

#[cfg(not(target_os = "illumos"))]
use libc::{setitimer, ITIMER_REAL};

/// The libc crate has left these out for illumos.
#[cfg(target_os = "illumos")]
const ITIMER_REAL: libc::c_int = 0;
#[cfg(target_os = "illumos")]
extern "C" {
    /// As setitimer(2) of illumos has it.
    fn setitimer(
        which: libc::c_int,
        timer: *const libc::itimerval,
        old: *mut libc::itimerval,
    ) -> libc::c_int;
}

/// Whether this is a regular file.
pub fn is_regular(fd: BorrowedFd) -> bool {
    // SAFETY: all zeroes is a valid stat.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: stat outlives the call.
    let result = unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) };
    result == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

/// Locks an open file as flock(2) does: the lock belongs to the open file, so children that inherit the
/// descriptor share it, and it goes when the last copy is closed.
pub fn lock(fd: BorrowedFd, lock: Lock) -> io::Result<()> {
    let operation = match lock {
        Lock::TryExclusive => libc::LOCK_EX | libc::LOCK_NB,
        Lock::TryShared => libc::LOCK_SH | libc::LOCK_NB,
    };
    // SAFETY: flock touches no memory; fd is open.
    retry(|| check(unsafe { libc::flock(fd.as_raw_fd(), operation) }))?;
    Ok(())
}

/// Lets a lock go that this process has.
pub fn unlock(fd: BorrowedFd) {
    // SAFETY: flock touches no memory. It cannot fail for a descriptor that is locked.
    unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_UN) };
}

/// `WouldBlock` is the error of both when somebody else holds the lock.
#[derive(Clone, Copy)]
pub enum Lock {
    TryExclusive,
    TryShared,
}

/// One more than the highest descriptor number this process may have.
pub fn limit() -> RawFd {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: limit is an rlimit that outlives the call, which cannot fail for RLIMIT_NOFILE.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX)
}
