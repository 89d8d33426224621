//! The worker processes: their forks, the report that a program runs, the readiness channels and the exits.

use super::children::{Children, Exit};
use crate::error::Error;
use crate::supervisor::policy::{KillMode, Time};
use crate::supervisor::worker::{Generation, Pid};
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
    pub children: Children,
}

impl Workers {
    pub fn new(launcher: Launcher, kill_mode: KillMode) -> Workers {
        Workers {
            launcher,
            starting: None,
            channels: Vec::new(),
            children: Children::new(kill_mode),
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

    /// Reads the report if it has come, or if its child has exited. It is an error if the child could not become a
    /// worker.
    pub fn take_report(&mut self, has_come: bool, exits: &[Exit]) -> Option<Result<(), Error>> {
        let is_dead = |child: Pid| exits.iter().any(|exit| exit.pid() == child);
        let forked = self
            .starting
            .take_if(|forked| has_come || is_dead(forked.pid))?;
        let failure = exec::read_report(forked.report);
        Some(failure.map_or(Ok(()), |failure| Err(self.launcher.explain(failure))))
    }

    /// The channels, without those of workers that have sent too many messages.
    pub fn channels(&self, now: Time) -> impl Iterator<Item = (Pid, &ReadyChannel)> {
        let channels = self.channels.iter().map(|(pid, channel)| (*pid, channel));
        channels.filter(move |(_, channel)| channel.rests_until(now).is_none())
    }

    /// The time of the next look at the workers.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        let channels = self.channels.iter();
        let rests = channels.filter_map(|(_, channel)| channel.rests_until(now));
        rests.chain(self.children.deadline()).min()
    }

    /// Reads what a worker has sent since the last time.
    pub fn read_messages(&mut self, pid: Pid, now: Time) -> Vec<Message> {
        let Some(index) = self.channels.iter().position(|(sender, _)| *sender == pid) else {
            return Vec::new();
        };
        self.channels[index]
            .1
            .read_messages(pid, now)
            .unwrap_or_else(|| {
                self.channels.remove(index);
                Vec::new()
            })
    }

    /// Closes the channel of a worker that has exited.
    pub fn forget(&mut self, pid: Pid) {
        self.channels.retain(|(sender, _)| *sender != pid);
    }
}
