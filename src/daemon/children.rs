//! The exits of children, and with `--kill-mode=mixed` or `group` the processes that a worker leaves in its process
//! group.
//!
//! A worker that leads a process group is reaped last: until then the number of the group is certainly ours (see
//! [`group`]). With `mixed` its group is killed before it is reaped. With `group` it is not reaped before its group is
//! empty. No system reports that, so the group is checked from time to time while a worker is kept in this way.

use crate::supervisor::policy::{KillMode, Time};
use crate::supervisor::worker::{Pid, Role, WaitStatus, Worker};
use crate::sys::{group, process};
use std::io;
use std::time::Duration;

/// The pause between two looks at the groups of workers that have exited.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The exit of a child.
pub(super) enum Exit {
    /// The child was reaped.
    Reaped(Pid, WaitStatus),
    /// This worker is not reaped, because others in its process group live.
    LeftOthers(Pid, WaitStatus),
}

impl Exit {
    pub fn pid(&self) -> Pid {
        match *self {
            Exit::Reaped(pid, _) | Exit::LeftOthers(pid, _) => pid,
        }
    }
}

pub(super) struct Children {
    kill_mode: KillMode,
    kept: Vec<Kept>,
    next_check: Option<Time>,
}

/// A worker that has exited before others in its process group.
struct Kept {
    leader: Pid,
    /// One of the others.
    member: Pid,
}

impl Children {
    pub fn new(kill_mode: KillMode) -> Children {
        Children {
            kill_mode,
            kept: Vec::new(),
            next_check: None,
        }
    }

    /// The time of the next look at the groups of workers that have exited.
    pub fn deadline(&self) -> Option<Time> {
        self.next_check
    }

    /// Returns the exits since the last call. `others` are our children that are not workers.
    pub fn exits(&mut self, workers: &[Worker], others: &[Pid], now: Time) -> Vec<Exit> {
        if self.kill_mode == KillMode::Process {
            let reaped = std::iter::from_fn(process::reap);
            return reaped
                .map(|(pid, status)| Exit::Reaped(pid, status))
                .collect();
        }
        let mut exits = self.emptied();
        while let Some(pid) = self.next_exited(workers, others) {
            let worker = workers.iter().find(|worker| worker.pid == pid);
            exits.extend(match worker {
                Some(worker) => self.on_worker_exited(worker),
                None => reap(pid),
            });
        }
        self.next_check = (!self.kept.is_empty()).then(|| now + CHECK_INTERVAL);
        exits
    }

    /// Reaps the kept workers whose groups are empty now.
    fn emptied(&mut self) -> Vec<Exit> {
        let mut exits = Vec::new();
        self.kept.retain_mut(|kept| {
            let member = live_member(kept.leader, Some(kept.member));
            match member {
                Some(member) => kept.member = member,
                None => exits.extend(reap(kept.leader)),
            }
            member.is_some()
        });
        exits
    }

    /// A child that has exited and is not kept. As process 1 we also have children that we do not know. They are reaped
    /// when no worker is kept: until then the system may name the kept one again and again.
    fn next_exited(&self, workers: &[Worker], others: &[Pid]) -> Option<Pid> {
        let is_kept = |pid: &Pid| self.kept.iter().any(|kept| kept.leader == *pid);
        let known = workers.iter().map(|worker| worker.pid);
        let mut known = known.chain(others.iter().copied());
        known
            .find(|pid| !is_kept(pid) && group::exited(*pid).is_some())
            .or_else(|| group::any_exited().filter(|pid| !is_kept(pid)))
    }

    fn on_worker_exited(&mut self, worker: &Worker) -> Option<Exit> {
        let pid = worker.pid;
        // The rest of a failed start serves nobody.
        if self.kill_mode == KillMode::Mixed || worker.role == Role::Candidate {
            kill_group(pid);
            return reap(pid);
        }
        let Some(member) = live_member(pid, None) else {
            return reap(pid);
        };
        let status = group::exited(pid)?;
        self.kept.push(Kept {
            leader: pid,
            member,
        });
        Some(Exit::LeftOthers(pid, status))
    }
}

/// Returns a live process in the group of a worker that has exited, or the leader if this is unknown at the moment. On
/// a system that never tells, kills the group and returns `None`.
fn live_member(leader: Pid, last: Option<Pid>) -> Option<Pid> {
    match group::live_member(leader, last) {
        Ok(member) => member,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            kill_group(leader);
            None
        }
        // Descriptors may be short at the moment. A process may be left, so there is one more check.
        Err(_) => Some(leader),
    }
}

fn kill_group(leader: Pid) {
    // This only fails if all that are left belong to other users, and then nothing can be done.
    let _ = group::signal(leader, libc::SIGKILL);
}

fn reap(pid: Pid) -> Option<Exit> {
    process::wait(pid).map(|status| Exit::Reaped(pid, status))
}
