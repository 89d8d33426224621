//! The command `--upgrade`: the wait for the outcome of the upgrade.

use super::progress::Progress;
use super::*;
use crate::files::status_text::Upgrade;

/// Asks the start_server of `target` to replace itself by the program now at its path, and waits for the outcome.
pub fn upgrade(target: &Target) -> Result<(), ControlError> {
    let held = hold(&target.pid_file)?;
    let status_file = &target.status_file;
    let attempts = read(status_file)?.upgrades.attempts;
    send(&held, Signal::USR2)?;
    let outcome = wait_until(target.timeout, || {
        // On some file systems the status file is missing for a moment while it is replaced.
        let upgrades = status_file::read(status_file).unwrap_or_default().upgrades;
        if upgrades.attempts > attempts {
            return Some(Ok(upgrades));
        }
        (!held.is_held()).then(|| Err(ended_before(&held, "upgrade")))
    });
    let Some(upgrades) = outcome.transpose()? else {
        let text = "the upgrade is not complete yet";
        return Err(ControlError::TimedOut(Error::statement(text)));
    };
    match &upgrades.last {
        Some(upgrade) if !upgrades.has_failed() => {
            Progress::new().print(&upgraded(upgrade));
            Ok(())
        }
        Some(_) | None => Err(ControlError::GivenUp(Error::statement(format!(
            "the upgrade failed, process {} keeps its current version: its log says why",
            held.pid
        )))),
    }
}

/// The line that reports a successful upgrade.
pub(super) fn upgraded(upgrade: &Upgrade) -> String {
    let date = clock::format_utc(upgrade.time);
    format!(
        "start_server {} since {date}, by an upgrade",
        upgrade.version
    )
}
