//! Unix datagram sockets: receiving what workers send, and sending to a service manager.
//!
//! Differences between systems:
//! - A send to a receiver whose queue is full fails with EAGAIN on Linux, and with ENOBUFS on the BSDs and macOS
//!   [send(2)].
//! - A datagram may carry descriptors, for which recv(2) has no room. Linux, FreeBSD, OpenBSD and illumos close them
//!   when recv(2) reads the datagram. macOS still opens them in this process, and NetBSD keeps them until another Unix
//!   socket is closed.
//! - Only Linux has abstract names [unix(7)].

use super::address::unix_address;
use super::{check_count, fd, retry, socket};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Makes a Unix datagram socket at `path`, to which every user may send. [`receive`] reads from it and does not wait.
pub fn bind_datagrams(path: &OsStr) -> io::Result<OwnedFd> {
    let socket = socket::bind_file(libc::SOCK_DGRAM, path, 0o777)?;
    fd::set_nonblocking(socket.as_fd())?;
    Ok(socket)
}

/// Receives one datagram, and drops the part of it that does not fit into the buffer.
pub fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| {
        let to = buffer.as_mut_ptr().cast();
        // SAFETY: buffer is writable for its length and outlives the call.
        check_count(unsafe { libc::recv(socket.as_raw_fd(), to, buffer.len(), 0) })
    })
}

/// Sends datagrams to one Unix socket.
pub struct Datagrams {
    socket: OwnedFd,
    address: libc::sockaddr_un,
    length: libc::socklen_t,
}

impl Datagrams {
    /// `path` is a file, or on Linux an abstract name with a `@` before it. The receiver need not exist yet.
    pub fn to(path: &OsStr) -> io::Result<Datagrams> {
        let (mut address, mut length) = unix_address(path)?;
        if cfg!(target_os = "linux") && path.as_bytes().starts_with(b"@") {
            // unix(7): an abstract name begins with a NUL and does not end with one.
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

    /// Sends one datagram and does not wait.
    pub fn send(&self, datagram: &[u8]) -> SendOutcome {
        let (fd, data) = (self.socket.as_raw_fd(), datagram.as_ptr().cast());
        let (to, length) = ((&raw const self.address).cast(), self.length);
        // SAFETY: datagram and address are readable for their lengths and outlive the call.
        let sent = check_count(unsafe {
            libc::sendto(fd, data, datagram.len(), libc::MSG_DONTWAIT, to, length)
        });
        match sent.map_err(|error| error.raw_os_error()) {
            Ok(_) => SendOutcome::Sent,
            Err(Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR | libc::ENOMEM)) => {
                SendOutcome::TryAgain
            }
            Err(_) => SendOutcome::Failed,
        }
    }
}

/// The outcome of sending a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    Sent,
    /// The receiver or the kernel has no room now, or a signal came.
    TryAgain,
    /// There is no receiver, or it refuses the datagram.
    Failed,
}
