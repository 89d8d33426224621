//! The status file: kept up to date by start_server, read by the control commands. `status_text` owns its lines.

use crate::error::Error;
use crate::files::owned::{check_regular, open_regular, OwnedFile, SavedFile};
use crate::files::status_text::{parse, render, Snapshot, Upgrades};
use crate::log::lines::Log;
use crate::supervisor::policy::Time;
use crate::supervisor::worker::Status;
use crate::sys::{fd, process};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The status file of this process. It is removed when this value is dropped.
#[derive(Default)]
pub struct StatusFile {
    path: PathBuf,
    workers: Status,
    upgrades: Upgrades,
    /// The file that was renamed to `path` last.
    published: Option<OwnedFile>,
    /// The time of the next attempt, after a write that failed.
    retry_at: Option<Time>,
    /// A spare descriptor. It is closed during a write, so that the new file can be opened if no other one is free.
    spare: Option<OwnedFd>,
}

const STATUS_FILE_ROLE: &str = "status";

/// The pause after a write that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl StatusFile {
    pub fn new(path: &Path) -> StatusFile {
        StatusFile {
            path: path.to_path_buf(),
            ..StatusFile::default()
        }
    }

    /// Makes sure that the file can be written, without changing one that exists.
    pub fn check(&mut self) -> Result<(), Error> {
        let checked = self.try_check();
        checked.map_err(|error| Error::option("status-file", &self.path, error))
    }

    fn try_check(&mut self) -> io::Result<()> {
        // A rename over /dev/null would take it away from the whole system.
        if let Ok(metadata) = fs::metadata(&self.path) {
            check_regular(&metadata)?;
        }
        let temporary = self.temporary();
        // The name contains our pid, so a process that had this pid before us has left the file.
        if fs::symlink_metadata(&temporary).is_ok_and(|metadata| metadata.is_file()) {
            fs::remove_file(&temporary)?;
        }
        create(&temporary)?;
        fs::remove_file(&temporary)?;
        self.keep_spare();
        Ok(())
    }

    /// Puts these workers into the file, now or as soon as it can be written.
    pub fn publish(&mut self, status: Status, now: Time, log: &mut Log) {
        self.workers = status;
        self.write(now, log);
    }

    /// Puts the outcome of upgrades into the file, now or as soon as it can be written.
    pub fn publish_upgrades(&mut self, upgrades: Upgrades, now: Time, log: &mut Log) {
        self.upgrades = upgrades;
        self.write(now, log);
    }

    /// The time at which `tick` has something to do.
    pub fn deadline(&self) -> Option<Time> {
        self.retry_at
    }

    /// Repeats a write that failed, when it is time.
    pub fn tick(&mut self, now: Time, log: &mut Log) {
        if self.retry_at.is_some_and(|time| time <= now) {
            self.write(now, log);
        }
    }

    /// Logs the first failure and the recovery, but not every attempt between them.
    fn write(&mut self, now: Time, log: &mut Log) {
        self.spare = None;
        let replaced = self.replace();
        self.keep_spare();
        let had_failed = self.retry_at.take().is_some();
        match replaced {
            Ok(()) if had_failed => log.note("the status file is written again"),
            Ok(()) => {}
            Err(error) => {
                self.retry_at = Some(now + RETRY_INTERVAL);
                if !had_failed {
                    let error = Error::action("write the status file", "", error);
                    log.note(&error.to_string());
                }
            }
        }
    }

    /// Replaces the whole file by a rename: a reader finds either the old text or the new one.
    fn replace(&mut self) -> io::Result<()> {
        let temporary = self.temporary();
        let mut file = create(&temporary)?;
        let renamed = file
            .write_all(render(&self.workers, &self.upgrades).as_bytes())
            .and_then(|()| file.metadata())
            .and_then(|metadata| fs::rename(&temporary, &self.path).map(|()| metadata));
        let metadata = renamed.inspect_err(|_| {
            // If this fails too, the first error is the one to report.
            let _ = fs::remove_file(&temporary);
        })?;
        match &mut self.published {
            Some(published) => published.replace(&metadata),
            None => {
                let file = OwnedFile::new(&self.path, STATUS_FILE_ROLE, &metadata);
                self.published = Some(file);
            }
        }
        Ok(())
    }

    /// If there is no descriptor to keep, the next write may fail. It is then repeated.
    fn keep_spare(&mut self) {
        self.spare = fd::duplicate(io::stderr().as_fd(), 0).ok();
    }

    fn temporary(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{}", process::id()));
        name.into()
    }

    pub fn save(&self) -> Option<SavedFile> {
        self.published.as_ref().map(OwnedFile::save)
    }

    pub fn restore(&mut self, files: &[SavedFile]) {
        self.published = OwnedFile::restore(files, STATUS_FILE_ROLE).pop();
    }
}

/// Creates a file. Fails if the path exists: another user may have put a link there.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Reads the status file of any start_server.
pub fn read(path: &Path) -> io::Result<Snapshot> {
    let mut text = Vec::new();
    open_regular(path, OpenOptions::new().read(true))?.read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}
