//! The start-up order. Everything that can be refused is checked first, so that a refusal leaves the system untouched.

use super::waiter::Waiter;
use super::{background, paths, Daemon, Files, Settings};
use crate::cli::Options;
use crate::error::Error;
use crate::files::details::Details;
use crate::files::pid_file::PidFile;
use crate::files::status_file::{self, StatusFile};
use crate::log::target::LogOutput;
use crate::service_manager::ServiceManager;
use crate::sockets::{self, activation};
use crate::supervisor::worker::Pid;
use crate::supervisor::Supervisor;
use crate::sys::start::Invocation;
use crate::sys::{clock, process, signals};
use crate::worker::environment::Environment;
use crate::worker::readiness::{self, ReadyConfig};
use crate::{upgrade, variable};
use std::ffi::{CStr, OsStr};

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// systemd ends a service that promises messages by WatchdogSec= and sends none.
const NO_WATCHDOG: &str =
    "WATCHDOG_USEC is set, but start_server sends no watchdog messages: remove WatchdogSec=";

/// The result of the first steps, which are the same for a start and for the resumption after an upgrade.
pub(super) struct Beginning {
    pub options: Options,
    pub invocation: Invocation,
    pub settings: Settings,
    pub service_manager: ServiceManager,
    pub readiness: ReadyConfig,
}

impl Beginning {
    pub fn new(options: Options, invocation: Invocation) -> Result<Beginning, Error> {
        let drops_listen_variables = activation::is_activated() || options.listen_fds;
        let is_inherited =
            |string: &&CStr| is_for_worker(variable::name(string), drops_listen_variables);
        let given = invocation.environment.iter().copied();
        let environment = Environment::new(given.filter(is_inherited), &options.variables);
        Ok(Beginning {
            service_manager: ServiceManager::new(std::env::var_os("NOTIFY_SOCKET")),
            readiness: ReadyConfig::new(options.policy.readiness),
            settings: Settings::new(options.policy.clone(), environment),
            options,
            invocation,
        })
    }
}

impl Daemon {
    /// Binds and opens everything, and starts the first worker.
    pub(super) fn start(mut beginning: Beginning) -> Result<Daemon, Error> {
        if process::id() == 1 {
            // The kernel discards a signal that process 1 of a container neither catches nor blocks: an early
            // TERM would be lost.
            signals::block();
        }
        let options = &beginning.options;
        let inherited = activation::adopt_sockets()?;
        beginning.settings.check()?;
        paths::check(options, &beginning.settings.environment)?;
        let plan = sockets::plan(options, inherited)?;
        // Files are made from here on. A signal must not end the process before they are removed, so it is caught and
        // waits for the first turn of the loop.
        let mut waiter = Waiter::new(&options.policy)?;
        let mut status_file = options.status_file.as_deref().map(StatusFile::new);
        if let Some(status_file) = &status_file {
            status_file.check()?;
        }
        let left_over = left_over_workers(options);
        beginning.readiness.check(&beginning.settings.environment)?;
        let (listeners, notes) =
            sockets::bind(options, plan, &left_over).map_err(activation::explain)?;
        if let Some(status_file) = &mut status_file {
            status_file.keep_spare();
        }
        let variables = beginning.settings.environment.render(&[]);
        let mut log = LogOutput::open(options.log.clone(), options.daemonize, variables)?;
        let detach = || background::detach(&waiter.signals);
        let first_process = options.daemonize.then(detach).transpose()?;
        let mut pid_file = options.pid_file.as_deref().map(PidFile::lock).transpose()?;
        waiter.now = clock::now();
        let pid = process::id();
        let (supervisor, actions) = Supervisor::start(waiter.now);
        if let Some(status_file) = &mut status_file {
            // A control command that finds the pid file finds the details too.
            let date = clock::since_1970();
            status_file.details = Details::new(VERSION, pid, date, &options.policy);
            status_file.begin(&supervisor.report(), date, waiter.now, &mut log.lines)?;
        }
        if let Some(pid_file) = &mut pid_file {
            pid_file.write()?;
        }
        let lines = &mut log.lines;
        lines.compat(&format!("start_server (pid:{pid}) starting now..."));
        for note in notes {
            lines.compat(&note);
        }
        if std::env::var_os("WATCHDOG_USEC").is_some() {
            lines.note(NO_WATCHDOG);
        }
        log.lines.flush(waiter.now);
        log.redirect(waiter.now)?;
        if let Some(first_process) = first_process {
            first_process.release();
        }
        let environment = &beginning.settings.environment;
        beginning.readiness.remove_abandoned(environment);
        let files = Files {
            status_file,
            listeners,
            pid_file,
        };
        let mut daemon = Daemon::new(beginning, supervisor, files, log, waiter);
        daemon.settings.read(&mut daemon.log.lines);
        daemon.perform(actions);
        Ok(daemon)
    }
}

/// Whether an inherited variable is meant for the worker. The other variables are messages to start_server itself, from
/// a service manager or from another start_server.
fn is_for_worker(name: &OsStr, drops_listen_variables: bool) -> bool {
    let ours = [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        readiness::READY_FD,
        upgrade::VARIABLE,
    ];
    let is_in = |names: &[&str]| names.iter().any(|known| name == *known);
    !(is_in(&ours) || drops_listen_variables && is_in(&activation::VARIABLES))
}

/// The workers in the status file of a start_server that is gone.
fn left_over_workers(options: &Options) -> Vec<Pid> {
    // Only the pid file shows that the start_server of that status file is gone. `paths::check` has checked its lock.
    let (Some(_), Some(status_file)) = (&options.pid_file, &options.status_file) else {
        return Vec::new();
    };
    let snapshot = status_file::read(status_file).unwrap_or_default();
    snapshot.workers.into_iter().map(|(_, pid)| pid).collect()
}
