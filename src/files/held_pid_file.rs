//! The pid file of a start_server that is running, seen from another process.

use crate::error::{Error, Reason};
use crate::files::owned::open_regular;
use crate::supervisor::worker::Pid;
use crate::sys::fd::{self, Lock, Locked};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

/// A pid file whose lock is held, with the pid that it contains.
pub struct Held {
    pub pid: Pid,
    file: File,
}

/// Reasons why there is no [`Held`].
pub enum Absent {
    /// No start_server is running.
    NotRunning(Error),
    /// The file does not show whether a start_server is running.
    Unusable(Error),
}

impl Held {
    /// Reads the file and makes sure that a process holds the lock.
    pub fn open(path: &Path) -> Result<Held, Absent> {
        let file = open_regular(path, OpenOptions::new().read(true)).map_err(|error| {
            let absent = if error.kind() == io::ErrorKind::NotFound {
                Absent::NotRunning
            } else {
                Absent::Unusable
            };
            absent(refuse(path, error))
        })?;
        let unusable = |reason| Absent::Unusable(refuse(path, reason));
        let pid = read_pid(&file).map_err(unusable)?;
        if is_held(&file) {
            return Ok(Held { pid, file });
        }
        let reason = format!("start_server is not running: process {pid} does not hold the lock");
        Err(Absent::NotRunning(refuse(path, reason)))
    }

    /// The time at which start_server wrote its pid, when it started.
    pub fn since(&self) -> Option<SystemTime> {
        self.file.metadata().and_then(|file| file.modified()).ok()
    }

    /// Whether its start_server is still running.
    pub fn is_held(&self) -> bool {
        is_held(&self.file)
    }
}

/// Makes sure that no running start_server holds this pid file. Called before the start-up creates anything.
pub fn refuse_if_held(path: &Path) -> Result<(), Error> {
    match open_regular(path, OpenOptions::new().read(true)) {
        Ok(file) if is_held(&file) => Err(already_running(path, &file)),
        // `PidFile::lock` reports any other error of the file.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether a start_server holds its exclusive lock. While it does, no shared lock is granted.
pub fn is_held(file: &File) -> bool {
    match fd::try_lock(file.as_fd(), Lock::Shared) {
        Ok(Locked::HeldByAnother) => true,
        Ok(Locked::Yes) => {
            fd::unlock(file.as_fd());
            false
        }
        Err(_) => false,
    }
}

/// The error for a pid file that another start_server holds.
pub fn already_running(path: &Path, file: &File) -> Error {
    let holder = match read_pid(file) {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_string(),
    };
    refuse(path, format!("start_server is already running as {holder}"))
}

/// An error that names the pid file.
pub fn refuse(path: &Path, reason: impl Into<Reason>) -> Error {
    Error::option("pid-file", path, reason)
}

fn read_pid(file: &File) -> Result<Pid, Reason> {
    let mut text = Vec::new();
    // A pid file is short. The beginning of any other file is enough to refuse it.
    file.take(64).read_to_end(&mut text)?;
    parse(&text).ok_or("it contains no pid".into())
}

/// Parses a pid, which must be on the only line of the text.
fn parse(text: &[u8]) -> Option<Pid> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let digits = std::str::from_utf8(digits).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number)?;
    // A signal to 0 or a negative number would go to a whole group of processes.
    (number > 0).then_some(number)
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
