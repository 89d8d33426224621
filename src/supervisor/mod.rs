//! The life of the workers: events come in, actions go out. "Why did it do that?" is answered here. Pure.
//!
//! ```text
//! STATE          WHAT ENDS IT                            WHAT FOLLOWS
//! Starting
//!   Forking      the fork succeeds                       Executing
//!                the fork fails                          Pausing
//!   Executing    the program replaces the fork           Checking
//!                the worker says that it is ready        as in Checking
//!                --start-timeout is over                 as in Checking
//!                the worker exits                        a failed start
//!   Checking     the worker has lived for --interval,    Up if no worker was up before. In a restart Delaying,
//!                or says that it is ready                or with no delay Up, and the old workers are signalled
//!                --start-timeout is over                 Overdue, and the worker is killed
//!                the worker exits                        a failed start
//!   Overdue      the worker exits                        a failed start
//!   Pausing      the pause is over                       Forking
//! Up             SIGHUP, auto-restart                    Forking, to replace the worker
//!                the current worker exits                Forking, because no worker is up. A failed start, if the
//!                                                        worker said that it was ready within --interval before
//! Delaying       --kill-old-delay is over                Up, and the old workers are signalled
//!                the current worker exits                as in Up, and the old workers are still serving
//! Finishing      the last worker exits                   Finished
//! all of these   SIGTERM, SIGINT, SIGQUIT                Finishing, and the workers are signalled (see `on_terminate`)
//! ```
//!
//! Pausing follows a failed start. After `--max-start-failures` failed starts in a row, Up follows if an old worker
//! can stay, and Finishing if none can. A SIGHUP during Starting or Delaying causes one more restart in the next Up.
//! Pausing comes before Forking whenever the last start is too recent.
//!
//! The caller performs the actions in order, and answers `Spawn` with `Spawned` or `SpawnFailed` before any other
//! event. In each turn of its loop it reports every exit before HUP and `Tick`. Otherwise a worker that has already
//! exited could pass its check at the deadline.

mod hints;
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
use worker::{
    Activity, FailureCause, Generation, Pid, Report, Role, StartFailure, Status, StopState,
    WaitStatus, Worker,
};

/// News from the kernel, from a worker or from the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answers `Spawn`: the worker is forked.
    Spawned(Pid),
    /// Answers `Spawn`: the fork failed.
    SpawnFailed,
    /// The program of the candidate has replaced the fork.
    Executed,
    /// This worker is ready. It says so itself, or a process that may speak for it.
    Ready(Pid),
    /// This worker needs this much time, counted from now, to become ready.
    Extend(Pid, Duration),
    /// A child was reaped. It need not be a worker: process 1 reaps orphans of any program.
    Exited { pid: Pid, status: WaitStatus },
    /// This worker, not a candidate, has exited, but others in its process group have not. `Exited` follows when they
    /// have.
    LeftOthers { pid: Pid, status: WaitStatus },
    /// SIGHUP.
    Hup,
    /// SIGTERM, SIGINT or SIGQUIT.
    Terminate(Signal),
    /// A signal of `--forward-signal`.
    Forward(Signal),
    /// Answers `Signal`: this worker could not be signalled.
    SignalFailed(Pid),
    /// The end of a turn: a deadline may have passed.
    Tick,
}

/// An action that the caller of the supervisor performs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Spawn {
        generation: Generation,
    },
    Signal {
        pid: Pid,
        signal: Signal,
    },
    /// Write the status file, and report to the service manager.
    Publish(Status),
    /// Log a line that Perl's start_server also logs.
    LogCompat(String),
    /// Log a line of our own.
    LogNote(String),
    /// Exit: no worker is left.
    Finish(Outcome),
}

/// The reason for the exit of start_server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// SIGTERM, SIGINT or SIGQUIT came.
    Stopped,
    /// No worker could be started.
    GivenUp,
}

/// The shortest time from one start to the next. Without it, and with `--interval=0`, a program that exits at once
/// would be started thousands of times a second.
pub const SHORTEST_START_INTERVAL: Duration = Duration::from_millis(10);

/// A worker that was killed this long ago and is still there is logged.
const SURVIVOR_LOGGED_AFTER: Duration = Duration::from_secs(5);

