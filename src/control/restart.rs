//! `--restart`.

use super::*;

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
