//! The process of the log command, which `--log-file='|command'` names. It is started again when it exits.

use crate::error::Error;
use crate::log::lines::Log;
use crate::saved::record;
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::sys::exec::{self, FdMapping, Program};
use crate::sys::poll::{self, Interest};
use crate::sys::{fd, inherit, process};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
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
    /// The descriptors 0, 1 and 2 of the command: the pipe, and the output and the error of our caller or /dev/null.
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

/// Refuses a command whose program the shell does not find, before anything is created. As under Perl this concerns
/// programs with a plain name; the shell alone knows what any other line means.
pub fn check<'a>(line: &OsStr, environment: impl Iterator<Item = &'a CStr>) -> Result<(), Error> {
    let Some(program) = line.to_str().and_then(program_of) else {
        return Ok(());
    };
    let test = Program {
        candidates: vec![exec::SHELL.into()],
        arguments: vec![c"sh".into(), c"-c".into(), FIND.into(), c_string(program)],
        ..Program::default()
    };
    // If no process can be made, the check is left out. The start of the log command then fails too. That failure is
    // logged, and the start is repeated.
    let found = exec::spawn(&test, environment).map(|forked| process::wait(forked.pid));
    if found.is_ok_and(|status| status.is_some_and(|status| status != 0)) {
        let value = format!("|{}", line.to_string_lossy());
        let reason = format!("the shell finds no program {program}");
        return Err(Error::option("log-file", value, reason));
    }
    Ok(())
}

/// Looks for a program, builtin or keyword of the shell. A path is tested directly, because `command -v` of some shells
/// accepts a path to a file that cannot be executed.
const FIND: &CStr = c"case $0 in */*) test -f \"$0\" && test -x \"$0\" ;; *) command -v \"$0\" ;; esac >/dev/null 2>&1";

/// The program that a line starts, if it is a plain word.
fn program_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let program = if first == "exec" {
        words.next()?
    } else {
        first
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./+-".contains(&byte);
    let is_option = program.starts_with('-');
    (program.bytes().all(is_plain) && !is_option).then_some(program)
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

impl LogCommand {
    /// Creates the pipe and returns its writing end. The first `tick` starts the command.
    ///
    /// A daemon holds no copy of its caller's output: `$(start_server --daemonize ...)` and ssh wait until the last
    /// copy is closed.
    pub fn new<'a>(
        line: &OsStr,
        is_daemon: bool,
        environment: impl Iterator<Item = &'a CStr>,
    ) -> io::Result<(LogCommand, OwnedFd)> {
        let (reader, writer) = fd::pipe()?;
        let (output, error) = if is_daemon {
            (fd::open_null()?, fd::open_null()?)
        } else {
            let copy = |stream: BorrowedFd| fd::duplicate(stream, 3);
            (copy(io::stdout().as_fd())?, copy(io::stderr().as_fd())?)
        };
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
                // The command ends when it has read everything. Ctrl-C must not end it before the last lines come.
                own_group: true,
                ..Program::default()
            },
            environment: environment.map(CString::from).collect(),
            pid: None,
            not_before: Time::ZERO,
            streams,
        })
    }

    pub fn pid(&self) -> Option<Pid> {
        self.pid
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

    /// Starts the command once more for the last lines, if it is not running. A service manager that signals all
    /// processes at once ends it too early. The command sees the end of the pipe when start_server exits.
    pub fn tick_at_exit(&mut self, now: Time, log: &mut Log) {
        let mut rest = [Interest::readable(self.streams[0].as_fd())];
        let polled = poll::wait(&mut rest, Some(Duration::ZERO));
        if polled.is_ok() && rest[0].happened() {
            self.not_before = now;
            self.tick(now, log);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_word_is_looked_up() {
        let table = [
            ("cat", Some("cat")),
            ("exec logger -t app", Some("logger")),
            ("/usr/bin/tee -a out >/dev/null", Some("/usr/bin/tee")),
            ("while read x; do echo; done", Some("while")),
            ("", None),
            ("exec", None),
            ("TZ=UTC ts", None),
            ("cat>>out", None),
            ("'my program' x", None),
            ("~/bin/log", None),
            ("$LOGGER", None),
            ("exec -a x cat", None),
            ("2>err cat", None),
            ("(cat)", None),
            ("true; cat", None),
        ];
        for (line, program) in table {
            assert_eq!(program_of(line), program, "{line}");
        }
    }
}
