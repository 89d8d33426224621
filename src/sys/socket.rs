//! Listening sockets: binding, listening, probing. All of them are close-on-exec and blocking.
//!
//! They are blocking because the worker gets the same open file, and a server may depend on it: with O_NONBLOCK Starman
//! falls from 700 to 20 requests a second.
//!
//! Differences between systems:
//! - SO_REUSEADDR allows binding a TCP port in TIME_WAIT on every system. On the BSDs and macOS it also allows
//!   listening on an address while another process listens on all addresses. Linux refuses that [socket(7),
//!   getsockopt(2)]. For UDP only Linux lets two sockets with the option have the same port, and the last one gets all
//!   datagrams. Perl's start_server sets the option for UDP too.
//! - OpenBSD does not allow turning IPV6_V6ONLY off, but turning it on is no error [ip6(4)].
//! - `listen` cuts a backlog that is too long without an error. The limit is net.core.somaxconn on Linux,
//!   kern.ipc.soacceptqueue on FreeBSD, kern.ipc.somaxconn on macOS, kern.somaxconn on OpenBSD, and 128 on most others
//!   [listen(2)].
//! - If the queue of a Unix socket is full, a connection that may not wait fails with EAGAIN on Linux. On the other
//!   systems it fails with ECONNREFUSED, just as if no process had the socket. [`probe_unix`] distinguishes the two.
//! - After shutdown(2) a listening TCP socket no longer listens on Linux, until `listen` is called again. FreeBSD and
//!   macOS refuse the shutdown with ENOTCONN. On OpenBSD, NetBSD and DragonFly the socket is closed for ever, although
//!   SO_ACCEPTCONN still says that it listens.
//! - The file of a Unix socket gets the mode 0777 without the bits of the umask. On Linux, the BSDs and macOS a process
//!   needs write permission on the file to connect [unix(7), unix(4)]. Some older systems ignore the permissions
//!   [unix(7)].

use super::address::unix_address;
use super::{check, check_number, fd, inherit};
use std::ffi::OsStr;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Binds a TCP socket and listens on it, or without a backlog binds a UDP socket.
pub fn bind_inet(address: &SocketAddr, backlog: Option<i32>) -> io::Result<OwnedFd> {
    let domain = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = if backlog.is_some() {
        libc::SOCK_STREAM
    } else {
        libc::SOCK_DGRAM
    };
    let socket = open(domain, kind)?;
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: a sockaddr_in consists of integers, for which zeroes are valid.
            let mut raw: libc::sockaddr_in = unsafe { zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = address.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            bind(socket.as_fd(), &raw, length)?;
        }
        SocketAddr::V6(address) => {
            set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            // SAFETY: a sockaddr_in6 consists of integers, for which zeroes are valid.
            let mut raw: libc::sockaddr_in6 = unsafe { zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = address.port().to_be();
            raw.sin6_addr.s6_addr = address.ip().octets();
            let length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            bind(socket.as_fd(), &raw, length)?;
        }
    }
    if let Some(backlog) = backlog {
        listen(socket.as_fd(), backlog)?;
    }
    Ok(socket)
}

/// Binds a Unix stream socket, whose file has this mode from the beginning. The socket does not listen yet.
pub fn bind_unix(path: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    bind_file(libc::SOCK_STREAM, path, mode)
}

pub(super) fn bind_file(kind: i32, path: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    let (address, length) = unix_address(path)?;
    let socket = open(libc::AF_UNIX, kind)?;
    let hidden = !mode as libc::mode_t & 0o777;
    // This process has one thread, so no other file is made under this umask.
    // SAFETY: umask touches no memory and cannot fail.
    let saved = unsafe { libc::umask(hidden) };
    let bound = bind(socket.as_fd(), &address, length);
    // SAFETY: umask touches no memory and cannot fail.
    unsafe { libc::umask(saved) };
    bound?;
    Ok(socket)
}

/// The result of probing the file of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A process has the socket, perhaps with a full queue or of another type.
    Listening,
    /// The process that bound the file is gone.
    Abandoned,
}

/// Connects to the Unix socket at `path` and hangs up, without waiting.
pub fn probe_unix(path: &OsStr) -> io::Result<Probe> {
    let probe = judge(connect(libc::SOCK_STREAM, path))?;
    if probe == Probe::Abandoned && !REPORTS_FULL_QUEUE {
        return probe_type(path);
    }
    Ok(probe)
}

