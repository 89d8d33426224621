//! An envdir, as in daemontools: a folder of files, each a variable's name with its value inside.

use crate::file;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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

fn value(path: &Path, name: &OsStr) -> Result<Option<OsString>, String> {
    let file = match file::open_regular(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput && !path.is_dir() => {
            return Err(error.to_string())
        }
        Err(_) => return Ok(None),
    };
    if name.as_bytes().contains(&b'=') {
        return Err("a variable's name cannot have a = in it".to_string());
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
        true => Err("a variable's value cannot have a NUL in it".to_string()),
        false => Ok(Some(OsString::from_vec(line))),
    }
}
