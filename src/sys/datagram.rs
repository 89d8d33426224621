//! Unix datagram sockets: receiving what workers send, and sending to a service manager.
//!
//! Differences between systems:
//! - A send to a receiver whose queue is full fails with EAGAIN on Linux, and with ENOBUFS on the BSDs and macOS
//!   [send(2)].
//! - A datagram may carry descriptors. If the receiver has no room for them, Linux, FreeBSD, OpenBSD and illumos close
//!   them. macOS still opens them in this process, and NetBSD keeps them until another Unix socket is closed. On those
//!   two systems the receiver must have room for them and close them itself.
//! - Linux attaches the process and the user of the sender to each datagram [unix(7), SO_PASSCRED]. The other systems
//!   attach no process, or nothing.
//! - Only Linux has abstract names [unix(7)].

use super::address::{check_unix_path, unix_address};
use super::{check_count, fd, file, socket};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Makes a Unix datagram socket in a folder, to which every user may send who knows its name. [`receive`] reads from it
/// and does not wait.
pub fn bind_datagrams(folder: &Path, name: &str) -> io::Result<OwnedFd> {
    let path = folder.join(name);
    check_unix_path(path.as_os_str())?;
    let socket = match bind_nameless(folder, &path) {
        Some(socket) => socket,
        None => socket::bind_file(libc::SOCK_DGRAM, path.as_os_str(), 0o777),
    }?;
    fd::set_nonblocking(socket.as_fd())?;
    identify_senders(socket.as_fd())?;
    if cfg!(not(target_os = "linux")) {
        // The default queue is short, and has no room for a worker that sends many messages at once. If the queue
        // cannot be made longer, such a worker gets an error.
        let _ = socket::set_option(
            socket.as_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            QUEUE_SIZE,
        );
    }
    Ok(socket)
}

/// In bytes. A short datagram takes about 200 of them.
const QUEUE_SIZE: libc::c_int = 64 * 1024;

/// On Linux everybody can read in /proc/net/unix the paths at which sockets were bound. So the socket is bound under
/// another name and then renamed. Returns `None` if that is not possible, because /proc is missing.
fn bind_nameless(folder: &Path, path: &Path) -> Option<io::Result<OwnedFd>> {
    if cfg!(not(target_os = "linux")) {
        return None;
    }
    let handle = file::open_folder(folder).ok()?;
    let short = format!("/proc/self/fd/{}/socket", handle.as_raw_fd());
    let socket = socket::bind_file(libc::SOCK_DGRAM, short.as_ref(), 0o777).ok()?;
    let renamed = fs::rename(folder.join("socket"), path);
    Some(
        renamed
            .map(|()| socket)
            .inspect_err(|_| drop(fs::remove_file(folder.join("socket")))),
    )
}

/// From now on the system names the sender of each datagram, if it can.
#[cfg(target_os = "linux")]
pub fn identify_senders(socket: BorrowedFd) -> io::Result<()> {
    socket::set_option(socket, libc::SOL_SOCKET, libc::SO_PASSCRED, 1)
}

/// This system does not name senders.
#[cfg(not(target_os = "linux"))]
pub fn identify_senders(_: BorrowedFd) -> io::Result<()> {
    Ok(())
}

/// A datagram that was received.
pub struct Received {
    pub length: usize,
    /// `None` if the system does not name the sender.
    pub sender: Option<Sender>,
}

/// The process that has sent a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// 0 for a process of another pid namespace.
    pub pid: libc::pid_t,
    pub user: u32,
}

/// Receives one datagram, and drops the part of it that does not fit into the buffer. Descriptors that come with it are
/// closed, but not for longer than a moment: a TCP connection with unsent data may wait in close(2) for its reader.
pub fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with_room(socket, buffer, &mut [0; CONTROL_SIZE / 8])
}

/// The size in bytes of the buffer for control messages. On Linux the credentials of the sender fill it. The kernel
/// then has no room for descriptors and closes all of them, and one signal ends the wait for their end.
#[cfg(target_os = "linux")]
const CONTROL_SIZE: usize =
    // SAFETY: CMSG_SPACE only calculates.
    unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as libc::c_uint) } as usize;

/// Room for more descriptors than any system sends in one datagram.
#[cfg(not(target_os = "linux"))]
const CONTROL_SIZE: usize = 8192;

/// `room` consists of u64, because the headers in it must be aligned.
fn receive_with_room(
    socket: BorrowedFd,
    buffer: &mut [u8],
    room: &mut [u64],
) -> io::Result<Received> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = room.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(room) as _;
    fd::briefly(|| {
        // SAFETY: message describes the buffer and the room, which are writable and outlive the call.
        let length = check_count(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, 0) })?;
        // SAFETY: the kernel has just filled in message, and its room lives.
        let sender = unsafe { take_control(&message) };
        Ok(Received { length, sender })
    })
}

