//! The data about workers, and the part of the data that is published. Pure.

use crate::saved::words;
use crate::supervisor::policy::Time;
use crate::supervisor::signal::Signal;

/// A process ID.
pub type Pid = i32;

/// Counts the starts of workers from 1, failed ones included.
pub type Generation = u64;

/// A wait status as wait(2) returns it. The log shows it raw, like Perl's `$?`: exit status 1 is 256.
pub type WaitStatus = i32;

/// A worker process that has not been reaped yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    pub pid: Pid,
    pub generation: Generation,
    pub role: Role,
    pub stop: StopState,
}

words! {
    /// The role of a worker among all workers.
    pub enum Role {
        /// The worker is being started: it has not passed its check yet.
        #[default]
        Candidate = "candidate",
        /// It has passed its check, and no newer worker replaces it.
        Current = "current",
        /// It has passed its check, but a newer worker has replaced it or is being started to replace it.
        Old = "old",
        /// It has exited, but others in its process group have not.
        Remnant = "remnant",
    }
}

impl Role {
    /// Whether the worker has passed its check and has not exited.
    pub fn is_up(self) -> bool {
        matches!(self, Role::Current | Role::Old)
    }
}

/// The signals to finish that a worker was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopState {
    NotSignalled,
    /// The first signal to finish was sent at the time `since`, and the last one is `last`.
    Signalled {
        since: Time,
        last: Signal,
    },
    /// SIGKILL was sent, because the worker had not exited, or was not ready, in time. If it is still there at the time
    /// `log_at`, the log says so once.
    Killed {
        log_at: Option<Time>,
    },
}

/// The state that is published: the status file gets the workers, and the service manager gets the failure too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The workers that have passed their check, oldest first.
    pub workers: Vec<Worker>,
    /// Present if the last start failed.
    pub start_failure: Option<StartFailure>,
}

/// The state that our control commands can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub activity: Activity,
    /// All workers that have not been reaped, oldest first.
    pub workers: Vec<Worker>,
    /// Present if the last start failed.
    pub start_failure: Option<StartFailure>,
    /// The number of times that a current worker has died unexpectedly since the start or the last upgrade.
    pub deaths: u64,
}

words! {
    /// The activity of start_server.
    pub enum Activity {
        /// A worker is being started, and no other one serves.
        #[default]
        Starting = "starting",
        /// No worker is being started. Old workers may still be finishing.
        Up = "up",
        /// A worker is being started while an old one serves, or `--kill-old-delay` is not over.
        Restarting = "restarting",
        /// No worker is started any more.
        Ending = "ending",
    }
}

/// A start that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartFailure {
    pub failed: Generation,
    /// `--max-start-failures` was reached: no further attempt is made for this restart.
    pub given_up: bool,
    pub cause: FailureCause,
}

/// The reason why a start has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// There was no process, or the failure was before an upgrade.
    Unknown,
    /// `--start-timeout` was over.
    NotReady,
    Exited(WaitStatus),
}
