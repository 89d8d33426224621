//! Endpoints and paths to bound sockets, and the removal of our own socket files.
//!
//! Everything is looked at before anything is bound, so that a refusal leaves the system untouched.

use crate::activation::{self, Given};
use crate::cli::Options;
use crate::endpoint::{Endpoint, Host, Transport};
use crate::file::OurFile;
use crate::policy::Readiness;
use crate::sys::holders::{self, Holder};
use crate::sys::process::Handover;
use crate::sys::{self, fd, socket};
use crate::worker::Pid;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The sockets of this start_server, in the order in which workers learn of them.
pub struct Listeners {
    listeners: Vec<Listener>,
    /// Whether they are described to workers as systemd does, too.
    listen_fds: bool,
    /// Removed when this is dropped.
    _files: Vec<OurFile>,
    /// What there is to say about the binding, as lines for the log.
    pub notes: Vec<String>,
}

struct Listener {
    name: OsString,
    socket: OwnedFd,
    /// Its number in the worker.
    number: RawFd,
    /// The length of its queue, if it has one.
    backlog: Option<i32>,
}

/// Binds every port and path that is not among the sockets `given` by a service manager. The error is one line,
/// which tells `left_over` workers, those of a start_server that is gone, from other processes that are in the way.
pub fn bind(
    options: &Options,
    mut given: Vec<Given>,
    left_over: &[Pid],
) -> Result<Listeners, String> {
    let ports = &options.ports;
    let addresses = resolve(ports)?;
    let mut take = |is_it: &dyn Fn(&Given) -> bool| {
        let index = given.iter().position(is_it)?;
        Some(given.remove(index).socket)
    };
    let mut ports_given: Vec<Option<OwnedFd>> = ports
        .iter()
        .zip(&addresses)
        .map(|(port, address)| take(&|given| given.is_port(port, address)))
        .collect();
    let paths_given: Vec<Option<OwnedFd>> = options
        .paths
        .iter()
        .map(|path| take(&|given| given.is_path(path)))
        .collect();
    let total = ports.len() + options.paths.len() + given.len();
    let claimed = claimed_numbers(options, total)?;
    let to_bind = options.paths.iter().zip(&paths_given);
    let to_bind = to_bind.filter(|(_, given)| given.is_none());
    let dead_sockets = look_at(to_bind.map(|(path, _)| path), left_over)?;
    let backlog = options.backlog.unwrap_or(socket::LONGEST_BACKLOG);
    let mut notes = Vec::new();

    // Moves a socket out of the way of numbers that somebody asked for, and gives it its own.
    let place = |index: usize, socket: OwnedFd, descriptor: Option<RawFd>| {
        let socket = fd::move_off(socket, |number| claimed.contains(&number))?;
        let in_row = options
            .listen_fds
            .then(|| activation::FIRST + index as RawFd);
        let number = descriptor.or(in_row).unwrap_or(socket.as_raw_fd());
        io::Result::Ok((socket, number))
    };
    let mut bind_port = |index: usize| -> Result<(usize, Listener), String> {
        let port: &Endpoint = &ports[index];
        let queue = match port.transport {
            Transport::Tcp => Some(backlog),
            Transport::Udp => None,
        };
        let (socket, number) = ports_given[index]
            .take()
            .map_or_else(|| socket::bind_inet(&addresses[index], queue), Ok)
            .and_then(|socket| place(index, socket, port.descriptor))
            .map_err(|error| {
                let mut reason = sys::reason(&error);
                if error.kind() == io::ErrorKind::AddrInUse {
                    let holders = holders::of_port(&addresses[index], queue.is_some());
                    reason += &held_by(&holders, left_over);
                }
                format!("cannot bind --port={}: {reason}", port.name)
            })?;
        Ok((
            index,
            Listener {
                name: port.name.clone().into(),
                socket,
                number,
                backlog: queue,
            },
        ))
    };
    // The first free numbers belong to those that did not ask for one, as under Perl.
    let (numbered, free): (Vec<_>, Vec<_>) =
        (0..ports.len()).partition(|&index| ports[index].descriptor.is_some());
    let mut bound = free
        .into_iter()
        .map(&mut bind_port)
        .collect::<Result<Vec<_>, _>>()?;

    let mut files = Vec::new();
    let paths = options.paths.iter().zip(paths_given);
    for (index, (path, socket)) in (ports.len()..).zip(paths) {
        let refuse = |error| refuse_path(path, &format!("cannot bind: {}", sys::reason(&error)));
        if dead_sockets.contains(path) {
            notes.push(format!("removing existing socket file:{}", path.display()));
            fs::remove_file(path).map_err(refuse)?;
        }
        let socket = match socket {
            // Its file is the service manager's.
            Some(given) => given,
            None => {
                let mode = options.path_mode;
                let socket = socket::bind_unix(path.as_os_str(), mode, backlog).map_err(refuse)?;
                files.push(OurFile::at(path).map_err(refuse)?);
                socket
            }
        };
        let (socket, number) = place(index, socket, None).map_err(refuse)?;
        let listener = Listener {
            name: path.clone().into(),
            socket,
            number,
            backlog: Some(backlog),
        };
        bound.push((index, listener));
    }

    for index in numbered {
        let (index, listener) = bind_port(index)?;
        notes.push(format!(
            "socket is duplicated to file descriptor {}",
            listener.number
        ));
        bound.push((index, listener));
    }
    for (index, given) in (ports.len() + options.paths.len()..).zip(given) {
        let name = given.name();
        let refuse = |error| {
            format!(
                "cannot hand on {}: {}",
                name.to_string_lossy(),
                sys::reason(&error)
            )
        };
        let (socket, number) = place(index, given.socket, None).map_err(refuse)?;
        let listener = Listener {
            name,
            socket,
            number,
            // How long its queue is, and whether it has one, is the service manager's business.
            backlog: None,
        };
        bound.push((index, listener));
    }
    bound.sort_by_key(|(index, _)| *index);
    Ok(Listeners {
        listeners: bound.into_iter().map(|(_, listener)| listener).collect(),
        listen_fds: options.listen_fds,
        _files: files,
        notes,
    })
}

