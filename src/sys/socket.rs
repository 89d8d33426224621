//! Listening sockets: made, bound, looked at. All are close-on-exec and blocking.
//!
//! Blocking, since the worker gets the same open file: with O_NONBLOCK Starman falls from 700 to 20 requests
//! a second.

use super::{check, fd};
use std::ffi::OsStr;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

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

/// A Unix stream socket that listens at `path` and that everybody may connect to.
pub fn bind_unix(path: &OsStr, backlog: i32) -> io::Result<OwnedFd> {
    let (address, length) = unix_address(path)?;
    let socket = open(libc::AF_UNIX, libc::SOCK_STREAM)?;
    // SAFETY: umask touches no memory and cannot fail. With one thread nobody else makes a file meanwhile.
    let saved = unsafe { libc::umask(0) };
    let bound = bind(socket.as_fd(), &address, length);
    // SAFETY: as above.
    unsafe { libc::umask(saved) };
    bound?;
    listen(socket.as_fd(), backlog)?;
    Ok(socket)
}

/// Whether `path` fits into a socket address.
pub fn check_unix_path(path: &OsStr) -> io::Result<()> {
    unix_address(path).map(drop)
}

/// Connects to the Unix socket at `path` and hangs up. Never waits: a full queue is an error of kind
/// `WouldBlock`.
pub fn probe_unix(path: &OsStr) -> io::Result<()> {
    let (address, length) = unix_address(path)?;
    let socket = open(libc::AF_UNIX, libc::SOCK_STREAM)?;
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

/// The queue length that stands for "as long as the system has".
pub const LONGEST_BACKLOG: i32 = libc::SOMAXCONN;

fn open(domain: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket touches no memory.
    let socket = fd::own(check(unsafe { libc::socket(domain, kind, 0) })?);
    fd::set_close_on_exec(socket.as_fd())?;
    Ok(socket)
}

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

/// Makes a bound socket listen.
pub fn listen(socket: BorrowedFd, backlog: i32) -> io::Result<()> {
    // SAFETY: listen touches no memory.
    check(unsafe { libc::listen(socket.as_raw_fd() as RawFd, backlog) })?;
    Ok(())
}

/// Whether a socket listens: one that was shut down does not.
pub fn listens(socket: BorrowedFd) -> bool {
    let mut listens: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: listens is an int of that length, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut listens).cast(),
            &mut length,
        )
    };
    // Every system has the option; one that had not would tell of every socket that it listens.
    result == -1 || listens != 0
}

/// The address and how many bytes of it count. The path must leave room for a NUL, as unix(7) advises.
fn unix_address(path: &OsStr) -> io::Result<(libc::sockaddr_un, usize)> {
    // SAFETY: all zeroes is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_bytes();
    if bytes.len() >= address.sun_path.len() {
        let longest = address.sun_path.len() - 1;
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("longer than {longest} bytes"),
        ));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok((
        address,
        offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1,
    ))
}
