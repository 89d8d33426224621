//! The pid file: `PID\n`, locked for as long as start_server lives.

use crate::files::owned::{self, identity, open_regular, OwnedFile};
use crate::saved::record;
use crate::supervisor::worker::Pid;
use crate::sys::{self, fd, inherit, process};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Our locked pid file.
pub struct PidFile {
    path: PathBuf,
    /// `None` while it is still the file that a killed start_server left.
    ours: Option<OwnedFile>,
    // Dropped, and with it the lock let go, after the file is removed: who waits for the lock finds nothing.
    file: File,
}

record! {
    "pid_file" Saved {
        fd: RawFd,
    }
}

const ROLE: &str = "pid";

impl PidFile {
    pub fn save(&self) -> (Saved, Option<owned::Saved>) {
        let fd = self.file.as_raw_fd();
        (Saved { fd }, self.ours.as_ref().map(|file| file.save(ROLE)))
    }

    /// The lock has never been let go.
    pub fn restore(path: &Path, saved: &Saved, files: &[owned::Saved]) -> io::Result<PidFile> {
        Ok(PidFile {
            path: path.to_path_buf(),
            ours: OwnedFile::restore(files, ROLE).pop(),
            file: inherit::adopt_fd(saved.fd)?.into(),
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

/// Refuses a pid file that a running start_server holds, before anything of ours exists.
pub fn refuse_if_held(path: &Path) -> Result<(), String> {
    match open_regular(path, OpenOptions::new().read(true)) {
        Ok(file) if is_held(&file) => Err(already_running(path, file)),
        // Whatever else is wrong with it, `lock` says.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// StartReason there is no such start_server: one line each.
pub enum Absent {
    NotRunning(String),
    /// The file does not tell.
    Unusable(String),
}

/// The pid file of a start_server that is running, seen from outside.
pub struct Held {
    pub pid: Pid,
    file: File,
}

impl Held {
    /// Reads the file and makes sure that its process holds the lock.
    pub fn open(path: &Path) -> Result<Held, Absent> {
        let file = open_regular(path, OpenOptions::new().read(true));
        let file = file.map_err(|error| {
            let message = refuse(path, &error);
            match error.kind() == io::ErrorKind::NotFound {
                true => Absent::NotRunning(message),
                false => Absent::Unusable(message),
            }
        })?;
        let mut text = Vec::new();
        // A pid file is short; of anything else the beginning is enough to refuse it.
        (&file)
            .take(64)
            .read_to_end(&mut text)
            .map_err(|error| Absent::Unusable(refuse(path, &error)))?;
        let path = path.display();
        let pid = parse(&text)
            .ok_or_else(|| Absent::Unusable(format!("--pid-file={path}: it contains no pid")))?;
        match is_held(&file) {
            true => Ok(Held { pid, file }),
            false => Err(Absent::NotRunning(format!(
                "--pid-file={path}: start_server is not running: process {pid} does not hold the lock",
            ))),
        }
    }

    /// When the pid was written: when it started.
    pub fn since(&self) -> Option<SystemTime> {
        self.file.metadata().and_then(|file| file.modified()).ok()
    }

    /// Whether its start_server still lives.
    pub fn is_held(&self) -> bool {
        is_held(&self.file)
    }
}

/// A shared lock can be had if, and only if, no start_server has its exclusive one.
fn is_held(file: &File) -> bool {
    match fd::lock(file.as_fd(), fd::Lock::TryShared) {
        Ok(()) => {
            fd::unlock(file.as_fd());
            false
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
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

fn already_running(path: &Path, mut file: File) -> String {
    let mut text = Vec::new();
    // Without a readable number the message is still true.
    let _ = file.read_to_end(&mut text);
    let who = parse(&text).map_or("another process".to_string(), |pid| {
        format!("process {pid}")
    });
    format!(
        "--pid-file={}: start_server is already running as {who}",
        path.display()
    )
}

fn refuse(path: &Path, error: &io::Error) -> String {
    format!("--pid-file={}: {}", path.display(), sys::reason(error))
}

/// One line with a process number and nothing else.
fn parse(text: &[u8]) -> Option<Pid> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let number = std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    // 0 and -1 would signal whole groups of processes.
    number.parse().ok().filter(|&pid| pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_one_number_on_one_line() {
        for (text, pid) in [
            ("1\n", 1),
            ("4711\n", 4711),
            ("4711", 4711),
            ("2147483647\n", i32::MAX),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(pid), "{text:?}");
        }
        let refused = [
            "",
            "\n",
            "0\n",
            "-1\n",
            "+1\n",
            " 1\n",
            "1 \n",
            "1\n\n",
            "1\n2\n",
            "init\n",
            "2147483648\n",
            "1\r\n",
            "0x1",
        ];
        for text in refused {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"\xff\n"), None);
    }

    #[test]
    fn a_million_random_texts() {
        const WORDS: [&str; 10] = ["", "\n", "0", "7", "-", "+", " ", "2147483647", "\0", "é"];
        crate::fuzz::random_texts(&WORDS, |text| {
            if let Some(pid) = parse(text.as_bytes()) {
                assert!(pid > 0, "{text:?}");
                assert_eq!(parse(format!("{pid}\n").as_bytes()), Some(pid), "{text:?}");
            }
        });
    }
}
