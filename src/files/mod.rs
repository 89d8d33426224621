//! The pid file, the status file, and files that are ours to remove.

pub mod owned;
pub mod pid_file;
pub mod status_file;
