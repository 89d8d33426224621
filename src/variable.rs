//! Variables as execve(2) takes them: C strings of the form `NAME=value`. Pure.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// Joins a name and a value. The caller makes sure that neither contains a NUL.
pub fn assignment(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> CString {
    let (name, value) = (name.as_ref(), value.as_ref());
    // CString::new appends a NUL. The text is not copied if it has room for the NUL.
    let mut text = Vec::with_capacity(name.len() + value.len() + 2);
    text.extend_from_slice(name.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    CString::new(text).unwrap_or_default()
}

/// The part before the first `=`, or the whole string if it has none.
pub fn name(variable: &CStr) -> &OsStr {
    let bytes = variable.to_bytes();
    let end = bytes.iter().position(|&byte| byte == b'=');
    OsStr::from_bytes(&bytes[..end.unwrap_or(bytes.len())])
}

/// Whether two variables have the same name. Most names differ early, so neither is searched for its end.
pub fn has_same_name(one: &CStr, other: &CStr) -> bool {
    let mut pairs = one.to_bytes().iter().zip(other.to_bytes());
    pairs.find(|(one, other)| one != other || **one == b'=') == Some((&b'=', &b'='))
}

/// The value, if the variable has this name.
pub fn value(variable: &CStr, name: impl AsRef<OsStr>) -> Option<&OsStr> {
    let rest = variable.to_bytes().strip_prefix(name.as_ref().as_bytes())?;
    rest.strip_prefix(b"=").map(OsStr::from_bytes)
}
