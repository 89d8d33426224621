//! The state of a start_server, as the status file and its details show it.

use super::*;
use crate::files::details::{Details, WorkerDetails};
use crate::files::status_file;
use crate::supervisor::worker::{Activity, Role};
use std::io;

/// The two files at one moment.
#[derive(Default, PartialEq)]
pub(super) struct View {
    /// The generation and the process of each worker that has passed its check, oldest first.
    pub workers: Vec<(Generation, Pid)>,
    pub writer: Writer,
    /// The number of the last upgrade of version 0.1.0, if it failed.
    pub failed_upgrade: u64,
}

/// The program that writes the files.
#[derive(Default, PartialEq)]
pub(super) enum Writer {
    /// The start_server of the pid file.
    Ours(Box<Details>),
    /// Perl's start_server or version 0.1.0, which write no details.
    WithoutDetails,
    /// Another start_server, not that of the pid file.
    Another,
    /// There are no details and no worker.
    #[default]
    Unknown,
}

impl View {
    /// Reads the files. A status file that is missing has no workers: it appears when the first one is up.
    pub fn read(status_file: &Path, pid_file: &LockedPidFile) -> Result<View, Error> {
        let snapshot = match status_file::read(status_file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(Error::option("status-file", status_file, error)),
            Ok(snapshot) => snapshot,
        };
        // Version 0.1.0 leaves alone the details that a newer version wrote before a downgrade.
        let details = status_file::read_details(status_file);
        let writer = match details.filter(|_| !snapshot.is_of_0_1_0) {
            Some(details) if details.pid == pid_file.pid => Writer::Ours(Box::new(details)),
            Some(_) => Writer::Another,
            None if snapshot.workers.is_empty() => Writer::Unknown,
            None => Writer::WithoutDetails,
        };
        Ok(View {
            workers: snapshot.workers,
            writer,
            failed_upgrade: snapshot.failed_upgrade,
        })
    }

    /// Reads the files for a command that changes something: start_server must write them, and must not be ending.
    pub fn read_for(target: &Target, pid_file: &LockedPidFile) -> Result<View, Error> {
        let view = View::read(&target.status_file, pid_file)?;
        view.refuse_unwritten(&target.status_file, pid_file)?;
        view.refuse_ending(pid_file)?;
        Ok(view)
    }

    /// Refuses a status file that the start_server of the pid file does not write.
    pub fn refuse_unwritten(
        &self,
        status_file: &Path,
        pid_file: &LockedPidFile,
    ) -> Result<(), Error> {
        let or_else = match self.writer {
            Writer::Ours(_) | Writer::WithoutDetails => return Ok(()),
            Writer::Another => "",
            Writer::Unknown => "no worker is up yet, or ",
        };
        let pid = pid_file.pid;
        let reason = format!("{or_else}start_server (pid {pid}) does not write this file");
        Err(Error::option("status-file", status_file, reason))
    }

    pub fn refuse_ending(&self, pid_file: &LockedPidFile) -> Result<(), Error> {
        if self.activity() == Some(Activity::Ending) {
            let text = format!("start_server (pid {}) is ending", pid_file.pid);
            return Err(Error::statement(text));
        }
        Ok(())
    }

    pub fn details(&self) -> Option<&Details> {
        match &self.writer {
            Writer::Ours(details) => Some(details),
            Writer::WithoutDetails | Writer::Another | Writer::Unknown => None,
        }
    }

    pub fn activity(&self) -> Option<Activity> {
        self.details().map(|details| details.activity)
    }

    /// The newest generation that is up.
    pub fn newest(&self) -> Option<Generation> {
        let is_up = |pid: Pid| self.worker(pid).is_none_or(|worker| worker.role.is_up());
        let workers = self.workers.iter().filter(|(_, pid)| is_up(*pid));
        workers.map(|(generation, _)| *generation).max()
    }

    /// All live workers.
    pub fn processes(&self) -> Vec<Pid> {
        let workers = self.workers.iter().map(|(_, pid)| *pid);
        workers
            .chain(self.candidate().map(|worker| worker.pid))
            .collect()
    }

    pub fn worker(&self, pid: Pid) -> Option<&WorkerDetails> {
        let mut workers = self.details()?.workers.iter();
        workers.find(|worker| worker.pid == pid)
    }

    /// The worker that is being started.
    pub fn candidate(&self) -> Option<&WorkerDetails> {
        let mut workers = self.details()?.workers.iter();
        workers.find(|worker| worker.role == Role::Candidate)
    }
}
