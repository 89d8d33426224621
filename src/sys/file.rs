//! Files and folders, where std has no safe function.
//!
//! mkdtemp(3) is the same everywhere, mode 0700 included: std asks for its modes through the umask.

use std::ffi::{CString, OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
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

/// Opens a folder for reading. Any other file is an error; in particular a FIFO does not block the call.
pub fn open_folder(path: &OsStr) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_DIRECTORY);
    Ok(options.open(path)?.into())
}

/// Returns true if the file is missing or out of our reach, so that another attempt would fail in the same way.
pub fn is_inaccessible(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::ELOOP)
    )
}
