//! Going into the background, in such a way that the caller learns whether the start succeeded.

use crate::sys::process::{self, ForkResult};
use crate::sys::{self, fd};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The process that called start_server and waits for the outcome. If this is dropped without `release`,
/// the caller ends with status 1.
pub struct Caller(OwnedFd);

/// Goes on in a grandchild in a session of its own, with a standard input that has ended. The error is one line.
pub fn detach() -> Result<Caller, String> {
    (|| {
        let (reader, writer) = fd::pipe()?;
        if let ForkResult::Parent = process::fork()? {
            drop(writer);
            let started = fd::read(reader.as_fd(), &mut [0]).is_ok_and(|count| count == 1);
            process::exit_now(i32::from(!started));
        }
        process::new_session()?;
        // Not a session leader any more, so no terminal that is opened becomes the controlling one.
        if let ForkResult::Parent = process::fork()? {
            process::exit_now(0);
        }
        fd::redirect(fd::open_null()?.as_fd(), fd::Stream::Input)?;
        Ok(Caller(writer))
    })()
    .map_err(|error: io::Error| format!("cannot --daemonize: {}", sys::reason(&error)))
}

impl Caller {
    /// Lets the caller go with status 0.
    pub fn release(self) {
        // If it was killed meanwhile, nobody waits for the word.
        let _ = fd::write(self.0.as_fd(), b"!");
    }
}
