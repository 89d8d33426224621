//! The plan: the sockets that workers get, their order, and their descriptor numbers.
//!
//! It is complete before anything is bound, so that a refusal leaves the system untouched.

use super::activation::{InheritedSocket, LISTEN_FDS_START};
use super::in_the_way::PathState;
use crate::cli::endpoint::{Endpoint, Host, Transport};
use crate::cli::Options;
use crate::error::{Error, Reason};
use crate::supervisor::policy::Readiness;
use crate::sys::{fd, socket};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{OwnedFd, RawFd};
use std::path::{self, Path, PathBuf};

/// A socket that the workers will get.
pub struct PlannedSocket<'a> {
    pub name: OsString,
    pub source: SocketSource<'a>,
    /// The length of its listen queue; `None` for UDP, and for an inherited socket that no option asks for.
    pub backlog: Option<i32>,
    /// The descriptor number that it must have in the worker, if any.
    pub number: Option<RawFd>,
}

/// The origin of a socket.
pub enum SocketSource<'a> {
    /// A service manager has made it.
    Inherited(OwnedFd),
    Port(&'a Endpoint, SocketAddr),
    Path(&'a Path, PathState),
}

/// Plans the sockets in the order of `SERVER_STARTER_PORT`: ports, paths, and `inherited` sockets that no option asks
/// for.
pub fn plan<'a>(
    options: &'a Options,
    mut inherited: Vec<InheritedSocket>,
) -> Result<Vec<PlannedSocket<'a>>, Error> {
    let mut take_inherited = |is_wanted: &dyn Fn(&InheritedSocket) -> bool| {
        let index = inherited.iter().position(is_wanted)?;
        Some(SocketSource::Inherited(inherited.remove(index).socket))
    };
    let backlog = options.backlog.unwrap_or(socket::LONGEST_BACKLOG);
    let count = options.ports.len() + options.paths.len();
    let mut plan = Vec::with_capacity(count);
    for (port, address) in options.ports.iter().zip(resolve(&options.ports)?) {
        plan.push(PlannedSocket {
            name: port.name.clone().into(),
            source: take_inherited(&|socket| socket.is_for_port(port, &address))
                .unwrap_or(SocketSource::Port(port, address)),
            backlog: (port.transport == Transport::Tcp).then_some(backlog),
            number: port.descriptor,
        });
    }
    refuse_same_paths(&options.paths)?;
    for path in &options.paths {
        plan.push(PlannedSocket {
            name: path.clone().into(),
            source: take_inherited(&|socket| socket.is_for_path(path))
                .unwrap_or(SocketSource::Path(path, PathState::Free)),
            backlog: Some(backlog),
            number: None,
        });
    }
    plan.extend(inherited.into_iter().map(|inherited| PlannedSocket {
        name: inherited.name(),
        source: SocketSource::Inherited(inherited.socket),
        backlog: None,
        number: None,
    }));
    if options.listen_fds {
        number_in_order(&mut plan)?;
    }
    Ok(plan)
}

/// Refuses a path that is given twice, once relative and once absolute.
fn refuse_same_paths(paths: &[PathBuf]) -> Result<(), Error> {
    // Two relative or two absolute ones were compared already.
    if paths.iter().all(|path| path.is_relative()) || paths.iter().all(|path| path.is_absolute()) {
        return Ok(());
    }
    let mut known = BTreeSet::new();
    for path in paths {
        // This fails only without a working directory, and then a relative path cannot be bound either.
        let absolute = path::absolute(path).unwrap_or_default();
        if !known.insert(absolute) {
            let reason = "the same path is given twice";
            return Err(Error::option("path", path, reason));
        }
    }
    Ok(())
}

/// Gives each socket the number that the protocol of systemd demands.
fn number_in_order(plan: &mut [PlannedSocket]) -> Result<(), Error> {
    for (planned, number) in plan.iter_mut().zip(LISTEN_FDS_START..) {
        if planned.number.is_some_and(|wanted| wanted != number) {
            let reason = format!("--listen-fds passes it as descriptor {number}");
            return Err(refuse_number(planned, reason));
        }
        planned.number = Some(number);
    }
    Ok(())
}

fn refuse_number(planned: &PlannedSocket, reason: String) -> Error {
    let mut value = planned.name.clone();
    if let Some(number) = planned.number {
        value.push(format!("={number}"));
    }
    Error::option("port", value, reason)
}

/// The descriptor numbers that sockets, and the pipe of `--ready`, must have in the worker.
pub fn claimed_numbers(options: &Options, plan: &[PlannedSocket]) -> Result<Vec<RawFd>, Error> {
    let limit = fd::limit();
    let too_high = || format!("the highest descriptor allowed is {}", limit - 1);
    let mut claimed = Vec::new();
    for planned in plan {
        if planned.number.is_some_and(|number| number >= limit) {
            return Err(refuse_number(planned, too_high()));
        }
        claimed.extend(planned.number);
    }
    if let Readiness::Descriptor(number) = options.policy.readiness {
        let refuse = |reason| Err(Error::option("ready", format!("fd={number}"), reason));
        if number >= limit {
            return refuse(too_high());
        }
        if claimed.contains(&number) {
            return refuse("--listen-fds puts a socket there".to_string());
        }
        claimed.push(number);
    }
    Ok(claimed)
}

/// The addresses of all ports, in their order.
fn resolve(ports: &[Endpoint]) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = Vec::with_capacity(ports.len());
    let mut known = BTreeSet::new();
    for port in ports {
        let refuse = |reason| Error::option("port", &port.name, reason);
        let address = address_of(port).map_err(refuse)?;
        // The kernel chooses another port for each port 0.
        if port.port != 0 && !known.insert((port.port, port.transport, address.ip())) {
            return Err(refuse("another --port has the same address".into()));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn address_of(port: &Endpoint) -> Result<SocketAddr, Reason> {
    match &port.host {
        Host::Any => Ok((Ipv4Addr::UNSPECIFIED, port.port).into()),
        Host::V4(address) => Ok((*address, port.port).into()),
        Host::V6(address) => Ok((*address, port.port).into()),
        // RFC 6761 fixes its address. Without /etc/hosts, musl would ask a name server for it and wait five seconds.
        Host::Named(host) if host.eq_ignore_ascii_case("localhost") => {
            Ok((Ipv4Addr::LOCALHOST, port.port).into())
        }
        Host::Named(host) => {
            let resolved = (host.as_str(), port.port).to_socket_addrs();
            let mut addresses = resolved.map_err(|error| Error::action("resolve", host, error))?;
            let address = addresses.find(SocketAddr::is_ipv4);
            address.ok_or_else(|| format!("{host} has no IPv4 address").into())
        }
    }
}
