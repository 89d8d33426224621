//! The worker processes: their forks, the report that a program runs, and the readiness channels.

use crate::error::Error;
use crate::supervisor::worker::{Generation, Pid, WaitStatus};
use crate::sys::exec::{self, ForkedChild};
use crate::sys::inherit;
use crate::upgrade::{SavedState, Starting};
use crate::worker::environment::Environment;
use crate::worker::launch::Launcher;
use crate::worker::readiness::{Message, ReadyChannel, SavedChannel};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

pub(super) struct Workers {
    launcher: Launcher,
    /// A child that has not executed its program yet.
    starting: Option<ForkedChild>,
    /// The channels on which live workers send messages.
    channels: Vec<(Pid, ReadyChannel)>,
}

impl Workers {
    pub fn new(launcher: Launcher) -> Workers {
        Workers {
            launcher,
            starting: None,
            channels: Vec::new(),
        }
    }

    /// Takes over the worker processes from the program before the upgrade.
    pub fn restore(&mut self, state: &SavedState) -> io::Result<()> {
        if let Some(saved) = &state.starting {
            self.starting = Some(ForkedChild {
                pid: saved.pid,
                report: inherit::adopt_fd(saved.report)?,
            });
        }
        for saved in &state.channels {
            self.channels
                .push((saved.pid, ReadyChannel::restore(saved)?));
        }
        Ok(())
    }

    pub fn save(&self) -> (Option<Starting>, Vec<SavedChannel>) {
        let starting = self.starting.as_ref().map(|forked| Starting {
            pid: forked.pid,
            report: forked.report.as_raw_fd(),
        });
        let save = |(pid, channel): &(Pid, ReadyChannel)| channel.save(*pid);
        (starting, self.channels.iter().map(save).collect())
    }

    pub fn spawn(
        &mut self,
        generation: Generation,
        environment: &Environment,
    ) -> Result<Pid, Error> {
        let (forked, channel) = self.launcher.start(generation, environment)?;
        let pid = forked.pid;
        self.starting = Some(forked);
        self.channels.extend(channel.map(|channel| (pid, channel)));
        Ok(pid)
    }

    /// A descriptor that is readable when the starting child has executed its program or has failed to.
    pub fn report(&self) -> Option<BorrowedFd<'_>> {
        self.starting.as_ref().map(|forked| forked.report.as_fd())
    }

    /// Reads the report if it has come, or if its child has exited. The error says that the program does not run.
    pub fn take_report(
        &mut self,
        has_come: bool,
        dead: &[(Pid, WaitStatus)],
    ) -> Option<Result<(), Error>> {
        let is_dead = |child: Pid| dead.iter().any(|(pid, _)| *pid == child);
        let forked = self
            .starting
            .take_if(|forked| has_come || is_dead(forked.pid))?;
        let failure = exec::read_report(forked.report);
        Some(failure.map_or(Ok(()), |failure| Err(self.launcher.explain(failure))))
    }

    pub fn channels(&self) -> impl Iterator<Item = (Pid, &ReadyChannel)> {
        self.channels.iter().map(|(pid, channel)| (*pid, channel))
    }

    /// Reads what a worker has sent since the last time.
    pub fn read_messages(&mut self, pid: Pid) -> Vec<Message> {
        let Some(index) = self.channels.iter().position(|(sender, _)| *sender == pid) else {
            return Vec::new();
        };
        self.channels[index].1.read_messages().unwrap_or_else(|| {
            self.channels.remove(index);
            Vec::new()
        })
    }

    /// Closes the channel of a worker that has exited.
    pub fn forget(&mut self, pid: Pid) {
        self.channels.retain(|(sender, _)| *sender != pid);
    }
}
