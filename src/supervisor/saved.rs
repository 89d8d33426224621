//! The supervisor as records, so that it outlives the program that it runs in.

use super::*;
use crate::saved::{ago, left, record};

record! {
    "supervisor" Saved {
        generation: Generation,
        attempted: Duration,
        restart_again: bool,
        failures: u32,
        failed: Option<Generation>,
        given_up: bool,
        phase: String,
        vacancy: bool,
        since: Option<Duration>,
        left: Option<Duration>,
    }
}

record! {
    "worker" SavedWorker {
        pid: Pid,
        generation: Generation,
        part: String,
        told: Option<Duration>,
        killed: bool,
    }
}

impl Supervisor {
    pub fn save(&self, now: Time) -> (Saved, Vec<SavedWorker>) {
        let mut vacancy = false;
        let (phase, since, until) = match self.phase {
            Phase::Starting { why, step } => {
                vacancy = why == StartReason::NoWorker;
                match step {
                    Step::Forking => ("forking", None, None),
                    Step::Executing { until } => ("executing", None, until),
                    Step::Proving { until } => ("proving", None, until),
                    Step::Overdue => ("overdue", None, None),
                    Step::Pausing { until } => ("pausing", None, Some(until)),
                }
            }
            Phase::Up { since } => ("standing", Some(since), None),
            Phase::Delaying { since, until } => ("delaying", Some(since), Some(until)),
            Phase::Finishing(Outcome::Stopped) => ("finishing", None, None),
            Phase::Finishing(Outcome::GivenUp) => ("giving_up", None, None),
            Phase::Finished => ("finished", None, None),
        };
        let saved = Saved {
            generation: self.generation,
            attempted: ago(self.attempted, now),
            restart_again: self.restart_again,
            failures: self.failures,
            failed: self.start_failure.map(|start_failure| start_failure.failed),
            given_up: self
                .start_failure
                .is_some_and(|start_failure| start_failure.given_up),
            phase: phase.to_string(),
            vacancy,
            since: since.map(|since| ago(since, now)),
            left: until.map(|until| left(until, now)),
        };
        let workers = self.workers.iter().map(|worker| SavedWorker {
            pid: worker.pid,
            generation: worker.generation,
            part: match worker.role {
                Role::Candidate => "candidate",
                Role::Current => "current",
                Role::Old => "old",
            }
            .to_string(),
            told: match worker.stop {
                StopState::SignalledAt(then) => Some(ago(then, now)),
                StopState::NotSignalled | StopState::Killed => None,
            },
            killed: worker.stop == StopState::Killed,
        });
        (saved, workers.collect())
    }

    /// The error is a sentence.
    pub fn restore(
        saved: &Saved,
        workers: &[SavedWorker],
        now: Time,
    ) -> Result<Supervisor, String> {
        let why = match saved.vacancy {
            true => StartReason::NoWorker,
            false => StartReason::Restart,
        };
        let since = saved.since.map(|ago| now.saturating_sub(ago));
        let until = saved.left.map(|left| now.saturating_add(left));
        let starting = |step| Phase::Starting { why, step };
        let phase = match (saved.phase.as_str(), since, until) {
            ("executing", _, until) => starting(Step::Executing { until }),
            ("proving", _, until) => starting(Step::Proving { until }),
            ("overdue", ..) => starting(Step::Overdue),
            ("pausing", _, Some(until)) => starting(Step::Pausing { until }),
            ("standing", Some(since), _) => Phase::Up { since },
            ("delaying", Some(since), Some(until)) => Phase::Delaying { since, until },
            ("finishing", ..) => Phase::Finishing(Outcome::Stopped),
            ("giving_up", ..) => Phase::Finishing(Outcome::GivenUp),
            _ => {
                return Err(format!(
                    "the phase {:?} cannot be gone on with",
                    saved.phase
                ))
            }
        };
        let workers = workers.iter().map(|worker| {
            Ok(Worker {
                pid: worker.pid,
                generation: worker.generation,
                role: match worker.part.as_str() {
                    "candidate" => Role::Candidate,
                    "current" => Role::Current,
                    "old" => Role::Old,
                    part => return Err(format!("the part {part:?} is none of a worker")),
                },
                stop: match (worker.told, worker.killed) {
                    (_, true) => StopState::Killed,
                    (Some(ago), false) => StopState::SignalledAt(now.saturating_sub(ago)),
                    (None, false) => StopState::NotSignalled,
                },
            })
        });
        Ok(Supervisor {
            phase,
            generation: saved.generation,
            workers: workers.collect::<Result<_, _>>()?,
            attempted: now.saturating_sub(saved.attempted),
            restart_again: saved.restart_again,
            failures: saved.failures,
            start_failure: saved.failed.map(|failed| StartFailure {
                failed,
                given_up: saved.given_up,
            }),
        })
    }
}
