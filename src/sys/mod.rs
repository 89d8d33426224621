//! Every call into libc, as safe functions that return `io::Result` and own descriptors as `OwnedFd`. Callers use std
//! where it has a safe function, for example for files.
//!
//! Plain values, paths and descriptors come in; values, descriptors and errors go out. Nothing
//! here knows of generations or workers.
//!
//! # Differences between systems
//!
//! The systems are Linux (glibc, musl), FreeBSD, OpenBSD, NetBSD, DragonFly, macOS and illumos. Each module lists the
//! differences between them that matter for its calls, with the manual page in brackets. Where the code must know of a
//! difference, one function hides it. The other differences are listed because a reader may wonder about them. For all
//! modules:
//!
//! - macOS lacks `pipe2`, `accept4` and `SOCK_CLOEXEC` [pipe(2), socket(2)]. The flag is set in a second step there.
//!   This is no race, since the program has one thread and cannot fork between the two steps.
//! - macOS and OpenBSD have no /proc. FreeBSD and DragonFly seldom mount it, and on no other system is it like that of
//!   Linux [procfs(5), proc(5)]. The program reads it only for the words of its messages.
//! - NetBSD has renamed the calls whose types have grown, for example to `__clock_gettime50` and `__fstat50`. The libc
//!   crate knows the new names, so every call goes through it.
//! - `rlim_t` is signed on the BSDs [getrlimit(2)], `sa_family_t` has eight bits there, and each system has its own
//!   function that returns the address of `errno` ([`signals`]).

use inherit::check;
use std::io;

pub mod account;
pub mod address;
pub mod clock;
pub mod datagram;
pub mod exec;
pub mod fd;
pub mod file;
pub mod group;
pub mod holders;
pub mod inherit;
pub mod poll;
pub mod process;
pub mod signals;
pub mod socket;
pub mod start;
#[cfg(panic = "abort")]
mod unwind;

/// Turns the -1 of a call that returns a number into the error that errno names.
fn check_number(result: libc::c_int) -> io::Result<libc::c_int> {
    check(result).map(|()| result)
}

/// Turns the -1 of a call that counts bytes into the error that errno names.
fn check_count(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Repeats a call until no signal interrupts it.
pub fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
