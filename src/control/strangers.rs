//! The processes that hold a socket of start_server and are not its workers, for example a child that an old worker has
//! left running. Linux only.

use super::*;
use crate::sys::holders::{self, HeldSocket, Holder};

/// Finds the processes that hold a socket of this start_server, do not descend from one of its workers and are not in
/// the process group of one. `read` reads the workers.
pub(super) fn of(pid_file: &LockedPidFile, read: impl FnOnce() -> Vec<Pid>) -> Vec<String> {
    let sockets = Sockets::of(pid_file);
    let holders = holders::of_sockets(&sockets.held);
    // The workers are read after the processes: a new one may have been started meanwhile.
    let workers = read();
    let is_stranger = |holder: &&Holder| {
        let family = holder.ancestors.iter().chain(&holder.group);
        let mut family = family.chain([&holder.pid]);
        !sockets.by_right.contains(&holder.pid) && !family.any(|pid| workers.contains(pid))
    };
    let strangers = holders.iter().filter(is_stranger);
    // A process without its name of the first look is left out: it was an old worker that has ended meanwhile, or a
    // child of start_server that had not executed its program yet.
    let strangers = strangers.filter(|holder| holders::name(holder.pid) == holder.name);
    strangers.map(describe).collect()
}

/// The sockets of a start_server.
pub(super) struct Sockets {
    held: Vec<HeldSocket>,
    /// start_server itself, and its ancestors: a service manager may have made the sockets.
    by_right: Vec<Pid>,
}

impl Sockets {
    pub fn of(pid_file: &LockedPidFile) -> Sockets {
        let mut by_right = holders::ancestors(pid_file.pid);
        by_right.push(pid_file.pid);
        Sockets {
            held: holders::sockets_of(pid_file.pid),
            by_right,
        }
    }

    /// The processes that hold one of them after the end of start_server.
    pub fn holders(&self) -> Vec<String> {
        let holders = holders::of_sockets(&self.held);
        let others = holders
            .iter()
            .filter(|holder| !self.by_right.contains(&holder.pid));
        others.map(describe).collect()
    }
}

fn describe(holder: &Holder) -> String {
    let (pid, name) = (holder.pid, &holder.name);
    match holders::variable(pid, "SERVER_STARTER_GENERATION") {
        Some(generation) => format!("process {pid} ({name}, generation {generation})"),
        None => format!("process {pid} ({name})"),
    }
}
