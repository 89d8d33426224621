//! The log: our own lines on standard error, and where `--log-file` sends standard output and standard error.

pub mod command;
pub mod lines;
pub mod target;
