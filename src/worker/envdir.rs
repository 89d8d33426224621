//! An envdir, as in daemontools: a folder in which each file is a variable, with its name and its value.

use crate::files::owned;
use crate::sys::{self, file};
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Names and values.
pub type Variables = Vec<(OsString, OsString)>;

/// Reads all variables. `warnings` get a sentence about each file that is ignored and should not be there. Empty files,
/// unreadable files and directories are ignored without a warning, and so is a missing envdir.
///
/// # Errors
/// An error that does not depend on the files: no free descriptor, no memory, or a disk error.
pub fn read(dir: &Path, warnings: &mut Vec<String>) -> io::Result<Variables> {
    let mut variables = Variables::new();
    let entries = match sys::retry(|| fs::read_dir(dir)) {
        Ok(entries) => entries,
        Err(error) if file::is_inaccessible(&error) => return Ok(variables),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        match first_line(&entry.path()) {
            Ok(Some(line)) => match problem(&name, &line) {
                Some(reason) => warnings.push(format!("{}: {reason}", entry.path().display())),
                None => variables.push((name, OsString::from_vec(line))),
            },
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                warnings.push(format!("{}: {error}", entry.path().display()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(variables)
}

fn first_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match owned::open_regular(path, OpenOptions::new().read(true)) {
        Ok(file) => parse(BufReader::new(file)),
        Err(error) if file::is_inaccessible(&error) || path.is_dir() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first line without its newline; `None` for an empty text.
fn parse(mut text: impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let count = text.read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok((count > 0).then_some(line))
}

/// The reason why a name and a value cannot be a variable, if there is one.
fn problem(name: &OsStr, value: &[u8]) -> Option<&'static str> {
    if name.as_bytes().contains(&b'=') {
        return Some("a variable name cannot contain =");
    }
    value.contains(&0).then_some("a value cannot contain a NUL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_random_files() {
        const WORDS: [&str; 8] = ["", "\n", "\r", " ", "\0", "value", "=", "é"];
        crate::fuzz::random_texts(&WORDS, |text| {
            let line = parse(text.as_bytes()).unwrap();
            assert_eq!(line.is_none(), text.is_empty());
            let line = line.unwrap_or_default();
            assert_eq!(line, text.split('\n').next().unwrap().as_bytes());
            assert_eq!(
                problem(OsStr::new("name"), &line).is_some(),
                line.contains(&0)
            );
        });
    }
}