/// On Linux a full queue and an abandoned file give different errors.
const REPORTS_FULL_QUEUE: bool = cfg!(target_os = "linux");

/// Connects with the wrong type of socket, which always fails: with ECONNREFUSED if no process has the socket at `path`
/// (EDESTADDRREQ on illumos), and with EPROTOTYPE if one has. connect(2) checks the type before the queue on every
/// system.
fn probe_type(path: &OsStr) -> io::Result<Probe> {
    judge(connect(libc::SOCK_DGRAM, path))
}

fn judge(connected: io::Result<()>) -> io::Result<Probe> {
    let Err(error) = connected else {
        return Ok(Probe::Listening);
    };
    match error.raw_os_error() {
        // illumos has the second error.
        Some(libc::ECONNREFUSED | libc::EDESTADDRREQ) => Ok(Probe::Abandoned),
        // A full queue on Linux, or a socket of another type.
        Some(libc::EAGAIN | libc::EPROTOTYPE) => Ok(Probe::Listening),
        Some(_) | None => Err(error),
    }
}

fn connect(kind: i32, path: &OsStr) -> io::Result<()> {
    let (address, length) = unix_address(path)?;
    let socket = open(libc::AF_UNIX, kind)?;
    fd::set_nonblocking(socket.as_fd())?;
    let to = (&raw const address).cast();
    // SAFETY: address is readable for length bytes and outlives the call.
    check(unsafe { libc::connect(socket.as_raw_fd(), to, length) })
}

/// The backlog for "as long as the system allows". The kernel cuts it down to its limit. The header cannot say that
/// limit: it is 128 with musl and on the other systems, whatever the system allows.
pub const LONGEST_BACKLOG: i32 = 4096;

pub(super) fn open(domain: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket touches no memory.
    let number = check_number(unsafe { libc::socket(domain, kind | CLOSE_ON_EXEC, 0) })?;
    let socket = fd::own(number);
    if CLOSE_ON_EXEC == 0 {
        inherit::set_close_on_exec(socket.as_raw_fd(), true)?;
    }
    Ok(socket)
}

#[cfg(not(target_os = "macos"))]
const CLOSE_ON_EXEC: i32 = libc::SOCK_CLOEXEC;

/// macOS has no such flag, so [`open`] sets close-on-exec afterwards.
#[cfg(target_os = "macos")]
const CLOSE_ON_EXEC: i32 = 0;

/// Sets a socket option that is a number.
pub(super) fn set_option(
    socket: BorrowedFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: value is an int of that length and outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) })
}

fn bind<T>(socket: BorrowedFd, address: &T, length: libc::socklen_t) -> io::Result<()> {
    debug_assert!(length as usize <= size_of::<T>());
    let at = (&raw const *address).cast();
    // SAFETY: address is initialised for at least length bytes and outlives the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), at, length) })
}

/// Whether an IPv6 socket refuses IPv4 connections.
pub fn is_v6_only(socket: BorrowedFd) -> bool {
    let v6_only = inherit::option(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
    !matches!(v6_only, Ok(0))
}

/// Makes a bound socket listen.
pub fn listen(socket: BorrowedFd, backlog: i32) -> io::Result<()> {
    // SAFETY: listen touches no memory.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })
}

/// Whether poll(2) shows that a listening socket was shut down.
pub const SHUTDOWN_IS_SHOWN: bool = cfg!(not(any(
    target_os = "openbsd",
    target_os = "netbsd",
    target_os = "dragonfly"
)));

/// Whether a socket listens. A socket that was shut down does not.
pub fn listens(socket: BorrowedFd) -> bool {
    // A system that cannot answer counts as one whose sockets all listen.
    let listens = inherit::option(socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN);
    !matches!(listens, Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    /// The probe that other systems need works on Linux too.
    #[test]
    fn a_full_queue_differs_from_an_abandoned_file() {
        let folder = crate::sys::file::make_folder(&std::env::temp_dir().join("probe-")).unwrap();
        let path = folder.join("socket");
        let probes = || [probe_unix, probe_type].map(|probe| probe(path.as_os_str()).unwrap());
        let listener = UnixListener::bind(&path).unwrap();
        listen(listener.as_fd(), 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(probes(), [Probe::Listening; 2]);
        drop(listener);
        assert_eq!(probes(), [Probe::Abandoned; 2]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
