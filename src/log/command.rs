//! The process of the log command, which `--log-file='|command'` names. It is started again when it exits.

use crate::error::Error;
use crate::log::lines::Log;
use crate::saved::record;
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::sys::exec::{self, FdMapping, Program};
use crate::sys::{fd, inherit};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// A shell command that reads the log from a pipe. We keep the reading end open: a restarted command finds the lines
/// that the last one has not read, and no worker is killed by SIGPIPE while there is no command.
pub struct LogCommand {
    program: Program,
    /// The same for every start: later changes of envdir do not reach the command.
    environment: Vec<CString>,
    /// `None` while no command is running.
    pid: Option<Pid>,
    /// The command is not started again before this time.
    not_before: Time,
    /// The descriptors 0, 1 and 2 of the command: the pipe, and the output and the error of our caller.
    streams: [OwnedFd; 3],
}

record! {
    "log_command" SavedLogCommand {
        pid: Option<Pid>,
        pause: Option<Duration>,
        reader: RawFd,
        output: RawFd,
        error: RawFd,
    }
}

/// The pause before a log command that has exited is started again.
const LOG_COMMAND_PAUSE: Duration = Duration::from_secs(1);

impl LogCommand {
    /// Creates the pipe and returns its writing end. The first `tick` starts the command.
    pub fn new<'a>(
        line: &OsStr,
        environment: impl Iterator<Item = &'a CStr>,
    ) -> io::Result<(LogCommand, OwnedFd)> {
        let (reader, writer) = fd::pipe()?;
        let output = fd::duplicate(io::stdout().as_fd(), 3)?;
        let error = fd::duplicate(io::stderr().as_fd(), 3)?;
        let command = LogCommand::with_streams(line, environment, [reader, output, error])?;
        Ok((command, writer))
    }

    fn with_streams<'a>(
        line: &OsStr,
        environment: impl Iterator<Item = &'a CStr>,
        streams: [OwnedFd; 3],
    ) -> io::Result<LogCommand> {
        Ok(LogCommand {
            program: Program {
                candidates: vec![exec::SHELL.into()],
                arguments: vec![c"sh".into(), c"-c".into(), CString::new(line.as_bytes())?],
                descriptors: FdMapping::in_order(&streams.each_ref()),
                ..Program::default()
            },
            environment: environment.map(CString::from).collect(),
            pid: None,
            not_before: Time::ZERO,
            streams,
        })
    }

    /// The time at which `tick` has something to do.
    pub fn deadline(&self) -> Option<Time> {
        self.pid.is_none().then_some(self.not_before)
    }

    /// Starts the command if it is not running and its pause is over.
    pub fn tick(&mut self, now: Time, log: &mut Log) {
        if self.deadline().is_none_or(|time| time > now) {
            return;
        }
        let environment = self.environment.iter().map(CString::as_c_str);
        match exec::spawn(&self.program, environment) {
            Ok(forked) => self.pid = Some(forked.pid),
            Err(error) => {
                log.note(&Error::action("start the log command", "", error).to_string());
                self.not_before = now + LOG_COMMAND_PAUSE;
            }
        }
    }

    /// Notes that a process has exited. Returns whether it was this command.
    pub fn exited(&mut self, pid: Pid, status: WaitStatus, now: Time, log: &mut Log) -> bool {
        let is_ours = self.pid == Some(pid);
        if is_ours {
            let line = format!("log command {pid} died, status:{status}, starting it again");
            log.note(&line);
            self.pid = None;
            self.not_before = now + LOG_COMMAND_PAUSE;
        }
        is_ours
    }

    pub fn save(&self, now: Time) -> SavedLogCommand {
        let [reader, output, error] = self.streams.each_ref().map(OwnedFd::as_raw_fd);
        SavedLogCommand {
            pid: self.pid,
            pause: self.deadline().map(|time| time.saturating_sub(now)),
            reader,
            output,
            error,
        }
    }

    /// Takes over a command that is running, or is going to be started again.
    pub fn restore<'a>(
        line: &OsStr,
        environment: impl Iterator<Item = &'a CStr>,
        saved: &SavedLogCommand,
        now: Time,
    ) -> io::Result<LogCommand> {
        let reader = inherit::adopt_fd(saved.reader)?;
        let output = inherit::adopt_fd(saved.output)?;
        let error = inherit::adopt_fd(saved.error)?;
        Ok(LogCommand {
            pid: saved.pid,
            not_before: now + saved.pause.unwrap_or_default(),
            ..LogCommand::with_streams(line, environment, [reader, output, error])?
        })
    }
}