impl Listeners {
    /// What tells workers of them.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("SERVER_STARTER_PORT", self.names())];
        if self.listen_fds {
            let names = self
                .listeners
                .iter()
                .map(|listener| listener.name.as_os_str());
            variables.push(("LISTEN_FDS", self.listeners.len().to_string().into()));
            variables.push(("LISTEN_FDNAMES", activation::names(names)));
            // The child completes it.
            variables.push(("LISTEN_PID", OsString::new()));
        }
        variables
    }

    /// The value of `SERVER_STARTER_PORT`.
    fn names(&self) -> OsString {
        let mut value = OsString::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            if index > 0 {
                value.push(";");
            }
            value.push(&listener.name);
            value.push(format!("={}", listener.number));
        }
        value
    }

    /// What a worker is handed.
    pub fn handovers(&self) -> Vec<Handover> {
        let each = self.listeners.iter();
        each.map(|listener| Handover {
            fd: listener.socket.as_raw_fd(),
            number: listener.number,
        })
        .collect()
    }

    /// Listens again where a worker has shut the shared socket down, as some do to wake their threads at their
    /// end; `say` is told. Linux lets a Unix socket be shut down without a trace, and for ever.
    pub fn listen_again(&self, mut say: impl FnMut(&str)) {
        for listener in &self.listeners {
            let Some(backlog) = listener.backlog else {
                continue;
            };
            let socket = listener.socket.as_fd();
            if socket::listens(socket) {
                continue;
            }
            let name = listener.name.to_string_lossy();
            match socket::listen(socket, backlog) {
                Ok(()) => say(&format!(
                    "listening again on {name}, which a worker had shut down"
                )),
                Err(error) => say(&format!(
                    "cannot listen again on {name}, which a worker has shut down: {}",
                    sys::reason(&error)
                )),
            }
        }
    }
}

