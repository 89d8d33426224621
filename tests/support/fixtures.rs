//! The start_servers that most tests run: with a pid file and a status file, and without an interval, so that a worker
//! is up as soon as it is started.

use super::Setup;

/// A port that the system chooses, and the files.
pub const USUAL: [&str; 4] = [
    "--port=127.0.0.1:0",
    "--interval=0",
    "--pid-file=pid",
    "--status-file=status",
];

/// The control commands for it.
pub const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=status"];
pub const UPGRADE: [&str; 3] = ["--upgrade", "--pid-file=pid", "--status-file=status"];

/// Its workers answer on the port until they are told to finish.
pub fn serve<const N: usize>(options: [&str; N]) -> Setup {
    with_role("serve", options)
}

/// Its workers have this role: see [`super::worker::run`].
pub fn with_role<const N: usize>(role: &str, options: [&str; N]) -> Setup {
    Setup::new(USUAL).args(options).role(role)
}

/// The role of its workers is in envdir, where [`super::Server::next_role`] can change it.
pub fn by_envdir<const N: usize>(role: &str, options: [&str; N]) -> Setup {
    Setup::new(USUAL)
        .args(["--envdir=envdir"])
        .args(options)
        .file("envdir/WORKER_ROLE", role)
}

/// It has no listeners but those of the options.
pub fn without_port<const N: usize>(options: [&str; N]) -> Setup {
    Setup::new(&USUAL[1..]).args(options).role("serve")
}

/// The log of one restart and the end: see [`super::Server::story`].
pub const RESTART_STORY: &str = "\
start_server (pid:PID) starting now...
starting new worker A
received HUP, spawning a new worker
starting new worker B
new worker is now running, sending TERM to old workers:A
killing old workers
old worker A died, status:0
received TERM, sending TERM to all workers:B
worker B died, status:0
exiting
";
