//! The log: our own lines on standard error, and where `--log-file` sends standard output and standard error.
//!
//! Our lines wait in a queue when nobody reads them: supervision goes on meanwhile.

use crate::cli::LogTarget;
use crate::saved::{left, record};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::sys::exec::{self, FdMapping, Program};
use crate::sys::{self, fd, inherit, poll};
use crate::worker::environment::Environment;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
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
    "log" Saved {
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

    pub fn save(&self) -> Saved {
        Saved {
            queue: OsString::from_vec(self.queue.clone()),
            lost: self.lost,
        }
    }

    pub fn restore(saved: &Saved) -> Log {
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
    environment: Vec<CString>,
    life: Life,
    /// What the program's descriptors refer to: the pipe to read, the caller's output and error.
    ends: [OwnedFd; 3],
}

record! {
    "log_command" SavedCommand {
        pid: Option<Pid>,
        pause: Option<Duration>,
        reader: RawFd,
        output: RawFd,
        error: RawFd,
    }
}

enum Life {
    Running(Pid),
    Dead { until: Time },
}

/// A log command that dies is started again, but not more often than this.
const LOG_COMMAND_PAUSE: Duration = Duration::from_secs(1);

impl Sink {
    /// Opens the file or makes the pipe. The error is one line.
    pub fn open(target: &LogTarget) -> Result<Sink, String> {
        match target {
            LogTarget::File(path) => match open(path) {
                Ok(file) => Ok(Sink::File(file)),
                Err(error) => Err(format!(
                    "--log-file={}: {}",
                    path.display(),
                    sys::reason(&error)
                )),
            },
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
        environment: &Environment,
        now: Time,
        log: &mut Log,
    ) -> io::Result<Option<LogCommand>> {
        match self {
            Sink::File(file) => redirect_output(file.as_fd()).map(|()| None),
            Sink::Command(mut command, writer) => {
                command.environment = whole(environment);
                command.start(now, log);
                redirect_output(writer.as_fd()).map(|()| Some(command))
            }
        }
    }
}

/// Makes standard output and standard error go to the file that has this name now.
pub fn reopen(path: &Path) -> io::Result<()> {
    redirect_output(open(path)?.as_fd())
}

/// Opens a log to be appended to, without waiting for anybody.
fn open(path: &Path) -> io::Result<File> {
    // A FIFO that nobody reads holds up whoever opens it to write: for that moment the reader is us. From then
    // on a write without a reader is an error, as anywhere.
    let is_fifo = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut reading = OpenOptions::new();
    reading.read(true).custom_flags(libc::O_NONBLOCK);
    let _reader = is_fifo.then(|| reading.open(path)).transpose()?;
    OpenOptions::new().append(true).create(true).open(path)
}

impl LogCommand {
    fn new(line: &OsStr) -> io::Result<(LogCommand, OwnedFd)> {
        let (reader, writer) = fd::pipe()?;
        let output = fd::duplicate(io::stdout().as_fd(), 3)?;
        let error = fd::duplicate(io::stderr().as_fd(), 3)?;
        let command = LogCommand::of(line, [reader, output, error])?;
        Ok((command, writer))
    }

    fn of(line: &OsStr, ends: [OwnedFd; 3]) -> io::Result<LogCommand> {
        let descriptors = ends.iter().zip(0..);
        let program = Program {
            candidates: vec![exec::SHELL.into()],
            arguments: vec![c"sh".into(), c"-c".into(), CString::new(line.as_bytes())?],
            listen_pid: false,
            by_shell: false,
            dir: None,
            descriptors: descriptors
                .map(|(fd, number)| FdMapping {
                    fd: fd.as_raw_fd(),
                    number,
                })
                .collect(),
        };
        let life = Life::Dead { until: Time::ZERO };
        Ok(LogCommand {
            program,
            environment: Vec::new(),
            life,
            ends,
        })
    }

    pub fn save(&self, now: Time) -> SavedCommand {
        let [reader, output, error] = self.ends.each_ref().map(OwnedFd::as_raw_fd);
        let (pid, pause) = match self.life {
            Life::Running(pid) => (Some(pid), None),
            Life::Dead { until } => (None, Some(left(until, now))),
        };
        SavedCommand {
            pid,
            pause,
            reader,
            output,
            error,
        }
    }

    /// It is the same process, or will be started by this line.
    pub fn restore(
        line: &OsStr,
        environment: &Environment,
        saved: &SavedCommand,
        now: Time,
    ) -> io::Result<LogCommand> {
        let ends = [
            inherit::adopt_fd(saved.reader)?,
            inherit::adopt_fd(saved.output)?,
            inherit::adopt_fd(saved.error)?,
        ];
        let mut command = LogCommand::of(line, ends)?;
        command.environment = whole(environment);
        command.life = match saved.pid {
            Some(pid) => Life::Running(pid),
            None => Life::Dead {
                until: now + saved.pause.unwrap_or_default(),
            },
        };
        Ok(command)
    }

    /// When `tick` is wanted at the latest.
    pub fn deadline(&self) -> Option<Time> {
        match self.life {
            Life::Dead { until } => Some(until),
            Life::Running(_) => None,
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
        let ours = matches!(self.life, Life::Running(running) if running == pid);
        if ours {
            log.note(&format!(
                "log command {pid} died, status:{status}, starting it again"
            ));
            self.life = Life::Dead {
                until: now + LOG_COMMAND_PAUSE,
            };
        }
        ours
    }

    fn start(&mut self, now: Time, log: &mut Log) {
        let environment = self.environment.iter().map(CString::as_c_str);
        self.life = match exec::spawn(&self.program, environment) {
            Ok(forked) => Life::Running(forked.pid),
            Err(error) => {
                log.note(&format!(
                    "cannot start the log command: {}",
                    sys::reason(&error)
                ));
                Life::Dead {
                    until: now + LOG_COMMAND_PAUSE,
                }
            }
        };
    }
}

/// The environment of a log command, which it keeps for its next lives.
fn whole(environment: &Environment) -> Vec<CString> {
    environment.render(&[]).map(CString::from).collect()
}

fn redirect_output(fd: BorrowedFd) -> io::Result<()> {
    fd::redirect(fd, fd::Stream::Output)?;
    fd::redirect(fd, fd::Stream::Error)
}
