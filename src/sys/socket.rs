//! Listening sockets: made, bound, looked at. All are close-on-exec and blocking.
//!
//! Blocking, since the worker gets the same open file: with O_NONBLOCK Starman falls from 700 to 20 requests
//! a second.
//!
//! What differs:
//! - A `sockaddr` begins with its length on the BSDs and macOS. The kernel fills it in from the length that comes with
//!   the call; zero does.
//! - `sun_path` has 104 bytes there, 108 on Linux and illumos [unix(4), unix(7)]. The path is measured by the field.
//! - SO_REUSEADDR lets a TCP port in TIME_WAIT be bound everywhere. On the BSDs and macOS one may besides listen on an
//!   address where another listens on all; Linux refuses that while anybody listens [socket(7), getsockopt(2)]. For UDP
//!   Linux alone lets a second socket have the very same port if both have the option, and the last one gets all:
//!   Perl's start_server sets it there as well.
//! - IPV6_V6ONLY cannot be turned off on OpenBSD; to turn it on is no error [ip6(4)].
//! - `listen` cuts the backlog off in silence: net.core.somaxconn on Linux, kern.ipc.soacceptqueue on FreeBSD,
//!   kern.ipc.somaxconn on macOS, kern.somaxconn on OpenBSD, 128 in most [listen(2)].
//! - A Unix socket whose queue is full answers a connection that may not wait with EAGAIN on Linux, with ECONNREFUSED
//!   elsewhere, like one that nobody has: [`probe_unix`] tells them apart.
//! - A full receiver of datagrams is EAGAIN on Linux, ENOBUFS on the BSDs and macOS [send(2)].
//! - A listening socket that is shut down listens no more on Linux; others say ENOTCONN and go on [shutdown(2)].
//! - The file of a Unix socket gets the mode that the umask leaves of 0777, and who may not write to it cannot connect
//!   on Linux, the BSDs and macOS [unix(7), unix(4)]; older systems did not look [unix(7)].
//! - Descriptors that come with a datagram are closed by every kernel if recv(2), which has no room for them, reads it.
//! - Only Linux has abstract names [unix(7)].

use super::{check, fd};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

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

/// A Unix datagram socket at `path` that everybody may write to, for [`receive`].
pub fn bind_datagrams(path: &OsStr) -> io::Result<OwnedFd> {
    let socket = bind_file(libc::SOCK_DGRAM, path, 0o777)?;
    fd::set_nonblocking(socket.as_fd())?;
    Ok(socket)
}

fn bind_file(kind: i32, path: &OsStr, mode: u32) -> io::Result<OwnedFd> {
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
        let socket = open(libc::AF_UNIX, libc::SOCK_DGRAM)?;
        Ok(Datagrams {
            socket,
            address,
            length,
        })
    }

    /// Sends a datagram without waiting.
    pub fn send(&self, datagram: &[u8]) -> SendOutcome {
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
        if count >= 0 {
            return SendOutcome::Sent;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR | libc::ENOMEM) => {
                SendOutcome::TryAgain
            }
            Some(_) | None => SendOutcome::Failed,
        }
    }
}

/// Whether `path` fits into a socket address.
pub fn check_unix_path(path: &OsStr) -> io::Result<()> {
    unix_address(path).map(drop)
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

fn open(domain: i32, kind: i32) -> io::Result<OwnedFd> {
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

/// What a socket is bound to.
pub enum Address {
    Inet(SocketAddr),
    /// A path; an abstract name with a `@` before it; empty without either.
    Unix(OsString),
}

/// What a socket is bound to; an error of kind `Unsupported` if it is none of these.
pub fn address(socket: BorrowedFd) -> io::Result<Address> {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut raw: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let to = (&raw mut raw).cast();
    // SAFETY: raw has room for length bytes, and both outlive the call.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), to, &mut length) })?;
    match raw.ss_family.into() {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage has room for, and is aligned as, every address, and this one is of that family.
            let raw = unsafe { &*(&raw const raw).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Ok(Address::Inet((ip, u16::from_be(raw.sin_port)).into()))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let raw = unsafe { &*(&raw const raw).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Ok(Address::Inet((ip, u16::from_be(raw.sin6_port)).into()))
        }
        libc::AF_UNIX => {
            // SAFETY: as above.
            let raw = unsafe { &*(&raw const raw).cast::<libc::sockaddr_un>() };
            let used = (length as usize).saturating_sub(offset_of!(libc::sockaddr_un, sun_path));
            let name = raw.sun_path.iter().take(used).map(|&byte| byte as u8);
            Ok(Address::Unix(unix_name(name.collect())))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "neither an internet nor a Unix socket",
        )),
    }
}

/// The bytes of a `sun_path` as a name.
fn unix_name(mut bytes: Vec<u8>) -> OsString {
    if bytes.first() == Some(&0) && bytes.len() > 1 && cfg!(target_os = "linux") {
        bytes[0] = b'@';
    }
    let end = bytes.iter().position(|&byte| byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    OsString::from_vec(bytes)
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

/// The outcome of sending a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    Sent,
    /// The receiver or the kernel has no room now, or a signal came.
    TryAgain,
    /// There is no receiver, or it refuses the datagram.
    Failed,
}

/// The type of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SocketType {
    Stream,
    Datagram,
}

/// Reads the type of a socket. Returns `None` for types that no option asks for.
pub fn socket_type(socket: BorrowedFd) -> Option<SocketType> {
    match option(socket, libc::SOL_SOCKET, libc::SO_TYPE) {
        Ok(libc::SOCK_STREAM) => Some(SocketType::Stream),
        Ok(libc::SOCK_DGRAM) => Some(SocketType::Datagram),
        Ok(_) | Err(Unknown) => None,
    }
}

/// The result of probing the file of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A process has the socket, perhaps with a full queue or of another type.
    Listening,
    /// The process that bound the file is gone.
    Abandoned,
}

/// Connects to the Unix socket at `path` and hangs up. Never waits.
pub fn probe_unix(path: &OsStr) -> io::Result<Probe> {
    let probe = judge(connect(libc::SOCK_STREAM, path))?;
    if probe == Probe::Abandoned && !REPORTS_FULL_QUEUE {
        return probe_by_type(path);
    }
    Ok(probe)
}

/// On Linux a full queue and an abandoned file give different errors.
const REPORTS_FULL_QUEUE: bool = cfg!(target_os = "linux");

/// Connects a socket of the wrong type. Every system compares the types before it looks at the queue, so a full
/// queue makes no difference here.
fn probe_by_type(path: &OsStr) -> io::Result<Probe> {
    judge(connect(libc::SOCK_DGRAM, path))
}

fn judge(connected: io::Result<()>) -> io::Result<Probe> {
    let Err(error) = connected else {
        return Ok(Probe::Listening);
    };
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Ok(Probe::Abandoned),
        // A full queue on Linux, or a socket of another type.
        Some(libc::EAGAIN | libc::EPROTOTYPE) => Ok(Probe::Listening),
        Some(_) | None => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    /// The method for the other systems gives the right result on Linux too.
    #[test]
    fn a_full_queue_is_not_taken_for_an_abandoned_file() {
        let folder = crate::sys::file::make_folder(&std::env::temp_dir().join("probe-")).unwrap();
        let path = folder.join("socket");
        let probes = || [probe_unix, probe_by_type].map(|probe| probe(path.as_os_str()).unwrap());
        let listener = UnixListener::bind(&path).unwrap();
        listen(listener.as_fd(), 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(probes(), [Probe::Listening; 2]);
        drop(listener);
        assert_eq!(probes(), [Probe::Abandoned; 2]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
