//! The command `--status`: the text that it prints.

use super::upgrade::upgraded;
use super::*;
use crate::files::details::{Details, NextStart, WorkerDetails};
use crate::supervisor::worker::{Activity, Role};
use std::time::UNIX_EPOCH;

/// The condition of a start_server. `main` has an exit status for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A worker is serving, or no status file was given.
    Serving,
    NoneServes,
    /// A worker is serving, but the last newer one has failed to start.
    StartsFail,
    Ending,
    /// The start_server does not write the status file.
    OtherStatusFile,
}

/// Describes the start_server of `pid_file` and, with a status file, its workers.
pub fn status(
    pid_file: &Path,
    status_file: Option<&Path>,
) -> Result<(String, Condition), ControlError> {
    let pid_file = LockedPidFile::open(pid_file).map_err(|absent| match absent {
        Absent::NotRunning(error) => ControlError::NotRunning(error),
        Absent::Unusable(error) => ControlError::Refused(error),
    })?;
    let mut text = format!("start_server (pid {}) is running", pid_file.pid);
    if let Some(Ok(since)) = pid_file
        .since()
        .map(|since| since.duration_since(UNIX_EPOCH))
    {
        text += &format!(" since {}", clock::format_utc(since.as_secs()));
    }
    text += "\n";
    let Some(status_file) = status_file else {
        return Ok((text, Condition::Serving));
    };
    let view = View::read(status_file, &pid_file)?;
    if let Err(error) = view.refuse_unwritten(status_file, &pid_file) {
        text += &format!("{error}\n");
        return Ok((text, Condition::OtherStatusFile));
    }
    text += &describe(&view);
    // If the files cannot be read again, the workers of the first look count.
    let again =
        || View::read(status_file, &pid_file).map_or(view.processes(), |view| view.processes());
    for stranger in strangers::of(&pid_file, again) {
        text +=
            &format!("{stranger} holds a socket of start_server, but is not one of its workers\n");
    }
    Ok((text, condition(&view)))
}

fn condition(view: &View) -> Condition {
    let details = view.details();
    if view.activity() == Some(Activity::Ending) {
        Condition::Ending
    } else if view.newest().is_none() {
        Condition::NoneServes
    } else if details.is_some_and(|details| details.start_failure.is_some()) {
        Condition::StartsFail
    } else {
        Condition::Serving
    }
}

fn describe(view: &View) -> String {
    let mut text = String::new();
    if let Some(details) = view.details() {
        text += &describe_upgrade(details);
    }
    let newest = view.newest();
    text += &match newest {
        Some(generation) => format!("generation {generation} serves\n"),
        None => "no worker is up\n".to_string(),
    };
    if let Some(details) = view.details() {
        text += &describe_troubles(details);
    }
    for (generation, pid) in &view.workers {
        let worker = view.worker(*pid);
        let told = match worker.and_then(|worker| worker.told) {
            Some(time) => format!(", told to finish at {}", clock::format_utc(time)),
            None => String::new(),
        };
        if worker.is_some_and(|worker| worker.role == Role::Remnant) {
            text += &format!(
                "worker {pid}: generation {generation}, exited, the rest of its process group{told}\n"
            );
            continue;
        }
        let role = if Some(*generation) == newest {
            "current"
        } else {
            "old"
        };
        text += &format!(
            "worker {pid}: generation {generation}, {role}{told}, up for {}\n",
            age(*pid)
        );
    }
    if let Some(candidate) = view.candidate() {
        text += &describe_candidate(candidate);
    }
    text
}

fn describe_candidate(candidate: &WorkerDetails) -> String {
    let (generation, pid) = (candidate.generation, candidate.pid);
    let state = match candidate.told {
        None => format!("being started for {}", age(pid)),
        Some(time) => {
            let time = clock::format_utc(time);
            format!("not ready in time, killed at {time}, has not ended yet")
        }
    };
    format!("worker {pid}: generation {generation}, {state}\n")
}

fn describe_upgrade(details: &Details) -> String {
    let Some(upgrade) = &details.last_upgrade else {
        return String::new();
    };
    match &upgrade.failure {
        None => format!("{}\n", upgraded(upgrade)),
        Some(reason) => format!(
            "the last upgrade failed at {}: {reason}\n",
            clock::format_utc(upgrade.time)
        ),
    }
}

fn describe_troubles(details: &Details) -> String {
    let mut text = String::new();
    match details.activity {
        Activity::Restarting => text += "start_server is restarting\n",
        Activity::Ending => text += "start_server is ending\n",
        Activity::Starting | Activity::Up => {}
    }
    if let Some(failure) = &details.start_failure {
        let next = match failure.next {
            NextStart::TryingAgain => "trying again",
            NextStart::GivenUp => "given up",
        };
        text += &format!(
            "generation {} failed to start at {} ({}), {next}\n",
            failure.generation,
            clock::format_utc(failure.time),
            failure.end
        );
    }
    if let Some((count, last)) = details.deaths {
        let times = if count == 1 {
            "once"
        } else {
            &format!("{count} times")
        };
        let last = clock::format_utc(last);
        text += &format!("the worker has died unexpectedly {times}, the last time at {last}\n");
    }
    text
}

fn age(pid: Pid) -> String {
    process::age(pid).unwrap_or_else(|| "an unknown time".to_string())
}
