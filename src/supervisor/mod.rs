//! The life of the workers: events to actions. "StartReason did it do that?" is answered here. Pure.
//!
//! Whoever runs it performs the actions in order, answers `Spawn` with `Spawned` or `SpawnFailed` before
//! any other event, tells every death before anything else of the same turn, and ends each turn with
//! `Tick`: a deadline that has passed must not outrun the news that its worker is dead.

pub mod policy;
pub mod signal;
pub mod worker;

use policy::{Policy, Time};
use signal::Signal;
use std::time::Duration;
use worker::{Generation, Pid, Role, StartFailure, Status, StopState, WaitStatus, Worker};

/// The kernel's news, as far as it concerns workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer to `Spawn`: the worker is forked.
    Spawned(Pid),
    /// The answer to `Spawn`: there was no fork.
    SpawnFailed,
    /// The candidate's program has replaced the fork of ours.
    Executed,
    /// This worker, or a child of it, says that it serves.
    Ready(Pid),
    /// It asks for this much time, from now on, to become ready.
    Extend(Pid, Duration),
    /// A child was reaped. It need not be a worker: process 1 reaps strangers.
    Exited { pid: Pid, status: WaitStatus },
    /// SIGHUP.
    Hup,
    /// SIGTERM, SIGINT or SIGQUIT.
    Finish(Signal),
    /// The end of a turn: deadlines are looked at.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Spawn {
        generation: Generation,
    },
    Signal {
        pid: Pid,
        signal: Signal,
    },
    /// Write the status file.
    Publish(Status),
    /// A line for the log that Perl's start_server has too.
    LogCompat(String),
    /// A line for the log that only we have.
    LogNote(String),
    /// Nobody is left: leave.
    Finish(Outcome),
}

/// StartReason it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Stopped,
    /// No worker could be started.
    GivenUp,
}

/// Attempts are at least this far apart even with `--interval=0`, so that a program that cannot start does
/// not eat the machine.
pub const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

pub struct Supervisor {
    phase: Phase,
    /// The generation of the last attempt.
    generation: Generation,
    /// All that live, oldest first. At most one is the candidate, and at most one is current.
    workers: Vec<Worker>,
    /// When the last attempt was made.
    attempted: Time,
    /// A HUP came during a restart: one more follows it, however many came.
    restart_again: bool,
    /// Failed attempts in a row.
    failures: u32,
    /// There, until a worker stands, once an attempt has failed.
    start_failure: Option<StartFailure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A worker is being started.
    Starting {
        why: StartReason,
        step: Step,
    },
    /// The current worker stands and nothing is in progress.
    Up {
        since: Time,
    },
    /// New and old serve side by side.
    Delaying {
        since: Time,
        until: Time,
    },
    /// Everyone was told to finish.
    Finishing(Outcome),
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartReason {
    /// There is no current worker: at the beginning, and when it died unexpectedly.
    NoWorker,
    /// HUP or auto-restart: once the new one stands, the old ones are told to finish.
    Restart,
}

/// Where an attempt is. A trial ends at `until`, if ever: who had to live to the end of the interval has passed
/// then; who had to become ready has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// `Spawn` waits for its answer.
    Forking,
    /// Forked, but the program has not replaced the fork yet: however long that takes, it has not started.
    Executing { until: Option<Time> },
    /// The program runs.
    Proving { until: Option<Time> },
    /// It did not become ready in time and was killed: its death is awaited.
    Overdue,
    /// It failed. Perl waits out the interval even after an early death; without that, a storm of respawns
    /// would hide the cause.
    Pausing { until: Time },
}

impl Supervisor {
    /// The supervisor of no worker yet, and what it wants done first.
    pub fn start(now: Time) -> (Supervisor, Vec<Action>) {
        let mut actions = Vec::new();
        let mut supervisor = Supervisor {
            phase: Phase::Finished,
            generation: 0,
            workers: Vec::new(),
            attempted: now,
            restart_again: false,
            failures: 0,
            start_failure: None,
        };
        supervisor.spawn(StartReason::NoWorker, now, &mut actions);
        (supervisor, actions)
    }

