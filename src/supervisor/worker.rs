//! What the superdaemon knows of its workers, and tells in the status file. Pure.

use crate::supervisor::policy::Time;

/// A process number.
pub type Pid = i32;

/// Counts attempts to start a worker: the first is 1, failed ones count.
pub type Generation = u64;

/// A wait status as wait(2) returns it. The log shows it raw, as Perl's `$?`: exit status 1 reads 256.
pub type WaitStatus = i32;

/// A worker process that has not been reaped yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    pub pid: Pid,
    pub generation: Generation,
    pub role: Role,
    pub stop: StopState,
}

/// What a worker is among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// On probation: it has not passed its check yet.
    Candidate,
    /// The newest that passed.
    Current,
    /// It passed once; a newer one is to take, or has taken, its place.
    Old,
}

/// Whether a worker was told to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopState {
    NotSignalled,
    SignalledAt(Time),
    /// It did not listen.
    Killed,
}

/// What the status file is to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Those that passed their check, oldest first.
    pub workers: Vec<Worker>,
    pub start_failure: Option<StartFailure>,
}

/// The last attempt to start a worker has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartFailure {
    pub failed: Generation,
    /// No more attempts follow until somebody asks for a restart.
    pub given_up: bool,
}
