//! `--restart`, `--upgrade`, `--stop` and `--status`: the other side of the pid and status files.
//!
//! The files are looked at ten times a second. To be woken by a change would take inotify on Linux and kqueue
//! elsewhere, and neither tells of a lock that was let go; a look costs two system calls, and a restart is
//! waited for once a deploy.

use crate::cli::Timeout;
use crate::files::held_pid_file::{Absent, Held};
use crate::files::status_file;
use crate::files::status_text::{Snapshot, Upgrade};
use crate::supervisor::signal::Signal;
use crate::supervisor::worker::{Generation, Pid, StartFailure};
use crate::sys::{self, clock, poll, process};
use std::io::{self, IsTerminal, Write};
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

/// Has the start_server of `pid_file` restart its worker, tells what happens, and waits until only newer
/// workers are left.
pub fn restart(pid_file: &Path, status_file: &Path, patience: Timeout) -> Result<(), ControlError> {
    let held = hold(pid_file)?;
    let before = look(status_file).map_err(ControlError::Refused)?;
    let Some(newest) = newest(&before) else {
        return Err(ControlError::Refused(format!(
            "--status-file={}: no worker is up yet",
            status_file.display()
        )));
    };
    send(&held, Signal::HUP)?;
    let is_news = |start_failure: &StartFailure| {
        let known = before.start_failure.as_ref();
        known.is_none_or(|known| start_failure.failed > known.failed)
    };
    let mut progress = Progress::new();
    let restarted = wait_until(patience, || {
        // While it is being replaced it may be missing for a moment on some file systems.
        let seen = look(status_file).unwrap_or_default();
        let (new, old): (Vec<_>, Vec<_>) = seen
            .workers
            .iter()
            .partition(|(generation, _)| *generation > newest);
        if let Some((generation, pid)) = new.last() {
            progress.print(&match old.len() {
                0 => format!("generation {generation} (pid {pid}) is up"),
                1 => format!("generation {generation} (pid {pid}) is up, waiting for 1 old worker"),
                n => format!(
                    "generation {generation} (pid {pid}) is up, waiting for {n} old workers"
                ),
            });
            if old.is_empty() {
                return Some(Ok(()));
            }
        } else if let Some(start_failure) = seen
            .start_failure
            .filter(|start_failure| is_news(start_failure))
        {
            let failed = start_failure.failed;
            if start_failure.given_up {
                return Some(Err(ControlError::GivenUp(format!(
                    "generation {failed} failed to start, the restart was given up, generation {newest} is still serving"
                ))));
            }
            progress.print(&format!(
                "generation {failed} failed to start, trying again"
            ));
        }
        let gone = || {
            ControlError::Refused(format!(
                "process {} ended before the restart was complete",
                held.pid
            ))
        };
        (!held.is_held()).then(|| Err(gone()))
    });
    progress.end();
    restarted.unwrap_or_else(|| {
        Err(ControlError::TimedOut(
            "the restart is not complete yet".to_string(),
        ))
    })
}

/// Has the start_server of `pid_file` replace itself by the executable that is now at its path, and waits for the
/// outcome.
pub fn upgrade(pid_file: &Path, status_file: &Path, patience: Timeout) -> Result<(), ControlError> {
    let held = hold(pid_file)?;
    let before = look(status_file).map_err(ControlError::Refused)?.upgrades;
    send(&held, Signal::USR2)?;
    let outcome = wait_until(patience, || {
        let now = look(status_file).unwrap_or_default().upgrades;
        match now.attempts > before.attempts {
            true => Some(Ok(now)),
            false => (!held.is_held()).then(|| {
                Err(ControlError::Refused(format!(
                    "process {} ended before the upgrade was complete",
                    held.pid
                )))
            }),
        }
    });
    let Some(upgrades) = outcome.transpose()? else {
        return Err(ControlError::TimedOut(
            "the upgrade is not complete yet".to_string(),
        ));
    };
    match upgrades
        .last
        .filter(|last| last.attempt == upgrades.attempts)
    {
        Some(upgrade) => {
            Progress::new().print(&upgraded(&upgrade));
            Ok(())
        }
        None => Err(ControlError::GivenUp(format!(
            "the upgrade failed, process {} keeps its current version: its log says why",
            held.pid
        ))),
    }
}

fn upgraded(upgrade: &Upgrade) -> String {
    format!(
        "start_server {} since {}, by an upgrade",
        upgrade.version,
        date(upgrade.time)
    )
}

