//! poll(2): waiting for descriptors, for signals and for time.
//!
//! Differences between systems:
//! - At the end of a pipe Linux, macOS and illumos report POLLHUP, and FreeBSD reports POLLIN as well. A socket reports
//!   POLLIN or both. Every answer counts as ready here, and the read that follows shows the end.
//! - Older macOS cannot poll devices and answers POLLNVAL [poll(2), BUGS]. This counts as ready too. The write that
//!   follows is limited in time (`write_briefly` in [`super::fd`]).
//! - No system restarts poll after a signal, even with SA_RESTART [signal(7), sigaction(2)].
//! - More entries than the limit of descriptors allows are refused with EINVAL. Linux refuses them even if the limit
//!   was lowered after the descriptors were opened.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// A descriptor, the condition to wait for, and whether the condition was met.
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

    /// Waits only for an error, or for a socket to be shut down.
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

    /// Whether the condition was met. An end-of-file and an error count too. The next read or write reports them.
    pub fn happened(&self) -> bool {
        self.entry.revents != 0
    }
}

/// Sleeps until a descriptor is ready, a signal comes or the timeout is over. `None` waits for ever. A signal ends the
/// call before it has looked at any descriptor, so the next call reports those that are ready.
///
/// The timeout is rounded up to a millisecond: a process that woke before its deadline would have to sleep again.
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
    let count = interests.len() as libc::nfds_t;
    // SAFETY: an Interest has the layout of a pollfd, and entries is an array of count entries that outlives the call.
    match check(unsafe { libc::poll(entries, count, milliseconds) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(WokenBy::Signal),
        Err(error) => Err(error),
        Ok(()) => Ok(WokenBy::ReadyOrTimeout),
    }
}

/// The reason why a sleep has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WokenBy {
    Signal,
    ReadyOrTimeout,
}
