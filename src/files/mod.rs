//! The pid file, the status file, and files that are ours to remove.

pub mod held_pid_file;
pub mod owned;
pub mod pid_file;
pub mod status_file;
pub mod status_text;
