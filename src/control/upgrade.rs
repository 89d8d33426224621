//! The command `--upgrade`: the wait for the outcome of the upgrade.

use super::view::Writer;
use super::*;
use crate::files::details::UpgradeDetails;

/// Asks the start_server of `target` to replace itself by the program now at its path, and waits for the outcome.
pub fn upgrade(target: &Target) -> Result<(), ControlError> {
    let pid_file = open_pid_file(&target.pid_file)?;
    let before = View::read_for(target, &pid_file)?;
    refuse_perl(&before, &pid_file)?;
    let details = before.details();
    if details.is_some_and(|details| details.forwards_usr2()) {
        let pid = pid_file.pid;
        let text = format!("start_server (pid {pid}) forwards USR2, so it cannot be upgraded");
        return Err(Error::statement(text).into());
    }
    let executable = process::executable(pid_file.pid);
    let attempts = details.map_or(0, |details| details.upgrades);
    send(&pid_file, Signal::USR2)?;
    let awaited = |_: &View| "waiting for the answer of the new program".to_string();
    let mut wait = Wait::new("upgrade", awaited, target, &pid_file);
    let upgrade = wait.until(|view, _| {
        if let Some(details) = view.details() {
            let upgrade = details.last_upgrade.clone();
            return upgrade.filter(|_| details.upgrades > attempts);
        }
        failure_of_0_1_0(view, &before)
    })?;
    if let Some(reason) = &upgrade.failure {
        let pid = pid_file.pid;
        return Err(ControlError::GivenUp(Error::statement(format!(
            "the upgrade failed, process {pid} keeps its current version: {reason}"
        ))));
    }
    let from = details.map_or("0.1.0", |details| details.version.as_str());
    wait.progress
        .print(&format!("{}, from {from}", upgraded(&upgrade)));
    wait.progress.end();
    if executable.is_some() && executable == process::executable(pid_file.pid) {
        wait.progress
            .print("the executable is the same file as before");
        wait.progress.end();
    }
    Ok(())
}

/// Refuses to send USR2 to Perl's start_server, which the signal would end.
fn refuse_perl(before: &View, pid_file: &LockedPidFile) -> Result<(), Error> {
    let name =
        process::executable_name(pid_file.pid).filter(|_| before.writer == Writer::WithoutDetails);
    if let Some(name) = name.filter(|name| name.starts_with("perl")) {
        let pid = pid_file.pid;
        let text = format!("process {pid} cannot be upgraded: it is a program of {name}");
        return Err(Error::statement(text));
    }
    Ok(())
}

/// The outcome that version 0.1.0 reports if it still runs.
fn failure_of_0_1_0(view: &View, before: &View) -> Option<UpgradeDetails> {
    let has_failed = view.failed_upgrade > before.failed_upgrade;
    has_failed.then(|| UpgradeDetails {
        version: "0.1.0".to_string(),
        time: clock::since_1970(),
        failure: Some("its log says why".to_string()),
    })
}

/// The line that reports a successful upgrade.
pub(super) fn upgraded(upgrade: &UpgradeDetails) -> String {
    let date = clock::format_utc(upgrade.time);
    format!(
        "start_server {} since {date}, by an upgrade",
        upgrade.version
    )
}
