//! The pid file of a start_server that is running, seen from another process.

use crate::error::{Error, Reason};
use crate::files::owned::{folder_of, identity, is_shared, open_regular};
use crate::supervisor::worker::Pid;
use crate::sys::fd::{self, Lock, Locked};
use crate::sys::{self, holders, process};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A pid file whose lock is held, with the pid that it contains.
pub struct LockedPidFile {
    pub pid: Pid,
    path: PathBuf,
    file: File,
}

/// Reasons why there is no [`LockedPidFile`].
pub enum Absent {
    /// No start_server is running.
    NotRunning(Error),
    /// The file does not show whether a start_server is running.
    Unusable(Error),
}

impl LockedPidFile {
    /// Reads the file, and makes sure that a process holds the lock. On Linux it also makes sure that it is the process
    /// with this pid.
    pub fn open(path: &Path) -> Result<LockedPidFile, Absent> {
        let file = open_regular(path, OpenOptions::new().read(true)).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                let reason = format!("start_server is not running: {}", Reason::from(error));
                return Absent::NotRunning(refuse(path, reason));
            }
            Absent::Unusable(refuse(path, error))
        })?;
        let unusable = |reason| Absent::Unusable(refuse(path, reason));
        let pid = read_pid(&file).map_err(unusable)?;
        if !is_locked(&file) {
            let reason =
                format!("start_server is not running: process {pid} does not hold the lock");
            return Err(Absent::NotRunning(refuse(path, reason)));
        }
        let path = path.to_path_buf();
        let locked = LockedPidFile { pid, path, file };
        locked.check().map_err(Absent::Unusable)?;
        Ok(locked)
    }

    /// Makes sure that the file belongs to a trusted user, and on Linux that the process with this pid has locked it.
    pub fn check(&self) -> Result<(), Error> {
        let LockedPidFile { pid, path, file } = self;
        let users = process::users(*pid).unwrap_or_default();
        let is_trusted = |user| process::is_trusted(user) || users.contains(&user);
        check_owner(path, file, is_trusted).map_err(|reason| refuse(path, reason))?;
        // The number may be stale, and in another pid namespace the holder of the lock has another number.
        if holders::has_locked(*pid, file) == Some(false) {
            let holder = match holders::any_locker(file) {
                Some(other) => format!("process {other} holds it"),
                None => "its holder may run in another pid namespace".to_string(),
            };
            let reason = format!("process {pid} does not hold the lock: {holder}");
            return Err(refuse(path, reason));
        }
        Ok(())
    }

    /// The time at which start_server wrote its pid, when it started.
    pub fn since(&self) -> Option<SystemTime> {
        self.file.metadata().and_then(|file| file.modified()).ok()
    }

    /// Whether its start_server is still running. When it has ended, the lock may belong to another process that has
    /// waited for it.
    pub fn is_running(&self) -> bool {
        is_locked(&self.file)
            && holders::has_locked(self.pid, &self.file).unwrap_or_else(|| self.is_at_path())
    }

    fn is_at_path(&self) -> bool {
        is_at(&self.path, &self.file).unwrap_or(false)
    }
}

/// Whether a path leads to an open file.
pub fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    Ok(identity(&fs::metadata(path)?) == identity(&file.metadata()?))
}

/// Makes sure that no other process has locked this pid file, and that it is a pid file if it is there. Called before
/// the start-up creates anything.
pub fn check_free(path: &Path) -> Result<(), Error> {
    match open_regular(path, OpenOptions::new().read(true)) {
        Ok(file) if is_locked(&file) => Err(refuse_locked(path, &file)),
        Ok(file) => check_may_overwrite(path, &file).map_err(|reason| refuse(path, reason)),
        // `PidFile::lock` reports the error.
        Err(_) => Ok(()),
    }
}

/// Refuses a file that must not be overwritten: one with another text than a pid file, and one that somebody else may
/// have put there, to change later what we have written.
pub fn check_may_overwrite(path: &Path, file: &File) -> Result<(), Reason> {
    if !is_pid_file(file)? {
        return Err("it contains something else than a pid".into());
    }
    check_owner(path, file, process::is_trusted)
}

/// Refuses a file that a user who is not trusted could have put there: the file or a link to it belongs to him, and
/// the folder lets him make files.
fn check_owner(path: &Path, file: &File, is_trusted: impl Fn(u32) -> bool) -> Result<(), Reason> {
    if !is_shared(folder_of(path), &is_trusted)? {
        return Ok(());
    }
    let users = [fs::symlink_metadata(path)?.uid(), file.metadata()?.uid()];
    match users.into_iter().find(|user| !is_trusted(*user)) {
        Some(user) => Err(format!("it belongs to user {user}, who could change it").into()),
        None => Ok(()),
    }
}

/// Whether another process has an exclusive lock on the file, as each start_server has. An error counts as no.
pub fn is_locked(file: &File) -> bool {
    match fd::try_lock(file.as_fd(), Lock::Shared) {
        Ok(Locked::HeldByAnother) => true,
        Ok(Locked::Acquired) => {
            fd::unlock(file.as_fd());
            false
        }
        Err(_) => false,
    }
}

/// The error for a pid file on which another process holds a lock.
pub fn refuse_locked(path: &Path, file: &File) -> Error {
    // A start_server that has just locked the file has not written its pid yet.
    let written = read_pid(file).ok();
    let is_stale = written.is_some_and(|pid| holders::has_locked(pid, file) == Some(false));
    let pid = written.filter(|_| !is_stale);
    let holder = match pid.or_else(|| holders::any_locker(file)) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_string(),
    };
    let reason = if is_locked(file) && !is_stale {
        format!("start_server is already running as {holder}")
    } else {
        format!("{holder} holds a lock on it")
    };
    refuse(path, reason)
}

/// An error that names the pid file.
pub fn refuse(path: &Path, reason: impl Into<Reason>) -> Error {
    Error::option("pid-file", path, reason)
}

fn read_pid(file: &File) -> Result<Pid, Reason> {
    parse(&read_beginning(file)?).ok_or("it contains no pid".into())
}

/// Whether a file contains a pid, or nothing because its start_server was killed too early.
fn is_pid_file(file: &File) -> io::Result<bool> {
    let text = read_beginning(file)?;
    let is_short = text.len() < BEGINNING;
    Ok(is_short && (text.trim_ascii().is_empty() || parse(&text).is_some()))
}

/// More bytes than any pid file has.
const BEGINNING: usize = 64;

/// A pid file is short. The beginning of any other file is enough to refuse it. The position in the file stays.
fn read_beginning(file: &File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; BEGINNING];
    let count = sys::retry(|| file.read_at(&mut text, 0))?;
    text.truncate(count);
    Ok(text)
}

/// Parses a pid, which may only have blanks and newlines around it.
fn parse(text: &[u8]) -> Option<Pid> {
    let digits = std::str::from_utf8(text.trim_ascii()).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number)?;
    // A signal to 0 or a negative number would go to a whole group of processes.
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_one_number() {
        for (text, pid) in [
            ("1\n", 1),
            ("4711\n", 4711),
            ("4711", 4711),
            ("2147483647\n", i32::MAX),
            (" 1\n", 1),
            ("1 \n", 1),
            ("\t1\r\n\n", 1),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(pid), "{text:?}");
        }
        let refused = [
            "",
            "\n",
            "0\n",
            "-1\n",
            "+1\n",
            "1\n2\n",
            "1 2\n",
            "init\n",
            "2147483648\n",
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
