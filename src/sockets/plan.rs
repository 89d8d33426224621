//! The plan: which sockets the workers get, in which order, at which descriptors.
//!
//! Everything is checked before anything is bound, so that a refusal leaves the system untouched.

use super::activation::{self, InheritedSocket};
use crate::cli::endpoint::{Endpoint, Host, Transport};
use crate::cli::Options;
use crate::supervisor::policy::Readiness;
use crate::sys::{self, fd, socket};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

/// A socket to be.
pub struct PlannedSocket<'a> {
    pub name: OsString,
    pub source: SocketSource<'a>,
    /// The number that it must have in the worker, if any.
    pub number: Option<RawFd>,
}

pub enum SocketSource<'a> {
    /// A service manager has made it. A queue is known to be there for those that an option asks for.
    Inherited(OwnedFd, Option<i32>),
    Port(&'a Endpoint, SocketAddr),
    Path(&'a Path),
    /// A socket file that nobody listens on lies at the path.
    DeadPath(&'a Path),
}

/// What workers shall get, in their order: ports, paths, and what no option asks for.
pub fn plan<'a>(
    options: &'a Options,
    mut inherited: Vec<InheritedSocket>,
) -> Result<Vec<PlannedSocket<'a>>, String> {
    let mut take = |is_it: &dyn Fn(&InheritedSocket) -> bool| {
        let index = inherited.iter().position(is_it)?;
        Some(inherited.remove(index).socket)
    };
    let queue = backlog(options);
    let mut planned = Vec::new();
    for (port, address) in options.ports.iter().zip(resolve(&options.ports)?) {
        let is_tcp = port.transport == Transport::Tcp;
        planned.push(PlannedSocket {
            name: port.name.clone().into(),
            source: match take(&|inherited| inherited.is_for_port(port, &address)) {
                Some(socket) => SocketSource::Inherited(socket, is_tcp.then_some(queue)),
                None => SocketSource::Port(port, address),
            },
            number: port.descriptor,
        });
    }
    for path in &options.paths {
        planned.push(PlannedSocket {
            name: path.clone().into(),
            source: match take(&|inherited| inherited.is_for_path(path)) {
                Some(socket) => SocketSource::Inherited(socket, Some(queue)),
                None => SocketSource::Path(path),
            },
            number: None,
        });
    }
    planned.extend(inherited.into_iter().map(|inherited| PlannedSocket {
        name: inherited.name(),
        source: SocketSource::Inherited(inherited.socket, None),
        number: None,
    }));
    if options.listen_fds {
        for (socket_plan, in_row) in planned.iter_mut().zip(activation::LISTEN_FDS_START..) {
            if let Some(number) = socket_plan.number.filter(|&number| number != in_row) {
                return Err(format!(
                    "--port={}={number}: --listen-fds passes it as descriptor {in_row}",
                    socket_plan.name.to_string_lossy()
                ));
            }
            socket_plan.number = Some(in_row);
        }
    }
    Ok(planned)
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
                "--port={}: another --port has the same address",
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

/// The numbers that sockets, and the pipe of `--ready`, must have in the worker.
pub fn claimed_numbers(
    options: &Options,
    planned: &[PlannedSocket],
) -> Result<BTreeSet<RawFd>, String> {
    let limit = fd::limit();
    let mut claimed = BTreeSet::new();
    for socket_plan in planned {
        let Some(number) = socket_plan.number else {
            continue;
        };
        if number >= limit {
            let (name, last) = (socket_plan.name.to_string_lossy(), limit - 1);
            return Err(format!(
                "--port={name}={number}: the highest descriptor allowed is {last}"
            ));
        }
        claimed.insert(number);
    }
    if let Readiness::Descriptor(number) = options.policy.readiness {
        if number >= limit {
            let last = limit - 1;
            return Err(format!(
                "--ready=fd={number}: the highest descriptor allowed is {last}"
            ));
        }
        if !claimed.insert(number) {
            return Err(format!(
                "--ready=fd={number}: --listen-fds puts a socket there"
            ));
        }
    }
    Ok(claimed)
}

pub fn backlog(options: &Options) -> i32 {
    options.backlog.unwrap_or(socket::LONGEST_BACKLOG)
}
