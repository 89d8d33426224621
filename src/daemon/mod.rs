//! The superdaemon at work: the loop that turns signals, exits and messages into events, and the supervisor's actions
//! into system calls.
//!
//! The options and, after an upgrade, the saved state come in. Workers, signals, the pid file, the status file and
//! its details go out, and at the end the outcome.
//!
//! On Linux a restart makes these calls, apart from those for a pid file, a status file and an envdir:
//!
//! | call | reason |
//! |---|---|
//! | `getpid`, `write`, `rt_sigreturn`, `read`; twice | HUP, and the exit of the old worker. The handler checks that it does not run in a child, and wakes the loop |
//! | `pipe2`, `close`, `read`, `close` | the new worker reports that its program runs, or the reason why it does not |
//! | `fork`, `execve` | the new worker. Around the fork the C library blocks signals and registers its thread with the kernel: `rt_sigprocmask`; `gettid`, `set_tid_address` or `set_robust_list` |
//! | `fcntl`, or `dup2`; once a socket | the new worker inherits it |
//! | `kill`, twice | the signal to the old worker, and CONT in case it is stopped |
//! | `wait4`, twice | the end of the old worker, and the end of the list of dead children |
//! | `poll`, twice | one call for all listeners finds those that a worker has shut down, before the new worker starts and after the old one has ended |
//! | `lstat`, for each `--path` | the socket file may be gone |
//! | `write`, three times | lines of the log. If the log is a pipe or a terminal, each also takes a `poll` and two `setitimer`, because a slow reader must not block us |
//! | `poll`, three times | the sleeps in between |

mod background;
mod children;
mod paths;
mod resume;
mod settings;
mod start;
mod waiter;
mod workers;

use crate::cli::Options;
use crate::error::{Error, Reason};
use crate::files::pid_file::PidFile;
use crate::files::status_file::StatusFile;
use crate::log::target::LogOutput;
use crate::service_manager::ServiceManager;
use crate::sockets::Listeners;
use crate::supervisor::policy::{KillMode, Time};
use crate::supervisor::signal::Signal;
use crate::supervisor::worker::{Generation, Pid, Status, WaitStatus};
use crate::supervisor::{Action, Event, Outcome, Supervisor};
use crate::sys::poll::{self, Interest};
use crate::sys::signals::Received;
use crate::sys::start::Invocation;
use crate::sys::{clock, group, process};
use crate::upgrade::{self, Upgrader};
use crate::worker::launch::Launcher;
use crate::worker::readiness::Message;
use children::Exit;
use settings::Settings;
use start::Beginning;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;
use waiter::Waiter;
use workers::Workers;

/// The longest time for which the exit waits for a slow reader of the log.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// Runs until every worker has exited after TERM, or until no worker could be started. All our files are removed before
/// this returns.
pub fn run(options: Options, invocation: Invocation) -> Result<Outcome, Error> {
    let state = upgrade::inherited_state()?;
    let beginning = Beginning::new(options, invocation)?;
    let mut daemon = match state {
        None => Daemon::start(beginning)?,
        Some(state) => Daemon::resume(beginning, &state)?,
    };
    let outcome = loop {
        if let Some(outcome) = daemon.outcome {
            break outcome;
        }
        daemon.turn();
    };
    daemon.upgrader.end_trial();
    daemon.flush_at_exit();
    Ok(outcome)
}

struct Daemon {
    supervisor: Supervisor,
    settings: Settings,
    workers: Workers,
    service_manager: ServiceManager,
    log: LogOutput,
    waiter: Waiter,
    upgrader: Upgrader,
    outcome: Option<Outcome>,
    files: Files,
}

/// The files and sockets that are removed at the end, in this order. The lock on the pid file is released last: when
/// `--stop` gets the lock, everything else is removed already.
struct Files {
    status_file: Option<StatusFile>,
    listeners: Listeners,
    pid_file: Option<PidFile>,
}

impl Daemon {
    /// Makes a daemon. After an upgrade `supervisor` knows the live workers, and at a first start it knows none.
    fn new(
        beginning: Beginning,
        supervisor: Supervisor,
        files: Files,
        log: LogOutput,
        waiter: Waiter,
    ) -> Daemon {
        let launcher = Launcher::new(
            &beginning.options.program,
            beginning.options.dir.as_deref(),
            files.listeners.variables(),
            files.listeners.handovers(),
            beginning.readiness,
            beginning.options.policy.kill_mode,
        );
        Daemon {
            supervisor,
            workers: Workers::new(launcher, beginning.options.policy.kill_mode),
            settings: beginning.settings,
            service_manager: beginning.service_manager,
            log,
            waiter,
            upgrader: Upgrader::new(beginning.invocation),
            outcome: None,
            files,
        }
    }

