//! An envdir, as in daemontools: a folder in which each file is a variable, with its name and its value.

use crate::files::owned;
use crate::sys::{self, file};
use crate::variable::assignment;
use std::ffi::{CString, OsStr};
use std::fmt::Display;
use std::fs::{self, DirEntry, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest string `NAME=VALUE` that Linux passes to a program. The limit is the same on every system.
const MAX_LENGTH: usize = 131_071;

/// The most files that are read, and the most bytes that their variables may have together. No system gives a program
/// more than that by default, and a folder of any size must not take our memory and our time.
const MAX_FILES: usize = 20_000;
const MAX_TOTAL: usize = 16 << 20;

/// The most warnings of one reading.
const MAX_WARNINGS: usize = 500;

/// Reads all variables. `warnings` get a sentence about each file that is ignored and should not be there, up to five
/// hundred. Empty files, unreadable files and directories are ignored without a warning, and so is a missing envdir.
///
/// # Errors
/// An error that does not depend on a single file: no free descriptor, no memory, a disk error, or too many files or
/// bytes.
pub fn read(dir: &Path, warnings: &mut Vec<String>) -> io::Result<Vec<CString>> {
    let mut variables = Vec::new();
    let mut line = Vec::new();
    let mut total = 0;
    let mut warn = |path: &Path, reason: &dyn Display| {
        if warnings.len() < MAX_WARNINGS {
            warnings.push(format!("{}: {reason}", path.display()));
        }
    };
    let entries = match sys::retry(|| fs::read_dir(dir)) {
        Ok(entries) => entries,
        Err(error) if file::is_inaccessible(&error) => return Ok(variables),
        Err(error) => return Err(error),
    };
    for (index, entry) in entries.enumerate() {
        let entry = entry?;
        let name = entry.file_name();
        if index == MAX_FILES {
            return Err(io::Error::other("it has more than 20000 files"));
        }
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        match read_first_line(&entry, &mut line) {
            Ok(true) => {
                total += name.len() + "=".len() + line.len();
                match problem(&name, &line) {
                    Some(reason) => warn(&entry.path(), &reason),
                    None => variables.push(assignment(&name, OsStr::from_bytes(&line))),
                }
            }
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                warn(&entry.path(), &error);
            }
            Err(error) => return Err(error),
        }
        if total > MAX_TOTAL {
            return Err(io::Error::other("its variables have more than 16 MiB"));
        }
    }
    Ok(variables)
}

/// Reads the first line of a file. Returns false if there is none.
fn read_first_line(entry: &DirEntry, line: &mut Vec<u8>) -> io::Result<bool> {
    let path = entry.path();
    let mut options = OpenOptions::new();
    let options = options.read(true);
    // On most file systems the folder itself says which entries are regular files, so that no call is needed.
    let opened = match entry.file_type() {
        Ok(kind) if kind.is_file() => owned::open_checked(&path, options),
        Ok(_) => owned::open_regular(&path, options),
        Err(error) => Err(error),
    };
    match opened {
        Ok(file) => parse(file, line),
        Err(error) if file::is_inaccessible(&error) || path.is_dir() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads the first line without its newline. Returns false for an empty text. Of a line that is too long only the
/// beginning is read: it could take all the memory.
fn parse(mut text: impl Read, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut chunk = [0; 1024];
    while line.len() <= MAX_LENGTH {
        let count = sys::retry(|| text.read(&mut chunk))?;
        if count == 0 {
            return Ok(!line.is_empty());
        }
        let end = chunk[..count].iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(&chunk[..end.unwrap_or(count)]);
        if end.is_some() {
            break;
        }
    }
    Ok(true)
}

/// The reason why a name and a value cannot be a variable, if there is one.
fn problem(name: &OsStr, value: &[u8]) -> Option<&'static str> {
    if name.as_bytes().contains(&b'=') {
        return Some("a variable name cannot contain =");
    }
    if value.contains(&0) {
        return Some("a value cannot contain a NUL");
    }
    let length = name.len() + "=".len() + value.len();
    (length > MAX_LENGTH).then_some("the variable is longer than 131071 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_longest_length() {
        let mut line = Vec::new();
        assert!(parse(io::repeat(b'x'), &mut line).unwrap());
        assert!(line.len() > MAX_LENGTH);
        assert!(line.len() < 2 * MAX_LENGTH);
        let name = OsStr::new("NAME");
        let value = |length| vec![b'x'; length - "NAME=".len()];
        assert_eq!(problem(name, &value(MAX_LENGTH)), None);
        let reason = Some("the variable is longer than 131071 bytes");
        assert_eq!(problem(name, &value(MAX_LENGTH + 1)), reason);
    }

    #[test]
    fn a_million_random_files() {
        const WORDS: [&str; 8] = ["", "\n", "\r", " ", "\0", "value", "=", "é"];
        crate::fuzz::random_texts(&WORDS, |text| {
            let mut line = b"the line of another file".to_vec();
            assert_eq!(parse(text.as_bytes(), &mut line).unwrap(), !text.is_empty());
            assert_eq!(line, text.split('\n').next().unwrap().as_bytes());
            assert_eq!(
                problem(OsStr::new("name"), &line).is_some(),
                line.contains(&0)
            );
        });
    }
}