    pub fn handle(&mut self, event: Event, now: Time, policy: &Policy) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Spawned(pid) => self.spawned(pid, now, policy, &mut actions),
            Event::SpawnFailed => {
                if let Phase::Starting {
                    why,
                    step: Step::Forking,
                } = self.phase
                {
                    self.failed(why, now, policy, &mut actions);
                }
            }
            Event::Executed => {
                if let Phase::Starting {
                    why,
                    step: Step::Executing { until },
                } = self.phase
                {
                    self.phase = Phase::Starting {
                        why,
                        step: Step::Proving { until },
                    };
                }
            }
            Event::Ready(pid) => self.ready(pid, now, policy, &mut actions),
            Event::Extend(pid, time) => self.extend(pid, now + time),
            Event::Exited { pid, status } => self.exited(pid, status, now, policy, &mut actions),
            Event::Hup => self.hup(now, &mut actions),
            Event::Finish(received) => self.finish(received, now, policy, &mut actions),
            Event::Tick => self.tick(now, policy, &mut actions),
        }
        actions
    }

    /// When `Tick` is wanted at the latest, if no other news comes.
    pub fn deadline(&self, policy: &Policy) -> Option<Time> {
        let next_step = match self.phase {
            Phase::Starting { step, .. } => match step {
                Step::Proving { until } => until,
                Step::Executing { until } => until.filter(|_| policy.readiness.is_announced()),
                Step::Pausing { until } => Some(until),
                Step::Forking | Step::Overdue => None,
            },
            Phase::Delaying { until, .. } => Some(until),
            Phase::Up { since } => self
                .next_auto_restart(since, policy)
                .map(|restart| restart.at),
            Phase::Finishing(_) | Phase::Finished => None,
        };
        let kills = self
            .workers
            .iter()
            .filter_map(|worker| kill_at(worker, policy));
        kills.chain(next_step).min()
    }

    /// Whether a worker stands and nothing is in progress.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// Whether everybody was told to finish.
    pub fn is_finishing(&self) -> bool {
        matches!(self.phase, Phase::Finishing(_) | Phase::Finished)
    }

    fn spawned(&mut self, pid: Pid, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        let Phase::Starting {
            why,
            step: Step::Forking,
        } = self.phase
        else {
            return;
        };
        self.workers.push(Worker {
            pid,
            generation: self.generation,
            role: Role::Candidate,
            stop: StopState::NotSignalled,
        });
        let trial = match policy.readiness.is_announced() {
            true => policy.start_timeout,
            false => Some(policy.interval),
        };
        self.phase = Phase::Starting {
            why,
            step: Step::Executing {
                until: trial.map(|trial| now + trial),
            },
        };
        log_compat(actions, format!("starting new worker {pid}"));
    }

    fn ready(&mut self, pid: Pid, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        if !policy.readiness.is_announced() || !self.is_candidate(pid) {
            return;
        }
        // Its word may be heard before the news that its program runs.
        if let Phase::Starting {
            why,
            step: Step::Executing { .. } | Step::Proving { .. },
        } = self.phase
        {
            self.stand(why, now, policy, actions);
        }
    }

    fn extend(&mut self, pid: Pid, to: Time) {
        let is_candidate = self.is_candidate(pid);
        if let Phase::Starting {
            step: Step::Executing { until: Some(until) } | Step::Proving { until: Some(until) },
            ..
        } = &mut self.phase
        {
            if is_candidate {
                *until = to.max(*until);
            }
        }
    }

    /// Whether this worker is the one that is being started.
    pub fn is_candidate(&self, pid: Pid) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.pid == pid && worker.role == Role::Candidate)
    }

    fn exited(
        &mut self,
        pid: Pid,
        status: WaitStatus,
        now: Time,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) {
        let Some(index) = self.workers.iter().position(|worker| worker.pid == pid) else {
            return;
        };
        let role = self.workers.remove(index).role;
        match self.phase {
            Phase::Finishing(outcome) => {
                log_compat(actions, format!("worker {pid} died, status:{status}"));
                if role != Role::Candidate {
                    self.publish(actions);
                }
                self.finish_if_alone(outcome, actions);
            }
            Phase::Finished => {}
            Phase::Starting { .. } | Phase::Up { .. } | Phase::Delaying { .. } => {
                match role {
                    Role::Candidate => {
                        log_compat(actions, format!("new worker {pid} seems to have failed to start, exit status:{status}"));
                        if let Phase::Starting { why, .. } = self.phase {
                            self.failed(why, now, policy, actions);
                        }
                    }
                    Role::Current => {
                        log_compat(
                            actions,
                            format!(
                                "worker {pid} died unexpectedly with status:{status}, restarting"
                            ),
                        );
                        self.publish(actions);
                        // During the delay the old ones were not told yet: they serve until a successor stands.
                        let delaying = matches!(self.phase, Phase::Delaying { .. });
                        let why = if delaying {
                            StartReason::Restart
                        } else {
                            StartReason::NoWorker
                        };
                        self.begin(why, now, actions);
                    }
                    Role::Old => {
                        log_compat(actions, format!("old worker {pid} died, status:{status}"));
                        self.publish(actions);
                    }
                }
            }
        }
    }

    /// An attempt to start a worker has failed.
    fn failed(&mut self, why: StartReason, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        self.failures += 1;
        self.start_failure = policy.publishes_failures().then_some(StartFailure {
            failed: self.generation,
            given_up: false,
        });
        if policy.max_start_failures == self.failures {
            return self.give_up(now, policy, actions);
        }
        if self.start_failure.is_some() {
            self.publish(actions);
        }
        self.pause(why, self.attempted + policy.interval);
    }

    /// The newest worker that was not told to finish is the current one again; without one it is all over.
    fn give_up(&mut self, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        let failures = std::mem::take(&mut self.failures);
        let serving = self.workers.iter_mut().rev();
        let Some(heir) = serving
            .filter(|worker| worker.stop == StopState::NotSignalled)
            .find(|worker| worker.role == Role::Old)
        else {
            log_note(
                actions,
                format!("giving up after {failures} failed starts, no worker is left to serve"),
            );
            self.phase = Phase::Finishing(Outcome::GivenUp);
            return self.finish_if_alone(Outcome::GivenUp, actions);
        };
        heir.role = Role::Current;
        let generation = heir.generation;
        log_note(
            actions,
            format!("giving up the restart after {failures} failed starts, generation {generation} is still serving"),
        );
        // The outcome is that of the restart that follows, if one does.
        if let Some(start_failure) = &mut self.start_failure {
            start_failure.given_up = !self.restart_again;
        }
        self.publish(actions);
        self.settle(now, now, policy, actions);
    }

    fn hup(&mut self, now: Time, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Up { .. } => {
                log_compat(actions, "received HUP, spawning a new worker".to_string());
                self.restart(now, actions);
            }
            Phase::Starting { .. } | Phase::Delaying { .. } => self.restart_again = true,
            Phase::Finishing(_) | Phase::Finished => {}
        }
    }

    fn restart(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.restart_again = false;
        for worker in &mut self.workers {
            worker.role = Role::Old;
        }
        if let Some(start_failure) = self
            .start_failure
            .as_mut()
            .filter(|start_failure| start_failure.given_up)
        {
            start_failure.given_up = false;
            self.publish(actions);
        }
        self.begin(StartReason::Restart, now, actions);
    }

    /// Makes an attempt at once, or as soon as the last one lies far enough back.
    fn begin(&mut self, why: StartReason, now: Time, actions: &mut Vec<Action>) {
        if now >= self.attempted + SHORTEST_PAUSE {
            self.spawn(why, now, actions);
        } else {
            self.pause(why, now);
        }
    }

    fn finish(&mut self, received: Signal, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        let outcome = match self.phase {
            Phase::Finished => return,
            Phase::Finishing(outcome) => outcome,
            Phase::Starting { .. } | Phase::Up { .. } | Phase::Delaying { .. } => Outcome::Stopped,
        };
        self.phase = Phase::Finishing(outcome);
        let signal = if received == Signal::INT {
            Signal::TERM
        } else {
            policy.signal_on_term
        };
        let everyone = pids(&self.workers);
        log_compat(
            actions,
            format!(
                "received {received}, sending {signal} to all workers:{}",
                join(&everyone)
            ),
        );
        self.tell_to_finish(|_| true, signal, now, actions);
        self.finish_if_alone(outcome, actions);
    }

    fn finish_if_alone(&mut self, outcome: Outcome, actions: &mut Vec<Action>) {
        if self.workers.is_empty() {
            self.phase = Phase::Finished;
            log_compat(actions, "exiting".to_string());
            actions.push(Action::Finish(outcome));
        }
    }

    fn tick(&mut self, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        self.kill_who_did_not_finish(now, policy, actions);
        match self.phase {
            Phase::Starting {
                why,
                step: Step::Pausing { until },
            } if until <= now => self.spawn(why, now, actions),
            Phase::Starting {
                why,
                step: Step::Executing { until: Some(until) } | Step::Proving { until: Some(until) },
            } if until <= now && policy.readiness.is_announced() => self.kill_overdue(why, actions),
            Phase::Starting {
                why,
                step: Step::Proving { until: Some(until) },
            } if until <= now => self.stand(why, now, policy, actions),
            Phase::Delaying { since, until } if until <= now => {
                self.end_old_workers(since, now, policy, actions)
            }
            Phase::Up { since } => self.restart_by_time(since, now, policy, actions),
            Phase::Starting { .. }
            | Phase::Delaying { .. }
            | Phase::Finishing(_)
            | Phase::Finished => {}
        }
    }

    fn kill_who_did_not_finish(&mut self, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        for worker in &mut self.workers {
            if kill_at(worker, policy).is_some_and(|at| at <= now) {
                let pid = worker.pid;
                log_note(
                    actions,
                    format!("worker {pid} has not ended within --kill-timeout, killing it"),
                );
                kill(worker, actions);
            }
        }
    }

    /// The candidate has not become ready in time.
    fn kill_overdue(&mut self, why: StartReason, actions: &mut Vec<Action>) {
        if let Some(candidate) = self.workers.last_mut() {
            let pid = candidate.pid;
            log_note(
                actions,
                format!("new worker {pid} is not ready within --start-timeout, killing it"),
            );
            kill(candidate, actions);
        }
        let step = Step::Overdue;
        self.phase = Phase::Starting { why, step };
    }

    /// The candidate has passed its check.
    fn stand(&mut self, why: StartReason, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        if let Some(candidate) = self.workers.last_mut() {
            candidate.role = Role::Current;
        }
        self.failures = 0;
        self.start_failure = None;
        self.publish(actions);
        match why {
            StartReason::NoWorker => self.settle(now, now, policy, actions),
            StartReason::Restart => {
                let old = match self.old_workers() {
                    old if old.is_empty() => "none".to_string(),
                    old => join(&old),
                };
                let signal = policy.signal_on_hup;
                log_compat(
                    actions,
                    format!("new worker is now running, sending {signal} to old workers:{old}"),
                );
                match policy.kill_old_delay {
                    Duration::ZERO => self.end_old_workers(now, now, policy, actions),
                    delay => {
                        log_compat(
                            actions,
                            format!(
                                "sleeping {} secs before killing old workers",
                                delay.as_secs()
                            ),
                        );
                        self.phase = Phase::Delaying {
                            since: now,
                            until: now + delay,
                        };
                    }
                }
            }
        }
    }

    fn end_old_workers(
        &mut self,
        since: Time,
        now: Time,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) {
        log_compat(actions, "killing old workers".to_string());
        let is_old = |worker: &Worker| worker.role == Role::Old;
        self.tell_to_finish(is_old, policy.signal_on_hup, now, actions);
        self.settle(since, now, policy, actions);
    }

    fn settle(&mut self, since: Time, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        self.phase = Phase::Up { since };
        if self.restart_again {
            self.hup(now, actions);
        } else {
            self.restart_by_time(since, now, policy, actions);
        }
    }

    fn restart_by_time(
        &mut self,
        since: Time,
        now: Time,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) {
        if let Some(restart) = self
            .next_auto_restart(since, policy)
            .filter(|restart| restart.at <= now)
        {
            let interval = restart.interval.as_secs();
            let forced = if restart.forced { "forced, " } else { "" };
            log_compat(
                actions,
                format!("autorestart triggered ({forced}interval={interval})"),
            );
            self.restart(now, actions);
        }
    }

    fn next_auto_restart(&self, since: Time, policy: &Policy) -> Option<AutoRestart> {
        let interval = policy.auto_restart?;
        let forced = !self.old_workers().is_empty();
        let at = since + if forced { interval * 2 } else { interval };
        Some(AutoRestart {
            at,
            interval,
            forced,
        })
    }

    fn spawn(&mut self, why: StartReason, now: Time, actions: &mut Vec<Action>) {
        self.generation += 1;
        self.attempted = now;
        self.phase = Phase::Starting {
            why,
            step: Step::Forking,
        };
        actions.push(Action::Spawn {
            generation: self.generation,
        });
    }

    fn pause(&mut self, why: StartReason, until: Time) {
        let until = until.max(self.attempted + SHORTEST_PAUSE);
        self.phase = Phase::Starting {
            why,
            step: Step::Pausing { until },
        };
    }

    /// Tells workers to finish. One that is stopped would not notice before it is continued.
    fn tell_to_finish(
        &mut self,
        whom: impl Fn(&Worker) -> bool,
        signal: Signal,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        for worker in self.workers.iter_mut().filter(|worker| whom(worker)) {
            let pid = worker.pid;
            actions.push(Action::Signal { pid, signal });
            let signal = Signal::CONT;
            actions.push(Action::Signal { pid, signal });
            // The time to finish in begins with the first word.
            if worker.stop == StopState::NotSignalled {
                worker.stop = StopState::SignalledAt(now);
            }
        }
    }

    fn publish(&self, actions: &mut Vec<Action>) {
        actions.push(Action::Publish(self.status()));
    }

    /// What was published last.
    pub fn status(&self) -> Status {
        let proved = self
            .workers
            .iter()
            .filter(|worker| worker.role != Role::Candidate);
        Status {
            workers: proved.copied().collect(),
            start_failure: self.start_failure,
        }
    }

    fn old_workers(&self) -> Vec<Pid> {
        pids(
            self.workers
                .iter()
                .filter(|worker| worker.role == Role::Old),
        )
    }
}

