//! The resumption after an upgrade, in the same process, and the saving of the state for it.

use super::start::Beginning;
use super::waiter::Waiter;
use super::{Daemon, Files};
use crate::error::Error;
use crate::files::pid_file::PidFile;
use crate::files::status_file::StatusFile;
use crate::files::status_text::{Upgrade, Upgrades};
use crate::log::target::LogOutput;
use crate::sockets::Listeners;
use crate::supervisor::Supervisor;
use crate::sys::clock;
use crate::upgrade::{Origin, SavedState};
use std::io;

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Daemon {
    pub(super) fn resume(mut beginning: Beginning, state: &SavedState) -> Result<Daemon, Error> {
        let lost = |error: io::Error| Error::action("take over a descriptor", "", error);
        let options = &beginning.options;
        // Signals that arrived during the upgrade are delivered now.
        let waiter = Waiter::new()?;
        let now = waiter.now;
        let supervisor = Supervisor::restore(&state.supervisor, &state.workers, now)?;
        beginning.settings.environment.restore(&state.variables);
        let service_manager = &mut beginning.service_manager;
        service_manager.restore(&state.service_manager, &state.messages);
        let listeners =
            Listeners::restore(&state.listeners, &state.files, options.listen_fds).map_err(lost)?;
        let pid_file = match (&options.pid_file, &state.pid_file) {
            (Some(path), Some(saved)) => {
                Some(PidFile::restore(path, saved, &state.files).map_err(lost)?)
            }
            _ => None,
        };
        let mut status_file = options.status_file.as_deref().map(StatusFile::new);
        if let Some(status_file) = &mut status_file {
            status_file.restore(&state.files);
        }
        let log = LogOutput::restore(
            options.log.clone(),
            beginning.settings.environment.render(&[]),
            &state.log,
            state.log_command.as_ref(),
            now,
        )
        .map_err(lost)?;
        let files = Files {
            status_file,
            listeners,
            pid_file,
        };
        let mut daemon = Daemon::new(beginning, supervisor, files, log, waiter);
        daemon.workers.restore(state).map_err(lost)?;
        daemon.report_upgrade(&state.origin);
        daemon.settings.read(&mut daemon.log.lines);
        Ok(daemon)
    }

    /// Reports the upgrade in the log and in the status file.
    fn report_upgrade(&mut self, origin: &Origin) {
        let line = format!("upgraded from start_server {} to {VERSION}", origin.version);
        self.log.lines.note(&line);
        self.publish(self.supervisor.status());
        self.upgrader.upgrades = Upgrades {
            attempts: origin.attempt,
            last: Some(Upgrade {
                attempt: origin.attempt,
                time: clock::since_1970(),
                version: VERSION.to_string(),
            }),
        };
        self.publish_upgrades();
    }

    /// Returns the state with which the next program continues.
    pub(super) fn save(&self) -> SavedState {
        let now = self.waiter.now;
        let files = &self.files;
        let (supervisor, workers) = self.supervisor.save(now);
        let (starting, channels) = self.workers.save();
        let (listeners, mut owned) = files.listeners.save();
        let (pid_file, pid_path) = files.pid_file.as_ref().map(PidFile::save).unzip();
        owned.extend(pid_path.flatten());
        owned.extend(files.status_file.as_ref().and_then(StatusFile::save));
        let (service_manager, messages) = self.service_manager.save();
        let (log, log_command) = self.log.save(now);
        SavedState {
            origin: Origin {
                version: VERSION.to_string(),
                attempt: self.upgrader.upgrades.attempts + 1,
            },
            supervisor,
            workers,
            starting,
            channels,
            listeners,
            files: owned,
            pid_file,
            log,
            log_command,
            service_manager,
            messages,
            variables: self.settings.environment.save(),
        }
    }
}
