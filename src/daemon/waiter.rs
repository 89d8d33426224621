//! The sleep of the loop. It ends at a deadline, with a signal, with a report or a message of a worker, or when the log
//! has room again.

use super::workers::Workers;
use crate::error::Error;
use crate::log::lines::Log;
use crate::supervisor::policy::{Policy, Time};
use crate::supervisor::worker::Pid;
use crate::sys::clock;
use crate::sys::poll::{self, Interest, WokenBy};
use crate::sys::signals::{Received, Signals};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// The length of the sleep when poll has failed.
const AFTER_POLL_ERROR: Duration = Duration::from_millis(100);

pub(super) struct Waiter {
    pub signals: Signals,
    /// Read once a turn, after the wait.
    pub now: Time,
    /// False after a poll that failed, so that the failure is logged once.
    can_poll: bool,
}

/// The causes that ended a wait.
#[derive(Default)]
pub(super) struct Woken {
    pub by_signal: bool,
    /// A child reports that it executed its program or failed to.
    pub by_report: bool,
    pub by_deadline: bool,
    pub signals: Received,
    /// The workers that have sent messages.
    pub senders: Vec<Pid>,
}

impl Waiter {
    /// Catches signals from now on.
    pub fn new(policy: &Policy) -> Result<Waiter, Error> {
        let forwarded: Vec<_> = policy
            .forwarded
            .iter()
            .map(|signal| signal.number())
            .collect();
        Ok(Waiter {
            signals: Signals::catch(&forwarded)
                .map_err(|error| Error::action("catch signals", "", error))?,
            now: clock::now(),
            can_poll: true,
        })
    }

    pub fn wait(&mut self, deadline: Option<Time>, workers: &Workers, log: &mut Log) -> Woken {
        let mut woken = self.sleep(deadline, workers, log);
        if woken.by_signal {
            woken.signals = self.signals.drain();
        }
        // Read after the signals: systemd requires that MONOTONIC_USEC is not before its HUP.
        self.now = clock::now();
        woken.by_deadline = deadline.is_some_and(|deadline| deadline <= self.now);
        woken
    }

    fn sleep(&mut self, deadline: Option<Time>, workers: &Workers, log: &mut Log) -> Woken {
        let stderr = io::stderr();
        let mut interests = vec![Interest::readable(self.signals.wake_fd())];
        interests.extend(workers.report().map(Interest::readable));
        let reports = interests.len();
        let before = clock::now();
        let channels = workers.channels(before);
        interests.extend(channels.map(|(_, channel)| Interest::readable(channel.fd())));
        if log.is_blocked() {
            interests.push(Interest::writable(stderr.as_fd()));
        }
        let timeout = deadline.map(|deadline| deadline.saturating_sub(before));
        // poll has checked no descriptor, so a signal may have come.
        let unknown = Woken {
            by_signal: true,
            ..Woken::default()
        };
        let polled = poll::wait(&mut interests, timeout);
        let could_poll = std::mem::replace(&mut self.can_poll, polled.is_ok());
        match polled {
            Ok(WokenBy::ReadyOrTimeout) => {}
            Ok(WokenBy::Signal) => return unknown,
            Err(error) => {
                if could_poll {
                    log.note(&Error::action("poll", "", error).to_string());
                }
                // This only sleeps, so that the loop does not spin.
                let _ = poll::wait(&mut [], Some(AFTER_POLL_ERROR));
                return unknown;
            }
        }
        // The last interest may be that of the log. It has no channel, and zip leaves it out.
        let has_sent = workers.channels(before).zip(&interests[reports..]);
        Woken {
            by_signal: interests[0].happened(),
            by_report: interests[1..reports].iter().any(Interest::happened),
            senders: has_sent
                .filter(|(_, interest)| interest.happened())
                .map(|((pid, _), _)| pid)
                .collect(),
            ..Woken::default()
        }
    }
}
