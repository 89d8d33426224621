//! start_server replaces itself by the executable that is now at its own path, without letting anything go.
//!
//! The process stays: its number, its children, its descriptors, the lock on its pid file. What it knows goes to
//! the new program as text, through a pipe that a short-lived child fills, since a pipe has room for little and
//! nothing else is there on every system. Before anything is given up the new program is tried: as a child it
//! reads the state as it is, and answers whether it understands it.

use crate::files::status_file::Upgrades;
use crate::files::{owned, pid_file};
use crate::saved::{record, restore, save, Record};
use crate::supervisor::worker::{Pid, WaitStatus};
use crate::supervisor::{self, policy::Time};
use crate::supervisor::{SavedWorker, Supervisor};
use crate::sys::process::{self, Forked, Handover, Program};
use crate::sys::start::Invocation;
use crate::sys::{fd, reason};
use crate::worker::{environment, launch, readiness};
use crate::{cli, log, service_manager, sockets};
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

/// The version of the text. A reader takes the one before it, too; `FIRST` is the only one so far.
const VERSION: u32 = FIRST;
const FIRST: u32 = 1;

/// How long the new program may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// All that the next program goes on with.
#[derive(Debug, PartialEq)]
pub struct State {
    pub origin: Origin,
    pub supervisor: supervisor::Saved,
    pub workers: Vec<SavedWorker>,
    pub starting: Option<Starting>,
    pub channels: Vec<readiness::Saved>,
    pub listeners: Vec<sockets::Saved>,
    pub files: Vec<owned::Saved>,
    pub pid_file: Option<pid_file::Saved>,
    pub log: log::Saved,
    pub log_command: Option<log::SavedCommand>,
    pub service_manager: service_manager::Saved,
    pub messages: Vec<service_manager::SavedMessage>,
    pub variables: Vec<environment::Saved>,
}

record! {
    "origin" Origin {
        /// Of the program that wrote this.
        version: String,
        /// Which upgrade this is.
        attempt: u64,
    }
}

record! {
    /// A worker that has not executed its program yet.
    "starting" Starting {
        pid: Pid,
        report: RawFd,
    }
}

impl State {
    fn render(&mut self) -> String {
        let mut text = format!("start_server state {VERSION}\n");
        save(&mut text, from_mut(&mut self.origin));
        save(&mut text, from_mut(&mut self.supervisor));
        save(&mut text, &mut self.workers);
        save(&mut text, self.starting.as_mut_slice());
        save(&mut text, &mut self.channels);
        save(&mut text, &mut self.listeners);
        save(&mut text, &mut self.files);
        save(&mut text, self.pid_file.as_mut_slice());
        save(&mut text, from_mut(&mut self.log));
        save(&mut text, self.log_command.as_mut_slice());
        save(&mut text, from_mut(&mut self.service_manager));
        save(&mut text, &mut self.messages);
        save(&mut text, &mut self.variables);
        text += "end\n";
        text
    }

    /// The error is a sentence.
    fn parse(text: &str) -> Result<State, String> {
        let body = text.strip_prefix("start_server state ");
        let (version, body) = body
            .and_then(|body| body.split_once('\n'))
            .ok_or("this is not a saved state")?;
        let known = FIRST..=VERSION;
        if !version
            .parse()
            .is_ok_and(|version| known.contains(&version))
        {
            return Err(format!("the saved state has the unknown version {version}"));
        }
        let body = body
            .strip_suffix("end\n")
            .ok_or("the saved state is cut off")?;
        Ok(State {
            origin: one(body)?,
            supervisor: one(body)?,
            workers: restore(body)?,
            starting: restore(body)?.pop(),
            channels: restore(body)?,
            listeners: restore(body)?,
            files: restore(body)?,
            pid_file: restore(body)?.pop(),
            log: one(body)?,
            log_command: restore(body)?.pop(),
            service_manager: one(body)?,
            messages: restore(body)?,
            variables: restore(body)?,
        })
    }

    /// What stays open.
    fn descriptors(&self) -> Vec<RawFd> {
        let command = self.log_command.iter();
        let ends = command.flat_map(|command| [command.reader, command.output, command.error]);
        let listeners = self.listeners.iter().map(|listener| listener.fd);
        let channels = self.channels.iter().map(|channel| channel.fd);
        let starting = self.starting.iter().map(|starting| starting.report);
        let pid_file = self.pid_file.iter().map(|pid_file| pid_file.fd);
        let all = ends
            .chain(listeners)
            .chain(channels)
            .chain(starting)
            .chain(pid_file);
        all.collect()
    }
}

