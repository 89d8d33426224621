//! The pid file of this process: the line `PID`, and a lock that is held for as long as start_server lives.

use crate::error::Error;
use crate::files::locked_pid_file::{check_may_overwrite, is_at, is_locked, refuse, refuse_locked};
use crate::files::owned::{open_regular, OwnedFile, SavedFile};
use crate::saved::record;
use crate::sys::fd::{self, Lock, Locked};
use crate::sys::{inherit, poll, process};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Our locked pid file.
pub struct PidFile {
    path: PathBuf,
    /// `None` for a file that a killed start_server has left, until we have written to it.
    ours: Option<OwnedFile>,
    // The order of the fields matters. Closing the file releases the lock, and a process that waits for the lock
    // must find the file removed by then.
    file: File,
}

record! {
    "pid_file" SavedPidFile {
        fd: RawFd,
    }
}

const PID_FILE_ROLE: &str = "pid";

/// Together with [`POLL_INTERVAL`]: give up after two seconds.
const ATTEMPTS: u32 = 200;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

impl PidFile {
    /// Opens and locks the file. Writes nothing yet. Gives up if other processes keep a shared lock on it.
    ///
    /// The process whose pid is written must call this, because others check that it holds the lock.
    pub fn lock(path: &Path) -> Result<PidFile, Error> {
        for attempt in 1..=ATTEMPTS {
            let (file, created) = open(path).map_err(|error| refuse(path, error))?;
            let fail = |error: io::Error| {
                if created {
                    // The file is still empty. If it cannot be removed, the first error is the one to report.
                    let _ = fs::remove_file(path);
                }
                refuse(path, error)
            };
            match fd::try_lock(file.as_fd(), Lock::Exclusive).map_err(fail)? {
                Locked::Acquired => {}
                Locked::HeldByAnother if attempt == ATTEMPTS || is_locked(&file) => {
                    return Err(refuse_locked(path, &file));
                }
                // Another process held a shared lock for a moment, in `is_locked`.
                Locked::HeldByAnother => {
                    // This poll only waits. If it fails, the next attempt comes sooner, which does no harm.
                    let _ = poll::wait(&mut [], Some(POLL_INTERVAL));
                    continue;
                }
            }
            // Between our open and our lock, the process that held the lock may have removed the file and exited.
            if !is_at(path, &file).unwrap_or(false) {
                continue;
            }
            let metadata = file.metadata().map_err(fail)?;
            if !created {
                check_may_overwrite(path, &file).map_err(|reason| refuse(path, reason))?;
            }
            return Ok(PidFile {
                path: path.to_path_buf(),
                ours: created.then(|| OwnedFile::new(path, PID_FILE_ROLE, &metadata)),
                file,
            });
        }
        Err(refuse(path, "it is replaced again and again"))
    }

    /// Writes the pid of this process.
    pub fn write(&mut self) -> Result<(), Error> {
        self.try_write().map_err(|error| refuse(&self.path, error))
    }

    fn try_write(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        let line = format!("{}\n", process::id());
        self.file.write_all(line.as_bytes())?;
        if self.ours.is_none() {
            let metadata = self.file.metadata()?;
            self.ours = Some(OwnedFile::new(&self.path, PID_FILE_ROLE, &metadata));
        }
        Ok(())
    }

    /// The time at which the pid was written, in seconds since 1970.
    pub fn written_at(&self) -> Option<u64> {
        let modified = self.file.metadata().and_then(|file| file.modified()).ok()?;
        Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
    }

    pub fn save(&self) -> (SavedPidFile, Option<SavedFile>) {
        let fd = self.file.as_raw_fd();
        (SavedPidFile { fd }, self.ours.as_ref().map(OwnedFile::save))
    }

    /// Takes over the file from the program before the upgrade. The lock was never released.
    pub fn restore(path: &Path, saved: &SavedPidFile, files: &[SavedFile]) -> io::Result<PidFile> {
        Ok(PidFile {
            path: path.to_path_buf(),
            ours: OwnedFile::restore(files, PID_FILE_ROLE).pop(),
            file: inherit::adopt_fd(saved.fd)?.into(),
        })
    }
}

/// Returns the file, and true if it had to be created. Nobody else may write to it, whatever the umask is.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o644);
    match options.create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok((open_regular(path, options.create_new(false))?, false))
        }
        created => Ok((created?, true)),
    }
}
