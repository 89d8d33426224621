//! The outcome of an operation and how it is told: restarts that are given up, the words of `--restart`, `--status` and
//! `--daemonize`, workers that are killed in the end, logs that are opened again.

mod daemonize;
mod deadlines;
mod giving_up;
mod log_file;
mod path_mode;
mod restarts;
mod status;

use crate::support::fixtures::{by_envdir, RESTART};
use crate::support::{Server, Setup};

/// Workers that say when they are ready, so that nobody waits for an interval.
fn notifying<const N: usize>(role: &str, options: [&str; N]) -> Setup {
    by_envdir(role, ["--ready=notify"]).args(options)
}

fn restart<const N: usize>(server: &Server, options: [&str; N]) -> Setup {
    Setup::beside(&server.scratch, RESTART).args(options)
}

/// Every attempt fails.
const FAIL: &str = "exit:7";
