//! The resumption after an upgrade, in the same process, and the saving of the state for it.

use super::start::{Beginning, VERSION};
use super::waiter::Waiter;
use super::{Daemon, Files};
use crate::error::Error;
use crate::files::details::Details;
use crate::files::pid_file::PidFile;
use crate::files::status_file::StatusFile;
use crate::log::target::LogOutput;
use crate::sockets::Listeners;
use crate::supervisor::Supervisor;
use crate::sys::{clock, process};
use crate::upgrade::{Origin, SavedState};
use std::io;

impl Daemon {
    pub(super) fn resume(mut beginning: Beginning, state: &SavedState) -> Result<Daemon, Error> {
        let lost = |error: io::Error| Error::action("take over a descriptor", "", error);
        let options = &beginning.options;
        // Signals that arrived during the upgrade are delivered now.
        let waiter = Waiter::new(&options.policy)?;
        let now = waiter.now;
        let supervisor = Supervisor::restore(&state.supervisor, &state.workers, now)?;
        beginning.settings.environment.restore(&state.variables);
        let service_manager = &mut beginning.service_manager;
        service_manager.restore(&state.service_manager, &state.messages);
        let listeners =
            Listeners::restore(&state.listeners, &state.files, options).map_err(lost)?;
        let pid_file = match (&options.pid_file, &state.pid_file) {
            (Some(path), Some(saved)) => {
                Some(PidFile::restore(path, saved, &state.files).map_err(lost)?)
            }
            _ => None,
        };
        let status_file = options.status_file.as_deref().map(|path| {
            let started = pid_file.as_ref().and_then(PidFile::written_at);
            let started = started.unwrap_or_else(clock::since_1970);
            let details = Details::new(VERSION, process::id(), started, &options.policy);
            let mut status_file = StatusFile::new(path);
            status_file.details = details;
            status_file.restore(&state.files, state.details.as_ref());
            status_file
        });
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
        // A child may have exited just before the upgrade. The old program may have taken its SIGCHLD without reaping
        // it, or the system has dropped the signal.
        process::signal(process::id(), libc::SIGCHLD)
            .map_err(|error| Error::action("look for exits", "", error))?;
        Ok(daemon)
    }

    /// Reports the upgrade in the log and in the details.
    fn report_upgrade(&mut self, origin: &Origin) {
        let line = format!("upgraded from start_server {} to {VERSION}", origin.version);
        self.log.lines.note(&line);
        self.upgrader.attempts = origin.attempt;
        self.note_upgrade(None);
        self.publish(&self.supervisor.status());
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
        owned.extend(files.status_file.iter().flat_map(StatusFile::save));
        let (service_manager, messages) = self.service_manager.save();
        let (log, log_command) = self.log.save(now);
        SavedState {
            origin: Origin {
                version: VERSION.to_string(),
                attempt: self.upgrader.attempts + 1,
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
            details: files.status_file.as_ref().map(|file| file.details.save()),
        }
    }
}
