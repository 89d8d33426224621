//! The command `--restart`: the wait for the new worker, and its progress lines.

use super::progress::Progress;
use super::*;
use crate::supervisor::worker::StartFailure;

/// Sends HUP to the start_server of `target`, prints the progress, and waits until only newer workers are left.
pub fn restart(target: &Target) -> Result<(), ControlError> {
    let held = hold(&target.pid_file)?;
    let before = read(&target.status_file)?;
    let no_worker = || Error::option("status-file", &target.status_file, "no worker is up yet");
    let newest = newest(&before).ok_or_else(no_worker)?;
    send(&held, Signal::HUP)?;
    let mut restart = Restart {
        newest,
        known_failure: before.start_failure,
        progress: Progress::new(),
    };
    let look = |snapshot| restart.outcome(snapshot);
    let outcome = wait_for_outcome("restart", target, &held, look);
    restart.progress.end();
    outcome?
}

/// A restart that is in progress.
struct Restart {
    /// The newest generation before the restart.
    newest: Generation,
    /// A failed start that was reported before the restart.
    known_failure: Option<StartFailure>,
    progress: Progress,
}

impl Restart {
    fn outcome(&mut self, snapshot: Snapshot) -> Option<Result<(), ControlError>> {
        let is_old = |worker: &&(Generation, _)| worker.0 <= self.newest;
        let old = snapshot.workers.iter().filter(is_old).count();
        let new = snapshot.workers.iter().rfind(|worker| !is_old(worker));
        match (new, self.new_failure(&snapshot)) {
            (Some((generation, pid)), _) => {
                let mut line = format!("generation {generation} (pid {pid}) is up");
                match old {
                    0 => {}
                    1 => line += ", waiting for 1 old worker",
                    _ => line += &format!(", waiting for {old} old workers"),
                }
                self.progress.print(&line);
                (old == 0).then_some(Ok(()))
            }
            (None, Some(failure)) => self.failed(failure),
            (None, None) => None,
        }
    }

    fn new_failure(&self, snapshot: &Snapshot) -> Option<StartFailure> {
        let known = self.known_failure.map_or(0, |known| known.failed);
        let last = snapshot.start_failure;
        last.filter(|failure| failure.failed > known)
    }

    fn failed(&mut self, failure: StartFailure) -> Option<Result<(), ControlError>> {
        let failed = failure.failed;
        if !failure.given_up {
            let line = format!("generation {failed} failed to start, trying again");
            self.progress.print(&line);
            return None;
        }
        let newest = self.newest;
        Some(Err(ControlError::GivenUp(Error::statement(format!(
            "generation {failed} failed to start, the restart was given up, generation {newest} is still serving"
        )))))
    }
}
