//! The calls on files and folders for which std has no safe function.
//!
//! Differences between systems:
//! - mkdtemp(3) gives its folder the mode 0700 on every system. Std would apply the umask to the mode.
//! - mkstemp(3) gives its file the mode 0600, and tries other names if somebody has taken one.
//! - access(2) with X_OK may allow root to execute a file that has no execute permission at all [access(2) of the
//!   BSDs]. For a folder the answer is right.

use super::{check, check_number, fd, inherit, retry};
use std::ffi::{CStr, CString, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Makes a new folder of mode 0700. Its path is `prefix` and six more characters.
pub fn make_folder(prefix: &Path) -> io::Result<PathBuf> {
    let (_, path) = make(prefix, |template| {
        // SAFETY: template is a C string, and mkdtemp only replaces its last six bytes.
        let made = unsafe { libc::mkdtemp(template) };
        if made.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    })?;
    Ok(path)
}

/// Makes a new file, and opens it for writing. Its path is `prefix` and six more characters. Its mode does not depend
/// on the umask.
pub fn make_file(prefix: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let open = |template| {
        // SAFETY: template is a C string, and mkstemp only replaces its last six bytes.
        let number = check_number(unsafe { libc::mkstemp(template) })?;
        Ok(File::from(fd::own(number)))
    };
    let (file, path) = retry(|| make(prefix, open))?;
    // There is one thread, so no process can be forked before the descriptor is close-on-exec.
    let prepared = inherit::set_close_on_exec(file.as_raw_fd(), true)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)));
    if let Err(error) = prepared {
        // If this fails too, the first error is the one to report.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok((file, path))
}

/// Calls `make` with the template of a path, and returns the path that it has made.
fn make<T>(
    prefix: &Path,
    make: impl FnOnce(*mut libc::c_char) -> io::Result<T>,
) -> io::Result<(T, PathBuf)> {
    let template = [prefix.as_os_str().as_bytes(), b"XXXXXX"].concat();
    let template = CString::new(template)?.into_raw();
    let made = make(template);
    // SAFETY: template came from into_raw, and its length is the same.
    let path = unsafe { CString::from_raw(template) };
    Ok((made?, OsString::from_vec(path.into_bytes()).into()))
}

/// Checks that this process may write to a file, or make files in a folder. The error is the reason why not.
pub fn check_write_access(path: &Path) -> io::Result<()> {
    check_access(&c_string(path)?, libc::W_OK)
}

/// Checks that `dir` is a folder that this process may enter. The error is the reason why not.
pub fn check_enterable(dir: &Path) -> io::Result<()> {
    if !fs::metadata(dir)?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
    }
    check_access(&c_string(dir)?, libc::X_OK)
}

/// Checks that access(2) grants `mode`. The error is the reason why not.
pub(super) fn check_access(path: &CStr, mode: libc::c_int) -> io::Result<()> {
    // SAFETY: path is a C string that outlives the call.
    check(unsafe { libc::access(path.as_ptr(), mode) })
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Opens a folder for reading. Any other file is an error; in particular a FIFO does not block the call.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_DIRECTORY);
    Ok(options.open(path)?.into())
}

/// Whether the file is missing or out of our reach, so that another attempt would fail in the same way.
pub fn is_inaccessible(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::ELOOP)
    )
}