/// The next restart by time.
struct AutoRestart {
    at: Time,
    interval: Duration,
    /// Old workers of the last restart are still there, and it has waited twice as long for them.
    forced: bool,
}

fn kill(worker: &mut Worker, actions: &mut Vec<Action>) {
    worker.stop = StopState::Killed;
    actions.push(Action::Signal {
        pid: worker.pid,
        signal: Signal::KILL,
    });
}

/// When a worker that was told to finish is to be killed.
fn kill_at(worker: &Worker, policy: &Policy) -> Option<Time> {
    match worker.stop {
        StopState::SignalledAt(told) => policy.kill_timeout.map(|timeout| told + timeout),
        StopState::NotSignalled | StopState::Killed => None,
    }
}

fn log_compat(actions: &mut Vec<Action>, line: String) {
    actions.push(Action::LogCompat(line));
}

fn log_note(actions: &mut Vec<Action>, line: String) {
    actions.push(Action::LogNote(line));
}

fn pids<'a>(workers: impl IntoIterator<Item = &'a Worker>) -> Vec<Pid> {
    workers.into_iter().map(|worker| worker.pid).collect()
}

fn join(pids: &[Pid]) -> String {
    pids.iter()
        .map(Pid::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

mod saved;
pub use saved::{Saved, SavedWorker};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
