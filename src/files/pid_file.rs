//! The pid file: `PID\n`, locked for as long as start_server lives.

use crate::files::held_pid_file::{already_running, is_held, refuse};
use crate::files::owned::{identity, open_regular, OwnedFile, SavedFile};
use crate::saved::record;
use crate::sys::{fd, process};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

/// Our locked pid file.
pub struct PidFile {
    path: PathBuf,
    /// `None` while it is still the file that a killed start_server left.
    ours: Option<OwnedFile>,
    // Dropped, and with it the lock let go, after the file is removed: who waits for the lock finds nothing.
    file: File,
}

record! {
    "pid_file" SavedPidFile {
        fd: RawFd,
    }
}

const PID_FILE_ROLE: &str = "pid";

impl PidFile {
    pub fn save(&self) -> (SavedPidFile, Option<SavedFile>) {
        let fd = self.file.as_raw_fd();
        (
            SavedPidFile { fd },
            self.ours.as_ref().map(|file| file.save(PID_FILE_ROLE)),
        )
    }

    /// The lock has never been let go.
    pub fn restore(path: &Path, saved: &SavedPidFile, files: &[SavedFile]) -> io::Result<PidFile> {
        Ok(PidFile {
            path: path.to_path_buf(),
            ours: OwnedFile::restore(files, PID_FILE_ROLE).pop(),
            file: fd::adopt_fd(saved.fd)?.into(),
        })
    }

    /// Opens and locks the file, but writes nothing yet. The error is one line.
    pub fn lock(path: &Path) -> Result<PidFile, String> {
        loop {
            let (file, created) = open(path).map_err(|error| refuse(path, &error))?;
            let fail = |error: io::Error| {
                if created {
                    // It is still empty, and the first error says why.
                    let _ = fs::remove_file(path);
                }
                refuse(path, &error)
            };
            match fd::lock(file.as_fd(), fd::Lock::TryExclusive) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if is_held(&file) {
                        return Err(already_running(path, file));
                    }
                    // It was only somebody who looked whether it is held.
                    continue;
                }
                result => result.map_err(fail)?,
            }
            let metadata = file.metadata().map_err(fail)?;
            // Between open and lock the one that had it may have ended and removed it.
            if fs::metadata(path).is_ok_and(|found| identity(&found) == identity(&metadata)) {
                let ours = created.then(|| OwnedFile::new(path, &metadata));
                return Ok(PidFile {
                    path: path.to_path_buf(),
                    ours,
                    file,
                });
            }
        }
    }

    /// Writes the number of this process.
    pub fn write(&mut self) -> Result<(), String> {
        let written = self.file.set_len(0).and_then(|()| {
            self.file
                .write_all(format!("{}\n", process::id()).as_bytes())
        });
        written.map_err(|error| refuse(&self.path, &error))?;
        if self.ours.is_none() {
            let metadata = self
                .file
                .metadata()
                .map_err(|error| refuse(&self.path, &error))?;
            self.ours = Some(OwnedFile::new(&self.path, &metadata));
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return Ok((created?, true)),
    }
    Ok((open_regular(path, options.create_new(false))?, false))
}