    /// Waits for events and handles them. The supervisor needs the exits before HUP and `Tick`.
    fn turn(&mut self) {
        self.flush();
        let deadline = self.deadline();
        let log = &mut self.log.lines;
        let woken = self.waiter.wait(deadline, &self.workers, log);
        if woken.by_signal || woken.by_report || woken.by_deadline {
            self.settings.reread(log);
        }
        self.on_terminate(woken.signals);
        self.on_children(woken.signals, woken.by_report);
        for pid in woken.senders {
            self.on_messages(pid);
        }
        self.on_signals(woken.signals);
        self.tick();
        if self.upgrader.take_accepted() && self.outcome.is_none() {
            self.replace_program();
        }
    }

    fn flush(&mut self) {
        // This may log a line, so the lines are flushed after it.
        let lines = &mut self.log.lines;
        self.service_manager.flush(self.waiter.now, lines);
        lines.flush(self.waiter.now);
    }

    /// Flushes for the last time. A slow reader of the log gets a second to make room for the last lines.
    fn flush_at_exit(&mut self) {
        let end = self.waiter.now + LAST_FLUSH;
        self.flush();
        self.log.tick_at_exit(self.waiter.now);
        while self.log.lines.is_blocked() && self.waiter.now < end {
            let stderr = io::stderr();
            let timeout = end.saturating_sub(self.waiter.now);
            if poll::wait(&mut [Interest::writable(stderr.as_fd())], Some(timeout)).is_err() {
                return;
            }
            self.waiter.now = clock::now();
            self.flush();
        }
    }

    fn deadline(&self) -> Option<Time> {
        let status_file = self.files.status_file.as_ref();
        let deadlines = [
            self.supervisor.deadline(&self.settings.policy),
            self.workers.deadline(self.waiter.now),
            self.log.deadline(),
            status_file.and_then(StatusFile::deadline),
            self.service_manager.deadline(),
            self.upgrader.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let now = self.waiter.now;
        self.log.tick(now);
        if let Some(status_file) = &mut self.files.status_file {
            status_file.tick(now, &mut self.log.lines);
        }
        self.upgrader.tick(now);
        self.dispatch(Event::Tick);
        self.update_details();
        if self.supervisor.is_finishing() {
            self.service_manager.stopping();
        } else if self.supervisor.is_idle() {
            self.service_manager.ready();
        }
    }

    /// Handles the exits of children. If one of them was still starting, its report is handled before its exit.
    fn on_children(&mut self, signals: Received, report_has_come: bool) {
        let now = self.waiter.now;
        let check_is_due = self
            .workers
            .children
            .deadline()
            .is_some_and(|time| time <= now);
        let exits = if signals.has(libc::SIGCHLD) || check_is_due {
            let others = [self.upgrader.trial_pid(), self.log.command_pid()];
            let others: Vec<Pid> = others.into_iter().flatten().collect();
            self.workers
                .children
                .exits(self.supervisor.workers(), &others, now)
        } else {
            Vec::new()
        };
        match self.workers.take_report(report_has_come, &exits) {
            None => {}
            Some(Ok(())) => self.dispatch(Event::Executed),
            // No event yet: the exit of this child follows and is the event.
            Some(Err(error)) => self.cannot_start(&error),
        }
        if !exits.is_empty() {
            self.files.listeners.listen_again(&mut self.log.lines);
        }
        for exit in exits {
            match exit {
                Exit::Reaped(pid, status) => self.on_exit(pid, status),
                Exit::LeftOthers(pid, status) => self.dispatch(Event::LeftOthers { pid, status }),
            }
        }
    }

    fn on_exit(&mut self, pid: Pid, status: WaitStatus) {
        self.workers.forget(pid);
        match self.upgrader.exited(pid, status) {
            Some(Ok(())) => {}
            Some(Err(reason)) => self.upgrade_failed(reason),
            None if self.log.exited(pid, status, self.waiter.now) => {}
            None => self.dispatch(Event::Exited { pid, status }),
        }
    }

    fn on_messages(&mut self, pid: Pid) {
        for message in self.workers.read_messages(pid, self.waiter.now) {
            let is_candidate = self.supervisor.is_candidate(pid);
            match message {
                Message::Ready => {
                    if is_candidate {
                        // The end of this restart may begin the next one at once, which needs the current envdir.
                        self.settings.reread(&mut self.log.lines);
                    }
                    self.dispatch(Event::Ready(pid));
                }
                Message::Extend(time) => self.dispatch(Event::Extend(pid, time)),
                Message::Status(text) if is_candidate => {
                    self.log.lines.note(&format!("new worker {pid}: {text}"));
                }
                Message::Stranger(sender) => {
                    let (stranger, user) = (sender.pid, sender.user);
                    let line = format!("ignoring process {stranger} of user {user}: it wrote to the notify socket of worker {pid}, but does not belong to it");
                    self.log.lines.note(&line);
                }
                // Some workers send their status every second, which would flood the log.
                Message::Status(_) => {}
            }
        }
    }

    /// Handles TERM, INT and QUIT before all other news of the same turn. Otherwise a restart could delay the exit, and
    /// a worker that died of the same Ctrl-C would be reported as an unexpected death.
    fn on_terminate(&mut self, received: Received) {
        for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
            if received.has(signal.number()) {
                self.dispatch(Event::Terminate(signal));
            }
        }
    }

