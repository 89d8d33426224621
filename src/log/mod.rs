//! The log: our own lines, and the place where `--log-file` sends them together with the output of the workers.
//!
//! This folder owns the queue of our lines (`lines`), standard output and standard error of this process (`target`),
//! and the process of the log command (`command`). Lines come in from every part of the program, and the target comes
//! in from the command line. Lines go out to standard error. A line that would have to wait for a slow reader stays in
//! the queue.
//!
//! The folder `files` uses only `lines`. It lies on a floor below `target` and `command`.

pub mod command;
pub mod lines;
pub mod target;
