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
                vacancy = why == Why::Vacancy;
                match step {
                    Step::Forking => ("forking", None, None),
                    Step::Executing { until } => ("executing", None, until),
                    Step::Proving { until } => ("proving", None, until),
                    Step::Overdue => ("overdue", None, None),
                    Step::Pausing { until } => ("pausing", None, Some(until)),
                }
            }
            Phase::Standing { since } => ("standing", Some(since), None),
            Phase::Delaying { since, until } => ("delaying", Some(since), Some(until)),
            Phase::Finishing(Outcome::Told) => ("finishing", None, None),
            Phase::Finishing(Outcome::GivenUp) => ("giving_up", None, None),
            Phase::Finished => ("finished", None, None),
        };
        let saved = Saved {
            generation: self.generation,
            attempted: ago(self.attempted, now),
            restart_again: self.restart_again,
            failures: self.failures,
            failed: self.trouble.map(|trouble| trouble.failed),
            given_up: self.trouble.is_some_and(|trouble| trouble.given_up),
            phase: phase.to_string(),
            vacancy,
            since: since.map(|since| ago(since, now)),
            left: until.map(|until| left(until, now)),
        };
        let workers = self.workers.iter().map(|worker| SavedWorker {
            pid: worker.pid,
            generation: worker.generation,
            part: match worker.part {
                Part::Candidate => "candidate",
                Part::Current => "current",
                Part::Old => "old",
            }
            .to_string(),
            told: match worker.told {
                Told::At(then) => Some(ago(then, now)),
                Told::No | Told::Killed => None,
            },
            killed: worker.told == Told::Killed,
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
            true => Why::Vacancy,
            false => Why::Restart,
        };
        let since = saved.since.map(|ago| now.saturating_sub(ago));
        let until = saved.left.map(|left| now.saturating_add(left));
        let starting = |step| Phase::Starting { why, step };
        let phase = match (saved.phase.as_str(), since, until) {
            ("executing", _, until) => starting(Step::Executing { until }),
            ("proving", _, until) => starting(Step::Proving { until }),
            ("overdue", ..) => starting(Step::Overdue),
            ("pausing", _, Some(until)) => starting(Step::Pausing { until }),
            ("standing", Some(since), _) => Phase::Standing { since },
            ("delaying", Some(since), Some(until)) => Phase::Delaying { since, until },
            ("finishing", ..) => Phase::Finishing(Outcome::Told),
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
                part: match worker.part.as_str() {
                    "candidate" => Part::Candidate,
                    "current" => Part::Current,
                    "old" => Part::Old,
                    part => return Err(format!("the part {part:?} is none of a worker")),
                },
                told: match (worker.told, worker.killed) {
                    (_, true) => Told::Killed,
                    (Some(ago), false) => Told::At(now.saturating_sub(ago)),
                    (None, false) => Told::No,
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
            trouble: saved.failed.map(|failed| Trouble {
                failed,
                given_up: saved.given_up,
            }),
        })
    }
}
