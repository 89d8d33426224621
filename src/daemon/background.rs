//! `--daemonize`: going into the background, while the caller waits and learns whether the start succeeded.

use crate::error::Error;
use crate::sys::fd;
use crate::sys::process::{self, ForkResult};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The process that called start_server and waits for the outcome. If this is dropped without `release`, the caller
/// exits with status 1.
pub(super) struct Caller(OwnedFd);

/// Continues in a grandchild in a session of its own, whose standard input reads as end-of-file.
pub(super) fn detach() -> Result<Caller, Error> {
    fork_away().map_err(|error| Error::action("--daemonize", "", error))
}

fn fork_away() -> io::Result<Caller> {
    let (reader, writer) = fd::pipe()?;
    if let ForkResult::Parent = process::fork()? {
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
    Ok(Caller(writer))
}

impl Caller {
    /// Lets the caller exit with status 0.
    pub fn release(self) {
        // A caller that was killed meanwhile waits for nothing.
        let _ = fd::write(self.0.as_fd(), b"!");
    }
}
