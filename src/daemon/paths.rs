//! The checks of the folders and files that the options name, before anything is bound or created.

use crate::cli::{LogTarget, Options};
use crate::error::{Error, Reason};
use crate::files::owned::{self, end_of_links, folder_of, identity};
use crate::files::{locked_pid_file, status_file};
use crate::log::command;
use crate::sys::{exec, file};
use crate::worker::environment::Environment;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// Refuses unusable folders and files. Otherwise they would fail only after something was bound or created.
pub(super) fn check(options: &Options, environment: &Environment) -> Result<(), Error> {
    if let Some(dir) = &options.dir {
        file::check_enterable(dir).map_err(|error| Error::option("dir", dir, error))?;
    }
    if let Some(path) = &options.pid_file {
        locked_pid_file::check_free(path)?;
        if end_of_links(path) != *path {
            let reason = "it is a link to a file that does not exist";
            return Err(Error::option("pid-file", path, reason));
        }
        owned::check_writable(path).map_err(|error| Error::option("pid-file", path, error))?;
    }
    refuse_same_file(options)?;
    match &options.log {
        None => Ok(()),
        Some(LogTarget::File(path)) => {
            owned::check_writable(path).map_err(|error| Error::option("log-file", path, error))
        }
        Some(LogTarget::Command(line)) => {
            exec::check_shell().map_err(|error| {
                let reason = Reason::from(error);
                Error::statement(format!("--log-file=| needs a shell, /bin/sh: {reason}"))
            })?;
            command::check(line, environment.render(&[]))
        }
    }
}

/// Refuses a file that two options name. One of them would overwrite or remove the file of the other.
fn refuse_same_file(options: &Options) -> Result<(), Error> {
    let status_file = options.status_file.as_ref();
    let details = status_file.map(|path| status_file::details_path(path));
    let log_file = match &options.log {
        Some(LogTarget::File(path)) => Some(path),
        _ => None,
    };
    let files = [
        ("pid-file", options.pid_file.as_ref()),
        ("status-file", status_file),
        ("status-file", details.as_ref()),
        ("log-file", log_file),
    ];
    let files = files.map(|(option, path)| Some((option, path?, place(path?)?)));
    let files: Vec<_> = files.into_iter().flatten().collect();
    let refuse = |option, path: &Path, other| {
        let reason = format!("--{other} names the same file");
        Err(Error::option(option, path, reason))
    };
    for (index, (option, path, found)) in files.iter().enumerate() {
        let mut earlier = files[..index].iter();
        if let Some((other, ..)) = earlier.find(|(_, _, other)| other == found) {
            return refuse(option, path, other);
        }
        // There may be thousands of sockets: the file system is only asked about those with the name of this file.
        let has_name = |socket: &&PathBuf| socket.file_name() == path.file_name();
        let mut sockets = options.paths.iter().filter(has_name);
        if let Some(socket) = sockets.find(|socket| place(socket).as_ref() == Some(found)) {
            return refuse("path", socket, option);
        }
    }
    Ok(())
}

/// Identifies the file at a path, so that two paths to one file are found. A file that exists is identified by itself,
/// and any other one by its folder and its name.
fn place(path: &Path) -> Option<((u64, u64), Option<OsString>)> {
    if let Ok(file) = fs::metadata(path) {
        return Some((identity(&file), None));
    }
    let path = end_of_links(path);
    // Without its folder, no file can be made at this path.
    let folder = fs::metadata(folder_of(&path)).ok()?;
    Some((identity(&folder), path.file_name().map(OsStr::to_os_string)))
}
