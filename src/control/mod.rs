//! `--restart`, `--upgrade`, `--stop` and `--status`: the other side of the pid and status files.
//!
//! The files are looked at ten times a second. To be woken by a change would take inotify on Linux and kqueue
//! elsewhere, and neither tells of a lock that was let go; a look costs two system calls, and a restart is
//! waited for once a deploy.

mod progress;
mod restart;
mod status;
mod stop;
mod upgrade;

pub use restart::restart;
pub use status::status;
pub use stop::stop;
pub use upgrade::upgrade;

use crate::cli::Timeout;
use crate::files::pid_file::{Absent, Held};
use crate::files::status_file::{self, Snapshot, Upgrade};
use crate::supervisor::signal::Signal;
use crate::supervisor::worker::{Generation, Pid, StartFailure};
use crate::sys::{self, clock, poll, process};
use progress::Progress;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// StartReason a control command did not end well: one line each.
pub enum ControlError {
    /// Wrong use, or no start_server that runs.
    Refused(String),
    /// It took longer than `--timeout` allows.
    TimedOut(String),
    /// The restart was given up, or the upgrade has failed: what was there goes on.
    GivenUp(String),
    /// There is none to tell the status of.
    NotRunning(String),
}

/// How often the files are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

fn hold(pid_file: &Path) -> Result<Held, ControlError> {
    Held::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(message) | Absent::Unusable(message) => ControlError::Refused(message),
    })
}

fn send(held: &Held, signal: Signal) -> Result<(), ControlError> {
    process::signal(held.pid, signal.number()).map_err(|error| {
        ControlError::Refused(format!(
            "cannot send {signal} to process {}: {}",
            held.pid,
            sys::reason(&error)
        ))
    })
}

fn look(status_file: &Path) -> Result<Snapshot, String> {
    status_file::read(status_file).map_err(|error| unreadable(status_file, &error))
}

fn unreadable(status_file: &Path, error: &io::Error) -> String {
    let reason = sys::reason(error);
    format!("--status-file={}: {reason}", status_file.display())
}

/// The newest generation that stands.
fn newest(seen: &Snapshot) -> Option<Generation> {
    seen.workers.iter().map(|(generation, _)| *generation).max()
}

/// Looks until there is an answer. `None`: patience ended first.
fn wait_until<T>(patience: Timeout, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = patience.map(|patience| clock::now() + patience);
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if end.is_some_and(|end| clock::now() >= end) {
            return None;
        }
        // Nothing to poll but time; if even that fails, looking more often does no harm.
        let _ = poll::wait(&mut [], Some(POLL_INTERVAL));
    }
}
