//! The beginning of the process, in place of Rust's own.
//!
//! Rust's start-up prepares for threads and for telling a stack overflow from other faults: it reads
//! /proc/self/maps, maps a second stack, and draws in a third of a megabyte of the C library that this program
//! has no use for. What it does that matters is done here: no standard descriptor is closed, SIGPIPE is
//! ignored, the arguments are collected (which not every C library tells std otherwise), and the environment is left
//! where it lies instead of copied.

use super::{check, fd};
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;

/// Defines C's `main`, which prepares the process and returns what `$start` makes of the invocation. Every system hands
/// `main` the environment too.
macro_rules! entry {
    ($start:path) => {
        #[allow(unsafe_code, reason = "the name is C's, and so are the arguments")]
        #[cfg(not(test))]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: libc::c_int,
            arguments: *const *const libc::c_char,
            environment: *const *const libc::c_char,
        ) -> libc::c_int {
            // SAFETY: C calls main with these, and nobody changes them as long as the process lives.
            $start(unsafe { $crate::sys::start::prepare(count, arguments, environment) })
        }
    };
}
pub(crate) use entry;

/// With what the program was called.
pub struct Invocation {
    /// Its own name first.
    pub words: Vec<OsString>,
    /// `NAME=value` each.
    pub environment: Vec<&'static CStr>,
}

/// Prepares the process, and collects what it was called with.
///
/// # Safety
/// `arguments` points to `count` C strings, `environment` to C strings and a null pointer behind them; all live as
/// long as the process, unchanged.
pub unsafe fn prepare(
    count: libc::c_int,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) -> io::Result<Invocation> {
    for number in 0..3 {
        // SAFETY: F_GETFD touches no memory; a number that is not open is an error.
        if check(unsafe { libc::fcntl(number, libc::F_GETFD) }).is_err() {
            open_standard_stream(number)?;
        }
    }
    // Who writes to a pipe without a reader is told by an error.
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // Counted first: a vector that grew would leave holes in the memory for as long as the process lives.
    let mut variables = 0;
    // SAFETY: the caller gives an array that ends with a null pointer, behind which nothing is read.
    while !unsafe { *environment.wrapping_add(variables) }.is_null() {
        variables += 1;
    }
    // SAFETY: the caller gives that many C strings.
    let words = unsafe { strings(arguments, count as usize) };
    // SAFETY: so many were counted.
    let environment = unsafe { strings(environment, variables) };
    Ok(Invocation {
        words: words
            .iter()
            .map(|word| OsStr::from_bytes(word.to_bytes()).to_os_string())
            .collect(),
        environment,
    })
}

/// # Safety
/// The array has `count` C strings that live as long as the process, unchanged.
unsafe fn strings(array: *const *const libc::c_char, count: usize) -> Vec<&'static CStr> {
    let string = |index| {
        // SAFETY: the caller gives an array that is long enough.
        let string = unsafe { *array.wrapping_add(index) };
        // SAFETY: the caller gives C strings that live so long.
        unsafe { CStr::from_ptr(string) }
    };
    (0..count).map(string).collect()
}

/// Opens something at the lowest free number, so that no socket or file of ours gets it and is taken for a
/// standard stream by the worker.
fn open_standard_stream(number: libc::c_int) -> io::Result<()> {
    let opened = fd::open_null()?.into_raw_fd();
    debug_assert_eq!(opened, number);
    // The worker is to have it too.
    // SAFETY: F_SETFD takes an integer and touches no memory.
    check(unsafe { libc::fcntl(opened, libc::F_SETFD, 0) })?;
    Ok(())
}
