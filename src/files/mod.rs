//! The files that start_server shares with other processes: the pid file, the status file, and the details beside it.
//!
//! This folder owns their contents, the lock on the pid file, and the removal of every file that we have created,
//! sockets included. Paths come in from the command line, and the state of the workers comes in from the supervisor.
//! Files go out. A control command gets the process that holds a pid file, and the contents of a status file and its
//! details.
//!
//! A failure before the first worker is an error. A later failure is a line in the log.

pub mod details;
pub mod folder_lock;
pub mod locked_pid_file;
pub mod owned;
pub mod pid_file;
mod replaced;
pub mod status_file;
pub mod status_text;
