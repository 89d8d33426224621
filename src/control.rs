//! `--restart` and `--stop`: the other side of the pid and status files.

use crate::cli::Patience;
use crate::pidfile::Held;
use crate::signal::Signal;
use crate::status;
use crate::sys::{self, clock, poll, process};
use crate::worker::Generation;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Why a control command did not end well.
pub enum Failure {
    /// Wrong use, or no start_server that runs: one line.
    Refused(String),
    /// It took longer than `--timeout` allows: one line.
    TimedOut(String),
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Has the start_server of `pid_file` restart its worker, and waits until only newer workers are left.
pub fn restart(pid_file: &Path, status_file: &Path, patience: Patience) -> Result<(), Failure> {
    let held = Held::open(pid_file).map_err(Failure::Refused)?;
    let newest = generations(status_file).and_then(|generations| {
        generations
            .into_iter()
            .max()
            .ok_or_else(|| format!("--status-file={}: no worker stands", status_file.display()))
    });
    let newest = newest.map_err(Failure::Refused)?;
    send(&held, Signal::HUP)?;
    let restarted = wait_until(patience, || {
        // While it is being replaced it may be missing for a moment on some file systems.
        let generations = generations(status_file).unwrap_or_default();
        if !generations.is_empty() && generations.iter().all(|&generation| generation > newest) {
            return Some(Ok(()));
        }
        let gone = || {
            Failure::Refused(format!(
                "process {} ended before the restart was complete",
                held.pid
            ))
        };
        (!held.is_held()).then(|| Err(gone()))
    });
    restarted.unwrap_or_else(|| {
        Err(Failure::TimedOut(
            "the restart is not complete yet".to_string(),
        ))
    })
}

/// Has the start_server of `pid_file` end, and waits for its end.
pub fn stop(pid_file: &Path, patience: Patience) -> Result<(), Failure> {
    let held = Held::open(pid_file).map_err(Failure::Refused)?;
    let line = format!(
        "stop_server (pid:{}) stopping now (pid:{})...\n",
        process::id(),
        held.pid
    );
    // The stop does not depend on somebody reading about it.
    let _ = io::stderr().write_all(line.as_bytes());
    send(&held, Signal::TERM)?;
    let stopped = wait_until(patience, || (!held.is_held()).then_some(()));
    stopped.ok_or_else(|| Failure::TimedOut(format!("process {} has not ended yet", held.pid)))
}

fn send(held: &Held, signal: Signal) -> Result<(), Failure> {
    process::signal(held.pid, signal.number()).map_err(|error| {
        Failure::Refused(format!(
            "cannot send {signal} to process {}: {}",
            held.pid,
            sys::reason(&error)
        ))
    })
}

fn generations(status_file: &Path) -> Result<Vec<Generation>, String> {
    let workers = status::read(status_file).map_err(|error| {
        let reason = sys::reason(&error);
        format!("--status-file={}: {reason}", status_file.display())
    })?;
    Ok(workers
        .into_iter()
        .map(|(generation, _)| generation)
        .collect())
}

/// Looks until there is an answer. `None`: patience ended first.
fn wait_until<T>(patience: Patience, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = patience.map(|patience| clock::now() + patience);
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if end.is_some_and(|end| clock::now() >= end) {
            return None;
        }
        // Nothing to poll but time; if even that fails, looking more often does no harm.
        let _ = poll::wait(&mut [], Some(LOOK));
    }
}
