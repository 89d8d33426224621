//! Files and folders, where std has no safe function.
//!
//! What differs:
//! - mkdtemp(3) is the same everywhere, mode 0700 included: std asks for its modes through the umask.
//! - `access` with X_OK may tell root yes for a file that nobody may execute [access(2) of the BSDs].

use super::check;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Makes a folder that nobody else has, of mode 0700, at `prefix` and six more characters.
pub fn make_folder(prefix: &Path) -> io::Result<PathBuf> {
    let template = [prefix.as_os_str().as_bytes(), b"XXXXXX"].concat();
    let template = CString::new(template)?.into_raw();
    // SAFETY: template is a C string of ours, whose last six bytes mkdtemp replaces.
    let made = unsafe { libc::mkdtemp(template) };
    let error = io::Error::last_os_error();
    // SAFETY: it came from into_raw, and its length is what it was.
    let path = unsafe { CString::from_raw(template) };
    match made.is_null() {
        true => Err(error),
        false => Ok(OsString::from_vec(path.into_bytes()).into()),
    }
}

/// What a process may want to do with a file.
#[derive(Clone, Copy)]
pub enum Access {
    Write = libc::W_OK as isize,
    /// Of a folder: to enter it.
    Enter = libc::X_OK as isize,
}

/// Whether this process may do that; if not, the error says why.
pub fn may(path: &Path, access: Access) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: path is a C string.
    check(unsafe { libc::access(path.as_ptr(), access as libc::c_int) })?;
    Ok(())
}
