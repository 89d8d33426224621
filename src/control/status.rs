//! The command `--status`: the text that it prints.

use super::upgrade::upgraded;
use super::*;
use crate::supervisor::worker::Pid;
use std::io;
use std::time::UNIX_EPOCH;

/// Describes the start_server of `pid_file` and, with a status file, its workers.
pub fn status(pid_file: &Path, status_file: Option<&Path>) -> Result<String, ControlError> {
    let held = Held::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(error) => ControlError::NotRunning(error),
        Absent::Unusable(error) => ControlError::Refused(error),
    })?;
    let mut text = format!("start_server (pid {}) is running", held.pid);
    if let Some(Ok(since)) = held.since().map(|since| since.duration_since(UNIX_EPOCH)) {
        text += &format!(" since {}", clock::format_utc(since.as_secs()));
    }
    text += "\n";
    if let Some(status_file) = status_file {
        text += &describe_workers(status_file)?;
    }
    Ok(text)
}

fn describe_workers(status_file: &Path) -> Result<String, Error> {
    let snapshot = match status_file::read(status_file) {
        // The file appears when the first worker is up.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing = Error::option("status-file", status_file, error);
            return Ok(format!("no worker is up yet: {missing}\n"));
        }
        Err(error) => return Err(Error::option("status-file", status_file, error)),
        Ok(snapshot) => snapshot,
    };
    let mut text = String::new();
    if let Some(upgrade) = &snapshot.upgrades.last {
        text += &format!("{}\n", upgraded(upgrade));
    }
    let newest = newest(&snapshot);
    text += &match newest {
        Some(generation) => format!("generation {generation} serves\n"),
        None => "no worker is up yet\n".to_string(),
    };
    if let Some(failure) = snapshot.start_failure {
        let next = if failure.given_up {
            "given up"
        } else {
            "trying again"
        };
        let failed = failure.failed;
        text += &format!("generation {failed} failed to start, {next}\n");
    }
    for (generation, pid) in &snapshot.workers {
        let is_current = Some(*generation) == newest;
        text += &describe_worker(*generation, *pid, is_current);
    }
    Ok(text)
}

fn describe_worker(generation: Generation, pid: Pid, is_current: bool) -> String {
    let role = if is_current { "current" } else { "old" };
    let age = process::age(pid).unwrap_or_else(|| "an unknown time".to_string());
    format!("worker {pid}: generation {generation}, {role}, up for {age}\n")
}
