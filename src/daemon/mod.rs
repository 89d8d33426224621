//! The superdaemon: the start-up in its order, then the loop that turns the kernel's news into events and
//! the supervisor's actions into system calls.
//!
//! A restart makes these calls on Linux, apart from those for a pid file, a status file and an envdir:
//!
//! | call | reason |
//! |---|---|
//! | `getpid`, `write`, `rt_sigreturn`, `read`; twice | HUP, and the old worker's death: the handler makes sure that it is not in a child, and wakes the loop |
//! | `pipe2`, `close`, `read`, `close` | the new worker's report that its program runs, or why it does not |
//! | `fork`, `execve` | the new worker; around the fork the C library blocks signals and tells the kernel of its thread: `rt_sigprocmask`; `gettid`, `set_tid_address` or `set_robust_list` |
//! | `fcntl`, or `dup2`; once a socket | the new worker is to have it |
//! | `kill`, twice | the old worker's signal, and CONT in case that it is stopped |
//! | `wait4`, twice | the old worker's end, and that nobody else has died |
//! | `poll` | whether a worker has shut a listener down: one call for all listeners |
//! | `write`, three times | lines for the log; each with a `poll` and two `setitimer` if it goes to a pipe or a terminal, whose reader must not hold us up |
//! | `poll`, three times | the sleep in between |

mod background;
mod resume;
mod start;

use crate::cli::{LogTarget, Options};
use crate::files::owned;
use crate::files::pid_file::{self, PidFile};
use crate::files::status_file::{self, StatusFile, Upgrade, Upgrades};
use crate::log::{self, Log, LogCommand, Sink};
use crate::service_manager::ServiceManager;
use crate::sockets::activation;
use crate::sockets::{self, Listeners};
use crate::supervisor::policy::{Policy, Time};
use crate::supervisor::signal::Signal;
use crate::supervisor::worker::{Generation, Pid, WaitStatus};
use crate::supervisor::{Action, Event, Outcome, Supervisor};
use crate::sys::exec::{self, ForkedChild};
use crate::sys::poll::{self, Interest};
use crate::sys::signals::{Received, Signals};
use crate::sys::start::Invocation;
use crate::sys::{clock, file, inherit, process, reason};
use crate::upgrade::{self, Origin, Starting, State, Upgrader};
use crate::variable;
use crate::worker::environment::Environment;
use crate::worker::launch::{Launcher, Started};
use crate::worker::readiness::{self, Message, ReadyChannel, ReadyConfig};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

/// Runs until TERM has ended every worker, or none could be started. The error is one
/// line; nothing of ours is left behind.
pub fn run(options: Options, invocation: Invocation) -> Result<Outcome, String> {
    let state = upgrade::inherited(|name| std::env::var_os(name))?;
    let service_manager = ServiceManager::new(std::env::var_os("NOTIFY_SOCKET").as_deref())?;
    let activated = activation::is_activated();
    let spent = activated || options.listen_fds;
    let inherited = invocation.environment.iter().copied();
    let inherited = inherited.filter(|string| is_for_worker(variable::name(string), spent));
    let environment = Environment::new(inherited, &options.variables);
    let channels = ReadyConfig::new(options.policy.readiness);
    let mut daemon = match state {
        None => Daemon::start(options, invocation, service_manager, environment, channels)?,
        Some(state) => Daemon::resume(
            options,
            invocation,
            service_manager,
            environment,
            channels,
            &state,
        )?,
    };
    let outcome = loop {
        if let Some(outcome) = daemon.finished {
            break outcome;
        }
        daemon.turn();
    };
    daemon.log.flush(daemon.now);
    daemon.service_manager.flush(daemon.now);
    Ok(outcome)
}

/// The superdaemon at work. In the end the files go in the order of the fields, and the lock on the pid file
/// last: who waits for it finds nothing left.
struct Daemon {
    supervisor: Supervisor,
    /// The policy as the options alone have it, and as environment and envdir have it now.
    options: Policy,
    policy: Policy,
    environment: Environment,
    launcher: Launcher,
    /// A child that has not executed its program yet.
    starting: Option<ForkedChild>,
    /// How live workers speak to us.
    channels: Vec<(Pid, ReadyChannel)>,
    service_manager: ServiceManager,
    log: Log,
    log_file: Option<LogTarget>,
    log_command: Option<LogCommand>,
    signals: Signals,
    now: Time,
    /// What was wrong at the last look and was said then: it is said again only after it was right once.
    warnings: Vec<String>,
    /// False after a poll that failed: it is said once.
    can_poll: bool,
    finished: Option<Outcome>,
    upgrader: Upgrader,
    /// The next turn does not come: another program goes on.
    upgrading: bool,
    status: Option<StatusFile>,
    listeners: Listeners,
    pid_file: Option<PidFile>,
}

