//! One worker: its start, its environment, and the channel on which it reports.
//!
//! The program, the variables and descriptors of the sockets, and the environment come in. A forked worker goes out,
//! and the messages by which it reports that it is ready.

pub mod envdir;
pub mod environment;
pub mod launch;
mod notify_file;
pub mod readiness;
mod sender;
