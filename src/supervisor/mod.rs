//! The life of the workers: events come in, actions go out. "Why did it do that?" is answered here. Pure.
//!
//! ```text
//! STATE          WHAT ENDS IT                            WHAT FOLLOWS
//! Starting
//!   Forking      the fork succeeds                       Executing
//!                the fork fails                          a failed start, see below
//!   Executing    the program replaces the fork           Checking
//!                the worker says that it is ready        as in Checking
//!                --start-timeout is over                 as in Checking
//!                the worker exits                        a failed start
//!   Checking     the worker has lived for --interval,    Delaying if there are old workers to replace,
//!                or says that it is ready                otherwise Up
//!                --start-timeout is over                 Overdue, and the worker is killed
//!                the worker exits                        a failed start
//!   Overdue      the worker exits                        a failed start
//!   Pausing      the pause is over                       Forking
//! Up             SIGHUP, auto-restart                    Forking, to replace the worker
//!                the current worker exits                Forking, because no worker is up
//! Delaying       --kill-old-delay is over                Up, and the old workers are signalled
//!                the current worker exits                Forking, and the old workers keep serving
//! Finishing      the last worker exits                   Finished
//! all of these   SIGTERM, SIGINT, SIGQUIT                Finishing, and all workers are signalled
//! ```
//!
//! After a failed start comes Pausing. After as many as `--max-start-failures` in a row comes Up if an old worker
//! can stay, otherwise Finishing. A SIGHUP during Starting or Delaying causes one more restart after it.
//!
//! The caller performs the actions in order, and answers `Spawn` with `Spawned` or `SpawnFailed` before any other
//! event. In each turn of its loop it reports every exit first and `Tick` last: otherwise a deadline could pass
//! before the news that the worker is dead.

pub mod policy;
mod saved;
pub mod signal;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
pub mod worker;

use crate::saved::words;
use policy::{Policy, Time};
pub use saved::{SavedSupervisor, SavedWorker};
use signal::Signal;
use std::time::Duration;
use worker::{Generation, Pid, Role, StartFailure, Status, StopState, WaitStatus, Worker};

/// The kernel's news, as far as it concerns workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answers `Spawn`: the worker is forked.
    Spawned(Pid),
    /// Answers `Spawn`: the fork failed.
    SpawnFailed,
    /// The program of the candidate has replaced the fork.
    Executed,
    /// This worker, or a child of it, says that it is ready.
    Ready(Pid),
    /// This worker asks for so much time, from now on, to become ready.
    Extend(Pid, Duration),
    /// A child was reaped. It may be a stranger if we are process 1.
    Exited { pid: Pid, status: WaitStatus },
    /// SIGHUP.
    Hup,
    /// SIGTERM, SIGINT or SIGQUIT.
    Finish(Signal),
    /// The end of a turn: deadlines may have passed.
    Tick,
}

/// An order to the caller.
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
    /// Log a line that Perl's start_server logs, too.
    LogCompat(String),
    /// Log a line of our own.
    LogNote(String),
    /// Exit: no worker is left.
    Finish(Outcome),
}

/// Why the program exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Stopped,
    /// No worker could be started.
    GivenUp,
}

/// The shortest time from one start to the next. With `--interval=0` a program that exits at once would
/// otherwise be started as often as the machine can.
pub const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The workers, and what is being done with them.
pub struct Supervisor {
    phase: Phase,
    /// The generation of the last worker that was started, or failed to start.
    generation: Generation,
    /// All live workers, oldest first. At most one is the candidate, and at most one is current.
    workers: Vec<Worker>,
    /// The time of the last start.
    attempted: Time,
    /// A HUP came during a restart. However many came, one restart follows.
    restart_again: bool,
    /// Failed starts in a row.
    failures: u32,
    /// The last failed start, until a worker is up.
    start_failure: Option<StartFailure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A worker is being started.
    Starting(StartReason, StartStep),
    /// The current worker is up and nothing is in progress.
    Up {
        since: Time,
    },
    /// The current worker and the old ones serve side by side.
    Delaying {
        since: Time,
        until: Time,
    },
    /// No worker is started any more; those that are left shall exit.
    Finishing(Outcome),
    Finished,
}

words! {
    /// In the saved text it is the answer to the question whether no worker is up.
    pub enum StartReason {
        /// There is no current worker: this is the first start, or the current worker exited.
        #[default]
        NoWorker = "true",
        /// The new worker replaces old ones, which are signalled when it is up.
        Restart = "false",
    }
}

