//! Unix datagram sockets: the one that a worker says it is ready to, and the way to a service manager's.
//!
//! What differs:
//! - A full receiver of datagrams is EAGAIN on Linux, ENOBUFS on the BSDs and macOS [send(2)].
//! - Descriptors that come with a datagram are closed by every kernel if recv(2), which has no room for them, reads it.
//! - Only Linux has abstract names [unix(7)].

use super::address::unix_address;
use super::{fd, socket};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// A Unix datagram socket at `path` that everybody may write to, for [`receive`].
pub fn bind_datagrams(path: &OsStr) -> io::Result<OwnedFd> {
    let socket = socket::bind_file(libc::SOCK_DGRAM, path, 0o777)?;
    fd::set_nonblocking(socket.as_fd())?;
    Ok(socket)
}

/// Receives a datagram, of which what is too long for the buffer is lost. A descriptor that comes with it is
/// closed by the kernel, as recv(2) has no room for it.
pub fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> io::Result<usize> {
    super::retry(|| {
        // SAFETY: buffer is writable for its length and outlives the call.
        let count = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    })
}

/// A way to send datagrams to a Unix socket.
pub struct Datagrams {
    socket: OwnedFd,
    address: libc::sockaddr_un,
    length: usize,
}

impl Datagrams {
    /// `path` is a file, or on Linux with a `@` before it an abstract name. It need not be there yet.
    pub fn to(path: &OsStr) -> io::Result<Datagrams> {
        let (mut address, mut length) = unix_address(path)?;
        if cfg!(target_os = "linux") && path.as_bytes().starts_with(b"@") {
            // unix(7): such a name begins with a NUL and does not end with one.
            address.sun_path[0] = 0;
            length -= 1;
        }
        let socket = socket::open(libc::AF_UNIX, libc::SOCK_DGRAM)?;
        Ok(Datagrams {
            socket,
            address,
            length,
        })
    }

    /// Never waits: a receiver that is behind is an error of kind `WouldBlock`, or ENOBUFS on the BSDs.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        // SAFETY: datagram and address are readable for their lengths and outlive the call.
        let count = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                datagram.as_ptr().cast(),
                datagram.len(),
                libc::MSG_DONTWAIT,
                (&raw const self.address).cast(),
                self.length as libc::socklen_t,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(())
    }
}