/// Closes the descriptors that have come with a message, and returns its sender.
///
/// # Safety
/// recvmsg(2) must have filled in the message, and its room for control data must still live.
unsafe fn take_control(message: &libc::msghdr) -> Option<Sender> {
    let mut sender = None;
    // SAFETY: the caller vouches for the message.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: a pointer that is not null points to a header that the kernel has written.
    while let Some(header) = unsafe { next.as_ref() } {
        // SAFETY: CMSG_DATA only calculates.
        let data = unsafe { libc::CMSG_DATA(next) };
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: CMSG_LEN only calculates.
            let before = unsafe { libc::CMSG_LEN(0) } as usize;
            #[allow(clippy::unnecessary_cast, reason = "it is a u32 on the BSDs")]
            let count = (header.cmsg_len as usize - before) / size_of::<RawFd>();
            for index in 0..count {
                let number = data.cast::<RawFd>().wrapping_add(index);
                // SAFETY: so many descriptors follow the header, perhaps not aligned.
                drop(fd::own(unsafe { number.read_unaligned() }));
            }
        }
        // SAFETY: data follows the header.
        sender = sender.or(unsafe { sender_in(header, data) });
        // SAFETY: as for CMSG_FIRSTHDR, and next is a header of this message.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    sender
}

/// Returns the sender if it stands in this part of the control data.
///
/// # Safety
/// `data` must be what follows the header.
#[cfg(target_os = "linux")]
unsafe fn sender_in(header: &libc::cmsghdr, data: *const u8) -> Option<Sender> {
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
        return None;
    }
    // SAFETY: credentials follow such a header, perhaps not aligned.
    let credentials = unsafe { data.cast::<libc::ucred>().read_unaligned() };
    Some(Sender {
        pid: credentials.pid,
        user: credentials.uid,
    })
}

/// This system names no sender.
#[cfg(not(target_os = "linux"))]
unsafe fn sender_in(_: &libc::cmsghdr, _: *const u8) -> Option<Sender> {
    None
}

/// Sends datagrams to one Unix socket.
pub struct Datagrams {
    /// Opened by the first `send`: the lowest free numbers at the start are for the sockets of the workers.
    socket: Option<OwnedFd>,
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
        Ok(Datagrams {
            socket: None,
            address,
            length,
        })
    }

    /// Sends one datagram and does not wait.
    pub fn send(&mut self, datagram: &[u8]) -> SendOutcome {
        let Err(error) = self.try_send(datagram) else {
            return SendOutcome::Sent;
        };
        match error.raw_os_error() {
            Some(
                libc::EAGAIN
                | libc::ENOBUFS
                | libc::EINTR
                | libc::ENOMEM
                | libc::EMFILE
                | libc::ENFILE,
            ) => SendOutcome::TryAgain,
            _ => SendOutcome::Failed(error),
        }
    }

    fn try_send(&mut self, datagram: &[u8]) -> io::Result<usize> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => socket::open(libc::AF_UNIX, libc::SOCK_DGRAM)?,
        };
        let (fd, data) = (socket.as_raw_fd(), datagram.as_ptr().cast());
        self.socket = Some(socket);
        let (to, length) = ((&raw const self.address).cast(), self.length);
        // SAFETY: datagram and address are readable for their lengths and outlive the call.
        check_count(unsafe {
            libc::sendto(fd, data, datagram.len(), libc::MSG_DONTWAIT, to, length)
        })
    }
}

/// The outcome of sending a datagram.
pub enum SendOutcome {
    Sent,
    /// The receiver or the kernel has no room now, no descriptor is free, or a signal came.
    TryAgain,
    /// There is no receiver, or it refuses the datagram.
    Failed(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;
    use std::io::Read;
    use std::os::unix::net::UnixDatagram;

    /// Sends one byte, and descriptors with it.
    fn send(socket: &UnixDatagram, descriptors: &[RawFd]) {
        let mut room = [0_u64; 32];
        let mut byte = [b'x'];
        let mut part = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let size = size_of_val(descriptors) as libc::c_uint;
        // SAFETY: all zeroes is a valid msghdr.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE only calculates.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
        // SAFETY: message describes the room.
        let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
        // SAFETY: the room is large enough for a header.
        let header = unsafe { header.as_mut() }.unwrap();
        header.cmsg_level = libc::SOL_SOCKET;
        header.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: CMSG_LEN only calculates.
        header.cmsg_len = unsafe { libc::CMSG_LEN(size) } as _;
        // SAFETY: CMSG_DATA only calculates.
        let data = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
        for (index, number) in descriptors.iter().enumerate() {
            // SAFETY: the room is large enough for the descriptors.
            unsafe { data.wrapping_add(index).write_unaligned(*number) };
        }
        // SAFETY: message describes memory that outlives the call.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, 0) };
        assert_eq!(sent, 1, "{}", io::Error::last_os_error());
    }

    /// With the room that Linux needs, and with the room of the other systems.
    #[test]
    fn no_descriptor_that_comes_with_a_datagram_stays_open() {
        for size in [CONTROL_SIZE, 8192] {
            let (sender, receiver) = UnixDatagram::pair().unwrap();
            identify_senders(receiver.as_fd()).unwrap();
            let (reader, writer) = fd::pipe().unwrap();
            send(&sender, &[writer.as_raw_fd(); 7]);
            drop(writer);
            let mut room = vec![0; size / 8];
            let received = receive_with_room(receiver.as_fd(), &mut [0; 10], &mut room).unwrap();
            assert_eq!(received.length, 1);
            let expected = Sender {
                pid: process::id(),
                user: process::user(),
            };
            if cfg!(target_os = "linux") {
                assert_eq!(received.sender, Some(expected), "{size}");
            }
            // It reads as end-of-file if the last copy of the writing end is closed.
            fd::set_nonblocking(reader.as_fd()).unwrap();
            let read = std::fs::File::from(reader).read(&mut [0]);
            assert_eq!(read.unwrap(), 0, "{size}");
        }
    }
}
