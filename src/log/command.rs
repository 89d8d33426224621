//! The command that reads the log, for `--log-file='|command'`.

use crate::log::lines::Log;
use crate::saved::{left, record};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::sys::process::{self, Handover, Program};
use crate::sys::{self, fd};
use crate::worker::environment::Environment;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// A command that reads the log. Its pipe outlives it, so a successor finds what it had not read, and no
/// worker is killed by SIGPIPE meanwhile.
pub struct LogCommand {
    program: Program,
    pub environment: Vec<CString>,
    life: Life,
    /// What the program's descriptors refer to: the pipe to read, the caller's output and error.
    ends: [OwnedFd; 3],
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

enum Life {
    Running(Pid),
    Dead { until: Time },
}

/// A log command that dies is started again, but not more often than this.
const LOG_COMMAND_PAUSE: Duration = Duration::from_secs(1);

impl LogCommand {
    pub fn new(line: &OsStr) -> io::Result<(LogCommand, OwnedFd)> {
        let (reader, writer) = fd::pipe()?;
        let output = fd::duplicate(io::stdout().as_fd(), 3)?;
        let error = fd::duplicate(io::stderr().as_fd(), 3)?;
        let command = LogCommand::of(line, [reader, output, error])?;
        Ok((command, writer))
    }

    fn of(line: &OsStr, ends: [OwnedFd; 3]) -> io::Result<LogCommand> {
        let descriptors = ends.iter().zip(0..);
        let program = Program {
            candidates: vec![process::SHELL.into()],
            arguments: vec![c"sh".into(), c"-c".into(), CString::new(line.as_bytes())?],
            listen_pid: false,
            by_shell: false,
            dir: None,
            descriptors: descriptors
                .map(|(fd, number)| Handover {
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

    pub fn save(&self, now: Time) -> SavedLogCommand {
        let [reader, output, error] = self.ends.each_ref().map(OwnedFd::as_raw_fd);
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

    /// It is the same process, or will be started by this line.
    pub fn restore(
        line: &OsStr,
        environment: &Environment,
        saved: &SavedLogCommand,
        now: Time,
    ) -> io::Result<LogCommand> {
        let ends = [
            fd::adopt_fd(saved.reader)?,
            fd::adopt_fd(saved.output)?,
            fd::adopt_fd(saved.error)?,
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

    pub fn start(&mut self, now: Time, log: &mut Log) {
        let environment = self.environment.iter().map(CString::as_c_str);
        self.life = match process::spawn(&self.program, environment) {
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
pub fn whole(environment: &Environment) -> Vec<CString> {
    environment.render(&[]).map(CString::from).collect()
}
