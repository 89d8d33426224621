//! start_server: binds listening sockets once, runs the real server under them, and replaces it without losing a
//! connection.
//!
//! Data passes through the rooms in one direction. At the start the command line becomes options (`cli`), and the
//! options become sockets (`sockets`). After that, each signal, and each exit or message of a worker, becomes an event
//! (`daemon`). The event becomes actions (`supervisor`), and the actions become system calls (`sys`). A room uses only
//! rooms on lower floors.
//!
//! | floor | room | owns |
//! |---|---|---|
//! | 8 | `daemon` | the process at work: start-up, the loop, continuing after an upgrade |
//! | 8 | `control` | `--restart`, `--upgrade`, `--stop` and `--status`, which read the pid and status files of the daemon |
//! | 7 | `upgrade` | the trial of another executable, its execution, and the state that it continues with |
//! | 6 | `sockets` | the listening sockets: bound here or made by a service manager |
//! | 6 | `worker` | one worker: its start, its environment, and the channel on which it reports that it is ready |
//! | 6 | `service_manager` | the messages to the service manager |
//! | 6 | `log::target`, `log::command` | the destination of `--log-file` |
//! | 5 | `files` | the pid file, the status file, and the removal of our own files |
//! | 4 | `log::lines` | the queue of our own log lines |
//! | 4 | `cli` | the command line |
//! | 3 | `supervisor` | the life of the workers, without a single system call |
//! | 2 | `saved` | the text of the state that survives an upgrade |
//! | 1 | `error` | the one error type |
//! | 1 | `variable` | `NAME=value` strings |
//! | 1 | `sys` | every call into libc, and all unsafe code |

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "the tests have a main of their own"))]

use cli::Command;
use control::{Condition, ControlError};
use error::Error;
use log::lines::one_line;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::AsFd;
use supervisor::Outcome;
use sys::start::Invocation;

mod cli;
mod control;
mod daemon;
mod error;
mod files;
#[cfg(test)]
mod fuzz;
mod log;
mod saved;
mod service_manager;
mod sockets;
mod supervisor;
#[allow(unsafe_code, reason = "the only module that talks to the kernel")]
mod sys;
mod upgrade;
mod variable;
mod worker;

const VERSION: &str = concat!("start_server ", env!("CARGO_PKG_VERSION"), "\n");

/// Wrong usage, a failed start, or no start_server to control.
const FAILED: i32 = 1;
/// `--timeout` ended the wait.
const TIMED_OUT: i32 = 2;
/// The restart was given up and the old worker is still serving, or the upgrade failed and the old version still runs.
const GIVEN_UP: i32 = 3;
/// `--status` found no start_server. Init scripts use 3 for that.
const NOT_RUNNING: i32 = 3;
/// `--status`: start_server is running, but no worker is up.
const NO_WORKER: i32 = 4;
/// `--status`: a worker is serving, but the last newer one has failed to start.
const STARTS_FAIL: i32 = 5;
/// `--status`: start_server is ending.
const ENDING: i32 = 6;
/// `--status`: start_server does not write the status file that was given.
const OTHER_STATUS_FILE: i32 = 7;

sys::start::entry!(start);

/// Runs the program and returns its exit status.
fn start(invocation: io::Result<Invocation>) -> i32 {
    match dispatch(invocation) {
        Ok(status) => status,
        Err(Failure(status, error)) => {
            let line = format!("start_server: {}\n", one_line(&error.to_string()));
            // When standard error is gone, the exit status still reports the failure.
            let _ = io::stderr().write_all(line.as_bytes());
            status
        }
    }
}

/// An exit status and the error that explains it.
struct Failure(i32, Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(FAILED, error)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Failure {
        match error {
            ControlError::Refused(error) => Failure(FAILED, error),
            ControlError::TimedOut(error) => Failure(TIMED_OUT, error),
            ControlError::GivenUp(error) => Failure(GIVEN_UP, error),
            ControlError::NotRunning(error) => Failure(NOT_RUNNING, error),
        }
    }
}

fn dispatch(invocation: io::Result<Invocation>) -> Result<i32, Failure> {
    let invocation =
        invocation.map_err(|error| Error::action("open the standard descriptors", "", error))?;
    let mut words: Vec<OsString> = invocation.words().map(OsStr::to_os_string).collect();
    let posixly_correct = std::env::var_os("POSIXLY_CORRECT").is_some();
    if words
        .first()
        .is_some_and(|first| first == upgrade::TRIAL_OPTION)
    {
        words.remove(0);
        print(&upgrade::answer(words, posixly_correct)?)?;
        return Ok(0);
    }
    match cli::parse(words, posixly_correct)? {
        Command::Help => print(cli::HELP)?,
        Command::Version => print(VERSION)?,
        Command::Restart(target) => control::restart(&target)?,
        Command::Upgrade(target) => control::upgrade(&target)?,
        Command::Stop { pid_file, timeout } => control::stop(&pid_file, timeout)?,
        Command::Status {
            pid_file,
            status_file,
        } => {
            let (text, condition) = control::status(&pid_file, status_file.as_deref())?;
            print(&text)?;
            return Ok(match condition {
                Condition::Serving => 0,
                Condition::NoneServes => NO_WORKER,
                Condition::StartsFail => STARTS_FAIL,
                Condition::Ending => ENDING,
                Condition::OtherStatusFile => OTHER_STATUS_FILE,
            });
        }
        Command::Run(options) => match daemon::run(*options, invocation)? {
            Outcome::Stopped => {}
            // The log says why.
            Outcome::GivenUp => return Ok(FAILED),
        },
    }
    Ok(0)
}

fn print(text: &str) -> Result<(), Error> {
    let stdout = io::stdout();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let count = sys::fd::write(stdout.as_fd(), rest)
            .map_err(|error| Error::action("print", "", error))?;
        rest = &rest[count..];
    }
    Ok(())
}
