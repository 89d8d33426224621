//! The addresses of sockets.
//!
//! Differences between systems:
//! - A `sockaddr` begins with its length on the BSDs and macOS. The kernel takes the length from the argument of the
//!   call instead, so the field may be zero.
//! - `sun_path` has 104 bytes on the BSDs and macOS, and 108 on Linux and illumos [unix(4), unix(7)]. The code asks the
//!   type for its size.
//! - Only Linux has abstract names [unix(7)].

use super::inherit;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::{offset_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The address of an internet or Unix socket.
pub enum Address {
    Inet(SocketAddr),
    /// A path, or an abstract name with a `@` before it. It is empty for a socket without a name.
    Unix(OsString),
}

/// The address that a socket is bound to. For other kinds of sockets the error is of kind `Unsupported`.
pub fn of_socket(socket: BorrowedFd) -> io::Result<Address> {
    let (raw, length) = inherit::local_address(socket)?;
    match raw.ss_family.into() {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage is large enough and aligned for every address, and this one is a sockaddr_in.
            let raw = unsafe { &*(&raw const raw).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Ok(Address::Inet((ip, u16::from_be(raw.sin_port)).into()))
        }
        libc::AF_INET6 => {
            // SAFETY: a sockaddr_storage is large enough and aligned for every address, and this one is a sockaddr_in6.
            let raw = unsafe { &*(&raw const raw).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Ok(Address::Inet((ip, u16::from_be(raw.sin6_port)).into()))
        }
        libc::AF_UNIX => {
            // SAFETY: a sockaddr_storage is large enough and aligned for every address, and this one is a sockaddr_un.
            let raw = unsafe { &*(&raw const raw).cast::<libc::sockaddr_un>() };
            let used = (length as usize).saturating_sub(offset_of!(libc::sockaddr_un, sun_path));
            let name = raw.sun_path.iter().take(used).map(|&byte| byte as u8);
            Ok(Address::Unix(unix_name(name.collect())))
        }
        _ => {
            let reason = "neither an internet nor a Unix socket";
            Err(io::Error::new(io::ErrorKind::Unsupported, reason))
        }
    }
}

/// Turns the bytes of a `sun_path` into a name.
fn unix_name(mut bytes: Vec<u8>) -> OsString {
    if bytes.first() == Some(&0) && bytes.len() > 1 && cfg!(target_os = "linux") {
        bytes[0] = b'@';
    }
    let end = bytes.iter().position(|&byte| byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    OsString::from_vec(bytes)
}

/// Checks that `path` is short enough for the address of a Unix socket.
pub fn check_unix_path(path: &OsStr) -> io::Result<()> {
    unix_address(path).map(drop)
}

/// Makes the address of a Unix socket, and returns how many bytes of it count. The path must leave room for a NUL, as
/// unix(7) advises.
pub(super) fn unix_address(path: &OsStr) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: a sockaddr_un consists of integers, for which zeroes are valid.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_bytes();
    if bytes.len() >= address.sun_path.len() {
        let longest = address.sun_path.len() - 1;
        let reason = format!("longer than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let length = offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;
    Ok((address, length as libc::socklen_t))
}
