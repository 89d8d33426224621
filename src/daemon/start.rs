//! The start-up order.

use super::*;

impl Daemon {
    /// Binds and opens everything, and starts the first worker.
    pub(super) fn start(
        options: Options,
        invocation: Invocation,
        service_manager: ServiceManager,
        mut environment: Environment,
        channels: ReadyConfig,
    ) -> Result<Daemon, String> {
        let given = activation::adopt_sockets()?;
        // What it passes over is said once the log is there.
        environment.refresh(|_| {});
        check(&options, &environment)?;
        let mut status = options.status_file.as_deref().map(StatusFile::new);
        if let (Some(status), Some(path)) = (&mut status, &options.status_file) {
            let checked = status.check();
            checked.map_err(|error| refuse("status-file", path, &error))?;
        }
        let left_over = left_over_workers(&options);
        channels.check()?;
        let (listeners, notes) = sockets::bind(&options, given, &left_over)?;
        let sink = options.log.as_ref().map(Sink::open).transpose()?;
        let mut pid_file = options.pid_file.as_deref().map(PidFile::lock).transpose()?;
        let caller = if options.daemonize {
            Some(background::detach()?)
        } else {
            None
        };
        let signals = catch_signals()?;
        if let Some(pid_file) = &mut pid_file {
            pid_file.write()?;
        }
        let now = clock::now();
        let mut log = Log::to_standard_error();
        log.compat(&format!(
            "start_server (pid:{}) starting now...",
            process::id()
        ));
        for note in notes {
            log.compat(&note);
        }
        log.flush(now);
        let log_command = match sink {
            Some(sink) => sink.redirect(&environment, now, &mut log),
            None => Ok(None),
        };
        log.retarget();
        let log_command = log_command
            .map_err(|error| format!("cannot redirect output to --log-file: {}", reason(&error)))?;
        if let Some(caller) = caller {
            caller.release();
        }
        let (supervisor, actions) = Supervisor::start(now);
        let mut daemon = Daemon {
            supervisor,
            launcher: Launcher::new(
                &options.program,
                options.dir.as_deref(),
                listeners.variables(),
                listeners.handovers(),
                channels,
            ),
            policy: options.policy.clone(),
            options: options.policy,
            environment,
            starting: None,
            channels: Vec::new(),
            service_manager,
            log,
            log_file: options.log,
            log_command,
            signals,
            now,
            warnings: Vec::new(),
            can_poll: true,
            finished: None,
            upgrader: Upgrader::new(invocation, Upgrades::default()),
            upgrading: false,
            status,
            listeners,
            pid_file,
        };
        daemon.read_environment();
        daemon.perform(actions);
        Ok(daemon)
    }
}

pub(super) fn catch_signals() -> Result<Signals, String> {
    Signals::catch().map_err(|error| format!("cannot catch signals: {}", reason(&error)))
}

/// Looks for what would make the start fail after something was bound or made.
fn check(options: &Options, environment: &Environment) -> Result<(), String> {
    let mut bad_value = None;
    options.policy.with_overrides(
        |name| environment.get(name),
        |warning| bad_value = Some(warning),
    );
    if let Some(warning) = bad_value {
        return Err(warning);
    }
    if let Some(dir) = &options.dir {
        file::check_enterable(dir).map_err(|error| refuse("dir", dir, &error))?;
    }
    if let Some(path) = &options.pid_file {
        pid_file::refuse_if_held(path)?;
        owned::check_writable(path).map_err(|error| refuse("pid-file", path, &error))?;
    }
    match &options.log {
        Some(LogTarget::File(path)) => {
            owned::check_writable(path).map_err(|error| refuse("log-file", path, &error))?;
        }
        Some(LogTarget::Command(_)) => exec::check_shell()
            .map_err(|error| format!("--log-file=| needs a shell, /bin/sh: {}", reason(&error)))?,
        None => {}
    }
    Ok(())
}

/// The workers in a status file that a start_server has left behind.
fn left_over_workers(options: &Options) -> Vec<Pid> {
    // Only the lock on a pid file, which was looked at before, tells that their start_server is gone.
    if options.pid_file.is_none() {
        return Vec::new();
    }
    let workers = options.status_file.as_deref().map(status_file::read);
    let seen = workers.and_then(Result::ok).unwrap_or_default();
    seen.workers.into_iter().map(|(_, pid)| pid).collect()
}

fn refuse(option: &str, path: &Path, error: &io::Error) -> String {
    format!("--{option}={}: {}", path.display(), reason(error))
}
