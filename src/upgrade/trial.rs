//! The trial of a new program before an upgrade: the side of the new program, and the side of the running one.

use super::SavedState;
use crate::cli;
use crate::error::{Error, Reason};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::supervisor::Supervisor;
use crate::sys::exec::{self, FdMapping, ForkedChild, Program};
use crate::sys::{fd, inherit, process};
use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The longest time that the new program may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The answer of a new program that accepts the state. Its version follows, and the number of its process.
const TRIAL_ACCEPTED: &str = "understood by start_server ";

/// The new program's side. `words` is the command line with which it would continue. It reads the state from standard
/// input.
pub fn answer(words: Vec<OsString>, posixly_correct: bool) -> Result<String, Error> {
    if !matches!(cli::parse(words, posixly_correct)?, cli::Command::Run(_)) {
        return Err(Error::statement("the command line does not start a server"));
    }
    let input = inherit::adopt_fd(0).map_err(|error| Error::action("read the state", "", error))?;
    let state = SavedState::read(input)?;
    Supervisor::restore(&state.supervisor, &state.workers, Time::ZERO)?;
    let (version, pid) = (env!("CARGO_PKG_VERSION"), process::id());
    Ok(format!("{TRIAL_ACCEPTED}{version}, process {pid}\n"))
}

/// The running program's side: the child that executes the new program.
pub struct Trial {
    child: ForkedChild,
    answer: OwnedFd,
    /// The time at which the child is killed. `None` after that.
    deadline: Option<Time>,
}

impl Trial {
    /// Starts `program`, which reads `state` on its standard input and answers on its standard output.
    pub fn begin<'a>(
        mut program: Program,
        environment: impl Iterator<Item = &'a CStr>,
        state: &mut SavedState,
        now: Time,
    ) -> io::Result<Trial> {
        let input = process::pipe_containing(state.render().as_bytes())?;
        let (answer, output) = fd::pipe()?;
        fd::set_nonblocking(answer.as_fd())?;
        program.descriptors = FdMapping::in_order(&[&input, &output]);
        Ok(Trial {
            child: exec::spawn(&program, environment)?,
            answer,
            deadline: Some(now + TIMEOUT),
        })
    }

    pub fn pid(&self) -> Pid {
        self.child.pid
    }

    /// The time at which the child must be killed; `None` if it was killed already.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    pub fn kill(&mut self) {
        self.deadline = None;
        // It is our child and has not been reaped, so the signal reaches it.
        let _ = process::signal(self.child.pid, libc::SIGKILL);
    }

    /// Reads the answer of a child that has exited, or finds the reason why there is none.
    pub fn outcome(self, status: WaitStatus) -> Result<(), Reason> {
        if let Some(failure) = exec::read_report(self.child.report) {
            return Err(failure.error.into());
        }
        if self.deadline.is_none() {
            let seconds = TIMEOUT.as_secs();
            return Err(format!("no answer within {seconds} seconds").into());
        }
        let mut answer = [0; 64];
        let count = fd::read(self.answer.as_fd(), &mut answer).unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..count]);
        let accepted = answer.strip_prefix(TRIAL_ACCEPTED);
        let Some(accepted) = accepted.filter(|_| status == 0 && answer.ends_with('\n')) else {
            return Err(format!("it cannot take over the state, exit status:{status}").into());
        };
        let Some((_, pid)) = accepted.trim_end().split_once(", process ") else {
            return Err(format!("it is the older version {}", accepted.trim_end()).into());
        };
        // A program that starts the new one as its child would do the same in our process, and our children would be
        // those of a program that does not know them.
        if pid.parse() != Ok(self.child.pid) {
            return Err("it answers from a process that it has started".into());
        }
        Ok(())
    }
}
