//! The promises to the user: each module tests one, with start_server running real workers.
//!
//! The module `support` has what the tests share. The worker that start_server runs in a test is this binary again:
//! the test `worker` below does nothing unless `WORKER_ROLE` says what to be.
//!
//! `START_SERVER` names the program to test; without it that is the one that cargo built. The modules `lifecycle`,
//! `sockets`, `inherit`, `files`, `control` and `cli` also pass against Perl's start_server.

mod support;

mod cli;
mod control;
mod differences;
mod disk;
mod docs;
#[cfg(target_os = "linux")]
mod every_call;
mod faults;
mod files;
mod identity;
mod inherit;
mod leaks;
mod library;
mod lifecycle;
#[cfg(target_os = "linux")]
mod minimal;
mod monkey;
mod outcome;
mod ready;
mod refusals;
mod sockets;
mod systemd;
mod upgrade;

/// The worker. It is found by its exact name: see [`support::worker::ARGUMENTS`].
#[test]
fn worker() {
    let Ok(role) = std::env::var("WORKER_ROLE") else {
        return;
    };
    match role.strip_prefix("library:") {
        Some(task) => library::act(task),
        None => support::worker::run(&role),
    }
}
