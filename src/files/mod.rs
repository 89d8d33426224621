//! The files that start_server leaves for others to read: pid file, status file, and the sockets in the file system.
//!
//! This folder owns their contents, the lock on the pid file, and their removal. Paths come in from the command line,
//! and the state of the workers from the supervisor. Files go out, and so does their meaning for a control command:
//! the process that holds a pid file, and a snapshot of a status file. A failure at the start is an error; once
//! workers run, a failure is a line in the log.

pub mod held_pid_file;
pub mod owned;
pub mod pid_file;
pub mod status_file;
pub mod status_text;
