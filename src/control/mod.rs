//! The control commands `--restart`, `--upgrade`, `--stop` and `--status`. They read the pid file, the status file and
//! its details.
//!
//! A command of `cli` comes in, with its files. Signals to the start_server that holds the pid file go out. So do the
//! progress lines, on standard error, and a result that `main` turns into an exit status.
//!
//! The files are read ten times a second. A notification of changes would take inotify on Linux and kqueue elsewhere,
//! and neither reports that a lock was released. Each look costs only about ten system calls.

mod progress;
mod restart;
mod status;
mod stop;
mod strangers;
mod upgrade;
mod view;
mod waiting;

pub use restart::restart;
pub use status::{status, Condition};
pub use stop::stop;
pub use upgrade::upgrade;

use crate::cli::{Target, Timeout};
use crate::error::Error;
use crate::files::locked_pid_file::{Absent, LockedPidFile};
use crate::supervisor::signal::Signal;
use crate::supervisor::worker::{Generation, Pid};
use crate::sys::{clock, process};
use std::path::Path;
use view::View;
use waiting::{wait_until, Wait};

/// The reason why a control command did not succeed. `main` has an exit status for each.
pub enum ControlError {
    /// Wrong use, or no start_server to control.
    Refused(Error),
    /// `--timeout` ended the wait.
    TimedOut(Error),
    /// The restart was given up and the old worker is still serving, or the upgrade failed and the old version still
    /// runs.
    GivenUp(Error),
    /// `--status` found no start_server.
    NotRunning(Error),
}

impl From<Error> for ControlError {
    fn from(error: Error) -> ControlError {
        ControlError::Refused(error)
    }
}

fn open_pid_file(path: &Path) -> Result<LockedPidFile, Error> {
    LockedPidFile::open(path).map_err(|absent| match absent {
        Absent::NotRunning(error) | Absent::Unusable(error) => error,
    })
}

fn send(pid_file: &LockedPidFile, signal: Signal) -> Result<(), Error> {
    pid_file.check()?;
    process::signal(pid_file.pid, signal.number()).map_err(|error| {
        let what = format!("{signal} to process {}", pid_file.pid);
        Error::action("send", what, error)
    })
}
