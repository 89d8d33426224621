//! Many that are started at once with the same files: one wins.

use crate::support::{eventually, Scratch, Server, Setup};
use std::os::unix::net::UnixStream;

const COUNT: usize = 8;

/// Starts many at once with these options, and ends the one that won. What the others said.
fn start(options: &[&str]) -> Vec<String> {
    let scratch = Scratch::new();
    let start = || {
        let setup = Setup::beside(&scratch, options).role("serve");
        setup.args(["--interval=0"]).start()
    };
    let mut servers: Vec<Server> = (0..COUNT).map(|_| start()).collect();
    let mut refused = Vec::new();
    eventually(
        || {
            servers.retain_mut(|server| {
                let ended = server.has_ended();
                if ended {
                    refused.push(server.log());
                }
                !ended
            });
            (servers.len() <= 1).then_some(())
        },
        || "the end of all but one".to_string(),
    );
    let winner = servers.pop();
    let mut winner = winner.unwrap_or_else(|| panic!("nobody won: {refused:?}"));
    winner.worker(1);
    if options.contains(&"--pid-file=pid") {
        assert_eq!(scratch.read("pid"), format!("{}\n", winner.pid()));
    }
    if options.contains(&"--path=socket") {
        UnixStream::connect(scratch.path("socket")).unwrap();
    }
    winner.stop();
    assert_eq!(scratch.names(), [""; 0], "nothing is left");
    refused
}

#[test]
fn of_many_with_one_pid_file_one_wins_and_the_others_change_nothing() {
    for _ in 0..5 {
        for said in start(&["--pid-file=pid", "--port=127.0.0.1:0"]) {
            let running = "start_server: --pid-file=pid: start_server is already running as ";
            assert!(said.starts_with(running), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn of_many_with_one_path_one_wins_and_the_others_change_nothing() {
    for _ in 0..20 {
        for options in [&["--path=socket"][..], &["--pid-file=pid", "--path=socket"]] {
            for said in start(options) {
                assert!(said.starts_with("start_server: --p"), "{said}");
                assert_eq!(said.lines().count(), 1, "{said}");
            }
        }
    }
}
