//! The process of the log command, `--log-file='|command'`: started, and started again when it dies.

use crate::error::Error;
use crate::log::lines::Log;
use crate::saved::{left, record};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::sys::fd;
use crate::sys::process::{self, Handover, Program};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// A shell command that reads the log from a pipe. We keep the reading end open: a restarted command finds the lines
/// that the dead one has not read, and no worker is killed by SIGPIPE while there is no command.
pub struct LogCommand {
    program: Program,
    /// Kept for every start. The command does not follow envdir.
    environment: Vec<CString>,
    life: Life,
    /// The descriptors 0, 1 and 2 of the command: the pipe, and the output and the error of our caller.
    streams: [OwnedFd; 3],
}

enum Life {
    Running(Pid),
    Dead { until: Time },
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

/// The pause before a log command that has died is started again.
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
        let life = Life::Dead { until: Time::ZERO };
        let command = LogCommand::of(line, environment, life, [reader, output, error])?;
        Ok((command, writer))
    }

    fn of<'a>(
        line: &OsStr,
        environment: impl Iterator<Item = &'a CStr>,
        life: Life,
        streams: [OwnedFd; 3],
    ) -> io::Result<LogCommand> {
        let handover = |(stream, number): (&OwnedFd, RawFd)| Handover {
            fd: stream.as_raw_fd(),
            number,
        };
        Ok(LogCommand {
            program: Program {
                candidates: vec![process::SHELL.into()],
                arguments: vec![c"sh".into(), c"-c".into(), CString::new(line.as_bytes())?],
                listen_pid: false,
                by_shell: false,
                dir: None,
                descriptors: streams.iter().zip(0..).map(handover).collect(),
            },
            environment: environment.map(CString::from).collect(),
            life,
            streams,
        })
    }

    /// The time at which `tick` has something to do.
    pub fn deadline(&self) -> Option<Time> {
        match self.life {
            Life::Dead { until } => Some(until),
            Life::Running(_) => None,
        }
    }

    /// Starts the command if it is dead and its pause is over.
    pub fn tick(&mut self, now: Time, log: &mut Log) {
        if self.deadline().is_none_or(|until| until > now) {
            return;
        }
        let environment = self.environment.iter().map(CString::as_c_str);
        self.life = match process::spawn(&self.program, environment) {
            Ok(forked) => Life::Running(forked.pid),
            Err(error) => {
                log.note(&Error::action("start the log command", "", error).to_string());
                dead(now)
            }
        };
    }

    /// Learns that a process has ended. Returns whether it was this command.
    pub fn exited(&mut self, pid: Pid, status: WaitStatus, now: Time, log: &mut Log) -> bool {
        let was_running = matches!(self.life, Life::Running(running) if running == pid);
        if was_running {
            log.note(&format!(
                "log command {pid} died, status:{status}, starting it again"
            ));
            self.life = dead(now);
        }
        was_running
    }

    pub fn save(&self, now: Time) -> SavedLogCommand {
        let [reader, output, error] = self.streams.each_ref().map(OwnedFd::as_raw_fd);
        let (pid, pause) = match self.life {
            Life::Running(pid) => (Some(pid), None),
            Life::Dead { until } => (None, Some(left(until, now))),
        };
        SavedLogCommand {
            pid,
            pause,
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
        let streams = [
            fd::adopt_fd(saved.reader)?,
            fd::adopt_fd(saved.output)?,
            fd::adopt_fd(saved.error)?,
        ];
        let pause = saved.pause.unwrap_or_default();
        let dead = Life::Dead { until: now + pause };
        let life = saved.pid.map_or(dead, Life::Running);
        LogCommand::of(line, environment, life, streams)
    }
}

fn dead(now: Time) -> Life {
    Life::Dead {
        until: now + LOG_COMMAND_PAUSE,
    }
}
