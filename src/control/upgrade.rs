//! `--upgrade`.

use super::*;

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

pub(super) fn upgraded(upgrade: &Upgrade) -> String {
    format!(
        "start_server {} since {}, by an upgrade",
        upgrade.version,
        clock::format_utc(upgrade.time)
    )
}
