//! TERM comes at every system call of a start, and nothing is left behind.

use crate::support::{kernel, pid_in_file, skipped, Server, Setup};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const OPTIONS: [&str; 7] = [
    "--port=127.0.0.1:0",
    "--path=socket",
    "--pid-file=pid",
    "--status-file=status",
    "--log-file=log-file",
    "--ready=notify",
    "--interval=0",
];

/// strace writes the calls into the file `trace`, and sends the signal of `inject`. It traces no child.
fn traced(inject: &[&str]) -> Server {
    let mut strace = Command::new("strace");
    strace
        .args(["-o", "trace"])
        .args(inject)
        .arg(crate::support::program());
    Setup::by(strace, OPTIONS).args(["sleep", "600"]).launch()
}

/// The names of the calls in the file of strace.
fn names(trace: &str) -> Vec<String> {
    let names = trace.lines().filter_map(|line| line.split_once('('));
    names.map(|(name, _)| name.to_string()).collect()
}

#[allow(clippy::ptr_arg, reason = "iterators over names pass it")]
fn is_fork(name: &String) -> bool {
    ["fork", "clone", "clone3"].contains(&name.as_str())
}

/// The calls of a start, from the first one of start_server itself to the fork of its worker. strace counts the calls
/// of each name.
fn calls_of_a_start() -> Option<Vec<(String, usize)>> {
    let tried = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !tried.is_ok_and(|status| status.success()) {
        skipped("strace");
        return None;
    }
    let server = traced(&[]);
    let names = || names(&server.scratch.read("trace"));
    let end = server.eventually("the fork", || names().iter().position(is_fork));
    let names = &names()[..=end];
    let nth = |at: usize| {
        names[..=at]
            .iter()
            .filter(|name| **name == names[at])
            .count()
    };
    let begin = names.iter().position(|name| name == "fcntl")?;
    Some(
        (begin..names.len())
            .map(|at| (names[at].clone(), nth(at)))
            .collect(),
    )
}

#[test]
fn term_at_every_call_of_a_start_leaves_nothing_behind() {
    let Some(calls) = calls_of_a_start() else {
        return;
    };
    for (name, nth) in calls {
        let inject = format!("inject={name}:signal=TERM:when={nth}");
        let mut server = traced(&["-e", &inject]);
        // On a busy machine a start may have a call less than the one that was recorded.
        let is_over = |trace: &str| trace.contains("+++ ");
        server.eventually("the end or the fork", || {
            let trace = server.scratch.read("trace");
            (is_over(&trace) || names(&trace).iter().any(is_fork)).then_some(())
        });
        if let Some(pid) = pid_in_file(&server) {
            kernel::kill_if_there(pid, libc::SIGTERM);
        }
        let ended = server.end();
        let is_killed = ended.signal() == Some(libc::SIGTERM);
        assert!(ended.success() || is_killed, "{inject}: {ended}");
        let mut left = server.scratch.names();
        left.retain(|name| !["log", "log-file", "output", "trace"].contains(&name.as_str()));
        assert_eq!(left, [""; 0], "{inject}: {}", server.scratch.read("trace"));
    }
}
