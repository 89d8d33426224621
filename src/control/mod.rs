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

fn hold(pid_file: &Path) -> Result<Held, ControlError> {
    Held::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(error) | Absent::Unusable(error) => ControlError::Refused(error),
    })
}

fn send(held: &Held, signal: Signal) -> Result<(), ControlError> {
    process::signal(held.pid, signal.number()).map_err(|error| {
        let action = format!("{signal} to process {}", held.pid);
        ControlError::Refused(Error::action("send", action, error))
    })
}

fn ended_before(held: &Held, what: &str) -> ControlError {
    let pid = held.pid;
    refused(format!(
        "process {pid} ended before the {what} was complete"
    ))
}

fn refused(text: String) -> ControlError {
    ControlError::Refused(Error::statement(text))
}

fn read(status_file: &Path) -> Result<Snapshot, ControlError> {
    status_file::read(status_file)
        .map_err(|error| ControlError::Refused(Error::option("status-file", status_file, error)))
}

/// The newest generation that is up.
fn newest(snapshot: &Snapshot) -> Option<Generation> {
    snapshot
        .workers
        .iter()
        .map(|(generation, _)| *generation)
        .max()
}

/// Calls `look` again and again until it returns an answer. `None` means that the timeout came first.
fn wait_until<T>(timeout: Timeout, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = timeout.map(|timeout| clock::now() + timeout);
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if end.is_some_and(|end| clock::now() >= end) {
            return None;
        }
        // This poll only waits. If it fails, the next look comes sooner, which does no harm.
        let _ = poll::wait(&mut [], Some(POLL_INTERVAL));
    }
}
