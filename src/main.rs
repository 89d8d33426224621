//! start_server: binds listening sockets once, runs the real server under them, and replaces it without
//! losing a connection.
//!
//! The rooms, from the top: each uses only those below it.
//!
//! | room | owns |
//! |---|---|
//! | `daemon` | the process at work: start-up, the loop, going on after an upgrade |
//! | `control` | `--restart`, `--upgrade`, `--stop`, `--status`: the other side of the pid and status files |
//! | `upgrade` | the trial of another executable, becoming it, and the state that it goes on with |
//! | `sockets` | the listening sockets: bound, given by a service manager, handed to workers |
//! | `worker` | what one worker is given, and how it says that it is ready |
//! | `service_manager` | what the service manager is told |
//! | `files` | pid file, status file, files that are ours to remove |
//! | `log` | our lines, and where `--log-file` sends them |
//! | `cli` | arguments to a `Command` |
//! | `supervisor` | the life of the workers: events to actions, without a single system call |
//! | `saved` | the text in which state outlives the program |
//! | `sys` | every call to the kernel, and all that is unsafe |

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "the tests have a main of their own"))]

use crate::supervisor::Outcome;
use crate::sys::start::Invocation;
use std::env;
use std::io::{self, Write};
use std::os::fd::AsFd;

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
mod worker;

const VERSION: &str = concat!("start_server ", env!("CARGO_PKG_VERSION"), "\n");

/// Wrong use, a start that failed, or no start_server that runs.
const FAILED: i32 = 1;
/// `--timeout` ended the wait.
const TIMED_OUT: i32 = 2;
/// The restart was given up, and the old worker serves on; or the upgrade failed, and start_server goes on as it was.
const GIVEN_UP: i32 = 3;
/// What `--status` asks for does not run: the status that init scripts use for it.
const NOT_RUNNING: i32 = 3;

sys::start::entry!(start);

/// The program: what it was called with, and the status that it ends with.
fn start(invocation: io::Result<Invocation>) -> i32 {
    let invocation = invocation.map_err(|error| {
        let reason = sys::reason(&error);
        (
            FAILED,
            format!("cannot open the standard descriptors: {reason}"),
        )
    });
    match invocation.and_then(dispatch) {
        Ok(status) => status,
        Err((status, message)) => {
            let line = format!("start_server: {}\n", log::one_line(&message));
            // The status tells it all the same when standard error is gone.
            let _ = io::stderr().write_all(line.as_bytes());
            status
        }
    }
}

fn dispatch(invocation: Invocation) -> Result<i32, (i32, String)> {
    let words = &invocation.words;
    let arguments = words.get(1..).unwrap_or_default();
    let failed = |message| (FAILED, message);
    let controlled = |failure| match failure {
        control::ControlError::Refused(message) => (FAILED, message),
        control::ControlError::TimedOut(message) => (TIMED_OUT, message),
        control::ControlError::GivenUp(message) => (GIVEN_UP, message),
        control::ControlError::NotRunning(message) => (NOT_RUNNING, message),
    };
    let posixly_correct = env::var_os("POSIXLY_CORRECT").is_some();
    if arguments.first().is_some_and(|word| word == upgrade::TRIAL) {
        let answer = upgrade::answer(&arguments[1..], posixly_correct);
        print(&answer.map_err(failed)?).map_err(failed)?;
        return Ok(0);
    }
    let command = cli::parse(arguments, posixly_correct).map_err(|error| failed(error.into()))?;
    match command {
        cli::Command::Help => print(cli::HELP).map_err(failed)?,
        cli::Command::Version => print(VERSION).map_err(failed)?,
        cli::Command::Restart(target) => {
            control::restart(&target.pid_file, &target.status_file, target.timeout)
                .map_err(controlled)?;
        }
        cli::Command::Upgrade(target) => {
            control::upgrade(&target.pid_file, &target.status_file, target.timeout)
                .map_err(controlled)?;
        }
        cli::Command::Stop { pid_file, timeout } => {
            control::stop(&pid_file, timeout).map_err(controlled)?;
        }
        cli::Command::Status {
            pid_file,
            status_file,
        } => {
            let text = control::status(&pid_file, status_file.as_deref()).map_err(controlled)?;
            print(&text).map_err(failed)?;
        }
        cli::Command::Run(options) => match daemon::run(*options, invocation).map_err(failed)? {
            Outcome::Stopped => {}
            // The log has told why.
            Outcome::GivenUp => return Ok(FAILED),
        },
    }
    Ok(0)
}

fn print(text: &str) -> Result<(), String> {
    let stdout = io::stdout();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let count = sys::fd::write(stdout.as_fd(), rest)
            .map_err(|error| format!("cannot print: {}", sys::reason(&error)))?;
        rest = &rest[count..];
    }
    Ok(())
}
