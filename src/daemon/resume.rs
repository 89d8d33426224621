//! Going on after an upgrade, and what the next program needs for that.

use super::start::catch_signals;
use super::*;

impl Daemon {
    /// Goes on where another program has left off, in this same process.
    pub(super) fn resume(
        options: Options,
        invocation: Invocation,
        mut service_manager: ServiceManager,
        mut environment: Environment,
        channels: ReadyConfig,
        state: &State,
    ) -> Result<Daemon, String> {
        let now = clock::now();
        let upgrade = Upgrade {
            attempt: state.origin.attempt,
            time: clock::since_1970(),
            version: env!("CARGO_PKG_VERSION").to_string(),
        };
        let upgrades = Upgrades {
            attempts: upgrade.attempt,
            last: Some(upgrade),
        };
        environment.restore(&state.variables);
        service_manager.restore(&state.service_manager, &state.messages);
        let supervisor = Supervisor::restore(&state.supervisor, &state.workers, now)?;
        let lost = |error: io::Error| format!("cannot take over a descriptor: {}", reason(&error));
        let listeners = Listeners::restore(&state.listeners, &state.files, options.listen_fds);
        let listeners = listeners.map_err(lost)?;
        let pid_file = options.pid_file.as_deref().zip(state.pid_file.as_ref());
        let pid_file = pid_file
            .map(|(path, saved)| PidFile::restore(path, saved, &state.files))
            .transpose()
            .map_err(lost)?;
        let log_command = match (&options.log, &state.log_command) {
            (Some(LogTarget::Command(line)), Some(saved)) => {
                let restored = LogCommand::restore(line, &environment, saved, now);
                Some(restored.map_err(lost)?)
            }
            _ => None,
        };
        let starting = state.starting.as_ref();
        let starting = starting.map(|saved| {
            Ok(ForkedChild {
                pid: saved.pid,
                report: inherit::adopt_fd(saved.report)?,
            })
        });
        let restored = state.channels.iter();
        let restored = restored.map(|saved| Ok((saved.pid, ReadyChannel::restore(saved)?)));
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
            starting: starting.transpose().map_err(lost)?,
            channels: restored.collect::<io::Result<_>>().map_err(lost)?,
            service_manager,
            log: Log::restore(&state.log),
            log_file: options.log,
            log_command,
            // What came since the other program looked for signals last comes now.
            signals: catch_signals()?,
            now,
            warnings: Vec::new(),
            can_poll: true,
            finished: None,
            upgrader: Upgrader::new(invocation, upgrades),
            upgrading: false,
            status: options.status_file.as_deref().map(StatusFile::new),
            listeners,
            pid_file,
        };
        daemon.log.note(&format!(
            "upgraded from start_server {} to {}",
            state.origin.version,
            env!("CARGO_PKG_VERSION")
        ));
        if let Some(status) = &mut daemon.status {
            status.restore(&state.files);
            status.publish(&daemon.supervisor.status(), now, &mut daemon.log);
        }
        daemon.tell_upgrades();
        daemon.read_environment();
        Ok(daemon)
    }

    /// What another program needs to go on from here.
    pub(super) fn save(&self) -> State {
        let (supervisor, workers) = self.supervisor.save(self.now);
        let (listeners, mut files) = self.listeners.save();
        let (pid_file, pid_path) = self.pid_file.as_ref().map(PidFile::save).unzip();
        files.extend(pid_path.flatten());
        files.extend(self.status.as_ref().and_then(StatusFile::save));
        let (service_manager, messages) = self.service_manager.save();
        let channels = self.channels.iter();
        State {
            origin: Origin {
                version: env!("CARGO_PKG_VERSION").to_string(),
                attempt: self.upgrader.upgrades.attempts + 1,
            },
            supervisor,
            workers,
            starting: self.starting.as_ref().map(|forked| Starting {
                pid: forked.pid,
                report: forked.report.as_raw_fd(),
            }),
            channels: channels.map(|(pid, channel)| channel.save(*pid)).collect(),
            listeners,
            files,
            pid_file,
            log: self.log.save(),
            log_command: self
                .log_command
                .as_ref()
                .map(|command| command.save(self.now)),
            service_manager,
            messages,
            variables: self.environment.save(),
        }
    }
}
