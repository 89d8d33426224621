//! A file that start_server keeps up to date: it is replaced as a whole, by a rename.

use crate::files::locked_pid_file::is_locked;
use crate::files::owned::{check_regular, open_regular, OwnedFile, SavedFile};
use crate::supervisor::policy::Time;
use crate::sys::fd::{self, Lock};
use crate::sys::{file, holders};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One such file. It is removed when this value is dropped, if it is ours.
pub struct ReplacedFile {
    path: PathBuf,
    role: &'static str,
    /// The text that the file has, or will have as soon as it can be written. A file that does not exist yet counts as
    /// empty, and `None` is the unknown text of a file that the program before an upgrade has written.
    text: Option<String>,
    /// The file that was renamed to `path` last.
    published: Option<OwnedFile>,
    /// The time of the next attempt, after a write that failed.
    retry_at: Option<Time>,
    /// The file that was renamed to `path` last. A lock on it shows other processes that this one writes it. An upgrade
    /// ends the lock, and the first write after that takes it again.
    lock: Option<OwnedFd>,
}

/// The result of an attempt to write, compared with the attempt before. Only a change is logged.
pub enum Written {
    AsBefore,
    /// The first success after a failure.
    Again,
    /// The first failure after a success.
    Failed(io::Error),
}

/// The pause after a write that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl ReplacedFile {
    pub fn new(path: PathBuf, role: &'static str) -> ReplacedFile {
        ReplacedFile {
            path,
            role,
            text: Some(String::new()),
            published: None,
            retry_at: None,
            lock: None,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the file in messages.
    pub fn name(&self) -> String {
        format!("the {} file", self.role)
    }

    /// Makes sure that the file can be written, without changing one that exists.
    pub fn check(&self) -> io::Result<()> {
        // A rename over /dev/null would take it away from the whole system.
        if let Ok(metadata) = fs::metadata(&self.path) {
            check_regular(&metadata)?;
        }
        self.check_unused()?;
        let (_, temporary) = self.make_temporary()?;
        fs::remove_file(temporary)
    }

    /// Makes sure that no other start_server writes the file.
    pub fn check_unused(&self) -> io::Result<()> {
        let opened = open_regular(&self.path, OpenOptions::new().read(true));
        if let Some(file) = opened.ok().filter(is_locked) {
            let holder = holders::any_locker(&file);
            let holder = holder.map_or(String::new(), |pid| format!(": process {pid}"));
            let reason = format!("a running start_server writes it{holder}");
            return Err(io::Error::other(reason));
        }
        Ok(())
    }

    /// The time at which another attempt to write is due.
    pub fn deadline(&self) -> Option<Time> {
        self.retry_at
    }

    /// Sets the text. Returns whether it is a new one, so that the file has to be written.
    pub fn set(&mut self, text: String) -> bool {
        let is_new = self.text.as_ref() != Some(&text);
        self.text = Some(text);
        is_new
    }

    /// Whether another attempt to write is due.
    pub fn is_due(&self, now: Time) -> bool {
        self.retry_at.is_some_and(|time| time <= now)
    }

    /// Replaces the file, now or as soon as it can be written.
    pub fn write(&mut self, now: Time) -> Written {
        let had_failed = self.retry_at.take().is_some();
        match self.replace() {
            Ok(()) if had_failed => Written::Again,
            Ok(()) => Written::AsBefore,
            Err(error) => {
                self.retry_at = Some(now + RETRY_INTERVAL);
                if had_failed {
                    Written::AsBefore
                } else {
                    Written::Failed(error)
                }
            }
        }
    }

    /// Replaces the whole file by a rename: a reader finds either the old text or the new one.
    fn replace(&mut self) -> io::Result<()> {
        if self.published.is_none() {
            // Before this first write, another start_server may have begun to write it.
            self.check_unused()?;
        }
        let (mut file, temporary) = self.make_temporary()?;
        // Where the file system has no locks, others cannot see that this process writes the file.
        let is_locked = fd::try_lock(file.as_fd(), Lock::Exclusive).is_ok();
        let renamed = file
            .write_all(self.text.as_deref().unwrap_or_default().as_bytes())
            .and_then(|()| file.metadata())
            .and_then(|metadata| fs::rename(&temporary, &self.path).map(|()| metadata));
        let metadata = renamed.inspect_err(|_| {
            // If this fails too, the first error is the one to report.
            let _ = fs::remove_file(&temporary);
        })?;
        match &mut self.published {
            Some(published) => published.set_metadata(&metadata),
            None => self.published = Some(OwnedFile::new(&self.path, self.role, &metadata)),
        }
        self.lock = is_locked.then(|| file.into());
        Ok(())
    }

    /// Makes a file in the same folder. Nobody else may write to it.
    fn make_temporary(&self) -> io::Result<(File, PathBuf)> {
        let mut prefix = OsString::from(&self.path);
        prefix.push(".");
        file::make_file(Path::new(&prefix), 0o644)
    }

    pub fn save(&self) -> Option<SavedFile> {
        self.published.as_ref().map(OwnedFile::save)
    }

    pub fn restore(&mut self, files: &[SavedFile]) {
        self.published = OwnedFile::restore(files, self.role).pop();
        // Without a file, there is none to bring up to date.
        self.text = self.published.is_none().then(String::new);
    }
}
