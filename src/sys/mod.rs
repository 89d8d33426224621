//! Every call to the kernel, as safe functions that return `io::Result` and own descriptors as `OwnedFd`.
//! They know nothing of generations or workers.
//!
//! # What differs
//!
//! The systems are Linux (glibc, musl), FreeBSD, OpenBSD, NetBSD, DragonFly, macOS and illumos. Each module tells what
//! their manuals say of its calls, with the page in brackets. A difference that the code has to know is behind one
//! function there; where the same code is right everywhere, it is only told. For all of them:
//!
//! - `pipe2`, `accept4` and `SOCK_CLOEXEC` are missing on macOS [pipe(2), socket(2)]. The flag is set in a second step
//!   there: with one thread there is nobody to fork between the two.
//! - There is no /proc on macOS and OpenBSD; on FreeBSD and DragonFly it is seldom mounted, and nowhere else is it
//!   like Linux's [procfs(5), proc(5)]. What is read there is only for messages.
//! - NetBSD has renamed calls whose types have grown, such as `__clock_gettime50` and `__fstat50`: all go
//!   through the libc crate, which knows the names.
//! - `rlim_t` is signed on the BSDs [getrlimit(2)], `sa_family_t` has eight bits there, and `errno` hides behind
//!   another function on each ([`signals`]).

use std::io;

pub mod address;
pub mod clock;
pub mod datagram;
pub mod exec;
pub mod fd;
pub mod file;
pub mod holders;
pub mod poll;
pub mod process;
pub mod signals;
pub mod socket;
pub mod start;
#[cfg(panic = "abort")]
mod unwind;

/// Turns the -1 of a system call into the error that errno names.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Calls again for as long as a signal interrupts the call.
pub fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The system's own words for an error, without the number that Rust puts behind them.
pub fn reason(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let (Some(_), Some(end)) = (error.raw_os_error(), text.rfind('(')) {
        text.truncate(end - 1);
    }
    text
}
