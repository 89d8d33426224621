//! Listening sockets: made, bound, looked at. All are close-on-exec and blocking.
//!
//! Blocking, since the worker gets the same open file: with O_NONBLOCK Starman falls from 700 to 20 requests
//! a second.
//!
//! What differs:
//! - SO_REUSEADDR lets a TCP port in TIME_WAIT be bound everywhere. On the BSDs and macOS one may besides listen on an
//!   address where another listens on all; Linux refuses that while anybody listens [socket(7), getsockopt(2)]. For UDP
//!   Linux alone lets a second socket have the very same port if both have the option, and the last one gets all:
//!   Perl's start_server sets it there as well.
//! - IPV6_V6ONLY cannot be turned off on OpenBSD; to turn it on is no error [ip6(4)].
//! - `listen` cuts the backlog off in silence: net.core.somaxconn on Linux, kern.ipc.soacceptqueue on FreeBSD,
//!   kern.ipc.somaxconn on macOS, kern.somaxconn on OpenBSD, 128 in most [listen(2)].
//! - A Unix socket whose queue is full answers a connection that may not wait with EAGAIN on Linux, with ECONNREFUSED
//!   elsewhere, like one that nobody has: [`probe_unix`] tells them apart.
//! - A listening socket that is shut down listens no more on Linux; others say ENOTCONN and go on [shutdown(2)].
//! - The file of a Unix socket gets the mode that the umask leaves of 0777, and who may not write to it cannot connect
//!   on Linux, the BSDs and macOS [unix(7), unix(4)]; older systems did not look [unix(7)].

use super::address::unix_address;
use super::{check, fd};
use std::ffi::OsStr;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A TCP socket that listens, or without a backlog a UDP socket.
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
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: all zeroes is a valid sockaddr_in.
            let mut raw: libc::sockaddr_in = unsafe { zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = address.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            bind(socket.as_fd(), &raw, size_of::<libc::sockaddr_in>())?;
        }
        SocketAddr::V6(address) => {
            set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
            // SAFETY: all zeroes is a valid sockaddr_in6.
            let mut raw: libc::sockaddr_in6 = unsafe { zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = address.port().to_be();
            raw.sin6_addr.s6_addr = address.ip().octets();
            bind(socket.as_fd(), &raw, size_of::<libc::sockaddr_in6>())?;
        }
    }
    if let Some(backlog) = backlog {
        listen(socket.as_fd(), backlog)?;
    }
    Ok(socket)
}

/// A Unix stream socket at `path`, where the file has this mode from the beginning. It does not listen yet.
pub fn bind_unix(path: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    bind_file(libc::SOCK_STREAM, path, mode)
}

pub(super) fn bind_file(kind: i32, path: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    let (address, length) = unix_address(path)?;
    let socket = open(libc::AF_UNIX, kind)?;
    let hidden = !mode as libc::mode_t & 0o777;
    // SAFETY: umask touches no memory and cannot fail. With one thread nobody else makes a file meanwhile.
    let saved = unsafe { libc::umask(hidden) };
    let bound = bind(socket.as_fd(), &address, length);
    // SAFETY: as above.
    unsafe { libc::umask(saved) };
    bound?;
    Ok(socket)
}

/// Connects to the Unix socket at `path` and hangs up. Never waits: a full queue is EAGAIN, or EPROTOTYPE elsewhere
/// than on Linux; ECONNREFUSED says that nobody listens.
pub fn probe_unix(path: &OsStr) -> io::Result<()> {
    match connect(libc::SOCK_STREAM, path) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) && !TELLS_FULL => {
            is_abandoned(path)
        }
        answer => answer,
    }
}

/// Whether a full queue is another error than an abandoned socket file.
const TELLS_FULL: bool = cfg!(target_os = "linux");

/// ECONNREFUSED if no process has the socket at `path`, EPROTOTYPE if one has: connect(2) of every system looks at the
/// type of a socket before its queue.
fn is_abandoned(path: &OsStr) -> io::Result<()> {
    connect(libc::SOCK_DGRAM, path)
}

