//! Every call to the kernel, as safe functions that return `io::Result` and own descriptors as `OwnedFd`.
//! They know nothing of generations or workers.
//!
//! What macOS lacks (`pipe2`, `SOCK_CLOEXEC`) is done in two steps there: with one thread there is nobody to fork
//! between them.

use std::io;

pub mod clock;
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
