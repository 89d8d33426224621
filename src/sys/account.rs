//! The users and groups of the system.
//!
//! Differences between systems:
//! - An account that does not exist is a null pointer without an errno on Linux and the BSDs. Some systems set errno to
//!   ENOENT, ESRCH or another one [getpwnam(3)], so a null pointer always counts as "no such account".
//! - A static program finds only the accounts of /etc/passwd and /etc/group.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// The number of a user, given by name or number.
pub fn user(text: &OsStr) -> Option<u32> {
    let name = CString::new(text.as_bytes()).ok()?;
    // SAFETY: name is a C string that outlives the call. No other thread calls the function.
    let account = unsafe { libc::getpwnam(name.as_ptr()) };
    if account.is_null() {
        return text.to_str()?.parse().ok();
    }
    // SAFETY: the pointer is not null, so it points to an account that is valid until the next call.
    Some(unsafe { (*account).pw_uid })
}

/// The number of a group, given by name or number.
pub fn group(text: &OsStr) -> Option<u32> {
    let name = CString::new(text.as_bytes()).ok()?;
    // SAFETY: name is a C string that outlives the call. No other thread calls the function.
    let account = unsafe { libc::getgrnam(name.as_ptr()) };
    if account.is_null() {
        return text.to_str()?.parse().ok();
    }
    // SAFETY: the pointer is not null, so it points to an account that is valid until the next call.
    Some(unsafe { (*account).gr_gid })
}
