//! systemd's socket activation, as in sd_listen_fds(3): the sockets that a service manager has made for us, and the
//! same protocol towards workers.

use crate::cli::endpoint::{Endpoint, Host, Transport};
use crate::error::Error;
use crate::sys::address::{self, Address};
use crate::sys::inherit::{self, SocketKind};
use crate::sys::{process, socket};
use std::env;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The number of the first descriptor that is passed, SD_LISTEN_FDS_START in systemd's header.
pub const LISTEN_FDS_START: RawFd = 3;

/// The variables of the protocol. Those that we inherit describe our sockets, not the worker's.
pub const VARIABLES: [&str; 4] = [
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// A socket that a service manager has made for us.
pub struct InheritedSocket {
    pub socket: OwnedFd,
    address: Address,
    /// `None` for a type that no option can ask for.
    transport: Option<Transport>,
}

/// Adopts the sockets that a service manager has made for this process. Each can be adopted only once.
pub fn adopt_sockets() -> Result<Vec<InheritedSocket>, Error> {
    if !is_activated() {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").unwrap_or(0);
    let numbers = LISTEN_FDS_START..LISTEN_FDS_START.saturating_add(count);
    numbers.map(adopt_socket).collect()
}

/// Whether the variables are meant for this process, and not left over from an activated parent.
pub fn is_activated() -> bool {
    number("LISTEN_PID") == Some(process::id())
}

/// Adds a hint to an error of binding, if a service manager has made sockets for another process.
pub fn explain(error: Error) -> Error {
    match number("LISTEN_PID").filter(|_| number("LISTEN_FDS").is_some()) {
        Some(pid) if pid != process::id() => Error::statement(format!(
            "{error}; the sockets of LISTEN_FDS are for process {pid}, as LISTEN_PID says: a wrapper has to exec start_server"
        )),
        _ => error,
    }
}

fn number(variable: &str) -> Option<i32> {
    env::var_os(variable)?.to_str()?.parse().ok()
}

fn adopt_socket(number: RawFd) -> Result<InheritedSocket, Error> {
    let refuse = |error: std::io::Error| {
        Error::action("use", format!("descriptor {number} of LISTEN_FDS"), error)
    };
    let socket = inherit::adopt_fd(number).map_err(refuse)?;
    let address = address::of_socket(socket.as_fd()).map_err(refuse)?;
    let transport = match inherit::socket_kind(socket.as_fd()).map_err(refuse)? {
        SocketKind::Tcp | SocketKind::UnixStream => Some(Transport::Tcp),
        SocketKind::Udp => Some(Transport::Udp),
        SocketKind::Other => None,
    };
    Ok(InheritedSocket {
        socket,
        address,
        transport,
    })
}

impl InheritedSocket {
    /// Whether this is the socket that a `--port` asks for. A bare port also matches a socket at `[::]` that
    /// accepts IPv4: systemd makes one for `ListenStream=PORT`.
    pub fn is_for_port(&self, port: &Endpoint, address: &SocketAddr) -> bool {
        let Address::Inet(ours) = &self.address else {
            return false;
        };
        let is_dual_stack = port.host == Host::Any
            && ours.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            && !socket::is_v6_only(self.socket.as_fd());
        self.transport == Some(port.transport)
            && ours.port() == address.port()
            && (ours.ip() == address.ip() || is_dual_stack)
    }

    /// Whether this is the socket that a `--path` asks for.
    pub fn is_for_path(&self, path: &Path) -> bool {
        let is_same = matches!(&self.address, Address::Unix(name) if name == path.as_os_str());
        is_same && self.transport == Some(Transport::Tcp)
    }

    /// The name of this socket for workers, if no option asks for the socket.
    pub fn name(&self) -> OsString {
        match &self.address {
            Address::Inet(address) => address.to_string().into(),
            Address::Unix(name) => name.clone(),
        }
    }
}

/// The value of LISTEN_FDNAMES. systemd.socket(5) allows no colon and no control character in a name, and 255 bytes
/// at most.
pub fn fdnames<'a>(names: impl Iterator<Item = &'a OsStr>) -> OsString {
    let allowed = |&byte: &u8| match byte {
        b' '..=b'~' if byte != b':' => char::from(byte),
        _ => '_',
    };
    let plain = |name: &OsStr| -> String {
        let bytes = name.as_bytes().iter();
        bytes.take(255).map(allowed).collect()
    };
    names.map(plain).collect::<Vec<_>>().join(":").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_colon() {
        let given = ["8080", "[::1]:80", "/a b", "é\n"].map(OsStr::new);
        assert_eq!(fdnames(given.into_iter()), "8080:[__1]_80:/a b:___");
        assert_eq!(fdnames([].into_iter()), "");
    }
}
