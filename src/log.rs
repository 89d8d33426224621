//! The log: our own lines on standard error, and where `--log-file` sends standard output and standard error.
//!
//! Our lines wait in a queue when nobody reads them: supervision goes on meanwhile.

use crate::cli::LogTarget;
use crate::policy::Time;
use crate::sys::process::{self, Handover, Program};
use crate::sys::{self, fd, poll};
use crate::worker::{Pid, WaitStatus};
use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Our lines, until they can be written.
#[derive(Default)]
pub struct Log {
    queue: Vec<u8>,
    /// Lines that found no room in the queue.
    lost: usize,
    /// Standard error took no more: poll tells when it does again.
    blocked: bool,
}

/// What waits in the queue at the most, in bytes.
const ROOM: usize = 64 * 1024;

impl Log {
    /// Takes one of the lines that Perl's start_server has too, byte for byte.
    pub fn say(&mut self, line: &str) {
        if self.queue.len() + line.len() >= ROOM {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.tell(&format!("{lost} lines could not be written"));
        }
        self.queue.extend(one_line(line).bytes());
        self.queue.push(b'\n');
    }

    /// Takes a line that only we have.
    pub fn tell(&mut self, message: &str) {
        self.say(&format!("start_server: {message}"));
    }

    /// Writes as much as can be written without waiting.
    pub fn flush(&mut self) {
        let stderr = io::stderr();
        self.blocked = false;
        while !self.queue.is_empty() {
            let mut interest = [poll::Interest::writable(stderr.as_fd())];
            if poll::wait(&mut interest, Some(Duration::ZERO)).is_err() || !interest[0].happened() {
                self.blocked = true;
                return;
            }
            match fd::write(stderr.as_fd(), piece(&self.queue)) {
                Ok(count) => drop(self.queue.drain(..count)),
                // Poll would call a full disk writable: it is tried again when there is more to say.
                Err(_) => return,
            }
        }
    }

    pub fn is_blocked(&self) -> bool {
        self.blocked
    }
}

/// The first lines of the queue, as many as a pipe that poll calls writable takes without making us wait.
fn piece(queue: &[u8]) -> &[u8] {
    let most = &queue[..queue.len().min(libc::PIPE_BUF)];
    let end = most
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(most.len(), |newline| newline + 1);
    &most[..end]
}

/// Control characters in names and values must not make two lines of one.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Where `--log-file` sends standard output and standard error.
pub enum Sink {
    File(File),
    /// The second is what the log is written to.
    Command(LogCommand, OwnedFd),
}

/// A command that reads the log. Its pipe outlives it, so a successor finds what it had not read, and no
/// worker is killed by SIGPIPE meanwhile.
pub struct LogCommand {
    program: Program,
    state: State,
    /// What the program's descriptors refer to: the pipe to read, the caller's output and error.
    _ends: [OwnedFd; 3],
}

enum State {
    Running(Pid),
    Dead { until: Time },
}

/// A log command that dies is started again, but not more often than this.
const LOG_COMMAND_PAUSE: Duration = Duration::from_secs(1);

impl Sink {
    /// Opens the file or makes the pipe. The error is one line.
    pub fn open(target: &LogTarget) -> Result<Sink, String> {
        match target {
            LogTarget::File(path) => {
                match OpenOptions::new().append(true).create(true).open(path) {
                    Ok(file) => Ok(Sink::File(file)),
                    Err(error) => Err(format!(
                        "--log-file={}: {}",
                        path.display(),
                        sys::reason(&error)
                    )),
                }
            }
            LogTarget::Command(line) => match LogCommand::new(line) {
                Ok((command, writer)) => Ok(Sink::Command(command, writer)),
                Err(error) => Err(format!(
                    "--log-file=|{}: {}",
                    line.to_string_lossy(),
                    sys::reason(&error)
                )),
            },
        }
    }

    /// Makes standard output and standard error of this process, and of its workers, go here. Gives the
    /// command, if it is one, which is to be looked after from now on.
    pub fn redirect(
        self,
        environment: Vec<CString>,
        now: Time,
        log: &mut Log,
    ) -> io::Result<Option<LogCommand>> {
        match self {
            Sink::File(file) => redirect_output(file.as_fd()).map(|()| None),
            Sink::Command(mut command, writer) => {
                command.program.environment = environment;
                command.start(now, log);
                redirect_output(writer.as_fd()).map(|()| Some(command))
            }
        }
    }
}

impl LogCommand {
    fn new(line: &OsStr) -> io::Result<(LogCommand, OwnedFd)> {
        let (reader, writer) = fd::pipe()?;
        let output = fd::duplicate(io::stdout().as_fd(), 3)?;
        let error = fd::duplicate(io::stderr().as_fd(), 3)?;
        let ends = [reader, output, error];
        let descriptors = ends.iter().zip(0..);
        let program = Program {
            candidates: vec![c"/bin/sh".into()],
            arguments: vec![c"sh".into(), c"-c".into(), CString::new(line.as_bytes())?],
            environment: Vec::new(),
            dir: None,
            descriptors: descriptors
                .map(|(fd, number)| Handover {
                    fd: fd.as_raw_fd(),
                    number,
                })
                .collect(),
        };
        let state = State::Dead { until: Time::ZERO };
        let command = LogCommand {
            program,
            state,
            _ends: ends,
        };
        Ok((command, writer))
    }

    /// When `tick` is wanted at the latest.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Dead { until } => Some(until),
            State::Running(_) => None,
        }
    }

    /// Starts it again when it is dead and it is time.
    pub fn tick(&mut self, now: Time, log: &mut Log) {
        if self.deadline().is_some_and(|until| until <= now) {
            self.start(now, log);
        }
    }

    /// Tells of a death. False: it was another process.
    pub fn exited(&mut self, pid: Pid, status: WaitStatus, now: Time, log: &mut Log) -> bool {
        let ours = matches!(self.state, State::Running(running) if running == pid);
        if ours {
            log.tell(&format!(
                "log command {pid} died, status:{status}, starting it again"
            ));
            self.state = State::Dead {
                until: now + LOG_COMMAND_PAUSE,
            };
        }
        ours
    }

    fn start(&mut self, now: Time, log: &mut Log) {
        self.state = match process::spawn(&self.program) {
            Ok(forked) => State::Running(forked.pid),
            Err(error) => {
                log.tell(&format!(
                    "cannot start the log command: {}",
                    sys::reason(&error)
                ));
                State::Dead {
                    until: now + LOG_COMMAND_PAUSE,
                }
            }
        };
    }
}

fn redirect_output(fd: BorrowedFd) -> io::Result<()> {
    fd::redirect(fd, fd::Stream::Output)?;
    fd::redirect(fd, fd::Stream::Error)
}
