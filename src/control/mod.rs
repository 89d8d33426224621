//! The control commands `--restart`, `--upgrade`, `--stop` and `--status`. They read the pid file and the status file.
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
mod upgrade;

pub use restart::restart;
pub use status::status;
pub use stop::stop;
pub use upgrade::upgrade;

use crate::cli::{Target, Timeout};
use crate::error::Error;
use crate::files::held_pid_file::{Absent, Held};
use crate::files::status_file;
use crate::files::status_text::Snapshot;
use crate::supervisor::signal::Signal;
use crate::supervisor::worker::Generation;
use crate::sys::{clock, poll, process};
use std::path::Path;
use std::time::Duration;

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

/// The pause between two looks at the files.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

impl From<Error> for ControlError {
    fn from(error: Error) -> ControlError {
        ControlError::Refused(error)
    }
}

fn hold(pid_file: &Path) -> Result<Held, Error> {
    Held::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(error) | Absent::Unusable(error) => error,
    })
}

fn send(held: &Held, signal: Signal) -> Result<(), Error> {
    process::signal(held.pid, signal.number()).map_err(|error| {
        let what = format!("{signal} to process {}", held.pid);
        Error::action("send", what, error)
    })
}

fn read(status_file: &Path) -> Result<Snapshot, Error> {
    status_file::read(status_file).map_err(|error| Error::option("status-file", status_file, error))
}

/// The newest generation that is up.
fn newest(snapshot: &Snapshot) -> Option<Generation> {
    let workers = snapshot.workers.iter();
    workers.map(|(generation, _)| *generation).max()
}

/// Reads the status file again and again until `look` finds the outcome of the command, which `what` names.
fn wait_for_outcome<T>(
    what: &str,
    target: &Target,
    held: &Held,
    mut look: impl FnMut(Snapshot) -> Option<T>,
) -> Result<T, ControlError> {
    let incomplete = format!("the {what} is not complete yet");
    let outcome = wait_until(target.timeout, incomplete, || {
        // On some file systems the status file is missing for a moment while it is replaced.
        let snapshot = status_file::read(&target.status_file).unwrap_or_default();
        let outcome = look(snapshot);
        (outcome.is_some() || !held.is_held()).then_some(outcome)
    })?;
    let pid = held.pid;
    outcome.ok_or_else(|| {
        let text = format!("process {pid} ended before the {what} was complete");
        ControlError::Refused(Error::statement(text))
    })
}

/// Calls `look` again and again until it returns an answer. `incomplete` is the error if the timeout comes first.
fn wait_until<T>(
    timeout: Timeout,
    incomplete: String,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, ControlError> {
    let end = timeout.map(|timeout| clock::now() + timeout);
    loop {
        if let Some(answer) = look() {
            return Ok(answer);
        }
        if end.is_some_and(|end| clock::now() >= end) {
            return Err(ControlError::TimedOut(Error::statement(incomplete)));
        }
        // This poll only waits. If it fails, the next look comes sooner, which does no harm.
        let _ = poll::wait(&mut [], Some(POLL_INTERVAL));
    }
}
