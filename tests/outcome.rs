//! The outcome of an operation and how it is told: restarts that are given up, the words of `--restart`, `--status` and
//! `--daemonize`, workers that are killed in the end, logs that are opened again.

mod daemonize;
mod deadlines;
mod early_end;
mod forward;
mod giving_up;
pub mod kill_mode;
mod log_command;
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

/// Whether a command looks at the files while start_server ends or only afterwards is a matter of chance.
pub fn assert_ended_meanwhile(server: &Server, what: &str, said: &str) {
    let pid = server.pid();
    let during = format!("start_server: start_server (pid {pid}) is ending\n");
    let afterwards = format!("start_server: process {pid} ended before the {what} was complete\n");
    assert!(
        said.ends_with(&during) || said.ends_with(&afterwards),
        "{said}"
    );
}
