//! An envdir, as in daemontools: a folder of files, each a variable's name with its value inside.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub type Variables = BTreeMap<OsString, OsString>;

/// Reads every variable. `complain` is told a sentence about each file that is passed over and should not
/// be there; an empty, an unreadable file or a directory is passed over in silence, as is a missing envdir.
pub fn read(dir: &Path, mut complain: impl FnMut(String)) -> Variables {
    let mut variables = Variables::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return variables;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        match value(&entry.path(), &name) {
            Ok(Some(value)) => {
                variables.insert(name, value);
            }
            Ok(None) => {}
            Err(reason) => complain(format!("{}: {reason}", entry.path().display())),
        }
    }
    variables
}

fn value(path: &Path, name: &OsStr) -> Result<Option<OsString>, &'static str> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    if name.as_bytes().contains(&b'=') {
        return Err("a variable's name cannot have a = in it");
    }
    let mut line = Vec::new();
    match BufReader::new(file).read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => return Ok(None),
        Ok(_) => {}
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    match line.contains(&0) {
        true => Err("a variable's value cannot have a NUL in it"),
        false => Ok(Some(OsString::from_vec(line))),
    }
}

/// Opens a regular file. Anything else is not even opened: a FIFO would block, a device might act.
fn open(path: &Path) -> Result<Option<File>, &'static str> {
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(_) => return Ok(None),
    };
    if kind.is_dir() {
        return Ok(None);
    }
    let not_a_file = "not a regular file";
    if !kind.is_file() {
        return Err(not_a_file);
    }
    // It may have been replaced by a FIFO since.
    let Ok(file) = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
    else {
        return Ok(None);
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(Some(file)),
        Ok(_) => Err(not_a_file),
        Err(_) => Ok(None),
    }
}
