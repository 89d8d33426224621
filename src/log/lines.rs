//! Our own lines, on their way to standard error. They wait in a queue while the reader of the log is slow: the
//! supervision of workers must go on.

use crate::saved::record;
use crate::supervisor::policy::Time;
use crate::sys::fd::{self, WriteError};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// The queue of our lines.
pub struct Log {
    queue: Vec<u8>,
    /// The number of lines that were dropped, because the queue was full or standard error had no reader.
    lost: u64,
    state: LogState,
    /// Whether standard error is a regular file. A write to such a file never waits for a reader.
    to_file: bool,
}

enum LogState {
    Flowing,
    /// Standard error has no room. poll(2) reports when it has room again.
    Blocked,
    /// The disk is full. poll(2) would report room at once, so the next attempt is at `until`.
    DiskFull {
        until: Time,
    },
}

/// The size of the queue in bytes.
const CAPACITY: usize = 64 * 1024;

/// The pause after an attempt to write to a full disk.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(1);

record! {
    "log" SavedLog {
        queue: OsString,
        lost: u64,
    }
}

impl Log {
    pub fn to_standard_error() -> Log {
        Log {
            queue: Vec::new(),
            lost: 0,
            state: LogState::Flowing,
            to_file: fd::is_regular(io::stderr().as_fd()),
        }
    }

    /// Notes that standard error refers to another file.
    pub fn retarget(&mut self) {
        self.to_file = fd::is_regular(io::stderr().as_fd());
    }

    /// Adds a line as Perl's start_server logs it. Control characters in it are escaped.
    pub fn compat(&mut self, line: &str) {
        if self.queue.len() + line.len() >= CAPACITY {
            self.lost += 1;
            return;
        }
        self.queue.extend(one_line(line).as_bytes());
        self.queue.push(b'\n');
    }

    /// Adds a line that Perl's start_server does not have.
    pub fn note(&mut self, message: &str) {
        self.compat(&format!("start_server: {message}"));
    }

    /// Writes as many lines as can be written without waiting.
    pub fn flush(&mut self, now: Time) {
        self.state = match self.write_all() {
            Ok(()) => LogState::Flowing,
            Err(WriteError::WouldWait) => LogState::Blocked,
            Err(WriteError::DiskFull) => LogState::DiskFull {
                until: now + DISK_FULL_PAUSE,
            },
            Err(WriteError::NoReader) => {
                // The lines are counted, so that a later reader learns of them.
                let lines = self.queue.iter().filter(|&&byte| byte == b'\n');
                self.lost += lines.count() as u64;
                self.queue.clear();
                LogState::Flowing
            }
        };
    }

    fn write_all(&mut self) -> Result<(), WriteError> {
        loop {
            if !self.queue.is_empty() {
                let count = self.write(piece(&self.queue))?;
                self.queue.drain(..count);
            } else if self.lost > 0 {
                let line = format!("start_server: {} lines could not be written\n", self.lost);
                let count = self.write(line.as_bytes())?;
                // If nothing could be written, the number is kept until the next attempt.
                self.lost = 0;
                self.queue.extend(&line.as_bytes()[count..]);
            } else {
                return Ok(());
            }
        }
    }

    fn write(&self, piece: &[u8]) -> Result<usize, WriteError> {
        let stderr = io::stderr();
        if self.to_file {
            Ok(fd::write(stderr.as_fd(), piece)?)
        } else {
            fd::write_if_ready(stderr.as_fd(), piece)
        }
    }

    /// Whether lines wait until standard error is writable.
    pub fn is_blocked(&self) -> bool {
        matches!(self.state, LogState::Blocked)
    }

    /// The time at which `flush` is to be called, if the disk was full.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            LogState::DiskFull { until } => Some(until),
            LogState::Flowing | LogState::Blocked => None,
        }
    }

    pub fn save(&self) -> SavedLog {
        SavedLog {
            queue: OsString::from_vec(self.queue.clone()),
            lost: self.lost,
        }
    }

    pub fn restore(saved: &SavedLog) -> Log {
        Log {
            queue: saved.queue.clone().into_vec(),
            lost: saved.lost,
            ..Log::to_standard_error()
        }
    }
}

/// The first lines of the queue, as many as fit into a pipe that poll(2) reports as writable. A longer line is split.
fn piece(queue: &[u8]) -> &[u8] {
    let most = &queue[..queue.len().min(fd::PIPE_BUF)];
    let newline = most.iter().rposition(|&byte| byte == b'\n');
    &most[..newline.map_or(most.len(), |newline| newline + 1)]
}

/// Escapes control characters: a newline in a name or a value must not begin another line.
pub fn one_line(text: &str) -> String {
    // Nearly every line is like this, and a restart writes five.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_string();
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
