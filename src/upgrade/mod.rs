//! start_server replaces itself by the executable that is now at its own path, without letting anything go.
//!
//! The process stays: its number, its children, its descriptors, the lock on its pid file. What it knows goes to
//! the new program as text, through a pipe that a short-lived child fills, since a pipe has room for little and
//! nothing else is there on every system. Before anything is given up the new program is tried: as a child it
//! reads the state as it is, and answers whether it understands it.

use crate::files::status_file::Upgrades;
use crate::files::{owned, pid_file};
mod state;
mod trial;

pub use state::{Origin, Starting, State};
pub use trial::answer;
use trial::TRIAL_ACCEPTED;

use crate::saved::{record, restore, save, Record};
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::supervisor::{self, policy::Time};
use crate::supervisor::{SavedWorker, Supervisor};
use crate::sys::exec::{self, FdMapping, ForkedChild, Program};
use crate::sys::start::Invocation;
use crate::sys::{fd, inherit, process, reason};
use crate::worker::{environment, launch, readiness};
use crate::{cli, log, service_manager, sockets, variable};
use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::slice::from_mut;
use std::time::Duration;

/// Makes the program answer for itself instead of running. Not in `--help`: no person has a use for it. An older
/// start_server, and Perl's, refuse it as an unknown option.
pub const TRIAL: &str = "--upgrade-trial";

/// Where the program finds the state that it is to go on with: `PID:DESCRIPTOR`, where the first says whom it is
/// meant for.
pub const VARIABLE: &str = "START_SERVER_STATE";

/// How long the new program may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The state that another program has left for this process to go on with, if any. The error is one line.
pub fn inherited(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<State>, String> {
    let Some(value) = variable(VARIABLE) else {
        return Ok(None);
    };
    let (pid, number) = value
        .to_str()
        .and_then(|value| value.split_once(':'))
        .unwrap_or_default();
    // Inherited from a parent for which it was meant, it is nothing to us.
    if pid.parse() != Ok(process::id()) {
        return Ok(None);
    }
    let pipe = number
        .parse()
        .map_err(|_| format!("{VARIABLE}: no descriptor"))?;
    let pipe =
        inherit::adopt_fd(pipe).map_err(|error| format!("{VARIABLE}: {}", reason(&error)))?;
    read(pipe).map(Some)
}

fn read(pipe: OwnedFd) -> Result<State, String> {
    let mut text = String::new();
    let read = File::from(pipe).read_to_string(&mut text);
    read.map_err(|error| format!("cannot read the state: {}", reason(&error)))?;
    State::parse(&text)
}

/// The way of this process to its successor.
pub struct Upgrader {
    invocation: Invocation,
    pub upgrades: Upgrades,
    trial: Option<Trial>,
}

struct Trial {
    child: ForkedChild,
    answer: OwnedFd,
    until: Time,
    killed: bool,
}

impl Upgrader {
    pub fn new(invocation: Invocation, upgrades: Upgrades) -> Upgrader {
        Upgrader {
            invocation,
            upgrades,
            trial: None,
        }
    }

    /// Tries the executable that is now at our own path. The error is a reason.
    pub fn begin(&mut self, state: &mut State, now: Time) -> Result<(), String> {
        // The newest word counts, and what is to be tried may have changed since the last one.
        self.kill();
        self.trial = None;
        let began = (|| {
            let input = process::pipe_containing(state.render().as_bytes())?;
            let (answer, output) = fd::pipe()?;
            fd::set_nonblocking(answer.as_fd())?;
            let mut program = self.program();
            program
                .arguments
                .insert(1, launch::c_string(OsStr::new(TRIAL)));
            program.descriptors = [&input, &output]
                .into_iter()
                .zip(0..)
                .map(|(fd, number)| FdMapping {
                    fd: fd.as_raw_fd(),
                    number,
                })
                .collect();
            let child = exec::spawn(&program, self.environment())?;
            Ok(Trial {
                child,
                answer,
                until: now + PATIENCE,
                killed: false,
            })
        })();
        let trial = began.map_err(|error: std::io::Error| reason(&error))?;
        self.trial = Some(trial);
        Ok(())
    }

    /// When `tick` is wanted at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let trial = self.trial.as_ref().filter(|trial| !trial.killed);
        trial.map(|trial| trial.until)
    }

    /// Kills a trial that takes too long: its death is the outcome.
    pub fn tick(&mut self, now: Time) {
        if self.deadline().is_some_and(|until| until <= now) {
            self.kill();
        }
    }

    fn kill(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.killed = true;
            // It is our child and was not reaped yet, so it is there.
            let _ = process::signal(trial.child.pid, libc::SIGKILL);
        }
    }

    /// What a death tells of the trial: the version of the new program, or a reason against it; `None` if it was
    /// another process.
    pub fn exited(&mut self, pid: Pid, status: WaitStatus) -> Option<Result<String, String>> {
        let trial = self.trial.take_if(|trial| trial.child.pid == pid)?;
        if let Some(failure) = exec::read_report(trial.child.report) {
            return Some(Err(reason(&failure.error)));
        }
        let mut answer = [0; 64];
        let count = fd::read(trial.answer.as_fd(), &mut answer).unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..count]);
        let version = answer
            .strip_prefix(TRIAL_ACCEPTED)
            .and_then(|rest| rest.strip_suffix('\n'));
        Some(match (version, trial.killed) {
            (Some(version), false) => Ok(version.to_string()),
            (_, true) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
            (None, false) => Err(format!(
                "it cannot take over the state, exit status:{status}"
            )),
        })
    }

    /// Becomes the executable that is now at our own path. Comes back only when that failed, with the reason.
    pub fn execute(&self, mut state: State) -> String {
        let state_pipe = match process::pipe_containing(state.render().as_bytes()) {
            Ok(pipe) => pipe,
            Err(error) => return reason(&error),
        };
        let pipe = state_pipe.as_raw_fd();
        let from = variable::assignment(VARIABLE, format!("{}:{pipe}", process::id()));
        let environment = self.environment().chain([from.as_c_str()]);
        let mut kept = state.descriptors();
        kept.push(pipe);
        reason(&exec::replace(&self.program(), environment, &kept))
    }

    /// Our own command line, as it was given.
    fn program(&self) -> Program {
        let path = std::env::var_os("PATH");
        Program {
            candidates: launch::candidates(self.name(), path.as_deref()),
            arguments: self
                .invocation
                .words
                .iter()
                .map(|word| launch::c_string(word))
                .collect(),
            listen_pid: false,
            by_shell: false,
            dir: None,
            descriptors: Vec::new(),
        }
    }

    /// Our own environment, as it was given.
    fn environment(&self) -> impl Iterator<Item = &CStr> {
        let given = self.invocation.environment.iter().copied();
        given.filter(|string| variable::name(string) != VARIABLE)
    }

    /// The name under which we were started.
    pub fn name(&self) -> &OsStr {
        self.invocation
            .words
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str)
    }
}
