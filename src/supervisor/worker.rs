//! The data about workers, and the part of the data that is published. Pure.

use crate::saved::words;
use crate::supervisor::policy::Time;

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
        /// It is the newest worker that has passed its check.
        Current = "current",
        /// It has passed its check, but a newer worker has replaced it or is being started to replace it.
        Old = "old",
    }
}

/// The signals to finish that a worker was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopState {
    NotSignalled,
    /// It was sent the first signal to finish at this time.
    SignalledAt(Time),
    /// It was sent SIGKILL, because it had not exited, or was not ready, in time.
    Killed,
}

/// The content of the status file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The workers that have passed their check, oldest first.
    pub workers: Vec<Worker>,
    /// Present if the last start failed and failures are published.
    pub start_failure: Option<StartFailure>,
}

/// A start that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartFailure {
    pub failed: Generation,
    /// No start follows until the next restart.
    pub given_up: bool,
}