fn resolve(ports: &[Endpoint]) -> Result<Vec<SocketAddr>, String> {
    let mut seen = BTreeSet::new();
    let mut addresses = Vec::new();
    for port in ports {
        let address =
            address_of(port).map_err(|reason| format!("--port={}: {reason}", port.name))?;
        // Port 0 is a different one each time.
        if port.port != 0 && !seen.insert((port.transport, address)) {
            return Err(format!(
                "--port={}: another --port is the same address",
                port.name
            ));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn address_of(port: &Endpoint) -> Result<SocketAddr, String> {
    match &port.host {
        Host::Any => Ok((Ipv4Addr::UNSPECIFIED, port.port).into()),
        Host::V6(address) => Ok((*address, port.port).into()),
        Host::Named(host) => {
            let addresses = (host.as_str(), port.port).to_socket_addrs();
            let mut addresses = addresses
                .map_err(|error| format!("cannot resolve {host}: {}", sys::reason(&error)))?;
            addresses
                .find(SocketAddr::is_ipv4)
                .ok_or_else(|| format!("{host} has no IPv4 address"))
        }
    }
}

/// The numbers that nothing else of ours may have, where workers get `total` sockets.
fn claimed_numbers(options: &Options, total: usize) -> Result<BTreeSet<RawFd>, String> {
    let limit = fd::limit();
    let mut claimed = BTreeSet::new();
    if options.listen_fds {
        let row = activation::FIRST..activation::FIRST.saturating_add(total as RawFd);
        claimed.extend(row);
    }
    if let Readiness::Descriptor(number) = options.policy.readiness {
        if number >= limit {
            return Err(format!(
                "--ready=fd={number}: descriptors end at {}",
                limit - 1
            ));
        }
        if !claimed.insert(number) {
            return Err(format!(
                "--ready=fd={number}: --listen-fds hands over a socket there"
            ));
        }
    }
    for (index, port) in options.ports.iter().enumerate() {
        let Some(number) = port.descriptor else {
            continue;
        };
        let refuse = |reason: String| Err(format!("--port={}={number}: {reason}", port.name));
        let in_row = activation::FIRST + index as RawFd;
        if number >= limit {
            return refuse(format!("descriptors end at {}", limit - 1));
        }
        if options.listen_fds && number != in_row {
            return refuse(format!("--listen-fds hands it over as descriptor {in_row}"));
        }
        claimed.insert(number);
    }
    Ok(claimed)
}

/// Refuses every path that is not ours to bind; gives those where a socket lies that nobody listens on.
fn look_at<'a>(
    paths: impl Iterator<Item = &'a PathBuf>,
    left_over: &[Pid],
) -> Result<BTreeSet<&'a PathBuf>, String> {
    let mut dead_sockets = BTreeSet::new();
    for path in paths {
        socket::check_unix_path(path.as_os_str())
            .map_err(|error| refuse_path(path, &sys::reason(&error)))?;
        let kind = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata.file_type(),
            // If it is more than a name that is free, bind will say so.
            Err(_) => continue,
        };
        if !kind.is_socket() {
            let what = match kind {
                kind if kind.is_symlink() => "a symbolic link",
                kind if kind.is_dir() => "a directory",
                kind if kind.is_file() => "a regular file",
                _ => "something that is no socket",
            };
            return Err(refuse_path(path, &format!("{what} is in the way")));
        }
        match socket::probe_unix(path.as_os_str()) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                dead_sockets.insert(path);
            }
            Err(error) if !is_answer(&error) => {
                let reason = sys::reason(&error);
                return Err(refuse_path(
                    path,
                    &format!("cannot tell who listens there: {reason}"),
                ));
            }
            Ok(()) | Err(_) => {
                let holders = held_by(&holders::of_path(path), left_over);
                return Err(refuse_path(
                    path,
                    &format!("another process listens there{holders}"),
                ));
            }
        }
    }
    Ok(dead_sockets)
}

/// A full queue, or a socket of another type: somebody has it.
fn is_answer(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EPROTOTYPE))
}

/// What to add to a message that something is in use. Nothing where the system does not tell.
fn held_by(holders: &[Holder], left_over: &[Pid]) -> String {
    let each = holders.iter().map(|holder| {
        let whose = match left_over.contains(&holder.pid) {
            true => ", a worker of a start_server that is gone",
            false => "",
        };
        format!("process {} ({}){whose}", holder.pid, holder.name)
    });
    match each.collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => none,
        list => format!(": {list}"),
    }
}

fn refuse_path(path: &Path, reason: &str) -> String {
    format!("--path={}: {reason}", path.display())
}