impl Daemon {
    /// Sleeps until there is news, and acts on it: deaths first, `Tick` last, as the supervisor wants it.
    fn turn(&mut self) {
        self.log.flush(self.now);
        self.service_manager.flush(self.now);
        let deadline = self.deadline();
        let woken = self.sleep(deadline);
        let received = if woken.by_signal {
            self.signals.drain()
        } else {
            Received::default()
        };
        // Read after the signals: a service service_manager wants a time that is not before its HUP.
        self.now = clock::now();
        let is_time = deadline.is_some_and(|deadline| deadline <= self.now);
        if woken.by_signal || woken.by_report || is_time {
            self.read_what_can_change();
        }
        let dead: Vec<_> = match received.has(libc::SIGCHLD) {
            true => std::iter::from_fn(process::reap).collect(),
            false => Vec::new(),
        };
        let is_dead = |forked: &ForkedChild| dead.iter().any(|(pid, _)| *pid == forked.pid);
        if let Some(forked) = self
            .starting
            .take_if(|forked| woken.by_report || is_dead(forked))
        {
            self.started(forked);
        }
        if !dead.is_empty() {
            self.listeners.listen_again(|line| self.log.note(line));
        }
        for (pid, status) in dead {
            self.exited(pid, status);
        }
        for pid in woken.by_workers {
            self.read_messages(pid);
        }
        self.on_signals(received);
        if let Some(command) = &mut self.log_command {
            command.tick(self.now, &mut self.log);
        }
        if let Some(status) = &mut self.status {
            status.tick(self.now, &mut self.log);
        }
        self.upgrader.tick(self.now);
        self.dispatch(Event::Tick);
        if self.supervisor.is_finishing() {
            self.service_manager.stopping();
        } else if self.supervisor.is_up() {
            self.service_manager.ready();
        }
        if std::mem::take(&mut self.upgrading) && self.finished.is_none() {
            self.replace();
        }
    }