/// `until` is the deadline of the check: reaching it means success with `--interval`, failure with `--ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartStep {
    /// `Spawn` is not answered yet.
    Forking,
    /// The fork has not executed the program yet. This may take long, and `--interval` does not end it.
    Executing { until: Option<Time> },
    /// The program runs, but may fail yet.
    Checking { until: Option<Time> },
    /// The worker was not ready in time and is killed, but has not exited yet.
    Overdue,
    /// The start failed. As in Perl, the next one waits until the interval is over, even after an early exit:
    /// a storm of starts would hide the cause.
    Pausing { until: Time },
}

/// The reaction to one event.
struct Reaction<'a> {
    now: Time,
    policy: &'a Policy,
    actions: Vec<Action>,
}

impl Reaction<'_> {
    fn log_compat(&mut self, line: String) {
        self.actions.push(Action::LogCompat(line));
    }

    fn log_note(&mut self, line: String) {
        self.actions.push(Action::LogNote(line));
    }

    fn signal(&mut self, pid: Pid, signal: Signal) {
        self.actions.push(Action::Signal { pid, signal });
    }

    /// Signals a worker to finish.
    fn stop(&mut self, worker: &mut Worker, signal: Signal) {
        self.signal(worker.pid, signal);
        // A stopped process acts on the signal only when it is continued.
        self.signal(worker.pid, Signal::CONT);
        // --kill-timeout begins with the first signal.
        if worker.stop == StopState::NotSignalled {
            worker.stop = StopState::SignalledAt(self.now);
        }
    }

    fn kill(&mut self, worker: &mut Worker) {
        self.signal(worker.pid, Signal::KILL);
        worker.stop = StopState::Killed;
    }
}

impl Supervisor {
    /// Returns a supervisor that starts its first worker, and the action for that.
    pub fn start(now: Time) -> (Supervisor, Vec<Action>) {
        let generation = 1;
        let supervisor = Supervisor {
            phase: Phase::Starting(StartReason::NoWorker, StartStep::Forking),
            generation,
            workers: Vec::new(),
            attempted: now,
            restart_again: false,
            failures: 0,
            start_failure: None,
        };
        (supervisor, vec![Action::Spawn { generation }])
    }

    pub fn handle(&mut self, event: Event, now: Time, policy: &Policy) -> Vec<Action> {
        let mut reaction = Reaction {
            now,
            policy,
            actions: Vec::new(),
        };
        match event {
            Event::Spawned(pid) => self.on_spawned(pid, &mut reaction),
            Event::SpawnFailed => self.on_spawn_failed(&mut reaction),
            Event::Executed => self.on_executed(),
            Event::Ready(pid) => self.on_ready(pid, &mut reaction),
            Event::Extend(pid, time) => self.on_extend(pid, now + time),
            Event::Exited { pid, status } => self.on_exited(pid, status, &mut reaction),
            Event::Hup => self.on_hup(&mut reaction),
            Event::Finish(received) => self.on_finish(received, &mut reaction),
            Event::Tick => self.on_tick(&mut reaction),
        }
        reaction.actions
    }

    /// Returns when `Tick` is due at the latest, if no other event comes.
    pub fn deadline(&self, policy: &Policy) -> Option<Time> {
        let phase_ends = match self.phase {
            Phase::Starting(_, step) => match step {
                StartStep::Executing { until } => until.filter(|_| policy.readiness.is_announced()),
                StartStep::Checking { until } => until,
                StartStep::Pausing { until } => Some(until),
                StartStep::Forking | StartStep::Overdue => None,
            },
            Phase::Up { since } => policy
                .auto_restart
                .map(|interval| self.auto_restart_time(since, interval)),
            Phase::Delaying { until, .. } => Some(until),
            Phase::Finishing(_) | Phase::Finished => None,
        };
        let kills = self
            .workers
            .iter()
            .filter_map(|worker| kill_time(worker, policy));
        kills.chain(phase_ends).min()
    }

    /// Whether the current worker is up and nothing is in progress.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// Whether no worker is started any more.
    pub fn is_finishing(&self) -> bool {
        matches!(self.phase, Phase::Finishing(_) | Phase::Finished)
    }

