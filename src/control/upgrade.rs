//! The command `--upgrade`: the wait for the outcome of the upgrade.

use super::progress::Progress;
use super::*;
use crate::files::status_text::Upgrade;

/// Asks the start_server of `target` to replace itself by the program now at its path, and waits for the outcome.
pub fn upgrade(target: &Target) -> Result<(), ControlError> {
    let held = hold(&target.pid_file)?;
    let attempts = read(&target.status_file)?.upgrades.attempts;
    send(&held, Signal::USR2)?;
    let upgrades = wait_for_outcome("upgrade", target, &held, |snapshot| {
        Some(snapshot.upgrades).filter(|upgrades| upgrades.attempts > attempts)
    })?;
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
