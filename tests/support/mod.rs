//! The tests share this: start_server in a scratch folder, the worker that it runs, and waiting for facts.

pub mod clients;
mod daemon;
pub mod fixtures;
pub mod kernel;
mod needs;
mod processes;
pub mod reading;
mod report;
mod scratch;
mod server;
mod setup;
pub mod waiting;
pub mod worker;

pub use clients::{ask, ask_path, free_port};
pub use daemon::{pid_in_file, Daemon};
#[cfg(target_os = "linux")]
pub use needs::{container, nobody_can_execute};
pub use needs::{permissions_count, skipped};
pub use processes::{alive_in, descriptors, is_alive, is_asleep, is_zombie};
pub use report::Report;
pub use scratch::Scratch;
pub use server::Server;
pub use setup::{is_static, program, run_beside, Finished, Setup};
pub use waiting::{eventually, now};