/// Has the start_server of `pid_file` end, and waits for its end.
pub fn stop(pid_file: &Path, patience: Timeout) -> Result<(), ControlError> {
    let held = hold(pid_file)?;
    let line = format!(
        "stop_server (pid:{}) stopping now (pid:{})...\n",
        process::id(),
        held.pid
    );
    // The stop does not depend on somebody reading about it.
    let _ = io::stderr().write_all(line.as_bytes());
    send(&held, Signal::TERM)?;
    let stopped = wait_until(patience, || (!held.is_held()).then_some(()));
    stopped.ok_or_else(|| ControlError::TimedOut(format!("process {} has not ended yet", held.pid)))
}

/// Tells people about the start_server of `pid_file` and, where there is a status file, its workers.
pub fn status(pid_file: &Path, status_file: Option<&Path>) -> Result<String, ControlError> {
    let held = Held::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(message) => ControlError::NotRunning(message.to_string()),
        Absent::Unusable(message) => ControlError::Refused(message.to_string()),
    })?;
    let mut text = format!("start_server (pid {}) is running", held.pid);
    if let Some(Ok(since)) = held.since().map(|since| since.duration_since(UNIX_EPOCH)) {
        text += &format!(" since {}", date(since.as_secs()));
    }
    text += "\n";
    let Some(status_file) = status_file else {
        return Ok(text);
    };
    let seen = match status_file::read(status_file) {
        // There is none before the first worker stands.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            text += &format!("no worker is up yet: {}\n", unreadable(status_file, &error));
            return Ok(text);
        }
        read => read.map_err(|error| ControlError::Refused(unreadable(status_file, &error)))?,
    };
    if let Some(upgrade) = &seen.upgrades.last {
        text += &upgraded(upgrade);
        text += "\n";
    }
    let newest = newest(&seen);
    text += &match newest {
        Some(generation) => format!("generation {generation} serves\n"),
        None => "no worker is up yet\n".to_string(),
    };
    if let Some(start_failure) = seen.start_failure {
        let next = if start_failure.given_up {
            "given up"
        } else {
            "trying again"
        };
        text += &format!(
            "generation {} failed to start, {next}\n",
            start_failure.failed
        );
    }
    for (generation, pid) in &seen.workers {
        let part = if Some(*generation) == newest {
            "current"
        } else {
            "old"
        };
        text += &worker_line(*generation, *pid, part);
    }
    Ok(text)
}

/// The date of a moment in seconds since 1970, such as `2009-05-27 18:05:12 UTC`.
fn date(moment: u64) -> String {
    // Years that begin in March end with the leap day, so that the months before it are all alike: 153 days
    // in each five. 719468 days lie between 1 March of year 0 and 1970; 146097 make 400 years.
    let (days, second) = (moment / 86_400 + 719_468, moment % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = match month {
        0..=9 => (month + 3, year + era * 400),
        _ => (month - 9, year + era * 400 + 1),
    };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn worker_line(generation: Generation, pid: Pid, part: &str) -> String {
    let age = process::age(pid).unwrap_or_else(|| "an unknown time".to_string());
    format!("worker {pid}: generation {generation}, {part}, up for {age}\n")
}

/// One line after another; on a terminal each in the place of the one before.
struct Progress {
    terminal: bool,
    line: String,
}

impl Progress {
    fn new() -> Progress {
        Progress {
            terminal: io::stderr().is_terminal(),
            line: String::new(),
        }
    }

    fn print(&mut self, line: &str) {
        if line == self.line {
            return;
        }
        self.line = line.to_string();
        // To go to the beginning of the line and clear what follows is understood by every terminal in use.
        let text = match self.terminal {
            true => format!("\r{line}\x1b[K"),
            false => format!("{line}\n"),
        };
        // The restart does not depend on somebody reading about it.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn end(&self) {
        if self.terminal && !self.line.is_empty() {
            let _ = io::stderr().write_all(b"\n");
        }
    }
}

fn hold(pid_file: &Path) -> Result<Held, ControlError> {
    Held::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(message) | Absent::Unusable(message) => {
            ControlError::Refused(message.to_string())
        }
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

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        // As `date -u -d @SECONDS` has them.
        let table = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_243_447_512, "2009-05-27 18:05:12 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ];
        for (moment, text) in table {
            assert_eq!(date(moment), text);
        }
    }
}
