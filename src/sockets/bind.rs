//! Binding: from the plan to sockets that listen.

use super::activation::InheritedSocket;
use super::folder_lock::lock_folders;
use super::in_the_way::{check_path, describe_holders, refuse_bind};
use super::plan::{backlog, claimed_numbers, plan, PlannedSocket, SocketSource};
use super::{BoundSocket, Listeners};
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

/// Binds every port and path that is not among the sockets `inherited` by a service manager. The error is one line,
/// which tells `orphans` workers, those of a start_server that is gone, from other processes that are in the way.
pub fn bind(
    options: &Options,
    inherited: Vec<InheritedSocket>,
    orphans: &[Pid],
) -> Result<Listeners, String> {
    let mut planned = plan(options, inherited)?;
    let claimed = claimed_numbers(options, &planned)?;
    let locks = lock_folders(&options.paths);
    for socket_plan in &mut planned {
        if let SocketSource::Path(path) = socket_plan.source {
            if check_path(path, orphans)? {
                socket_plan.source = SocketSource::DeadPath(path);
            }
        }
    }
    let mut binder = Binder {
        options,
        claimed,
        orphans,
        files: Vec::new(),
        notes: Vec::new(),
    };
    // The first free numbers belong to those that did not ask for one, as under Perl.
    let mut listeners: Vec<Option<BoundSocket>> = planned.iter().map(|_| None).collect();
    let (asking, free): (Vec<_>, Vec<_>) = planned
        .into_iter()
        .zip(&mut listeners)
        .partition(|(socket_plan, _)| socket_plan.number.is_some());
    for (socket_plan, listener) in free.into_iter().chain(asking) {
        *listener = Some(binder.bind(socket_plan)?);
    }
    drop(locks);
    Ok(Listeners {
        listeners: listeners.into_iter().flatten().collect(),
        listen_fds: options.listen_fds,
        files: binder.files,
        notes: binder.notes,
    })
}

/// What a socket_plan needs to become a listener, and what comes of it beside that.
struct Binder<'a> {
    options: &'a Options,
    /// Numbers that a socket must have in the worker, so that no other may have them here.
    claimed: BTreeSet<RawFd>,
    orphans: &'a [Pid],
    files: Vec<OwnedFile>,
    notes: Vec<String>,
}

impl Binder<'_> {
    fn bind(&mut self, socket_plan: PlannedSocket) -> Result<BoundSocket, String> {
        let (socket, backlog) = match socket_plan.source {
            SocketSource::Inherited(socket, backlog) => (socket, backlog),
            SocketSource::Port(port, address) => self.bind_port(port, &address)?,
            SocketSource::Path(path) => self.bind_path(path)?,
            SocketSource::DeadPath(path) => {
                let note = format!("removing existing socket file:{}", path.display());
                self.notes.push(note);
                fs::remove_file(path).map_err(|error| refuse_bind(path, &error))?;
                self.bind_path(path)?
            }
        };
        let name = socket_plan.name;
        let socket = fd::move_off(socket, |number| self.claimed.contains(&number));
        let socket = socket.map_err(|error| {
            let (name, reason) = (name.to_string_lossy(), sys::reason(&error));
            format!("cannot place the socket of {name}: {reason}")
        })?;
        Ok(BoundSocket {
            number: socket_plan.number.unwrap_or(socket.as_raw_fd()),
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
                    reason += &describe_holders(&holders, self.orphans);
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