/// The state of all workers.
pub struct Supervisor {
    phase: Phase,
    /// The generation of the last start, even if it failed.
    generation: Generation,
    /// All workers that have not been reaped, oldest first. At most one is the candidate, and at most one is current.
    workers: Vec<Worker>,
    /// The time of the last start, even if it failed.
    last_start: Time,
    /// At least one HUP came during Starting or Delaying: one more restart follows.
    restart_again: bool,
    /// The number of failed starts in a row, without failed forks. It becomes 0 at a restart, when a restart is given
    /// up, and when a worker dies whose start has not failed.
    failures: u32,
    /// The last failed start, until a worker passes its check.
    start_failure: Option<StartFailure>,
    /// The number of times that a current worker has died unexpectedly. An upgrade resets it to 0.
    deaths: u64,
    /// `hints::BACKGROUND` was logged. An upgrade resets this.
    has_hinted: bool,
    /// SIGTERM, SIGINT or SIGQUIT has come. An upgrade resets this if the service had been given up before.
    must_finish: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A worker is being started.
    Starting(StartReason, StartStep),
    /// No worker is being started. Old workers may still be finishing.
    Up { since: Time },
    /// The current worker and the old ones serve side by side.
    Delaying { since: Time, until: Time },
    /// No worker is started any more. The remaining ones were signalled to finish.
    Finishing(Outcome),
    /// No worker is left, and the caller has been ordered to exit.
    Finished,
}

words! {
    /// The reason for a start. It is saved in the field `vacancy`.
    pub enum StartReason {
        /// No worker serves: this is the first start, or the current worker has exited.
        #[default]
        NoneServes = "true",
        /// The new worker replaces old ones. They are signalled when it has passed its check.
        Restart = "false",
    }
}

/// In `Executing` and `Checking`, `until` is the deadline of the check: reaching it means success with `--interval`,
/// failure with `--ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartStep {
    /// `Spawn` is not answered yet.
    Forking,
    /// The forked child has not executed the program yet. On a slow file system this can take longer than the interval.
    /// The worker cannot pass its check before.
    Executing { until: Option<Time> },
    /// The program runs, but can still fail.
    Checking { until: Option<Time> },
    /// The worker was not ready in time. It was sent SIGKILL, but has not exited yet.
    Overdue,
    /// The start failed. As in Perl, the next start waits for the end of the interval, even after an early exit:
    /// a storm of starts would hide the cause.
    Pausing { until: Time },
}

/// The reaction to one event: its actions, and the values on which they depend.
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

    /// Tells a worker to finish, by this signal.
    fn tell_to_finish(&mut self, worker: &mut Worker, signal: Signal) {
        self.signal(worker.pid, signal);
        // A stopped process acts on the signal only when it is continued.
        self.signal(worker.pid, Signal::CONT);
        // --kill-timeout begins with the first signal.
        let since = match worker.stop {
            StopState::Signalled { since, .. } => since,
            StopState::NotSignalled => self.now,
            StopState::Killed { .. } => return,
        };
        worker.stop = StopState::Signalled {
            since,
            last: signal,
        };
    }

    fn kill(&mut self, worker: &mut Worker) {
        self.signal(worker.pid, Signal::KILL);
        worker.stop = StopState::Killed {
            log_at: Some(self.now + SURVIVOR_LOGGED_AFTER),
        };
    }
}

impl Supervisor {
    /// Returns a supervisor that starts its first worker, and the action for that.
    pub fn start(now: Time) -> (Supervisor, Vec<Action>) {
        let generation = 1;
        let supervisor = Supervisor {
            phase: Phase::Starting(StartReason::NoneServes, StartStep::Forking),
            generation,
            workers: Vec::new(),
            last_start: now,
            restart_again: false,
            failures: 0,
            start_failure: None,
            deaths: 0,
            has_hinted: false,
            must_finish: false,
        };
        (supervisor, vec![Action::Spawn { generation }])
    }

