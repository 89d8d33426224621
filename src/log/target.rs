//! Where `--log-file` sends standard output and standard error.

use crate::cli::LogTarget;
use crate::log::command::{whole, LogCommand};
use crate::log::lines::Log;
use crate::supervisor::policy::Time;
use crate::sys::{self, fd};
use crate::worker::environment::Environment;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Where `--log-file` sends standard output and standard error.
pub enum Sink {
    File(File),
    /// The second is what the log is written to.
    Command(LogCommand, OwnedFd),
}

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

fn redirect_output(fd: BorrowedFd) -> io::Result<()> {
    fd::redirect(fd, fd::Stream::Output)?;
    fd::redirect(fd, fd::Stream::Error)
}
