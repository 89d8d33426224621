//! poll(2): the one place where the superdaemon sleeps.
//!
//! What differs:
//! - At the end of a pipe Linux, macOS and illumos say POLLHUP, FreeBSD POLLIN as well; a socket says POLLIN or both.
//!   Any answer counts here, and the read that follows tells.
//! - Older macOS does not look at devices: it answers POLLNVAL [poll(2), BUGS]. That counts too, and the write that
//!   follows does not wait ([`super::fd::write_briefly`]).
//! - No system restarts it after a signal, whatever SA_RESTART says [signal(7), sigaction(2)].
//! - More entries than descriptors may be open are refused with EINVAL, by Linux even if the limit has just sunk.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What one descriptor is waited for, and whether it happened.
#[repr(transparent)]
pub struct Interest {
    entry: libc::pollfd,
}

impl Interest {
    pub fn readable(fd: BorrowedFd) -> Interest {
        Interest::new(fd, libc::POLLIN)
    }

    pub fn writable(fd: BorrowedFd) -> Interest {
        Interest::new(fd, libc::POLLOUT)
    }

    /// Nothing but a socket that was shut down, or an error.
    pub fn hangup(fd: BorrowedFd) -> Interest {
        Interest::new(fd, 0)
    }

    fn new(fd: BorrowedFd, events: libc::c_short) -> Interest {
        Interest {
            entry: libc::pollfd {
                fd: fd.as_raw_fd(),
                events,
                revents: 0,
            },
        }
    }

    /// True also for an end-of-file or an error: the next read or write tells which.
    pub fn happened(&self) -> bool {
        self.entry.revents != 0
    }
}

/// Sleeps until something happens, a signal comes or the time is over; `None` waits for ever. After a signal nothing
/// else was looked at: the next call tells of it.
///
/// The wait is rounded up to a millisecond: waking before a deadline would mean to go round once more.
pub fn wait(interests: &mut [Interest], timeout: Option<Duration>) -> io::Result<WokenBy> {
    let milliseconds = match timeout {
        None => -1,
        Some(time) => {
            let rest = time.subsec_nanos().div_ceil(1_000_000);
            let whole = time.as_secs().saturating_mul(1000);
            whole.saturating_add(rest.into()).min(i32::MAX as u64) as i32
        }
    };
    let entries: *mut libc::pollfd = interests.as_mut_ptr().cast();
    // SAFETY: an Interest is a pollfd, of which this is an array of that length that outlives the call.
    let polled =
        check(unsafe { libc::poll(entries, interests.len() as libc::nfds_t, milliseconds) });
    match polled {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(WokenBy::Signal),
        Err(error) => Err(error),
        Ok(_) => Ok(WokenBy::ReadyOrTimeout),
    }
}

/// What ended the sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WokenBy {
    Signal,
    /// Something that was waited for, or the time.
    ReadyOrTimeout,
}