    fn on_signals(&mut self, received: Received) {
        let forwarded = self.settings.policy.forwarded.clone();
        let is_ours =
            |signal: Signal| received.has(signal.number()) && !forwarded.contains(&signal);
        let is_hup = is_ours(Signal::HUP);
        if is_hup || is_ours(Signal::USR1) {
            self.log.reopen();
        }
        if is_hup {
            self.service_manager.reloading(self.waiter.now);
            self.dispatch(Event::Hup);
        }
        if is_ours(Signal::USR2) {
            self.try_upgrade();
        }
        for signal in forwarded {
            if received.has(signal.number()) {
                self.dispatch(Event::Forward(signal));
            }
        }
    }

    /// Starts the trial of the executable that is now at our path.
    fn try_upgrade(&mut self) {
        let name = self.upgrader.name().to_string_lossy();
        let line = format!("received USR2, trying to upgrade to {name}");
        self.log.lines.note(&line);
        let mut state = self.save();
        if let Err(reason) = self.upgrader.begin(&mut state, self.waiter.now) {
            self.upgrade_failed(reason);
        }
    }

    /// Executes the program that has passed its trial, in this process. Signals that arrive meanwhile stay pending for
    /// the new program.
    fn replace_program(&mut self) {
        self.log.lines.flush(self.waiter.now);
        self.waiter.signals.hand_on();
        let reason = self.upgrader.execute(self.save());
        self.waiter.signals.unblock();
        self.upgrade_failed(reason);
    }

    fn upgrade_failed(&mut self, reason: Reason) {
        let reason = format!("{}: {reason}", self.upgrader.name().to_string_lossy());
        let line = format!("cannot upgrade, keeping the current version: {reason}");
        self.log.lines.note(&line);
        self.upgrader.attempts += 1;
        self.note_upgrade(Some(reason));
    }

    /// Logs the reason why a worker cannot be started, and keeps the reason for the details.
    fn cannot_start(&mut self, error: &Error) {
        self.log.lines.note(&error.to_string());
        if let Some(status_file) = &mut self.files.status_file {
            status_file.details.explain(error.to_string());
        }
    }

    /// Notes the outcome of an upgrade in the details: the reason, if it failed.
    fn note_upgrade(&mut self, failure: Option<String>) {
        if let Some(status_file) = &mut self.files.status_file {
            let attempts = self.upgrader.attempts;
            let date = clock::since_1970();
            status_file.details.upgraded(attempts, date, failure);
        }
        self.update_details();
    }

    /// The details are written first: a reader that finds the new status file finds its details too.
    fn publish(&mut self, status: &Status) {
        self.update_details();
        if let Some(status_file) = &mut self.files.status_file {
            status_file.publish(status, self.waiter.now, &mut self.log.lines);
        }
    }

    fn update_details(&mut self) {
        if let Some(status_file) = &mut self.files.status_file {
            let date = clock::since_1970();
            let report = self.supervisor.report();
            status_file.update(&report, date, self.waiter.now, &mut self.log.lines);
        }
    }

    fn dispatch(&mut self, event: Event) {
        let policy = &self.settings.policy;
        let actions = self.supervisor.handle(event, self.waiter.now, policy);
        #[cfg(feature = "trace")]
        self.log
            .lines
            .note(&format!("trace: {event:?} -> {actions:?}"));
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Spawn { generation } => {
                    let answer = self.spawn(generation);
                    self.dispatch(answer);
                }
                Action::Signal { pid, signal } => self.signal(pid, signal),
                Action::Publish(status) => {
                    self.service_manager.publish(&status);
                    self.publish(&status);
                }
                Action::LogCompat(line) => self.log.lines.compat(&line),
                Action::LogNote(line) => self.log.lines.note(&line),
                Action::Finish(outcome) => self.outcome = Some(outcome),
            }
        }
    }

    fn spawn(&mut self, generation: Generation) -> Event {
        let log = &mut self.log.lines;
        self.files.listeners.listen_again(log);
        self.files.listeners.renew(log);
        let environment = &self.settings.environment;
        match self.workers.spawn(generation, environment) {
            Ok(pid) => Event::Spawned(pid),
            Err(error) => {
                self.cannot_start(&error);
                Event::SpawnFailed
            }
        }
    }

    fn signal(&mut self, pid: Pid, signal: Signal) {
        let to_group = match self.settings.policy.kill_mode {
            KillMode::Process => false,
            KillMode::Mixed => signal == Signal::KILL,
            KillMode::Group => true,
        };
        let send = if to_group {
            group::signal
        } else {
            process::signal
        };
        if let Err(error) = send(pid, signal.number()) {
            let error = Error::action("send", format!("{signal} to worker {pid}"), error);
            self.log.lines.note(&error.to_string());
            if signal != Signal::CONT {
                self.dispatch(Event::SignalFailed(pid));
            }
        }
    }
}
