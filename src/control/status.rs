//! `--status`.

use super::upgrade::upgraded;
use super::*;

/// Tells people about the start_server of `pid_file` and, where there is a status file, its workers.
pub fn status(pid_file: &Path, status_file: Option<&Path>) -> Result<String, ControlError> {
    let held = Held::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(message) => ControlError::NotRunning(message),
        Absent::Unusable(message) => ControlError::Refused(message),
    })?;
    let mut text = format!("start_server (pid {}) is running", held.pid);
    if let Some(Ok(since)) = held.since().map(|since| since.duration_since(UNIX_EPOCH)) {
        text += &format!(" since {}", clock::format_utc(since.as_secs()));
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

fn worker_line(generation: Generation, pid: Pid, part: &str) -> String {
    let age = process::age(pid).unwrap_or_else(|| "an unknown time".to_string());
    format!("worker {pid}: generation {generation}, {part}, up for {age}\n")
}
