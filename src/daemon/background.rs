//! `--daemonize`: the move into the background. The first process waits until the start has succeeded or failed.

use crate::error::Error;
use crate::sys::fd;
use crate::sys::process::{self, ForkResult};
use crate::sys::signals::{self, Signals};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The first process, which waits for the outcome of the start. If this value is dropped without `release`, the first
/// process exits with status 1.
pub(super) struct FirstProcess(OwnedFd);

/// Continues in a grandchild, which catches the signals from now on. It has a session of its own, and its standard
/// input reads as end-of-file.
pub(super) fn detach(signals: &Signals) -> Result<FirstProcess, Error> {
    signals::block();
    let forked = fork_away(signals);
    signals.take_over();
    forked.map_err(|error| Error::action("--daemonize", "", error))
}

fn fork_away(signals: &Signals) -> io::Result<FirstProcess> {
    let (reader, writer) = fd::pipe()?;
    if let ForkResult::Parent = process::fork()? {
        signals.leave_to_child();
        drop(writer);
        let has_started = fd::read(reader.as_fd(), &mut [0]).is_ok_and(|count| count == 1);
        process::exit_now(i32::from(!has_started));
    }
    process::new_session()?;
    // The second child is not a session leader, so no terminal that it opens becomes its controlling terminal.
    if let ForkResult::Parent = process::fork()? {
        process::exit_now(0);
    }
    fd::redirect(fd::open_null()?.as_fd(), fd::Stream::Input)?;
    Ok(FirstProcess(writer))
}

impl FirstProcess {
    /// Lets the first process exit with status 0.
    pub fn release(self) {
        // The write fails only if the first process was killed, and then no process needs the outcome.
        let _ = fd::write(self.0.as_fd(), b"!");
    }
}