fn connect(kind: i32, path: &OsStr) -> io::Result<()> {
    let (address, length) = unix_address(path)?;
    let socket = open(libc::AF_UNIX, kind)?;
    fd::set_nonblocking(socket.as_fd())?;
    // SAFETY: address is a sockaddr_un of at least length bytes and outlives the call.
    check(unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            length as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// The queue length that stands for "as long as the system has". On Linux the kernel's own: musl has the 128 of old.
pub const LONGEST_BACKLOG: i32 = if cfg!(target_os = "linux") {
    4096
} else {
    libc::SOMAXCONN
};

pub(super) fn open(domain: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket touches no memory.
    let socket = fd::own(check(unsafe {
        libc::socket(domain, kind | CLOSE_ON_EXEC, 0)
    })?);
    if CLOSE_ON_EXEC == 0 {
        fd::set_close_on_exec(socket.as_fd())?;
    }
    Ok(socket)
}

#[cfg(not(target_os = "macos"))]
const CLOSE_ON_EXEC: i32 = libc::SOCK_CLOEXEC;

/// macOS has no such flag.
#[cfg(target_os = "macos")]
const CLOSE_ON_EXEC: i32 = 0;

fn set(socket: BorrowedFd, level: i32, option: i32) -> io::Result<()> {
    let one: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: one is an int of that length and outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const one).cast(),
            length,
        )
    })?;
    Ok(())
}

fn bind<T>(socket: BorrowedFd, address: &T, length: usize) -> io::Result<()> {
    debug_assert!(length <= size_of::<T>());
    // SAFETY: address is initialised for at least length bytes and outlives the call.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const *address).cast(),
            length as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// The type of a socket, such as SOCK_STREAM.
pub fn kind(socket: BorrowedFd) -> Option<libc::c_int> {
    option(socket, libc::SOL_SOCKET, libc::SO_TYPE).ok()
}

/// Whether an IPv6 socket takes no IPv4 connections.
pub fn is_v6_only(socket: BorrowedFd) -> bool {
    option(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) != Ok(0)
}

/// Makes a bound socket listen.
pub fn listen(socket: BorrowedFd, backlog: i32) -> io::Result<()> {
    // SAFETY: listen touches no memory.
    check(unsafe { libc::listen(socket.as_raw_fd() as RawFd, backlog) })?;
    Ok(())
}

/// Whether a socket listens: one that was shut down does not.
pub fn listens(socket: BorrowedFd) -> bool {
    // Every system has the option; one that had not would tell of every socket that it listens.
    option(socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN) != Ok(0)
}

/// The value of an option that is a number.
fn option(socket: BorrowedFd, level: i32, option: i32) -> Result<libc::c_int, Unknown> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let to = (&raw mut value).cast();
    // SAFETY: value is an int of that length, and both outlive the call.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, to, &mut length) };
    match result {
        -1 => Err(Unknown),
        _ => Ok(value),
    }
}

/// The socket has no such option.
#[derive(PartialEq, Eq)]
struct Unknown;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    /// What other systems than Linux need is true of Linux too.
    #[test]
    fn a_full_queue_is_told_from_an_abandoned_file() {
        let folder = crate::sys::file::make_folder(&std::env::temp_dir().join("probe-")).unwrap();
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        listen(listener.as_fd(), 0).unwrap();
        let errno = |answer: io::Result<()>| answer.map_err(|error| error.raw_os_error().unwrap());
        let _waiting = UnixStream::connect(&path).unwrap();
        let full = errno(probe_unix(path.as_os_str()));
        assert!(matches!(full, Err(libc::EAGAIN | libc::EPROTOTYPE)));
        assert_eq!(errno(is_abandoned(path.as_os_str())), Err(libc::EPROTOTYPE));
        drop(listener);
        for probe in [probe_unix, is_abandoned] {
            assert_eq!(errno(probe(path.as_os_str())), Err(libc::ECONNREFUSED));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
