//! systemd's socket activation, as sd_listen_fds(3) has it: sockets that a service manager made for us, and
//! the same protocol spoken to workers that know it.

use crate::cli::endpoint::{Endpoint, Host, Transport};
use crate::sys::address::{self, Address};
use crate::sys::inherit::{self, SocketKind};
use crate::sys::{process, reason, socket};
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The first descriptor that is handed over.
pub const FIRST: RawFd = 3;

/// The variables of the protocol, which describe our own sockets and not the worker's.
pub const VARIABLES: [&str; 4] = [
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// A socket that we were given.
pub struct InheritedSocket {
    pub socket: OwnedFd,
    address: Address,
    transport: Option<Transport>,
}

/// Takes the sockets that the service manager has made for this process; none if there is no such manager.
///
/// The error is one line.
pub fn take(variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<InheritedSocket>, String> {
    if !is_for_us(&variable) {
        return Ok(Vec::new());
    }
    let count = number(&variable, "LISTEN_FDS").unwrap_or(0);
    (FIRST..FIRST.saturating_add(count)).map(take_one).collect()
}

/// Whether the variables are meant for this process. Inherited from a parent for which they were meant, they are
/// nothing to us.
pub fn is_for_us(variable: &impl Fn(&str) -> Option<OsString>) -> bool {
    number(variable, "LISTEN_PID") == Some(process::id())
}

fn number(variable: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<i32> {
    variable(name)?.to_str()?.parse().ok()
}

fn take_one(number: RawFd) -> Result<InheritedSocket, String> {
    let refuse = |error: std::io::Error| {
        format!(
            "cannot use descriptor {number} of LISTEN_FDS: {}",
            reason(&error)
        )
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
    /// Whether it is the socket that a `--port` asks for. `[::]` serves a bare port too: it is what systemd
    /// makes of one, and takes IPv4 as well.
    pub fn is_port(&self, port: &Endpoint, address: &std::net::SocketAddr) -> bool {
        let Address::Inet(ours) = &self.address else {
            return false;
        };
        let everywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let dual = port.host == Host::Any
            && ours.ip() == everywhere
            && !socket::is_v6_only(self.socket.as_fd());
        let same_ip = ours.ip() == address.ip() || dual;
        self.transport == Some(port.transport) && same_ip && ours.port() == address.port()
    }

    /// Whether it is the socket that a `--path` asks for.
    pub fn is_path(&self, path: &Path) -> bool {
        let named =
            matches!(&self.address, Address::Unix(name) if name.as_os_str() == path.as_os_str());
        named && self.transport == Some(Transport::Tcp)
    }

    /// Its name to workers, when no option has one for it.
    pub fn name(&self) -> OsString {
        match &self.address {
            Address::Inet(address) => address.to_string().into(),
            Address::Unix(name) => name.clone(),
        }
    }
}

/// The value of LISTEN_FDNAMES. A name cannot have a colon in it, nor a control character, nor be longer than
/// 255 bytes, says systemd.socket(5).
pub fn names<'a>(names: impl Iterator<Item = &'a OsStr>) -> OsString {
    let plain = |name: &OsStr| {
        let bytes = name.as_bytes().iter().take(255);
        let text = bytes.map(|&byte| match byte {
            b' '..=b'~' if byte != b':' => char::from(byte),
            _ => '_',
        });
        text.collect::<String>()
    };
    names.map(plain).collect::<Vec<_>>().join(":").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_colon() {
        let given = ["8080", "[::1]:80", "/a b", "é\n"].map(OsStr::new);
        assert_eq!(names(given.into_iter()), "8080:[__1]_80:/a b:___");
        assert_eq!(names([].into_iter()), "");
    }
}
