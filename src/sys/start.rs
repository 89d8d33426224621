//! The beginning of the process, in place of Rust's own.
//!
//! Rust's start-up prepares for threads and for telling a stack overflow from other faults: it reads
//! /proc/self/maps, maps a second stack, and draws in a third of a megabyte of the C library that this program
//! has no use for. What it does that matters is done here: no standard descriptor is closed, SIGPIPE is
//! ignored, the arguments are collected (which not every C library tells std otherwise).

use super::{check, fd};
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;

/// Defines C's `main`, which prepares the process and returns what `$start` makes of the arguments.
macro_rules! entry {
    ($start:path) => {
        #[allow(unsafe_code, reason = "the name is C's, and so are the arguments")]
        #[cfg(not(test))]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: libc::c_int,
            arguments: *const *const libc::c_char,
        ) -> libc::c_int {
            // SAFETY: C calls main with this many C strings, which live as long as the process.
            $start(unsafe { $crate::sys::start::prepare(count, arguments) })
        }
    };
}
pub(crate) use entry;

/// Prepares the process, and collects its arguments, the program's own name first.
///
/// # Safety
/// `arguments` points to `count` C strings that live as long as the process.
pub unsafe fn prepare(
    count: libc::c_int,
    arguments: *const *const libc::c_char,
) -> io::Result<Vec<OsString>> {
    for number in 0..3 {
        // SAFETY: F_GETFD touches no memory; a number that is not open is an error.
        if check(unsafe { libc::fcntl(number, libc::F_GETFD) }).is_err() {
            fill(number)?;
        }
    }
    // Who writes to a pipe without a reader is told by an error.
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let words = (0..count as isize).map(|index| {
        // SAFETY: the caller gives this many pointers.
        let word = unsafe { *arguments.wrapping_offset(index) };
        // SAFETY: the caller gives C strings.
        let word = unsafe { CStr::from_ptr(word) };
        OsStr::from_bytes(word.to_bytes()).to_os_string()
    });
    Ok(words.collect())
}

/// Opens something at the lowest free number, so that no socket or file of ours gets it and is taken for a
/// standard stream by the worker.
fn fill(number: libc::c_int) -> io::Result<()> {
    let opened = fd::null()?.into_raw_fd();
    debug_assert_eq!(opened, number);
    // The worker is to have it too.
    // SAFETY: F_SETFD takes an integer and touches no memory.
    check(unsafe { libc::fcntl(opened, libc::F_SETFD, 0) })?;
    Ok(())
}
