//! Binding: makes the sockets of the plan.

use super::in_the_way::{check_path, describe_holders, PathState};
use super::plan::{claimed_numbers, PlannedSocket, SocketSource};
use super::{BoundSocket, Listeners, PathAccess, SocketOrigin, FILE_ROLE};
use crate::cli::endpoint::Endpoint;
use crate::cli::Options;
use crate::error::{Error, Reason};
use crate::files::folder_lock::lock_folders;
use crate::files::owned::OwnedFile;
use crate::supervisor::worker::Pid;
use crate::sys::address::{self, Address};
use crate::sys::{fd, holders, socket};
use std::fs::{self, Metadata};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::lchown;
use std::path::Path;

/// Binds every port and path of the plan. Returns the listeners and lines for the log.
///
/// `left_over` are workers of a start_server that is gone. If one of them holds an address, the error says so.
///
/// # Errors
/// All errors that can be foreseen are returned before the first socket is bound.
pub fn bind(
    options: &Options,
    mut plan: Vec<PlannedSocket>,
    left_over: &[Pid],
) -> Result<(Listeners, Vec<String>), Error> {
    let mut binder = Binder {
        claimed: claimed_numbers(options, &plan)?,
        path_access: PathAccess::new(options),
        left_over,
        notes: Vec::new(),
    };
    binder.path_access.owner()?;
    let locks = lock_folders(&options.paths);
    for planned in &mut plan {
        if let SocketSource::Path(path, state) = &mut planned.source {
            *state = check_path(path, left_over)?;
        }
    }
    // Sockets without a required number get the lowest free numbers, as under Perl.
    let mut sockets: Vec<Option<BoundSocket>> = plan.iter().map(|_| None).collect();
    let (numbered, free): (Vec<_>, Vec<_>) = plan
        .into_iter()
        .zip(&mut sockets)
        .partition(|(planned, _)| planned.number.is_some());
    for (planned, socket) in free.into_iter().chain(numbered) {
        *socket = Some(binder.bind(planned)?);
    }
    drop(locks);
    let listeners = Listeners {
        sockets: sockets.into_iter().flatten().collect(),
        listen_fds: options.listen_fds,
        path_access: binder.path_access,
    };
    Ok((listeners, binder.notes))
}

/// Carries out the plan, and collects the lines for the log.
struct Binder<'a> {
    /// The numbers that sockets will have in the worker. No socket of ours may have such a number now.
    claimed: Vec<RawFd>,
    path_access: PathAccess,
    left_over: &'a [Pid],
    notes: Vec<String>,
}

impl Binder<'_> {
    fn bind(&mut self, planned: PlannedSocket) -> Result<BoundSocket, Error> {
        let (name, backlog) = (planned.name, planned.backlog);
        let (socket, origin) = match planned.source {
            SocketSource::Inherited(socket) => (socket, SocketOrigin::Inherited),
            SocketSource::Port(port, address) => {
                let socket = self.bind_port(port, &address, backlog)?;
                // The system may have chosen the port. The address is needed only to bind the port again, on systems
                // where a socket that was shut down cannot listen again.
                let chosen = if socket::SHUTDOWN_IS_SHOWN {
                    None
                } else {
                    address::of_socket(socket.as_fd()).ok()
                };
                match chosen {
                    Some(Address::Inet(chosen)) => (socket, SocketOrigin::Port(chosen)),
                    Some(Address::Unix(_)) | None => (socket, SocketOrigin::Port(address)),
                }
            }
            SocketSource::Path(path, state) => {
                let (socket, file) = self.bind_path(path, state, backlog).map_err(|reason| {
                    Error::option("path", path, Error::action("bind", "", reason))
                })?;
                (socket, SocketOrigin::Path(file))
            }
        };
        let socket = fd::move_off(socket, |number| self.claimed.contains(&number))
            .map_err(|error| Error::action("place the socket of", &name, error))?;
        Ok(BoundSocket {
            number: planned.number.unwrap_or(socket.as_raw_fd()),
            name,
            socket,
            backlog,
            origin,
            is_dead: false,
        })
    }

    fn bind_port(
        &mut self,
        port: &Endpoint,
        address: &SocketAddr,
        backlog: Option<i32>,
    ) -> Result<OwnedFd, Error> {
        if let Some(number) = port.descriptor {
            let note = format!("socket is duplicated to file descriptor {number}");
            self.notes.push(note);
        }
        socket::bind_inet(address, backlog).map_err(|error| {
            let is_in_use = error.kind() == io::ErrorKind::AddrInUse;
            let mut reason = Reason::from(error).to_string();
            if is_in_use {
                let holders = holders::of_port(address, backlog.is_some());
                reason += &describe_holders(&holders, self.left_over);
            }
            Error::action("bind", format!("--port={}", port.name), reason)
        })
    }

    fn bind_path(
        &mut self,
        path: &Path,
        state: PathState,
        backlog: Option<i32>,
    ) -> Result<(OwnedFd, OwnedFile), Reason> {
        if state == PathState::StaleSocket {
            let note = format!("removing existing socket file:{}", path.display());
            self.notes.push(note);
            fs::remove_file(path)?;
        }
        let (socket, metadata) = bind_path(path, &self.path_access, backlog)?;
        Ok((socket, OwnedFile::new(path, FILE_ROLE, &metadata)))
    }
}

/// Binds a Unix socket at a path where there is no file, and returns the metadata of its file.
pub(super) fn bind_path(
    path: &Path,
    access: &PathAccess,
    backlog: Option<i32>,
) -> Result<(OwnedFd, Metadata), Reason> {
    let (user, group) = access.owner().map_err(|error| error.to_string())?;
    let socket = socket::bind_unix(path.as_os_str(), access.mode)?;
    let finish = || {
        // No process can connect before the socket listens.
        if (user, group) != (None, None) {
            lchown(path, user, group)?;
        }
        if let Some(backlog) = backlog {
            socket::listen(socket.as_fd(), backlog)?;
        }
        fs::symlink_metadata(path)
    };
    // The file is ours, since bind has made it.
    let metadata = finish().inspect_err(|_| drop(fs::remove_file(path)))?;
    Ok((socket, metadata))
}
