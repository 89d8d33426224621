//! Binding: from the plan to sockets that listen.

use super::activation::InheritedSocket;
use super::folder_lock::take_turns;
use super::in_the_way::{held_by, look_at, refuse_bind};
use super::plan::{backlog, claimed_numbers, plan, Slot, Source};
use super::{Listener, Listeners};
use crate::cli::endpoint::{Endpoint, Transport};
use crate::cli::Options;
use crate::files::owned::OwnedFile;
use crate::supervisor::worker::Pid;
use crate::sys::{self, fd, holders, socket};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Binds every port and path that is not among the sockets `given` by a service manager. The error is one line,
/// which tells `left_over` workers, those of a start_server that is gone, from other processes that are in the way.
pub fn bind(
    options: &Options,
    given: Vec<InheritedSocket>,
    left_over: &[Pid],
) -> Result<Listeners, String> {
    let mut slots = plan(options, given)?;
    let claimed = claimed_numbers(options, &slots)?;
    let turns = take_turns(&options.paths);
    for slot in &mut slots {
        if let Source::Path(path) = slot.source {
            if look_at(path, left_over)? {
                slot.source = Source::DeadPath(path);
            }
        }
    }
    let mut binder = Binder {
        options,
        claimed,
        left_over,
        files: Vec::new(),
        notes: Vec::new(),
    };
    // The first free numbers belong to those that did not ask for one, as under Perl.
    let mut listeners: Vec<Option<Listener>> = slots.iter().map(|_| None).collect();
    let (asking, free): (Vec<_>, Vec<_>) = slots
        .into_iter()
        .zip(&mut listeners)
        .partition(|(slot, _)| slot.number.is_some());
    for (slot, listener) in free.into_iter().chain(asking) {
        *listener = Some(binder.bind(slot)?);
    }
    drop(turns);
    Ok(Listeners {
        listeners: listeners.into_iter().flatten().collect(),
        listen_fds: options.listen_fds,
        files: binder.files,
        notes: binder.notes,
    })
}

/// What a slot needs to become a listener, and what comes of it beside that.
struct Binder<'a> {
    options: &'a Options,
    /// Numbers that a socket must have in the worker, so that no other may have them here.
    claimed: BTreeSet<RawFd>,
    left_over: &'a [Pid],
    files: Vec<OwnedFile>,
    notes: Vec<String>,
}

impl Binder<'_> {
    fn bind(&mut self, slot: Slot) -> Result<Listener, String> {
        let (socket, backlog) = match slot.source {
            Source::InheritedSocket(socket, backlog) => (socket, backlog),
            Source::Port(port, address) => self.bind_port(port, &address)?,
            Source::Path(path) => self.bind_path(path)?,
            Source::DeadPath(path) => {
                let note = format!("removing existing socket file:{}", path.display());
                self.notes.push(note);
                fs::remove_file(path).map_err(|error| refuse_bind(path, &error))?;
                self.bind_path(path)?
            }
        };
        let name = slot.name;
        let socket = fd::move_off(socket, |number| self.claimed.contains(&number));
        let socket = socket.map_err(|error| {
            let (name, reason) = (name.to_string_lossy(), sys::reason(&error));
            format!("cannot place the socket of {name}: {reason}")
        })?;
        Ok(Listener {
            number: slot.number.unwrap_or(socket.as_raw_fd()),
            name,
            socket,
            backlog,
        })
    }

    fn bind_port(
        &mut self,
        port: &Endpoint,
        address: &SocketAddr,
    ) -> Result<(OwnedFd, Option<i32>), String> {
        let backlog = match port.transport {
            Transport::Tcp => Some(backlog(self.options)),
            Transport::Udp => None,
        };
        if let Some(number) = port.descriptor {
            let note = format!("socket is duplicated to file descriptor {number}");
            self.notes.push(note);
        }
        match socket::bind_inet(address, backlog) {
            Ok(socket) => Ok((socket, backlog)),
            Err(error) => {
                let mut reason = sys::reason(&error);
                if error.kind() == io::ErrorKind::AddrInUse {
                    let holders = holders::of_port(address, backlog.is_some());
                    reason += &held_by(&holders, self.left_over);
                }
                Err(format!("cannot bind --port={}: {reason}", port.name))
            }
        }
    }

    fn bind_path(&mut self, path: &Path) -> Result<(OwnedFd, Option<i32>), String> {
        let backlog = backlog(self.options);
        let bound =
            socket::bind_unix(path.as_os_str(), self.options.path_mode).and_then(|socket| {
                // It is ours, bound above, even if we cannot learn its inode.
                let file = OwnedFile::at(path).inspect_err(|_| drop(fs::remove_file(path)))?;
                self.files.push(file);
                socket::listen(socket.as_fd(), backlog).map(|()| socket)
            });
        let socket = bound.map_err(|error| refuse_bind(path, &error))?;
        Ok((socket, Some(backlog)))
    }
}
