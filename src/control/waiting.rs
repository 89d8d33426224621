//! The waits of the control commands.

use super::progress::Progress;
use super::*;
use crate::supervisor::policy::Time;
use crate::supervisor::worker::Role;
use crate::sys::poll;
use std::time::Duration;

/// The pause between two looks at the files.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// After five seconds without a change, a line says what the command is waiting for.
const QUIET_CHECKS: u32 = 50;

/// The wait of a command for its outcome.
pub(super) struct Wait<'a> {
    /// The command, as messages name it: restart or upgrade.
    what: &'static str,
    /// Says what is awaited when nothing has changed for a while.
    awaited: fn(&View) -> String,
    target: &'a Target,
    pid_file: &'a LockedPidFile,
    pub progress: Progress,
    end: Option<Time>,
}

impl Wait<'_> {
    pub fn new<'a>(
        what: &'static str,
        awaited: fn(&View) -> String,
        target: &'a Target,
        pid_file: &'a LockedPidFile,
    ) -> Wait<'a> {
        Wait {
            what,
            awaited,
            target,
            pid_file,
            progress: Progress::new(),
            end: end_of(target.timeout),
        }
    }

    /// Reads the files again and again until `look` finds an answer.
    pub fn until<T>(
        &mut self,
        mut look: impl FnMut(&View, &mut Progress) -> Option<T>,
    ) -> Result<T, ControlError> {
        let mut seen = View::default();
        let mut quiet = 0;
        let (what, pid) = (self.what, self.pid_file.pid);
        let incomplete = format!("the {what} is not complete yet");
        let answer = wait(self.end, incomplete, || {
            // On some file systems the status file is missing for a moment while it is replaced.
            let view = View::read(&self.target.status_file, self.pid_file).unwrap_or_default();
            if let Some(answer) = look(&view, &mut self.progress) {
                return Some(Ok(answer));
            }
            if !self.pid_file.is_running() {
                let text = format!("process {pid} ended before the {what} was complete");
                return Some(Err(Error::statement(text)));
            }
            if let Err(ending) = view.refuse_ending(self.pid_file) {
                return Some(Err(ending));
            }
            quiet = if view == seen { quiet + 1 } else { 0 };
            if quiet == QUIET_CHECKS {
                quiet = 0;
                self.progress.print(&(self.awaited)(&view));
            }
            seen = view;
            None
        });
        self.progress.end();
        Ok(answer??)
    }
}

/// Says what a restart is waiting for.
pub(super) fn awaited(view: &View) -> String {
    if let Some(candidate) = view.candidate() {
        if let Some(time) = candidate.told {
            let (pid, time) = (candidate.pid, clock::format_utc(time));
            return format!("waiting for the end of worker {pid}, which was killed at {time}");
        }
        return format!(
            "waiting for worker {} (generation {}) to pass its check, started at {}",
            candidate.pid,
            candidate.generation,
            clock::format_utc(candidate.since)
        );
    }
    // Nothing is awaited of the newest worker: it is up. An older one, if there is any, still has to end.
    match view.workers.split_last() {
        Some((_, [(generation, pid), ..])) => {
            let worker = view.worker(*pid);
            let rest = match worker.map(|worker| worker.role) {
                Some(Role::Remnant) => "the rest of the process group of ",
                _ => "",
            };
            let told = match worker.map(|worker| worker.told) {
                Some(Some(time)) => format!(", told to finish at {}", clock::format_utc(time)),
                Some(None) => ", not told to finish yet".to_string(),
                None => String::new(),
            };
            format!("waiting for the end of {rest}worker {pid} (generation {generation}{told})")
        }
        Some((_, [])) | None if view.details().is_some() => {
            "waiting for the next attempt to start a worker".to_string()
        }
        // Without details a worker is seen only when it is up.
        Some((_, [])) | None => "waiting for a newer worker to be up".to_string(),
    }
}

fn end_of(timeout: Timeout) -> Option<Time> {
    timeout.map(|timeout| clock::now() + timeout)
}

/// Calls `look` again and again until it returns an answer. `incomplete` is the error if the timeout comes first.
pub(super) fn wait_until<T>(
    timeout: Timeout,
    incomplete: String,
    look: impl FnMut() -> Option<T>,
) -> Result<T, ControlError> {
    wait(end_of(timeout), incomplete, look)
}

fn wait<T>(
    end: Option<Time>,
    incomplete: String,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, ControlError> {
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