    fn deadline(&self) -> Option<Time> {
        let deadlines = [
            self.supervisor.deadline(&self.policy),
            self.log.deadline(),
            self.log_command.as_ref().and_then(LogCommand::deadline),
            self.status.as_ref().and_then(StatusFile::deadline),
            self.service_manager.deadline(),
            self.upgrader.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn sleep(&mut self, deadline: Option<Time>) -> Woken {
        let stderr = io::stderr();
        let mut interests = vec![Interest::readable(self.signals.wake_fd())];
        if let Some(forked) = &self.starting {
            interests.push(Interest::readable(forked.report.as_fd()));
        }
        let reports = interests.len();
        interests.extend(
            self.channels
                .iter()
                .map(|(_, channel)| Interest::readable(channel.fd())),
        );
        if self.log.is_blocked() {
            interests.push(Interest::writable(stderr.as_fd()));
        }
        let patience = deadline.map(|deadline| deadline.saturating_sub(clock::now()));
        let polled = poll::wait(&mut interests, patience);
        let could_poll = std::mem::replace(&mut self.can_poll, polled.is_ok());
        let interrupted = Woken {
            by_signal: true,
            by_report: false,
            by_workers: Vec::new(),
        };
        match polled {
            Ok(poll::WokenBy::ReadyOrTimeout) => {}
            Ok(poll::WokenBy::Signal) => return interrupted,
            Err(error) => {
                if could_poll {
                    self.log.note(&format!("cannot poll: {}", reason(&error)));
                }
                // Without descriptors to look at there is little left to fail, and this must not spin.
                let _ = poll::wait(&mut [], Some(AFTER_POLL_ERROR));
                // Nothing was looked at, so everything may have happened.
                return interrupted;
            }
        }
        let spoke = self.channels.iter().zip(&interests[reports..]);
        Woken {
            by_signal: interests[0].happened(),
            by_report: interests[1..reports].iter().any(Interest::happened),
            by_workers: spoke
                .filter(|(_, interest)| interest.happened())
                .map(|((pid, _), _)| *pid)
                .collect(),
        }
    }

    fn read_what_can_change(&mut self) {
        if self.environment.can_change() {
            self.read_environment();
        }
    }

    /// Reads envdir, and the variables that steer us.
    fn read_environment(&mut self) {
        let mut warnings = Vec::new();
        self.environment.refresh(|warning| warnings.push(warning));
        let environment = &self.environment;
        self.policy = self.options.with_overrides(
            |name| environment.get(name),
            |warning| warnings.push(warning),
        );
        for warning in &warnings {
            if !self.warnings.contains(warning) {
                self.log.note(&format!("ignoring {warning}"));
            }
        }
        self.warnings = warnings;
    }

    /// A child has executed its program, or said why it could not.
    fn started(&mut self, forked: ForkedChild) {
        match exec::read_report(forked.report) {
            None => self.dispatch(Event::Executed),
            // Its death, which follows, is the event.
            Some(failure) => self.log.note(&self.launcher.explain(&failure).to_string()),
        }
    }

    /// A worker has something to say.
    fn read_messages(&mut self, pid: Pid) {
        let Some(index) = self.channels.iter().position(|(whose, _)| *whose == pid) else {
            return;
        };
        let Some(words) = self.channels[index].1.read_messages() else {
            self.channels.remove(index);
            return;
        };
        for word in words {
            match word {
                Message::Ready => {
                    if self.supervisor.is_candidate(pid) {
                        // The next attempt may follow at once.
                        self.read_what_can_change();
                    }
                    self.dispatch(Event::Ready(pid));
                }
                Message::Extend(time) => self.dispatch(Event::Extend(pid, time)),
                // Later ones, which some workers send every second, would flood the log.
                Message::Status(text) if self.supervisor.is_candidate(pid) => {
                    self.log.note(&format!("new worker {pid}: {text}"));
                }
                Message::Status(_) => {}
            }
        }
    }

    fn exited(&mut self, pid: Pid, status: WaitStatus) {
        self.channels.retain(|(whose, _)| *whose != pid);
        if let Some(outcome) = self.upgrader.exited(pid, status) {
            return self.tried(outcome);
        }
        let command = self.log_command.as_mut();
        if !command.is_some_and(|command| command.exited(pid, status, self.now, &mut self.log)) {
            self.dispatch(Event::Exited { pid, status });
        }
    }

    /// TERM is not queued behind HUP, however many of those came first.
    fn on_signals(&mut self, received: Received) {
        for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
            if received.has(signal.number()) {
                self.dispatch(Event::Finish(signal));
            }
        }
        if received.has(Signal::HUP.number()) {
            self.reopen_log();
            self.service_manager.reloading(self.now);
            self.dispatch(Event::Hup);
        } else if received.has(Signal::USR1.number()) {
            self.reopen_log();
        }
        if received.has(Signal::USR2.number()) {
            self.try_upgrade();
        }
    }

    /// Sees whether what is now our executable can go on in our place.
    fn try_upgrade(&mut self) {
        let name = self.upgrader.name().to_string_lossy();
        self.log
            .note(&format!("received USR2, trying to upgrade to {name}"));
        let mut state = self.save();
        if let Err(reason) = self.upgrader.begin(&mut state, self.now) {
            self.upgrade_failed(&reason);
        }
    }

    fn tried(&mut self, outcome: Result<String, String>) {
        match outcome {
            Ok(_) => self.upgrading = true,
            Err(reason) => self.upgrade_failed(&reason),
        }
    }

    /// Lets another program go on in this process.
    fn replace(&mut self) {
        self.log.flush(self.now);
        self.signals.block();
        let reason = self.upgrader.execute(self.save());
        self.signals.unblock();
        self.upgrade_failed(&reason);
    }

    fn upgrade_failed(&mut self, reason: &str) {
        self.log.note(&format!(
            "cannot upgrade, keeping the current version: {reason}"
        ));
        self.upgrader.upgrades.attempts += 1;
        self.tell_upgrades();
    }

    fn tell_upgrades(&mut self) {
        if let Some(status) = &mut self.status {
            status.tell_upgrades(&self.upgrader.upgrades, self.now, &mut self.log);
        }
    }

    /// The log may have been renamed: what we and later workers write goes to the file of that name.
    fn reopen_log(&mut self) {
        if let Some(LogTarget::File(path)) = &self.log_file {
            if let Err(error) = log::reopen(path) {
                let (path, reason) = (path.display(), reason(&error));
                self.log
                    .note(&format!("cannot reopen --log-file={path}: {reason}"));
            }
            self.log.retarget();
        }
    }

    fn dispatch(&mut self, event: Event) {
        let actions = self.supervisor.handle(event, self.now, &self.policy);
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
                Action::Publish(news) => {
                    self.service_manager.publish(&news);
                    if let Some(status) = &mut self.status {
                        status.publish(&news, self.now, &mut self.log);
                    }
                }
                Action::LogCompat(line) => self.log.compat(&line),
                Action::LogNote(line) => self.log.note(&line),
                Action::Finish(outcome) => self.finished = Some(outcome),
            }
        }
    }

    fn spawn(&mut self, generation: Generation) -> Event {
        match self.launcher.start(generation, &self.environment) {
            Ok(Started { forked, channel }) => {
                let pid = forked.pid;
                self.starting = Some(forked);
                self.channels.extend(channel.map(|channel| (pid, channel)));
                Event::Spawned(pid)
            }
            Err(error) => {
                self.log.note(&error.to_string());
                Event::SpawnFailed
            }
        }
    }

    fn signal(&mut self, pid: Pid, signal: Signal) {
        if let Err(error) = process::signal(pid, signal.number()) {
            self.log.note(&format!(
                "cannot send {signal} to worker {pid}: {}",
                reason(&error)
            ));
        }
    }
}

/// What ended the sleep, apart from the time.
struct Woken {
    by_signal: bool,
    /// A child that was starting has something to report.
    by_report: bool,
    /// These have something to say.
    by_workers: Vec<Pid>,
}

const AFTER_POLL_ERROR: Duration = Duration::from_millis(100);

/// Whether an inherited variable concerns the worker. Some are for us: what a service service_manager, or another
/// start_server, says to its child.
fn is_for_worker(name: &OsStr, activated: bool) -> bool {
    let is_one_of = |names: &[&str]| names.iter().any(|known| OsStr::new(known) == name);
    let ours = is_one_of(&[
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        readiness::READY_FD,
        upgrade::VARIABLE,
    ]);
    let spent = activated && is_one_of(&activation::VARIABLES);
    !(ours || spent)
}
