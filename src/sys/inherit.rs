//! Descriptors that pass from one process to another: close-on-exec, taking ownership, and the kind of a socket.
//!
//! The program and the library both compile this file.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor that this process was started with, and makes it close-on-exec.
///
/// The caller must not adopt the same number twice: one owner would close the descriptor that the other still uses.
pub fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    set_close_on_exec(number, true)?;
    // SAFETY: the call above has shown that the number is open, and the caller adopts each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Decides whether execve(2) closes a descriptor. The error says that the number is not open.
pub(super) fn set_close_on_exec(number: RawFd, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD takes an integer and touches no memory.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, flags) })
}

/// The kind of a socket.
#[derive(PartialEq, Eq)]
pub enum SocketKind {
    Tcp,
    Udp,
    UnixStream,
    Other,
}

/// Asks the kernel for the kind of a socket. The error says that the descriptor is no socket.
pub fn socket_kind(socket: BorrowedFd) -> io::Result<SocketKind> {
    let (address, _) = local_address(socket)?;
    let stream_or_datagrams = option(socket, libc::SOL_SOCKET, libc::SO_TYPE)?;
    Ok(match (address.ss_family.into(), stream_or_datagrams) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => SocketKind::Tcp,
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => SocketKind::Udp,
        (libc::AF_UNIX, libc::SOCK_STREAM) => SocketKind::UnixStream,
        _ => SocketKind::Other,
    })
}

/// The address that a socket is bound to, and how many bytes of it count.
pub(super) fn local_address(
    socket: BorrowedFd,
) -> io::Result<(libc::sockaddr_storage, libc::socklen_t)> {
    // SAFETY: a sockaddr_storage consists of integers, for which zeroes are valid.
    let mut address: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let to = (&raw mut address).cast();
    // SAFETY: address has room for length bytes, and both outlive the call.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), to, &mut length) })?;
    Ok((address, length))
}

/// Reads a socket option that is a number.
pub(super) fn option(
    socket: BorrowedFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let to = (&raw mut value).cast();
    // SAFETY: value is an int of that length, and both outlive the call.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, to, &mut length) })?;
    Ok(value)
}

/// Turns the -1 of a system call into the error that errno names.
pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
