//! The records with which the supervisor survives an upgrade.

use super::*;
use crate::error::Error;
use crate::saved::record;

record! {
    "supervisor" SavedSupervisor {
        generation: Generation,
        attempted: Duration,
        restart_again: bool,
        failures: u32,
        failed: Option<Generation>,
        given_up: bool,
        phase: SavedPhase,
        /// Used only while a worker is being started.
        why as "vacancy": StartReason,
        since: Option<Duration>,
        left: Option<Duration>,
    }
}

record! {
    "worker" SavedWorker {
        pid: Pid,
        generation: Generation,
        role as "part": Role,
        signalled as "told": Option<Duration>,
        /// The number of the last signal to finish. Version 0.1.0 did not save it.
        signal: Option<i32>,
        killed: bool,
    }
}

words! {
    /// A [`Phase`] without its times, which are fields of the record.
    pub enum SavedPhase {
        #[default]
        Forking = "forking",
        Executing = "executing",
        Checking = "proving",
        Overdue = "overdue",
        Pausing = "pausing",
        Up = "standing",
        Delaying = "delaying",
        Finishing = "finishing",
        GivingUp = "giving_up",
        Finished = "finished",
    }
}

impl Supervisor {
    /// Returns the records from which [`Supervisor::restore`] makes the same supervisor.
    pub fn save(&self, now: Time) -> (SavedSupervisor, Vec<SavedWorker>) {
        let (phase, since, until) = self.phase.save();
        let saved = SavedSupervisor {
            generation: self.generation,
            attempted: now.saturating_sub(self.last_start),
            restart_again: self.restart_again,
            failures: self.failures,
            failed: self.start_failure.map(|failure| failure.failed),
            given_up: self.start_failure.is_some_and(|failure| failure.given_up),
            phase,
            why: if let Phase::Starting(why, _) = self.phase {
                why
            } else {
                StartReason::Restart
            },
            since: since.map(|since| now.saturating_sub(since)),
            left: until.map(|until| until.saturating_sub(now)),
        };
        let workers = self.workers.iter().map(|worker| worker.save(now));
        (saved, workers.collect())
    }

    /// Returns the supervisor that was saved. Fails if its phase cannot be continued.
    pub fn restore(
        saved: &SavedSupervisor,
        workers: &[SavedWorker],
        now: Time,
    ) -> Result<Supervisor, Error> {
        let workers = workers.iter().map(|worker| Worker::restore(worker, now));
        Ok(Supervisor {
            phase: Phase::restore(saved, now)?,
            generation: saved.generation,
            workers: workers.collect(),
            last_start: now.saturating_sub(saved.attempted),
            restart_again: saved.restart_again,
            failures: saved.failures,
            start_failure: saved.failed.map(|failed| StartFailure {
                failed,
                given_up: saved.given_up,
                cause: FailureCause::Unknown,
            }),
            deaths: 0,
            has_hinted: false,
            must_finish: saved.phase == SavedPhase::Finishing,
        })
    }
}

impl Phase {
    /// Returns the phase without its times, then its beginning and its end if it has them.
    fn save(self) -> (SavedPhase, Option<Time>, Option<Time>) {
        match self {
            Phase::Starting(_, step) => match step {
                StartStep::Forking => (SavedPhase::Forking, None, None),
                StartStep::Executing { until } => (SavedPhase::Executing, None, until),
                StartStep::Checking { until } => (SavedPhase::Checking, None, until),
                StartStep::Overdue => (SavedPhase::Overdue, None, None),
                StartStep::Pausing { until } => (SavedPhase::Pausing, None, Some(until)),
            },
            Phase::Up { since } => (SavedPhase::Up, Some(since), None),
            Phase::Delaying { since, until } => (SavedPhase::Delaying, Some(since), Some(until)),
            Phase::Finishing(Outcome::Stopped) => (SavedPhase::Finishing, None, None),
            Phase::Finishing(Outcome::GivenUp) => (SavedPhase::GivingUp, None, None),
            Phase::Finished => (SavedPhase::Finished, None, None),
        }
    }

    fn restore(saved: &SavedSupervisor, now: Time) -> Result<Phase, Error> {
        let refuse = || {
            let text = format!("the saved phase {:?} cannot be continued", saved.phase);
            Error::statement(text)
        };
        let since = saved.since.map(|ago| now.saturating_sub(ago));
        let until = saved.left.map(|left| now.saturating_add(left));
        let starting = |step| Ok(Phase::Starting(saved.why, step));
        let needed = |time: Option<Time>| time.ok_or_else(refuse);
        match saved.phase {
            SavedPhase::Executing => starting(StartStep::Executing { until }),
            SavedPhase::Checking => starting(StartStep::Checking { until }),
            SavedPhase::Overdue => starting(StartStep::Overdue),
            SavedPhase::Pausing => {
                needed(until).and_then(|until| starting(StartStep::Pausing { until }))
            }
            SavedPhase::Up => needed(since).map(|since| Phase::Up { since }),
            SavedPhase::Delaying => Ok(Phase::Delaying {
                since: needed(since)?,
                until: needed(until)?,
            }),
            SavedPhase::Finishing => Ok(Phase::Finishing(Outcome::Stopped)),
            SavedPhase::GivingUp => Ok(Phase::Finishing(Outcome::GivenUp)),
            SavedPhase::Forking | SavedPhase::Finished => Err(refuse()),
        }
    }
}

impl Worker {
    fn save(&self, now: Time) -> SavedWorker {
        SavedWorker {
            pid: self.pid,
            generation: self.generation,
            role: self.role,
            signalled: match self.stop {
                StopState::Signalled { since, .. } => Some(now.saturating_sub(since)),
                StopState::NotSignalled | StopState::Killed { .. } => None,
            },
            signal: match self.stop {
                StopState::Signalled { last, .. } => Some(last.number()),
                StopState::NotSignalled | StopState::Killed { .. } => None,
            },
            killed: matches!(self.stop, StopState::Killed { .. }),
        }
    }

    fn restore(saved: &SavedWorker, now: Time) -> Worker {
        Worker {
            pid: saved.pid,
            generation: saved.generation,
            role: saved.role,
            stop: match (saved.signalled, saved.killed) {
                (_, true) => StopState::Killed {
                    log_at: Some(now + SURVIVOR_LOGGED_AFTER),
                },
                (Some(ago), false) => {
                    let signal = saved.signal.and_then(Signal::of_number);
                    StopState::Signalled {
                        since: now.saturating_sub(ago),
                        last: signal.unwrap_or(Signal::TERM),
                    }
                }
                (None, false) => StopState::NotSignalled,
            },
        }
    }
}