fn one<T: Record>(text: &str) -> Result<T, String> {
    let found = restore(text)?.pop();
    found.ok_or_else(|| format!("the saved state has no {} record", T::KIND))
}

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
    let pipe = fd::adopt_fd(pipe).map_err(|error| format!("{VARIABLE}: {}", reason(&error)))?;
    read(pipe).map(Some)
}

fn read(pipe: OwnedFd) -> Result<State, String> {
    let mut text = String::new();
    let read = File::from(pipe).read_to_string(&mut text);
    read.map_err(|error| format!("cannot read the state: {}", reason(&error)))?;
    State::parse(&text)
}

/// The trial, seen from the new program: `words` is the command line with which it would go on, and the state is on
/// standard input. The error is one line.
pub fn answer(words: &[OsString], posixly_correct: bool) -> Result<String, String> {
    if !matches!(cli::parse(words, posixly_correct)?, cli::Command::Run(_)) {
        return Err("the command line does not start a server".to_string());
    }
    let input =
        fd::adopt_fd(0).map_err(|error| format!("cannot read the state: {}", reason(&error)))?;
    let state = read(input)?;
    Supervisor::restore(&state.supervisor, &state.workers, Time::ZERO)?;
    Ok(format!("{TRIAL_ACCEPTED}{}\n", env!("CARGO_PKG_VERSION")))
}

/// The answer that it understands, with its version behind it.
const TRIAL_ACCEPTED: &str = "understood by start_server ";

/// The way of this process to its successor.
pub struct Upgrader {
    invocation: Invocation,
    pub upgrades: Upgrades,
    trial: Option<Trial>,
}

struct Trial {
    child: Forked,
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
            let input = process::feed(state.render().as_bytes())?;
            let (answer, output) = fd::pipe()?;
            fd::set_nonblocking(answer.as_fd())?;
            let mut program = self.program();
            program
                .arguments
                .insert(1, launch::c_string(OsStr::new(TRIAL)));
            program.descriptors = [&input, &output]
                .into_iter()
                .zip(0..)
                .map(|(fd, number)| Handover {
                    fd: fd.as_raw_fd(),
                    number,
                })
                .collect();
            let child = process::spawn(&program, self.environment())?;
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
        if let Some(failure) = process::outcome(trial.child.report) {
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
        let state_pipe = match process::feed(state.render().as_bytes()) {
            Ok(pipe) => pipe,
            Err(error) => return reason(&error),
        };
        let pipe = state_pipe.as_raw_fd();
        let from = environment::string(VARIABLE, format!("{}:{pipe}", process::id()));
        let environment = self.environment().chain([from.as_c_str()]);
        let mut kept = state.descriptors();
        kept.push(pipe);
        reason(&process::replace(&self.program(), environment, &kept))
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
        given.filter(|string| environment::name(string) != VARIABLE)
    }

    /// The name under which we were started.
    pub fn name(&self) -> &OsStr {
        self.invocation
            .words
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each version that was released has written.
    const EXAMPLES: [&str; 1] = [include_str!("../../tests/upgrade/state-1")];

    #[test]
    fn the_states_of_every_version_that_counts_are_read() {
        for example in EXAMPLES {
            let mut state = State::parse(example).unwrap();
            let now = Time::from_secs(1000);
            Supervisor::restore(&state.supervisor, &state.workers, now).unwrap();
            assert_eq!(State::parse(&state.render()).as_ref(), Ok(&state));
        }
        let newest = EXAMPLES[EXAMPLES.len() - 1];
        assert_eq!(State::parse(newest).unwrap().render(), newest);
    }

    #[test]
    fn what_stays_open_is_all_that_has_a_number() {
        let mut open = State::parse(EXAMPLES[0]).unwrap().descriptors();
        open.sort();
        assert_eq!(open, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_state_of_another_version_and_one_that_is_cut_off_are_refused() {
        let whole = EXAMPLES[0];
        for version in ["0", "2", "", "1.0", "-1"] {
            let text = whole.replacen('1', version, 1);
            assert!(State::parse(&text).is_err(), "{version}");
        }
        for end in 0..whole.len() {
            assert!(State::parse(&whole[..end]).is_err(), "{end}");
        }
        for kind in ["origin", "supervisor", "log", "manager"] {
            let without = whole.replacen(&format!("\n{kind} "), "\nother ", 1);
            assert!(State::parse(&without).is_err(), "{kind}");
        }
    }
}
