//! Addresses of sockets.
//!
//! What differs:
//! - A `sockaddr` begins with its length on the BSDs and macOS. The kernel fills it in from the length that comes with
//!   the call; zero does.
//! - `sun_path` has 104 bytes there, 108 on Linux and illumos [unix(4), unix(7)]. The path is measured by the field.
//! - Only Linux has abstract names [unix(7)].

use super::check;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

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

/// Whether `path` fits into a socket address.
pub fn check_unix_path(path: &OsStr) -> io::Result<()> {
    unix_address(path).map(drop)
}

/// The address and how many bytes of it count. The path must leave room for a NUL, as unix(7) advises.
pub(super) fn unix_address(path: &OsStr) -> io::Result<(libc::sockaddr_un, usize)> {
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
