//! The decision whether a process may speak for a worker on its notify socket.
//!
//! Every user who knows the name of the socket can send to it, because a worker may have dropped its privileges. The
//! name is secret, but a worker passes it on to its children, and each of them may pass it on too.

use crate::supervisor::worker::Pid;
use crate::sys::datagram::Sender;
use crate::sys::{holders, process};

/// Whether a datagram counts as one of the worker. Datagrams of root and of our own user count, since these users may
/// do with a worker what they like. A datagram of another user counts if the worker runs as this user, or if the sender
/// lives and either descends from the worker or is in the process group that the worker leads.
///
/// If there is no /proc, every sender counts.
pub fn speaks_for(sender: Sender, worker: Pid) -> bool {
    let Sender { pid, user } = sender;
    if process::is_trusted(user) {
        return true;
    }
    let Ok(users) = process::users(worker) else {
        return true;
    };
    let group = process::stat(pid).ok().and_then(|stat| stat.field(5));
    users.contains(&user) || group == Some(worker) || holders::ancestors(pid).contains(&worker)
}
