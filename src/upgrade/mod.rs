//! The replacement of the running program by the executable that is now at its path. The process keeps its pid, its
//! children, its descriptors and the lock on its pid file.
//!
//! The state of the daemon comes in, and goes out to the new program as text. First a child executes the new program
//! for a trial (`trial`): the program reads the state and answers whether it can continue with that state. Then this
//! process executes the new program.
//!
//! The text goes through a pipe, since no other way exists on every system. A pipe holds little text, so a short-lived
//! child writes it.

mod state;
mod trial;

pub use state::{Origin, SavedState, Starting};
pub use trial::answer;

use crate::error::{Error, Reason};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::sys::exec::{self, Program};
use crate::sys::start::Invocation;
use crate::sys::{inherit, process};
use crate::variable::{self, assignment};
use crate::worker::launch;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use trial::Trial;

/// Makes the new program answer whether it can take over, instead of running. The option is not in `--help`, since only
/// start_server uses it. Older versions and Perl's start_server refuse it as an unknown option.
pub const TRIAL_OPTION: &str = "--upgrade-trial";

/// The variable with the descriptor of the state: `PID:DESCRIPTOR`. PID is the process that the state is meant for.
pub const VARIABLE: &str = "START_SERVER_STATE";

/// Reads the state that the program before the upgrade has left for this process, if there was an upgrade.
pub fn inherited_state() -> Result<Option<SavedState>, Error> {
    let value = std::env::var_os(VARIABLE).unwrap_or_default();
    let text = value.to_str().unwrap_or_default();
    let (pid, number) = text.split_once(':').unwrap_or_default();
    // A parent may have leaked the variable that was meant for itself.
    if pid.parse() != Ok(process::id()) {
        return Ok(None);
    }
    let refuse = |reason: Reason| Error::statement(format!("{VARIABLE}: {reason}"));
    let number = number.parse().map_err(|_| refuse("no descriptor".into()))?;
    let pipe = inherit::adopt_fd(number).map_err(|error| refuse(error.into()))?;
    SavedState::read(pipe).map(Some)
}

/// Tries the new program, and then executes it in this process.
pub struct Upgrader {
    invocation: Invocation,
    /// The number of upgrades that were tried, failed ones included.
    pub attempts: u64,
    trial: Option<Trial>,
    /// The trial has succeeded: the program is replaced at the end of this turn.
    is_accepted: bool,
}

impl Upgrader {
    pub fn new(invocation: Invocation) -> Upgrader {
        Upgrader {
            invocation,
            attempts: 0,
            trial: None,
            is_accepted: false,
        }
    }

    /// Starts the trial of the executable that is now at our own path.
    pub fn begin(&mut self, state: &mut SavedState, now: Time) -> Result<(), Reason> {
        // A new request replaces an earlier one: the executable may have changed since the trial.
        self.end_trial();
        self.is_accepted = false;
        let mut program = self.program();
        let option = launch::c_string(OsStr::new(TRIAL_OPTION));
        program.arguments.insert(1, option);
        self.trial = Some(Trial::begin(program, self.environment(), state, now)?);
        Ok(())
    }

    /// The time by which `tick` must be called.
    pub fn deadline(&self) -> Option<Time> {
        self.trial.as_ref().and_then(Trial::deadline)
    }

    /// The child that is on trial.
    pub fn trial_pid(&self) -> Option<Pid> {
        self.trial.as_ref().map(Trial::pid)
    }

    /// Kills a trial that takes too long. Its exit then ends the trial.
    pub fn tick(&mut self, now: Time) {
        if let Some(trial) = &mut self.trial {
            if trial.deadline().is_some_and(|until| until <= now) {
                trial.kill();
            }
        }
    }

    /// Ends an unfinished trial.
    pub fn end_trial(&mut self) {
        if let Some(mut trial) = self.trial.take() {
            trial.kill();
        }
    }

    /// Handles the exit of a child. Returns the outcome of the trial, or `None` if the child was not the trial.
    pub fn exited(&mut self, pid: Pid, status: WaitStatus) -> Option<Result<(), Reason>> {
        let trial = self.trial.take_if(|trial| trial.pid() == pid)?;
        let outcome = trial.outcome(status);
        self.is_accepted = outcome.is_ok();
        Some(outcome)
    }

    /// Whether a trial has succeeded since the last call.
    pub fn take_accepted(&mut self) -> bool {
        std::mem::take(&mut self.is_accepted)
    }

    /// Executes the program that is now at our own path, in this process. Returns only if that failed, with the reason.
    pub fn execute(&self, mut state: SavedState) -> Reason {
        let pipe = match process::pipe_containing(state.render().as_bytes()) {
            Ok(pipe) => pipe,
            Err(error) => return error.into(),
        };
        let number = pipe.as_raw_fd();
        let source = assignment(VARIABLE, format!("{}:{number}", process::id()));
        let environment = self.environment().chain([source.as_c_str()]);
        let mut kept = state.descriptors();
        kept.push(number);
        exec::replace(&self.program(), environment, &kept).into()
    }

    /// Our own command line, unchanged.
    fn program(&self) -> Program {
        let path = std::env::var_os("PATH");
        let arguments = &self.invocation.arguments;
        Program {
            candidates: launch::candidates(self.name(), path.as_deref()),
            arguments: arguments.iter().copied().map(CString::from).collect(),
            ..Program::default()
        }
    }

    /// Our own environment, without the variable of an earlier upgrade.
    fn environment(&self) -> impl Iterator<Item = &CStr> {
        let given = self.invocation.environment.iter().copied();
        given.filter(|string| variable::name(string) != VARIABLE)
    }

    /// The name under which this program was started.
    pub fn name(&self) -> &OsStr {
        let name = self.invocation.arguments.first().copied();
        OsStr::from_bytes(name.unwrap_or_default().to_bytes())
    }
}
