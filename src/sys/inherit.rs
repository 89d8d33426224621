//! Descriptors that another process left open for this one: taking them over, and telling what they are.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes a descriptor over and makes it close-on-exec. The caller sees to it that each is taken once.
pub(crate) fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes an integer and touches no memory; a number that is not open is an error.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open, as the call above has shown, and was inherited for this caller.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

pub(crate) fn is_tcp(fd: BorrowedFd) -> io::Result<bool> {
    Ok(is_inet(fd)? && kind(fd)? == libc::SOCK_STREAM)
}

pub(crate) fn is_udp(fd: BorrowedFd) -> io::Result<bool> {
    Ok(is_inet(fd)? && kind(fd)? == libc::SOCK_DGRAM)
}

pub(crate) fn is_unix(fd: BorrowedFd) -> io::Result<bool> {
    Ok(family(fd)? == libc::AF_UNIX && kind(fd)? == libc::SOCK_STREAM)
}

fn is_inet(fd: BorrowedFd) -> io::Result<bool> {
    Ok(matches!(family(fd)?, libc::AF_INET | libc::AF_INET6))
}

fn family(fd: BorrowedFd) -> io::Result<libc::c_int> {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut address: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: address has room for length bytes, and both outlive the call.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &mut length) })?;
    Ok(address.ss_family.into())
}

fn kind(fd: BorrowedFd) -> io::Result<libc::c_int> {
    let mut kind: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let value = (&raw mut kind).cast();
    // SAFETY: kind is an int of that length, and both outlive the call.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            value,
            &mut length,
        )
    })?;
    Ok(kind)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
