//! The place where `--log-file` sends standard output and standard error: a file, or a command that reads a pipe.

use crate::cli::LogTarget;
use crate::error::Error;
use crate::files::owned::{folder_of, is_shared};
use crate::log::command::{LogCommand, SavedLogCommand};
use crate::log::lines::{Log, SavedLog};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::sys::{fd, process};
use std::ffi::CStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The log of this process: our own lines, and the target that receives them and the output of the workers.
pub struct LogOutput {
    pub lines: Log,
    target: Option<LogTarget>,
    /// The process of a target that is a command.
    command: Option<LogCommand>,
    /// The file or the pipe of the target, until `redirect`.
    opened: Option<OwnedFd>,
}

impl LogOutput {
    /// Opens the file or creates the pipe. Nothing is written there before `redirect`. A log command gets
    /// `environment`, and our caller's output unless `is_daemon` says that the caller must not wait for us.
    pub fn open<'a>(
        target: Option<LogTarget>,
        is_daemon: bool,
        environment: impl Iterator<Item = &'a CStr>,
    ) -> Result<LogOutput, Error> {
        let mut command = None;
        let opened = match &target {
            None => None,
            Some(LogTarget::File(path)) => {
                let file = open(path).map_err(|error| Error::option("log-file", path, error))?;
                Some(file.into())
            }
            Some(LogTarget::Command(line)) => {
                let (started, writer) =
                    LogCommand::new(line, is_daemon, environment).map_err(|error| {
                        let value = format!("|{}", line.to_string_lossy());
                        Error::option("log-file", value, error)
                    })?;
                command = Some(started);
                Some(writer)
            }
        };
        Ok(LogOutput {
            lines: Log::to_standard_error(),
            target,
            command,
            opened,
        })
    }

    /// Starts the log command, if there is one, and sends standard output and standard error to the target. Workers
    /// inherit both.
    pub fn redirect(&mut self, now: Time) -> Result<(), Error> {
        self.tick(now);
        if let Some(opened) = self.opened.take() {
            redirect_output(opened.as_fd())
                .map_err(|error| Error::action("redirect output to", "--log-file", error))?;
            self.lines.retarget();
        }
        Ok(())
    }

    /// Opens the file again: the old one may have been renamed. Workers that are running keep writing to the old one.
    pub fn reopen(&mut self) {
        if let Some(LogTarget::File(path)) = &self.target {
            let reopened = open(path).and_then(|file| redirect_output(file.as_fd()));
            if let Err(error) = reopened {
                let error =
                    Error::action("reopen", format!("--log-file={}", path.display()), error);
                self.lines.note(&error.to_string());
            }
            self.lines.retarget();
        }
    }

    /// The time at which `tick` or `Log::flush` has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let command = self.command.as_ref().and_then(LogCommand::deadline);
        command.into_iter().chain(self.lines.deadline()).min()
    }

    /// Starts a log command that has exited, when its pause is over.
    pub fn tick(&mut self, now: Time) {
        if let Some(command) = &mut self.command {
            command.tick(now, &mut self.lines);
        }
    }

    /// Starts the log command once more, if it has died and has left lines in the pipe. Called when the last lines have
    /// been flushed, as far as the pipe had room.
    pub fn tick_at_exit(&mut self, now: Time) {
        if let Some(command) = &mut self.command {
            command.tick_at_exit(now, &mut self.lines);
        }
    }

    /// The log command, if one is running.
    pub fn command_pid(&self) -> Option<Pid> {
        self.command.as_ref()?.pid()
    }

    /// Notes that a process has exited. Returns whether it was the log command.
    pub fn exited(&mut self, pid: Pid, status: WaitStatus, now: Time) -> bool {
        let command = self.command.as_mut();
        command.is_some_and(|command| command.exited(pid, status, now, &mut self.lines))
    }

    pub fn save(&self, now: Time) -> (SavedLog, Option<SavedLogCommand>) {
        let command = self.command.as_ref().map(|command| command.save(now));
        (self.lines.save(), command)
    }

    /// Takes over the log from the program before the upgrade. Standard output and standard error are unchanged.
    pub fn restore<'a>(
        target: Option<LogTarget>,
        environment: impl Iterator<Item = &'a CStr>,
        lines: &SavedLog,
        command: Option<&SavedLogCommand>,
        now: Time,
    ) -> io::Result<LogOutput> {
        let command = match (&target, command) {
            (Some(LogTarget::Command(line)), Some(saved)) => {
                Some(LogCommand::restore(line, environment, saved, now)?)
            }
            _ => None,
        };
        Ok(LogOutput {
            lines: Log::restore(lines),
            target,
            command,
            opened: None,
        })
    }
}

/// Opens a log for appending. Never waits: neither for the reader of a FIFO, nor for the carrier of a terminal line,
/// nor for a process that has a lease on the file [fcntl(2) of Linux].
fn open(path: &Path) -> io::Result<File> {
    let found = fs::symlink_metadata(path).ok();
    if let Some(link) = found.filter(Metadata::is_symlink) {
        check_link(path, &link)?;
    }
    // A FIFO without a reader cannot be opened without waiting, so this function is the reader until the FIFO is open.
    // After that, a write without another reader fails, as with any pipe.
    let is_fifo = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut reading = OpenOptions::new();
    reading.read(true).custom_flags(libc::O_NONBLOCK);
    let _reader = is_fifo.then(|| reading.open(path)).transpose()?;
    let mut appending = OpenOptions::new();
    appending.append(true).create(true);
    let file = appending
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    // Workers inherit the open file, and do not expect a write to fail because a FIFO is full.
    fd::set_blocking(file.as_fd())?;
    Ok(file)
}

/// Refuses a link that another user has made: he would choose the file to which we append.
fn check_link(path: &Path, link: &Metadata) -> io::Result<()> {
    let user = link.uid();
    if process::is_trusted(user) || !is_shared(folder_of(path), process::is_trusted)? {
        return Ok(());
    }
    let reason = format!("it is a link that belongs to user {user}");
    Err(io::Error::other(reason))
}

fn redirect_output(fd: BorrowedFd) -> io::Result<()> {
    fd::redirect(fd, fd::Stream::Output)?;
    fd::redirect(fd, fd::Stream::Error)
}
