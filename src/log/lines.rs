//! Our own lines on standard error.
//!
//! They wait in a queue when nobody reads them: supervision goes on meanwhile.

use crate::saved::record;
use crate::supervisor::policy::Time;
use crate::sys::{fd, poll};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// Our lines, until they can be written.
pub struct Log {
    queue: Vec<u8>,
    /// Lines that found no room in the queue, or nobody to read them.
    lost: u64,
    state: State,
    /// Standard error is a regular file, which never makes a writer wait for a reader.
    to_file: bool,
}

#[derive(Clone, Copy)]
enum State {
    Flowing,
    /// Standard error takes no more: poll tells when it does again.
    Blocked,
    /// The disk is full: poll would call it writable.
    Full {
        until: Time,
    },
}

/// What waits in the queue at the most, in bytes.
const CAPACITY: usize = 64 * 1024;

/// How soon a full disk is tried again.
const RETRY: Duration = Duration::from_secs(1);

record! {
    "log" SavedLog {
        queue: OsString,
        lost: u64,
    }
}

impl Log {
    pub fn to_standard_error() -> Log {
        let mut log = Log {
            queue: Vec::new(),
            lost: 0,
            state: State::Flowing,
            to_file: false,
        };
        log.retarget();
        log
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

    /// Standard error has become another file.
    pub fn retarget(&mut self) {
        self.to_file = fd::is_regular(io::stderr().as_fd());
    }

    /// Takes one of the lines that Perl's start_server has too, byte for byte.
    pub fn compat(&mut self, line: &str) {
        if self.queue.len() + line.len() >= CAPACITY {
            self.lost += 1;
            return;
        }
        self.queue.extend(one_line(line).bytes());
        self.queue.push(b'\n');
    }

    /// Takes a line that only we have.
    pub fn note(&mut self, message: &str) {
        self.compat(&format!("start_server: {message}"));
    }

    /// Writes as much as can be written without waiting.
    pub fn flush(&mut self, now: Time) {
        self.state = State::Flowing;
        loop {
            if self.queue.is_empty() {
                match std::mem::take(&mut self.lost) {
                    0 => return,
                    lost => self.note(&format!("{lost} lines could not be written")),
                }
            }
            match write(piece(&self.queue), self.to_file) {
                Ok(count) => drop(self.queue.drain(..count)),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EINTR) => {
                        self.state = State::Blocked;
                        return;
                    }
                    Some(libc::ENOSPC | libc::EDQUOT) => {
                        self.state = State::Full { until: now + RETRY };
                        return;
                    }
                    // Nobody reads it any more. Should somebody do so again, the lines are counted.
                    Some(_) | None => {
                        let lines = self.queue.iter().filter(|&&byte| byte == b'\n');
                        self.lost += lines.count() as u64;
                        self.queue.clear();
                        return;
                    }
                },
            }
        }
    }

    pub fn is_blocked(&self) -> bool {
        matches!(self.state, State::Blocked)
    }

    /// When `flush` is wanted at the latest.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Full { until } => Some(until),
            State::Flowing | State::Blocked => None,
        }
    }
}

/// Writes to standard error. Where a reader may be slow it is asked first, and does not get more time even if
/// somebody else fills what it had room for: EAGAIN or EINTR.
fn write(bytes: &[u8], to_file: bool) -> io::Result<usize> {
    let stderr = io::stderr();
    if to_file {
        return fd::write(stderr.as_fd(), bytes);
    }
    let mut interest = [poll::Interest::writable(stderr.as_fd())];
    poll::wait(&mut interest, Some(Duration::ZERO))?;
    match interest[0].happened() {
        true => fd::write_briefly(stderr.as_fd(), bytes),
        false => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
    }
}

/// The first lines of the queue, as many as a pipe that poll calls writable takes without making us wait.
fn piece(queue: &[u8]) -> &[u8] {
    let most = &queue[..queue.len().min(fd::PIPE_BUF)];
    let end = most
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(most.len(), |newline| newline + 1);
    &most[..end]
}

/// Control characters in names and values must not make two lines of one.
pub fn one_line(text: &str) -> String {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_string();
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}
