//! The command `--restart`: the wait for the new worker, and its progress lines.

use super::progress::Progress;
use super::waiting::awaited;
use super::*;
use crate::files::details::{FailureDetails, NextStart};

/// Sends HUP to the start_server of `target`, prints the progress, and waits until only newer workers are left. If the
/// first worker is still being started, waits for it before sending HUP.
pub fn restart(target: &Target) -> Result<(), ControlError> {
    let pid_file = open_pid_file(&target.pid_file)?;
    let mut before = View::read_for(target, &pid_file)?;
    let mut wait = Wait::new("restart", awaited, target, &pid_file);
    let newest = match before.newest() {
        Some(newest) => newest,
        None => {
            let reporter = Reporter::new(&before);
            let newest = wait.until(|view, progress| {
                reporter.report(view, progress);
                view.newest()
            })?;
            before = View::read_for(target, &pid_file)?;
            newest
        }
    };
    send(&pid_file, Signal::HUP)?;
    let mut restart = Restart {
        newest,
        reporter: Reporter::new(&before),
    };
    wait.until(|view, progress| restart.outcome(view, progress))?
}

/// A restart that is in progress.
struct Restart {
    /// The newest generation before the restart.
    newest: Generation,
    reporter: Reporter,
}

impl Restart {
    fn outcome(
        &mut self,
        view: &View,
        progress: &mut Progress,
    ) -> Option<Result<(), ControlError>> {
        let is_old = |worker: &&(Generation, _)| worker.0 <= self.newest;
        let old = view.workers.iter().filter(is_old).count();
        let new = view.workers.iter().rfind(|worker| !is_old(worker));
        let Some((generation, pid)) = new else {
            let failure = self.reporter.report(view, progress)?;
            let (failed, end, newest) = (failure.generation, &failure.end, self.newest);
            return Some(Err(ControlError::GivenUp(Error::statement(format!(
                "generation {failed} failed to start ({end}), the restart was given up, generation {newest} is still serving"
            )))));
        };
        let mut line = format!("generation {generation} (pid {pid}) is up");
        match old {
            0 => {}
            1 => line += ", waiting for 1 old worker",
            _ => line += &format!(", waiting for {old} old workers"),
        }
        progress.print(&line);
        (old == 0).then_some(Ok(()))
    }
}

/// Reports failed starts.
struct Reporter {
    /// The last failed start that was not reported because it is older than the command.
    known: Generation,
}

impl Reporter {
    fn new(before: &View) -> Reporter {
        let details = before.details();
        let failure = details.and_then(|details| details.start_failure.as_ref());
        Reporter {
            known: failure.map_or(0, |failure| failure.generation),
        }
    }

    /// Prints a failed start that is followed by another one. Returns one that is given up.
    fn report<'a>(&self, view: &'a View, progress: &mut Progress) -> Option<&'a FailureDetails> {
        let failure = view.details()?.start_failure.as_ref()?;
        if failure.generation <= self.known {
            return None;
        }
        if failure.next == NextStart::GivenUp {
            return Some(failure);
        }
        progress.print(&failed(failure));
        None
    }
}

fn failed(failure: &FailureDetails) -> String {
    let (generation, end) = (failure.generation, &failure.end);
    format!("generation {generation} failed to start ({end}), trying again")
}
