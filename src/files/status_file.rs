//! The status file: a line `GENERATION:PID` for each worker that passed its check.

use crate::files::owned::{open_regular, OwnedFile, SavedFile};
use crate::files::status_text::{parse, render, Snapshot, Upgrades};
use crate::log::lines::Log;
use crate::supervisor::policy::Time;
use crate::supervisor::worker::Status;
use crate::sys::{fd, process, reason};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The status file that this process keeps. It is removed in the end.
pub struct StatusFile {
    path: PathBuf,
    /// What it is to say.
    workers: Status,
    upgrades: Upgrades,
    state: State,
    /// What was renamed into place last.
    published: Option<OwnedFile>,
    /// Given up for the moment of writing, so that a process without a free descriptor can write all the same.
    spare: Option<OwnedFd>,
}

const STATUS_FILE_ROLE: &str = "status";

enum State {
    Written,
    /// It was said, and is tried again.
    Failed {
        until: Time,
    },
}

/// How soon a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl StatusFile {
    pub fn new(path: &Path) -> StatusFile {
        StatusFile {
            path: path.to_path_buf(),
            workers: Status::default(),
            upgrades: Upgrades::default(),
            state: State::Written,
            published: None,
            spare: None,
        }
    }

    pub fn save(&self) -> Option<SavedFile> {
        self.published
            .as_ref()
            .map(|file| file.save(STATUS_FILE_ROLE))
    }

    pub fn restore(&mut self, files: &[SavedFile]) {
        self.published = OwnedFile::restore(files, STATUS_FILE_ROLE).pop();
    }

    /// Makes sure that the file can be written, without touching one that is there.
    pub fn check(&mut self) -> io::Result<()> {
        let path = &self.path;
        // To rename over /dev/null would take it from the whole system.
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let temporary = self.temporary();
        // Nobody else can have this number now, so it is what a killed process of the same one left.
        if fs::symlink_metadata(&temporary).is_ok_and(|metadata| metadata.is_file()) {
            fs::remove_file(&temporary)?;
        }
        create(&temporary)?;
        fs::remove_file(&temporary)?;
        self.keep_spare();
        Ok(())
    }

    /// Has the file tell of this, now or as soon as it can be written.
    pub fn publish(&mut self, status: &Status, now: Time, log: &mut Log) {
        self.workers = status.clone();
        self.write(now, log);
    }

    /// Has the file tell of this, too.
    pub fn tell_upgrades(&mut self, upgrades: &Upgrades, now: Time, log: &mut Log) {
        self.upgrades = upgrades.clone();
        self.write(now, log);
    }

    /// When `tick` is wanted at the latest.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Failed { until } => Some(until),
            State::Written => None,
        }
    }

    /// Tries again what failed, when it is time.
    pub fn tick(&mut self, now: Time, log: &mut Log) {
        if self.deadline().is_some_and(|until| until <= now) {
            self.write(now, log);
        }
    }

    fn write(&mut self, now: Time, log: &mut Log) {
        self.spare = None;
        let replaced = self.replace();
        self.keep_spare();
        self.state = match (replaced, &self.state) {
            (Ok(()), State::Written) => State::Written,
            (Ok(()), State::Failed { .. }) => {
                log.note("the status file is written again");
                State::Written
            }
            (Err(error), State::Written) => {
                log.note(&format!("cannot write the status file: {}", reason(&error)));
                State::Failed { until: now + RETRY }
            }
            (Err(_), State::Failed { .. }) => State::Failed { until: now + RETRY },
        };
    }

    /// Replaces the file whole: a reader sees the old one or the new one.
    fn replace(&mut self) -> io::Result<()> {
        let temporary = self.temporary();
        let mut file = create(&temporary)?;
        let renamed = file
            .write_all(render(&self.workers, &self.upgrades).as_bytes())
            .and_then(|()| file.metadata())
            .and_then(|metadata| fs::rename(&temporary, &self.path).map(|()| metadata));
        match renamed {
            Ok(metadata) => {
                match &mut self.published {
                    Some(file) => file.is_replaced_by(&metadata),
                    None => self.published = Some(OwnedFile::new(&self.path, &metadata)),
                }
                Ok(())
            }
            Err(error) => {
                // It is ours, made above; if it cannot be removed either, the first error still says why.
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    /// Without one the next write may fail, and is then tried again.
    fn keep_spare(&mut self) {
        self.spare = fd::duplicate(io::stderr().as_fd(), 0).ok();
    }

    fn temporary(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{}", process::id()));
        name.into()
    }
}

/// Refuses whatever lies there, so that nothing planted is followed or overwritten.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

pub fn read(path: &Path) -> io::Result<Snapshot> {
    let mut text = Vec::new();
    open_regular(path, OpenOptions::new().read(true))?.read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}
