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
pub struct Slot<'a> {
    pub name: OsString,
    pub source: Source<'a>,
    /// The number that it must have in the worker, if any.
    pub number: Option<RawFd>,
}

pub enum Source<'a> {
    /// A service manager has made it. A queue is known to be there for those that an option asks for.
    InheritedSocket(OwnedFd, Option<i32>),
    Port(&'a Endpoint, SocketAddr),
    Path(&'a Path),
    /// A socket file that nobody listens on lies at the path.
    DeadPath(&'a Path),
}

/// What workers shall get, in their order: ports, paths, and what no option asks for.
pub fn plan<'a>(
    options: &'a Options,
    mut given: Vec<InheritedSocket>,
) -> Result<Vec<Slot<'a>>, String> {
    let mut take = |is_it: &dyn Fn(&InheritedSocket) -> bool| {
        let index = given.iter().position(is_it)?;
        Some(given.remove(index).socket)
    };
    let queue = backlog(options);
    let mut slots = Vec::new();
    for (port, address) in options.ports.iter().zip(resolve(&options.ports)?) {
        let is_tcp = port.transport == Transport::Tcp;
        slots.push(Slot {
            name: port.name.clone().into(),
            source: match take(&|given| given.is_port(port, &address)) {
                Some(socket) => Source::InheritedSocket(socket, is_tcp.then_some(queue)),
                None => Source::Port(port, address),
            },
            number: port.descriptor,
        });
    }
    for path in &options.paths {
        slots.push(Slot {
            name: path.clone().into(),
            source: match take(&|given| given.is_path(path)) {
                Some(socket) => Source::InheritedSocket(socket, Some(queue)),
                None => Source::Path(path),
            },
            number: None,
        });
    }
    slots.extend(given.into_iter().map(|given| Slot {
        name: given.name(),
        source: Source::InheritedSocket(given.socket, None),
        number: None,
    }));
    if options.listen_fds {
        for (slot, in_row) in slots.iter_mut().zip(activation::FIRST..) {
            if let Some(number) = slot.number.filter(|&number| number != in_row) {
                return Err(format!(
                    "--port={}={number}: --listen-fds passes it as descriptor {in_row}",
                    slot.name.to_string_lossy()
                ));
            }
            slot.number = Some(in_row);
        }
    }
    Ok(slots)
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
pub fn claimed_numbers(options: &Options, slots: &[Slot]) -> Result<BTreeSet<RawFd>, String> {
    let limit = fd::limit();
    let mut claimed = BTreeSet::new();
    for slot in slots {
        let Some(number) = slot.number else {
            continue;
        };
        if number >= limit {
            let (name, last) = (slot.name.to_string_lossy(), limit - 1);
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
