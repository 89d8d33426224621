//! Binding: makes the sockets of the plan.

use super::activation::InheritedSocket;
use super::folder_lock::lock_folders;
use super::in_the_way::{check_path, describe_holders, PathState};
use super::plan::{claimed_numbers, plan, PlannedSocket, SocketSource};
use super::{BoundSocket, Listeners, FILE_ROLE};
use crate::cli::endpoint::Endpoint;
use crate::cli::Options;
use crate::error::{Error, Reason};
use crate::files::owned::OwnedFile;
use crate::supervisor::worker::Pid;
use crate::sys::{fd, holders, socket};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::{fs, io};

/// Binds every port and path that is not among the `inherited` sockets. Returns the listeners and lines for the log.
///
/// `orphans` are workers of a start_server that is gone. If one of them holds an address, the error says so.
///
/// # Errors
/// All errors that can be foreseen are returned before the first socket is bound.
pub fn bind(
    options: &Options,
    inherited: Vec<InheritedSocket>,
    orphans: &[Pid],
) -> Result<(Listeners, Vec<String>), Error> {
    let mut plan = plan(options, inherited)?;
    let mut binder = Binder {
        claimed: claimed_numbers(options, &plan)?,
        path_mode: options.path_mode,
        orphans,
        files: Vec::new(),
        notes: Vec::new(),
    };
    let locks = lock_folders(&options.paths);
    for planned in &mut plan {
        if let SocketSource::Path(path, state) = &mut planned.source {
            *state = check_path(path, orphans)?;
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
        files: binder.files,
    };
    Ok((listeners, binder.notes))
}

/// Carries out the plan, and collects the socket files and the lines for the log.
struct Binder<'a> {
    /// The numbers that sockets will have in the worker. No socket of ours may have such a number now.
    claimed: Vec<RawFd>,
    path_mode: u32,
    orphans: &'a [Pid],
    files: Vec<OwnedFile>,
    notes: Vec<String>,
}

impl Binder<'_> {
    fn bind(&mut self, planned: PlannedSocket) -> Result<BoundSocket, Error> {
        let (name, backlog) = (planned.name, planned.backlog);
        let socket = match planned.source {
            SocketSource::Inherited(socket) => socket,
            SocketSource::Port(port, address) => self.bind_port(port, &address, backlog)?,
            SocketSource::Path(path, state) => self
                .bind_path(path, state, backlog)
                .map_err(|error| Error::option("path", path, Error::action("bind", "", error)))?,
        };
        let socket = fd::move_off(socket, |number| self.claimed.contains(&number))
            .map_err(|error| Error::action("place the socket of", &name, error))?;
        Ok(BoundSocket {
            number: planned.number.unwrap_or(socket.as_raw_fd()),
            name,
            socket,
            backlog,
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
                reason += &describe_holders(&holders, self.orphans);
            }
            Error::action("bind", format!("--port={}", port.name), reason)
        })
    }

    fn bind_path(
        &mut self,
        path: &Path,
        state: PathState,
        backlog: Option<i32>,
    ) -> io::Result<OwnedFd> {
        if state == PathState::StaleSocket {
            let note = format!("removing existing socket file:{}", path.display());
            self.notes.push(note);
            fs::remove_file(path)?;
        }
        let socket = socket::bind_unix(path.as_os_str(), self.path_mode)?;
        // The file is ours, since bind has made it: remove it even if its inode cannot be read.
        let file = OwnedFile::at(path, FILE_ROLE).inspect_err(|_| drop(fs::remove_file(path)))?;
        self.files.push(file);
        if let Some(backlog) = backlog {
            socket::listen(socket.as_fd(), backlog)?;
        }
        Ok(socket)
    }
}