    /// Handles one event, and returns the actions that the event causes, in order.
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
            Event::LeftOthers { pid, status } => self.on_left_others(pid, status, &mut reaction),
            Event::Hup => self.on_hup(&mut reaction),
            Event::Terminate(received) => self.on_terminate(received, &mut reaction),
            Event::Forward(signal) => self.forward(signal, &mut reaction),
            Event::SignalFailed(pid) => self.on_signal_failed(pid),
            Event::Tick => self.on_tick(&mut reaction),
        }
        reaction.actions
    }

    /// Returns the time at which the supervisor needs a `Tick`, even if nothing else happens.
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
        let workers = self.workers.iter();
        let workers = workers.filter_map(|worker| match worker.stop {
            StopState::Killed { log_at } => log_at,
            StopState::Signalled { .. } | StopState::NotSignalled => kill_time(worker, policy),
        });
        workers.chain(phase_ends).min()
    }

    /// Whether the current worker is up and no other one is being started.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// Whether no worker is started any more.
    pub fn is_finishing(&self) -> bool {
        matches!(self.phase, Phase::Finishing(_) | Phase::Finished)
    }

    /// Whether this is the worker that is being started.
    pub fn is_candidate(&self, pid: Pid) -> bool {
        let mut workers = self.workers.iter();
        workers.any(|worker| worker.pid == pid && worker.role == Role::Candidate)
    }

    /// All workers that have not been reaped, oldest first.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Returns the state to publish.
    pub fn status(&self) -> Status {
        let workers = self.workers.iter();
        let passed = workers.filter(|worker| worker.role != Role::Candidate);
        Status {
            workers: passed.copied().collect(),
            start_failure: self.start_failure,
        }
    }

    /// Returns the state that the control commands can see.
    pub fn report(&self) -> Report {
        let activity = match self.phase {
            Phase::Starting(StartReason::NoneServes, _) => Activity::Starting,
            Phase::Starting(StartReason::Restart, _) | Phase::Delaying { .. } => {
                Activity::Restarting
            }
            Phase::Up { .. } => Activity::Up,
            Phase::Finishing(_) | Phase::Finished => Activity::Ending,
        };
        Report {
            activity,
            workers: self.workers.clone(),
            start_failure: self.start_failure,
            deaths: self.deaths,
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
            // A failed fork says nothing about the program. It does not count towards --max-start-failures, because a
            // shortage that passes must not end the service.
            self.note_failure(FailureCause::Unknown);
            self.try_again(why, reaction);
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
        // The message of the worker can arrive before the report that its program runs.
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
        let worker = self.workers.remove(index);
        let role = worker.role;
        if let Phase::Finishing(outcome) = self.phase {
            reaction.log_compat(format!("worker {pid} died, status:{status}"));
            if role != Role::Candidate {
                self.publish(reaction);
            }
            return self.finish_if_no_worker_is_left(outcome, reaction);
        }
        match role {
            Role::Candidate => self.on_candidate_exited(pid, status, reaction),
            Role::Current => self.on_current_exited(&worker, status, reaction),
            Role::Old | Role::Remnant => {
                reaction.log_compat(format!("old worker {pid} died, status:{status}"));
                self.publish(reaction);
            }
        }
    }

    fn on_candidate_exited(&mut self, pid: Pid, status: WaitStatus, reaction: &mut Reaction) {
        let line = format!("new worker {pid} seems to have failed to start, exit status:{status}");
        reaction.log_compat(line);
        if status == 0 && !std::mem::replace(&mut self.has_hinted, true) {
            reaction.log_note(hints::BACKGROUND.to_string());
        }
        if let Phase::Starting(why, step) = self.phase {
            let exited = FailureCause::Exited(status);
            let (cause, hint) = match step {
                StartStep::Overdue => {
                    let hint = hints::never_ready(reaction.policy.readiness);
                    (FailureCause::NotReady, Some(hint))
                }
                // The program was not executed. The line before says why.
                StartStep::Executing { .. } => (exited, None),
                StartStep::Forking | StartStep::Checking { .. } | StartStep::Pausing { .. } => {
                    (exited, Some(hints::NEVER_UP))
                }
            };
            let failures = self.failures + 1;
            let was_never_up = u64::from(failures) == self.generation && self.deaths == 0;
            if let Some(hint) = hint.filter(|_| was_never_up && failures == hints::FAILURES) {
                reaction.log_note(hint.to_string());
            }
            self.on_start_failed(why, cause, reaction);
        }
    }

    /// Tells the rest of a worker's process group to finish, unless it was told together with the worker.
    fn on_left_others(&mut self, pid: Pid, status: WaitStatus, reaction: &mut Reaction) {
        let mut workers = self.workers.iter_mut();
        let Some(worker) = workers.find(|worker| worker.pid == pid && worker.role.is_up()) else {
            return;
        };
        if is_unsignalled(worker) {
            let signal = reaction.policy.signal_on_term;
            reaction.log_note(format!(
                "worker {pid} has exited, sending {signal} to the rest of its process group"
            ));
            reaction.tell_to_finish(worker, signal);
        } else {
            reaction.log_note(format!(
                "worker {pid} has exited, waiting for the rest of its process group"
            ));
        }
        let was_current = std::mem::replace(&mut worker.role, Role::Remnant) == Role::Current;
        let worker = *worker;
        if was_current && !self.is_finishing() {
            self.on_current_exited(&worker, status, reaction);
        }
    }

    fn on_current_exited(&mut self, worker: &Worker, status: WaitStatus, reaction: &mut Reaction) {
        let pid = worker.pid;
        let line = format!("worker {pid} died unexpectedly with status:{status}, restarting");
        reaction.log_compat(line);
        self.deaths += 1;
        // During the delay the old workers are still serving. They are signalled when the next worker is up.
        let why = if matches!(self.phase, Phase::Delaying { .. }) {
            StartReason::Restart
        } else {
            StartReason::NoneServes
        };
        if self.died_too_soon(worker, reaction) {
            return self.on_start_failed(why, FailureCause::Exited(status), reaction);
        }
        self.failures = 0;
        self.publish(reaction);
        self.spawn_or_pause(why, reaction);
    }

    /// Whether this worker, which has just exited, said that it was ready and did not live for the interval after that.
    /// Its start counts as a failed one. Otherwise a program that crashes at its first request would be started without
    /// end.
    fn died_too_soon(&self, worker: &Worker, reaction: &Reaction) -> bool {
        let (Phase::Up { since } | Phase::Delaying { since, .. }) = self.phase else {
            return false;
        };
        let policy = reaction.policy;
        // A worker that has become current again, after a restart that was given up, is an older one.
        let is_newest = worker.generation == self.generation;
        policy.readiness.is_announced() && is_newest && reaction.now < since + policy.interval
    }

    /// Pauses before the next start, or gives up after too many failed starts.
    fn on_start_failed(&mut self, why: StartReason, cause: FailureCause, reaction: &mut Reaction) {
        self.failures += 1;
        self.note_failure(cause);
        if self.failures == reaction.policy.max_start_failures {
            return self.give_up(reaction);
        }
        self.try_again(why, reaction);
    }

    fn note_failure(&mut self, cause: FailureCause) {
        self.start_failure = Some(StartFailure {
            failed: self.generation,
            given_up: false,
            cause,
        });
    }

    fn try_again(&mut self, why: StartReason, reaction: &mut Reaction) {
        self.publish(reaction);
        self.pause(why, self.last_start + reaction.policy.interval);
    }

    /// Makes an old worker the current one again, or finishes if none can stay.
    fn give_up(&mut self, reaction: &mut Reaction) {
        let failures = std::mem::take(&mut self.failures);
        // Old workers of earlier restarts were signalled. They are about to exit and cannot serve again.
        let can_stay = |worker: &&mut Worker| worker.role == Role::Old && is_unsignalled(worker);
        let Some(worker) = self.workers.iter_mut().rev().find(can_stay) else {
            reaction.log_note(format!(
                "giving up after {failures} failed starts, no worker is left to serve"
            ));
            self.phase = Phase::Finishing(Outcome::GivenUp);
            self.publish(reaction);
            return self.finish_if_no_worker_is_left(Outcome::GivenUp, reaction);
        };
        worker.role = Role::Current;
        let generation = worker.generation;
        reaction.log_note(format!(
            "giving up the restart after {failures} failed starts, generation {generation} is still serving"
        ));
        // A HUP that came meanwhile causes the next restart at once. Nothing is given up then.
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
            Phase::Starting(..) | Phase::Delaying { .. } => {
                self.restart_again = true;
                self.log_hup_while_overdue(reaction);
            }
            Phase::Finishing(_) | Phase::Finished => {}
        }
    }

    /// Usually a HUP during a start is silent, as under Perl: the start ends soon.
    fn log_hup_while_overdue(&self, reaction: &mut Reaction) {
        let Phase::Starting(_, StartStep::Overdue) = self.phase else {
            return;
        };
        if let Some(candidate) = self.workers.last() {
            let pid = candidate.pid;
            reaction.log_note(format!(
                "received HUP, waiting for the end of worker {pid}, which was killed"
            ));
        }
    }

    fn restart(&mut self, reaction: &mut Reaction) {
        self.restart_again = false;
        self.failures = 0;
        for worker in &mut self.workers {
            if worker.role == Role::Current {
                worker.role = Role::Old;
            }
        }
        let given_up = |failure: &&mut StartFailure| failure.given_up;
        if let Some(failure) = self.start_failure.as_mut().filter(given_up) {
            failure.given_up = false;
            self.publish(reaction);
        }
        self.spawn_or_pause(StartReason::Restart, reaction);
    }

    fn on_terminate(&mut self, received: Signal, reaction: &mut Reaction) {
        let outcome = match self.phase {
            Phase::Finished => return,
            Phase::Finishing(outcome) => outcome,
            Phase::Starting(..) | Phase::Up { .. } | Phase::Delaying { .. } => Outcome::Stopped,
        };
        let is_first = !std::mem::replace(&mut self.must_finish, true);
        self.phase = Phase::Finishing(outcome);
        let signal = if received == Signal::INT {
            Signal::TERM
        } else {
            reaction.policy.signal_on_term
        };
        // A worker that was told by the same signal before, in a restart, is not told again: a server with a one-shot
        // handler would be cut off in the middle of a request. A second TERM insists.
        let must_signal = |worker: &Worker| match worker.stop {
            StopState::Signalled { last, .. } => !is_first || last != signal,
            StopState::NotSignalled => true,
            StopState::Killed { .. } => false,
        };
        let to_signal = self.workers.iter_mut().filter(|worker| must_signal(worker));
        let mut to_signal: Vec<_> = to_signal.collect();
        reaction.log_compat(format!(
            "received {received}, sending {signal} to all workers:{}",
            join_pids(to_signal.iter().map(|worker| &**worker))
        ));
        for worker in &mut to_signal {
            reaction.tell_to_finish(worker, signal);
        }
        self.finish_if_no_worker_is_left(outcome, reaction);
    }

    /// Passes a signal on to the worker that serves. A candidate may not have set its handler yet, and could die of it.
    fn forward(&mut self, signal: Signal, reaction: &mut Reaction) {
        let mut workers = self.workers.iter().rev();
        let serving = workers.find(|worker| worker.role.is_up() && is_unsignalled(worker));
        match serving.map(|worker| worker.pid) {
            Some(pid) => {
                reaction.log_note(format!("received {signal}, forwarding it to worker {pid}"));
                reaction.signal(pid, signal);
            }
            // The log is closed already.
            None if self.phase == Phase::Finished => {}
            None => reaction.log_note(format!("received {signal}, no worker is up to get it")),
        }
    }

    /// Lets the next restart or TERM tell this worker again, which the signal did not reach.
    fn on_signal_failed(&mut self, pid: Pid) {
        let mut workers = self.workers.iter_mut();
        if let Some(worker) = workers.find(|worker| worker.pid == pid) {
            if let StopState::Signalled { .. } = worker.stop {
                worker.stop = StopState::NotSignalled;
            }
        }
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
        self.log_survivors(reaction);
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
                let line = format!("worker {pid} has not ended within --kill-timeout, killing it");
                reaction.log_note(line);
                reaction.kill(worker);
            }
        }
    }

    /// Logs the workers that were killed but are still there: a frozen cgroup, a debugger or a device holds them.
    fn log_survivors(&mut self, reaction: &mut Reaction) {
        for worker in &mut self.workers {
            let (StopState::Killed { log_at: Some(time) }, pid) = (worker.stop, worker.pid) else {
                continue;
            };
            if time <= reaction.now {
                worker.stop = StopState::Killed { log_at: None };
                reaction.log_note(format!("worker {pid} was killed, but has not ended yet"));
            }
        }
    }

    /// Kills the candidate: it was not ready in time.
    fn kill_overdue(&mut self, why: StartReason, reaction: &mut Reaction) {
        if let Some(candidate) = self.workers.last_mut() {
            let pid = candidate.pid;
            let line = format!("new worker {pid} is not ready within --start-timeout, killing it");
            reaction.log_note(line);
            reaction.kill(candidate);
        }
        self.phase = Phase::Starting(why, StartStep::Overdue);
    }

    /// Makes the candidate the current worker: it has passed its check.
    fn promote(&mut self, why: StartReason, reaction: &mut Reaction) {
        if let Some(candidate) = self.workers.last_mut() {
            candidate.role = Role::Current;
        }
        self.start_failure = None;
        self.publish(reaction);
        match why {
            StartReason::NoneServes => self.enter_up(reaction.now, reaction),
            StartReason::Restart => self.replace_old_workers(reaction),
        }
    }

    fn replace_old_workers(&mut self, reaction: &mut Reaction) {
        let signal = reaction.policy.signal_on_hup;
        let mut pids = join_pids(self.old_workers().filter(|worker| is_unsignalled(worker)));
        if pids.is_empty() {
            pids = "none".to_string();
        }
        let line = format!("new worker is now running, sending {signal} to old workers:{pids}");
        reaction.log_compat(line);
        let since = reaction.now;
        let delay = reaction.policy.kill_old_delay;
        if delay.is_zero() {
            return self.signal_old_workers(since, reaction);
        }
        let seconds = delay.as_secs();
        let line = format!("sleeping {seconds} secs before killing old workers");
        reaction.log_compat(line);
        let until = since + delay;
        self.phase = Phase::Delaying { since, until };
    }

    /// Tells the old workers to finish, which is the last step of a restart. `since` is the time at which the current
    /// worker passed its check.
    fn signal_old_workers(&mut self, since: Time, reaction: &mut Reaction) {
        reaction.log_compat("killing old workers".to_string());
        let old = |worker: &&mut Worker| worker.role == Role::Old && is_unsignalled(worker);
        for worker in self.workers.iter_mut().filter(old) {
            reaction.tell_to_finish(worker, reaction.policy.signal_on_hup);
        }
        self.enter_up(since, reaction);
    }

    /// Ends a start or a restart, and begins the next restart if one is due already.
    fn enter_up(&mut self, since: Time, reaction: &mut Reaction) {
        self.phase = Phase::Up { since };
        if self.restart_again {
            self.on_hup(reaction);
        } else {
            self.auto_restart(since, reaction);
        }
    }

    /// Restarts if the auto-restart is due.
    fn auto_restart(&mut self, since: Time, reaction: &mut Reaction) {
        let Some(interval) = reaction.policy.auto_restart else {
            return;
        };
        if self.auto_restart_time(since, interval) <= reaction.now {
            let forced = if self.has_old_workers() {
                "forced, "
            } else {
                ""
            };
            let interval = interval.as_secs();
            let line = format!("autorestart triggered ({forced}interval={interval})");
            reaction.log_compat(line);
            self.restart(reaction);
        }
    }

    /// Returns the time of the next auto-restart. It waits until old workers have exited, but not longer than one
    /// more interval.
    fn auto_restart_time(&self, since: Time, interval: Duration) -> Time {
        let intervals = if self.has_old_workers() { 2 } else { 1 };
        since + interval * intervals
    }

    /// Starts a worker at once, or after a pause if the last start is too recent.
    fn spawn_or_pause(&mut self, why: StartReason, reaction: &mut Reaction) {
        if reaction.now >= self.last_start + SHORTEST_START_INTERVAL {
            self.spawn(why, reaction);
        } else {
            self.pause(why, reaction.now);
        }
    }

    fn spawn(&mut self, why: StartReason, reaction: &mut Reaction) {
        self.generation += 1;
        self.last_start = reaction.now;
        self.phase = Phase::Starting(why, StartStep::Forking);
        let generation = self.generation;
        reaction.actions.push(Action::Spawn { generation });
    }

    /// Pauses until this time, or longer if the last start is still too recent then.
    fn pause(&mut self, why: StartReason, until: Time) {
        let until = until.max(self.last_start + SHORTEST_START_INTERVAL);
        self.phase = Phase::Starting(why, StartStep::Pausing { until });
    }

    fn publish(&self, reaction: &mut Reaction) {
        reaction.actions.push(Action::Publish(self.status()));
    }

    fn old_workers(&self) -> impl Iterator<Item = &Worker> {
        let workers = self.workers.iter();
        workers.filter(|worker| matches!(worker.role, Role::Old | Role::Remnant))
    }

    fn has_old_workers(&self) -> bool {
        self.old_workers().next().is_some()
    }
}

/// Returns the time at which `--kill-timeout` is over for this worker.
fn kill_time(worker: &Worker, policy: &Policy) -> Option<Time> {
    match worker.stop {
        StopState::Signalled { since, .. } => policy.kill_timeout.map(|timeout| since + timeout),
        StopState::NotSignalled | StopState::Killed { .. } => None,
    }
}

/// Whether no signal to finish was sent to this worker. A restart sends no second one, which could end the worker in
/// the middle of a request.
fn is_unsignalled(worker: &Worker) -> bool {
    worker.stop == StopState::NotSignalled
}

fn join_pids<'a>(workers: impl IntoIterator<Item = &'a Worker>) -> String {
    let pids = workers.into_iter().map(|worker| worker.pid.to_string());
    pids.collect::<Vec<_>>().join(",")
}