    /// Whether this worker is being started.
    pub fn is_candidate(&self, pid: Pid) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.pid == pid && worker.role == Role::Candidate)
    }

    /// Returns what was published last.
    pub fn status(&self) -> Status {
        let passed = self
            .workers
            .iter()
            .filter(|worker| worker.role != Role::Candidate);
        Status {
            workers: passed.copied().collect(),
            start_failure: self.start_failure,
        }
    }

    fn on_spawned(&mut self, pid: Pid, reaction: &mut Reaction) {
        let Phase::Starting(why, StartStep::Forking) = self.phase else {
            return;
        };
        self.workers.push(Worker {
            pid,
            generation: self.generation,
            role: Role::Candidate,
            stop: StopState::NotSignalled,
        });
        let limit = if reaction.policy.readiness.is_announced() {
            reaction.policy.start_timeout
        } else {
            Some(reaction.policy.interval)
        };
        let until = limit.map(|limit| reaction.now + limit);
        self.phase = Phase::Starting(why, StartStep::Executing { until });
        reaction.log_compat(format!("starting new worker {pid}"));
    }

    fn on_spawn_failed(&mut self, reaction: &mut Reaction) {
        if let Phase::Starting(why, StartStep::Forking) = self.phase {
            self.fail_start(why, reaction);
        }
    }

    fn on_executed(&mut self) {
        if let Phase::Starting(why, StartStep::Executing { until }) = self.phase {
            self.phase = Phase::Starting(why, StartStep::Checking { until });
        }
    }

    fn on_ready(&mut self, pid: Pid, reaction: &mut Reaction) {
        if !reaction.policy.readiness.is_announced() || !self.is_candidate(pid) {
            return;
        }
        // The message of the worker can arrive before the news that its program runs.
        if let Phase::Starting(why, StartStep::Executing { .. } | StartStep::Checking { .. }) =
            self.phase
        {
            self.promote(why, reaction);
        }
    }

    fn on_extend(&mut self, pid: Pid, to: Time) {
        if !self.is_candidate(pid) {
            return;
        }
        if let Phase::Starting(
            _,
            StartStep::Executing { until: Some(until) }
            | StartStep::Checking { until: Some(until) },
        ) = &mut self.phase
        {
            *until = to.max(*until);
        }
    }

    fn on_exited(&mut self, pid: Pid, status: WaitStatus, reaction: &mut Reaction) {
        let Some(index) = self.workers.iter().position(|worker| worker.pid == pid) else {
            return;
        };
        let role = self.workers.remove(index).role;
        if let Phase::Finishing(outcome) = self.phase {
            reaction.log_compat(format!("worker {pid} died, status:{status}"));
            if role != Role::Candidate {
                self.publish(reaction);
            }
            return self.finish_if_no_worker_is_left(outcome, reaction);
        }
        match role {
            Role::Candidate => self.on_candidate_exited(pid, status, reaction),
            Role::Current => self.on_current_exited(pid, status, reaction),
            Role::Old => {
                reaction.log_compat(format!("old worker {pid} died, status:{status}"));
                self.publish(reaction);
            }
        }
    }

    fn on_candidate_exited(&mut self, pid: Pid, status: WaitStatus, reaction: &mut Reaction) {
        reaction.log_compat(format!(
            "new worker {pid} seems to have failed to start, exit status:{status}"
        ));
        if let Phase::Starting(why, _) = self.phase {
            self.fail_start(why, reaction);
        }
    }

    fn on_current_exited(&mut self, pid: Pid, status: WaitStatus, reaction: &mut Reaction) {
        reaction.log_compat(format!(
            "worker {pid} died unexpectedly with status:{status}, restarting"
        ));
        self.publish(reaction);
        // The old workers are not signalled before the end of the delay: they serve until the next worker is up.
        let why = if matches!(self.phase, Phase::Delaying { .. }) {
            StartReason::Restart
        } else {
            StartReason::NoWorker
        };
        self.spawn_or_pause(why, reaction);
    }

    /// Tries again after a pause, unless the start has failed too often.
    fn fail_start(&mut self, why: StartReason, reaction: &mut Reaction) {
        self.failures += 1;
        self.start_failure = reaction
            .policy
            .publishes_failures()
            .then_some(StartFailure {
                failed: self.generation,
                given_up: false,
            });
        if self.failures == reaction.policy.max_start_failures {
            return self.give_up(reaction);
        }
        if self.start_failure.is_some() {
            self.publish(reaction);
        }
        self.pause(why, self.attempted + reaction.policy.interval);
    }

    /// Makes the newest old worker the current one again, or finishes if none can stay.
    fn give_up(&mut self, reaction: &mut Reaction) {
        let failures = std::mem::take(&mut self.failures);
        let can_stay = |worker: &&mut Worker| {
            worker.role == Role::Old && worker.stop == StopState::NotSignalled
        };
        let Some(worker) = self.workers.iter_mut().rev().find(can_stay) else {
            reaction.log_note(format!(
                "giving up after {failures} failed starts, no worker is left to serve"
            ));
            self.phase = Phase::Finishing(Outcome::GivenUp);
            return self.finish_if_no_worker_is_left(Outcome::GivenUp, reaction);
        };
        worker.role = Role::Current;
        let generation = worker.generation;
        reaction.log_note(format!(
            "giving up the restart after {failures} failed starts, generation {generation} is still serving"
        ));
        // If one more restart follows at once, the starts of that one count.
        if let Some(failure) = &mut self.start_failure {
            failure.given_up = !self.restart_again;
        }
        self.publish(reaction);
        self.enter_up(reaction.now, reaction);
    }

    fn on_hup(&mut self, reaction: &mut Reaction) {
        match self.phase {
            Phase::Up { .. } => {
                reaction.log_compat("received HUP, spawning a new worker".to_string());
                self.restart(reaction);
            }
            Phase::Starting(..) | Phase::Delaying { .. } => self.restart_again = true,
            Phase::Finishing(_) | Phase::Finished => {}
        }
    }

    fn restart(&mut self, reaction: &mut Reaction) {
        self.restart_again = false;
        for worker in &mut self.workers {
            worker.role = Role::Old;
        }
        let given_up = |failure: &&mut StartFailure| failure.given_up;
        if let Some(failure) = self.start_failure.as_mut().filter(given_up) {
            failure.given_up = false;
            self.publish(reaction);
        }
        self.spawn_or_pause(StartReason::Restart, reaction);
    }

    fn on_finish(&mut self, received: Signal, reaction: &mut Reaction) {
        let outcome = match self.phase {
            Phase::Finished => return,
            Phase::Finishing(outcome) => outcome,
            Phase::Starting(..) | Phase::Up { .. } | Phase::Delaying { .. } => Outcome::Stopped,
        };
        self.phase = Phase::Finishing(outcome);
        let signal = if received == Signal::INT {
            Signal::TERM
        } else {
            reaction.policy.signal_on_term
        };
        reaction.log_compat(format!(
            "received {received}, sending {signal} to all workers:{}",
            join_pids(&self.workers)
        ));
        for worker in &mut self.workers {
            reaction.stop(worker, signal);
        }
        self.finish_if_no_worker_is_left(outcome, reaction);
    }

    fn finish_if_no_worker_is_left(&mut self, outcome: Outcome, reaction: &mut Reaction) {
        if self.workers.is_empty() {
            self.phase = Phase::Finished;
            reaction.log_compat("exiting".to_string());
            reaction.actions.push(Action::Finish(outcome));
        }
    }

    fn on_tick(&mut self, reaction: &mut Reaction) {
        self.kill_after_timeout(reaction);
        let due = |until: Time| until <= reaction.now;
        let announced = reaction.policy.readiness.is_announced();
        match self.phase {
            Phase::Starting(why, StartStep::Pausing { until }) if due(until) => {
                self.spawn(why, reaction);
            }
            Phase::Starting(
                why,
                StartStep::Executing { until: Some(until) }
                | StartStep::Checking { until: Some(until) },
            ) if due(until) && announced => self.kill_overdue(why, reaction),
            Phase::Starting(why, StartStep::Checking { until: Some(until) }) if due(until) => {
                self.promote(why, reaction);
            }
            Phase::Delaying { since, until } if due(until) => {
                self.signal_old_workers(since, reaction);
            }
            Phase::Up { since } => self.auto_restart(since, reaction),
            Phase::Starting(..)
            | Phase::Delaying { .. }
            | Phase::Finishing(_)
            | Phase::Finished => {}
        }
    }

    fn kill_after_timeout(&mut self, reaction: &mut Reaction) {
        for worker in &mut self.workers {
            if kill_time(worker, reaction.policy).is_some_and(|time| time <= reaction.now) {
                let pid = worker.pid;
                reaction.log_note(format!(
                    "worker {pid} has not ended within --kill-timeout, killing it"
                ));
                reaction.kill(worker);
            }
        }
    }

    /// Kills the candidate, which was not ready in time.
    fn kill_overdue(&mut self, why: StartReason, reaction: &mut Reaction) {
        if let Some(candidate) = self.workers.last_mut() {
            let pid = candidate.pid;
            reaction.log_note(format!(
                "new worker {pid} is not ready within --start-timeout, killing it"
            ));
            reaction.kill(candidate);
        }
        self.phase = Phase::Starting(why, StartStep::Overdue);
    }

    /// Makes the candidate, which has passed its check, the current worker.
    fn promote(&mut self, why: StartReason, reaction: &mut Reaction) {
        if let Some(candidate) = self.workers.last_mut() {
            candidate.role = Role::Current;
        }
        self.failures = 0;
        self.start_failure = None;
        self.publish(reaction);
        match why {
            StartReason::NoWorker => self.enter_up(reaction.now, reaction),
            StartReason::Restart => self.replace_old_workers(reaction),
        }
    }

    fn replace_old_workers(&mut self, reaction: &mut Reaction) {
        let signal = reaction.policy.signal_on_hup;
        let mut pids = join_pids(self.old_workers());
        if pids.is_empty() {
            pids = "none".to_string();
        }
        reaction.log_compat(format!(
            "new worker is now running, sending {signal} to old workers:{pids}"
        ));
        let since = reaction.now;
        let delay = reaction.policy.kill_old_delay;
        if delay.is_zero() {
            return self.signal_old_workers(since, reaction);
        }
        let seconds = delay.as_secs();
        reaction.log_compat(format!(
            "sleeping {seconds} secs before killing old workers"
        ));
        let until = since + delay;
        self.phase = Phase::Delaying { since, until };
    }

    /// Ends a restart: the current worker has been up since `since`.
    fn signal_old_workers(&mut self, since: Time, reaction: &mut Reaction) {
        reaction.log_compat("killing old workers".to_string());
        let old = |worker: &&mut Worker| worker.role == Role::Old;
        for worker in self.workers.iter_mut().filter(old) {
            reaction.stop(worker, reaction.policy.signal_on_hup);
        }
        self.enter_up(since, reaction);
    }

    /// Begins the next restart at once if it is due already.
    fn enter_up(&mut self, since: Time, reaction: &mut Reaction) {
        self.phase = Phase::Up { since };
        if self.restart_again {
            self.on_hup(reaction);
        } else {
            self.auto_restart(since, reaction);
        }
    }

    /// Restarts if the current worker is old enough.
    fn auto_restart(&mut self, since: Time, reaction: &mut Reaction) {
        let due = |time: Time| time <= reaction.now;
        let Some(interval) = reaction.policy.auto_restart else {
            return;
        };
        if due(self.auto_restart_time(since, interval)) {
            let forced = if self.has_old_workers() {
                "forced, "
            } else {
                ""
            };
            let interval = interval.as_secs();
            reaction.log_compat(format!(
                "autorestart triggered ({forced}interval={interval})"
            ));
            self.restart(reaction);
        }
    }

    /// Returns when an auto-restart is due. It waits for old workers to exit, but for one more interval at most.
    fn auto_restart_time(&self, since: Time, interval: Duration) -> Time {
        let intervals = if self.has_old_workers() { 2 } else { 1 };
        since + interval * intervals
    }

    /// Starts a worker at once, or when the last start was [`SHORTEST_PAUSE`] ago.
    fn spawn_or_pause(&mut self, why: StartReason, reaction: &mut Reaction) {
        if reaction.now >= self.attempted + SHORTEST_PAUSE {
            self.spawn(why, reaction);
        } else {
            self.pause(why, reaction.now);
        }
    }

    fn spawn(&mut self, why: StartReason, reaction: &mut Reaction) {
        self.generation += 1;
        self.attempted = reaction.now;
        self.phase = Phase::Starting(why, StartStep::Forking);
        let generation = self.generation;
        reaction.actions.push(Action::Spawn { generation });
    }

    fn pause(&mut self, why: StartReason, until: Time) {
        let until = until.max(self.attempted + SHORTEST_PAUSE);
        self.phase = Phase::Starting(why, StartStep::Pausing { until });
    }

    fn publish(&self, reaction: &mut Reaction) {
        reaction.actions.push(Action::Publish(self.status()));
    }

    fn old_workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers
            .iter()
            .filter(|worker| worker.role == Role::Old)
    }

    fn has_old_workers(&self) -> bool {
        self.old_workers().next().is_some()
    }
}

/// Returns when a worker that was signalled to finish is to be killed.
fn kill_time(worker: &Worker, policy: &Policy) -> Option<Time> {
    match worker.stop {
        StopState::SignalledAt(time) => policy.kill_timeout.map(|timeout| time + timeout),
        StopState::NotSignalled | StopState::Killed => None,
    }
}

fn join_pids<'a>(workers: impl IntoIterator<Item = &'a Worker>) -> String {
    let pids = workers.into_iter().map(|worker| worker.pid.to_string());
    pids.collect::<Vec<_>>().join(",")
}
