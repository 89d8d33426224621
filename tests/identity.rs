//! Odd callers, odd files in envdir, and other processes that hold its port or files: start_server copes, or refuses
//! and says why.

mod caller;
mod envdir;
mod killed;
#[cfg(target_os = "linux")]
mod numbers;
#[cfg(target_os = "linux")]
mod process_1;
#[cfg(target_os = "linux")]
mod strangers;
mod together;

use crate::support::{ask, Server};

/// Starts, serves, restarts, serves, and ends, with nothing left behind.
fn lives(server: Server) {
    let mut server = server;
    for generation in 1..=2 {
        let worker = server.worker(generation);
        server.up(&[generation]);
        assert_eq!(ask(worker.port()).unwrap(), (generation, worker.pid));
        server.hup();
    }
    server.worker(3);
    server.up(&[3]);
    server.stop();
    let left = server.scratch.names();
    for name in ["pid", "status"] {
        assert!(!left.contains(&name.to_string()), "{left:?}");
    }
}
